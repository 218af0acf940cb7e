"""The script has no network: what it may try, from inside, and what the host saw of it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sandbox import findings

from tests.running import RunningServer

NO_WAY = {"ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL", "ENODEV"}
"""No route, or no interface, at all. A refusal (ECONNREFUSED) or a timeout would mean that somebody was asked."""
REFUSED = {"EPERM", "EACCES"}


def address_of_host() -> str:
    """The address that the host's own default route would use; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def attempts(server: RunningServer) -> Iterator[dict[str, Any]]:
    """The probe's findings, and under "seen" what reached the host's sockets while it ran."""
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("0.0.0.0", 0))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = secrets.token_hex(16)
        abstract.bind("\0" + name)
        abstract.listen()
        found = findings(
            server,
            "network",
            {
                "address": address_of_host(),
                "tcp_port": tcp.getsockname()[1],
                "udp_port": udp.getsockname()[1],
                "abstract": name,
                "url": server.url + "/healthz",
            },
        )
        found["seen"] = []
        for listening in (tcp, udp, abstract):
            listening.setblocking(False)
            try:
                found["seen"].append(repr(listening.recv(100) if listening is udp else listening.accept()))
            except BlockingIOError:
                continue
        yield found


@pytest.mark.parametrize("protocol", ["tcp", "udp", "tcp6", "udp6"])
def test_the_script_has_no_network(attempts: dict[str, Any], protocol: str) -> None:
    """Public, private, link-local, multicast and broadcast addresses have no route, over TCP and UDP, IPv4 and IPv6."""

    answers = {probe: answer for probe, answer in attempts.items() if probe.split()[0] == protocol}

    assert len(answers) >= 4
    assert set(answers.values()) <= NO_WAY, answers


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_script_cannot_reach_the_clouds_metadata(attempts: dict[str, Any], protocol: str) -> None:
    """169.254.169.254, where clouds hand out credentials, has no route."""

    assert attempts[f"{protocol} 169.254.169.254"] in NO_WAY


def test_the_script_cannot_resolve_names(attempts: dict[str, Any]) -> None:
    """A name lookup fails, and fails at once: no resolver of the host is asked."""
    answer, seconds = attempts["name lookup"]

    assert "Errno" in answer
    assert seconds < 5


def test_the_script_cannot_reach_the_host(attempts: dict[str, Any]) -> None:
    """Sockets that listen on every address of the host are out of reach, and saw nothing."""

    assert attempts["host tcp"] in NO_WAY
    assert attempts["host udp"] in NO_WAY
    assert attempts["seen"] == []


def test_the_scripts_loopback_is_its_own(attempts: dict[str, Any]) -> None:
    """127.0.0.1 is the sandbox itself: it works inside, and the host's services are not there."""

    assert attempts["own loopback"] == "reached"
    assert attempts["host loopback tcp"] == "ECONNREFUSED"
    assert attempts["host loopback udp"] == "ECONNREFUSED"
    assert attempts["server"] != "reached"


def test_the_script_cannot_reach_abstract_sockets_of_the_host(attempts: dict[str, Any]) -> None:
    """Abstract Unix sockets belong to a network namespace: the host's are not in the script's."""

    assert attempts["host abstract"] == "ECONNREFUSED"


def test_there_is_no_interface_but_loopback(attempts: dict[str, Any]) -> None:
    """The sandbox has the interface lo, and no route."""

    assert attempts["interfaces"] == ["lo"]
    assert attempts["routes"] == []
    assert set(attempts["routes6"]) <= {"lo"}


def test_no_socket_of_a_daemon_is_in_the_sandbox(attempts: dict[str, Any]) -> None:
    """Docker's, containerd's and D-Bus's sockets are not there."""

    assert attempts["sockets"] == []


def test_the_script_can_make_plain_sockets_only(attempts: dict[str, Any]) -> None:
    """Raw, packet, netlink, vsock and all other families of sockets are refused by the seccomp profile."""

    answers = {probe: answer for probe, answer in attempts.items() if probe.startswith("socket ")}

    assert len(answers) == 25
    assert set(answers.values()) <= REFUSED, answers
