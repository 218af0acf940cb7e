"""What the script can learn: of itself what it needs, of the host and of others as little as can be."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from sandbox import findings

from controller.engines.uids import FIRST_UID, UIDS
from controller.engines.walls import MASKED_PATHS, environment
from controller.model import Limits
from tests.running import RunningServer

MARK = "airlock-test-secret-3f1c"


@pytest.fixture(scope="module")
def found(server: RunningServer) -> dict[str, Any]:
    return findings(server, "surroundings", dict.fromkeys(MASKED_PATHS, 0))


def test_the_environment_is_exactly_the_announced_one(
    server: RunningServer, start: str, found: dict[str, Any]
) -> None:
    """The runner starts with the variables of the contract: nothing of the server's environment, nor of the image's.

    What the process itself was started with is a launcher's in a warm container, which has one more, for Arrow.
    """
    limits = server.submit("def azureml_main(a, b):\n    return a")["limits"]

    announced = sorted(entry.partition("=")[0] for entry in environment(Limits.model_validate(limits)) if "=" in entry)

    launchers = {"JE_ARROW_MALLOC_CONF"} if start != "plain" else set()
    assert sorted(set(found["environment at the process' start"]) - launchers) == announced
    assert set(found["environment"]) - set(announced) == set()


def test_no_secret_of_the_server_is_in_the_sandbox(server: RunningServer, found: dict[str, Any]) -> None:
    """The API key, the instance's pepper and the server's environment stand nowhere that the script can read."""
    everything = "\n".join(found["texts"].values())

    secrets = [server.key, *(part for part in server.key.split("_") if len(part) > 8), "AIRLOCK_"]

    assert [secret for secret in secrets if secret in everything] == []
    assert found["texts"][f"/proc/{found['identity']['pid']}/environ"].startswith("PATH=")


def test_the_host_is_not_named(found: dict[str, Any]) -> None:
    """The sandbox's host name is `sandbox`, in every place where one can ask for it."""
    everything = found["texts"]["/etc/hosts"] + found["texts"]["/etc/hostname"] + found["texts"]["/etc/resolv.conf"]

    assert found["host name"] == ["sandbox"] * 3
    assert len(socket.gethostname()) < 3 or socket.gethostname() not in everything.split()


def test_the_hosts_resolver_is_not_named(found: dict[str, Any]) -> None:
    """/etc/resolv.conf names no server but the sandbox's own loopback, or none."""
    lines = found["texts"]["/etc/resolv.conf"].splitlines()

    servers = {line.split()[1] for line in lines if line.startswith("nameserver")}

    assert servers <= {"127.0.0.1"}


@pytest.mark.parametrize("path", MASKED_PATHS)
def test_the_kernels_tales_of_the_host_are_masked(found: dict[str, Any], path: str) -> None:
    """A masked file is empty, and a masked directory holds nothing."""

    assert found["masked"][path] == 0


def test_the_script_sees_no_other_process(start: str, found: dict[str, Any]) -> None:
    """/proc holds the runner, which is the script itself; it is process 1, or in a warm container that one sleeps."""
    pid = found["identity"]["pid"]

    assert (pid == 1) == (start != "warm")
    assert found["processes"] == sorted({1, pid})


def test_the_first_process_of_a_warm_container_is_out_of_reach(start: str, found: dict[str, Any]) -> None:
    """It is another user's: the script can neither signal it nor look into it."""
    expected = {"warm": {"signal": "EPERM", "trace": "EPERM", "environ": "EACCES", "root": "EACCES", "fd": "EACCES"}}

    assert found["process 1"] == expected.get(start)


def test_the_script_is_nobody(found: dict[str, Any]) -> None:
    """Its ids are of the pool, the same for user and group, with no other group."""
    identity = found["identity"]
    (uid,) = set(identity["uid"])

    assert FIRST_UID <= uid < FIRST_UID + UIDS
    assert set(identity["gid"]) == {uid}
    assert set(identity["groups"]) <= {uid}
    assert identity["cwd"] == "/work"


def test_the_script_cannot_become_somebody_else(found: dict[str, Any]) -> None:
    """setuid, setgid, setgroups, su, sudo and mount give nothing."""
    uid = found["identity"]["uid"][0]

    assert set(found["become root"]) == {"EPERM"}
    assert found["become root by program"].splitlines()[-1] == str(uid)
    assert "uid=0" not in found["become root by program"]


def test_the_limits_of_the_process_are_set_and_hard(server: RunningServer, found: dict[str, Any]) -> None:
    """File size, core, descriptors, locked memory and message queues are limited, and cannot be raised."""
    limits = found["limits"]

    assert limits["RLIMIT_FSIZE"] == [1 << 30, 1 << 30]
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_NOFILE"] == [4096, 4096]
    assert limits["RLIMIT_MEMLOCK"] == [65536, 65536]
    assert limits["RLIMIT_MSGQUEUE"] == [0, 0]
    assert found["raised"] == []


def test_the_script_cannot_take_priority(found: dict[str, Any]) -> None:
    """Neither a better nice value nor a real-time class is to be had."""

    assert found["higher priority"] in {"EACCES", "EPERM"}
    assert found["real-time"] == "EPERM"


def test_the_script_inherits_no_descriptor(found: dict[str, Any]) -> None:
    """Its open files are the log's pipes, an empty standard input and files of the sandbox."""
    strange = [t for t in found["descriptors"].values() if not t.startswith(("pipe:", "/dev/null", "/proc/"))]

    assert strange == []
    assert found["standard input"] == ""


def test_the_cgroup_does_not_tell_the_run_of_others(found: dict[str, Any]) -> None:
    """The sandbox sees its own cgroup as the root: no path of the host's, no neighbour."""

    places = {line.split(":", 2)[2] for line in found["cgroup"].splitlines()}

    assert places == {"/"}


def test_the_sandbox_is_fresh(found: dict[str, Any]) -> None:
    """/dev/shm is empty, and /work holds no file but the runner's two: a link to the script, a font list."""

    assert found["shared memory"] == []
    assert [Path(name).stem.partition("-")[0] for name in found["working directory"]] == ["user_script", "fontlist"]


def test_the_server_gives_none_of_its_own_environment_away(make_server: Any) -> None:
    """A variable of the server's own environment, as an operator's secret is one, does not reach a script."""
    server = make_server(DATABASE_PASSWORD=MARK)

    found = findings(server, "surroundings", dict.fromkeys(MASKED_PATHS, 0))

    assert MARK in Path(f"/proc/{server.process.pid}/environ").read_text()
    assert MARK not in str(found)
    assert str(os.getpid()) not in found["processes"]
