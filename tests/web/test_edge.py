"""The edge: what is no request yet, headers on every answer, other sites' pages, limits, clients that dawdle."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import requests
from wire import MULTIPART, SCRIPT_PART, Wire, multipart, refused, well_formed

from controller.web import body as web_body
from controller.web.edge import NO_BODY_BYTES
from controller.web.headers import SECURITY
from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

STRICT = {**SECURITY, "Cache-Control": "no-store"}
ORIGIN = {"Origin": "https://elsewhere.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@contextmanager
def connections(server: RunningServer, count: int, first_bytes: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many open connections, each of which has sent this and nothing more."""
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(count)]
        for one in opened:
            one.sendall(first_bytes)
        yield opened


def seconds_to_answer(server: RunningServer) -> float:
    """Of `/healthz`, on a connection of its own."""
    began = time.monotonic()
    assert requests.get(f"{server.url}/healthz", timeout=60).status_code == 200
    return time.monotonic() - began


NO_REQUESTS = {
    "no HTTP": (b"\x16\x03\x01\x02\x00secret\r\n\r\n", 400, "bad_request"),
    "a NUL in a header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: secret\x00\r\n\r\n", 400, "bad_request"),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request",
    ),
    "an unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: secret\r\n\r\n", 400, "bad_request"),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n secret\r\n\r\n", 400, "bad_request"),
    "a long address": (b"GET /" + b"secret" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "address_too_long"),
    "a long header": (b"GET / HTTP/1.1\r\nX: " + b"secret" * 6000 + b"\r\n\r\n", 431, "headers_too_large"),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: secret\r\n" * 101 + b"\r\n", 431, "headers_too_large"),
}


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_what_is_no_request_is_refused_in_the_same_form(server: RunningServer, case: str) -> None:
    """A problem document with all headers; the connection ends; nothing of what was sent comes back or is logged."""
    sent, status, code = NO_REQUESTS[case]
    with Wire(server, timeout=20) as wire:
        wire.send_body(sent)

        answer = wire.answer()
        rest = wire.socket.recv(100)

    problem = refused(answer, status, code)
    well_formed(answer)
    assert {name: answer.headers[name] for name in STRICT} == STRICT
    assert rest == b""
    assert "secret" not in json.dumps(problem)
    logged = [json.loads(line) for line in server.log_path.read_text().splitlines() if problem["instance"] in line]
    assert [line["event"] for line in logged] == ["request_refused"]
    assert "secret" not in json.dumps(logged)


def test_every_answer_has_every_header(server: RunningServer) -> None:
    """Whether it is an answer, a refusal of ours, or the framework's; what is no page may load nothing."""
    requests_made = [
        ("GET", "/healthz", {}),
        ("GET", "/readyz", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/v1/runs", {}),
        ("GET", "/v1/runs", {"Authorization": None}),
        ("GET", "/v1/runs/none", {}),
        ("GET", "/nothing", {}),
        ("PUT", "/healthz", {}),
        ("POST", "/v1/runs", {"Content-Type": "text/plain"}),
        ("OPTIONS", "/healthz", PREFLIGHT),
        ("HEAD", "/healthz", {}),
    ]

    answers = [server.request(method, path, headers=headers) for method, path, headers in requests_made]

    for answer in answers:
        assert {name: answer.headers.get(name) for name in STRICT} == STRICT, answer.url
    page = requests.get(f"{server.url}/docs", timeout=30)
    policy = page.headers["Content-Security-Policy"]
    assert {name: page.headers.get(name) for name in STRICT} == STRICT | {"Content-Security-Policy": policy}
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert policy.count("unsafe") == 1  # the library's styles


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/receipt-key", "/healthz", "/docs", "/nothing"])
def test_a_page_of_another_site_may_ask_nothing(server: RunningServer, path: str) -> None:
    """Its browser's question is refused, and no answer says that it may read it."""
    preflight = requests.options(server.url + path, headers=PREFLIGHT, timeout=30)
    asked = server.get(path, headers=ORIGIN)

    refused(preflight, 403, "cross_origin")
    for answer in (preflight, asked):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert asked.headers["Cross-Origin-Resource-Policy"] == "same-origin"


LENGTHS = {
    "GET": ("GET", "/v1/runs", "text/csv", "no_body"),
    "DELETE": ("DELETE", "/v1/runs/none", "text/csv", "no_body"),
    "a JSON run": ("POST", "/v1/runs", "application/json", "json"),
    "a JSON batch": ("POST", "/v1/batches", "application/json", "json"),
    "JSON that nobody reads": ("POST", "/v1/runs/none/cancel", "application/json", "json"),
    "a multipart run": ("POST", "/v1/runs", MULTIPART, "body"),
    "a dataset": ("PUT", "/v1/datasets/d", "text/csv", "body"),
    "a dataset in JSON": ("PUT", "/v1/datasets/d", "application/json", "body"),
    "a body that nobody reads": ("POST", "/v1/runs/none/cancel", "text/plain", "body"),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_a_body_over_its_routes_limit_is_refused_before_it_comes(small: RunningServer, case: str) -> None:
    """413 by its announced length alone, of which not one byte is sent; at the limit itself it is not refused."""
    method, path, media_type, kind = LENGTHS[case]
    limit = {"no_body": NO_BODY_BYTES, "json": 100_000, "body": 1_000_000}[kind]
    answers = []
    for length in (limit + 1, limit):
        with Wire(small, timeout=30) as wire:
            wire.send_head(small, method, path, Content_Type=media_type, Content_Length=str(length))
            if length == limit:
                wire.send_body(b" " * limit)
            answers.append(wire.answer())

    problem = refused(answers[0], 413, "too_large")
    assert (problem["limit"], problem["value"]) == (limit, limit + 1)
    assert answers[1].status_code != 413


def test_five_hundred_idle_sockets_do_not_hurt(server: RunningServer) -> None:
    """Nor do those that were used once and stay: health is told within a second."""
    with connections(server, 500), connections(server, 100, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert max(seconds_to_answer(server) for _ in range(5)) < 1


@pytest.mark.parametrize(
    "said", [b"GARBAGE\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"], ids=["bad", "good"]
)
def test_clients_that_do_not_hang_up_after_their_answer_hold_up_nobody(server: RunningServer, said: bytes) -> None:
    """Each would cost the thread that accepts everybody's connections two seconds, did it wait for them itself."""
    with connections(server, 40, said) as opened:
        assert opened[0].recv(12).startswith(b"HTTP/1.1 ")

        assert max(seconds_to_answer(server) for _ in range(5)) < 1


def test_a_body_that_trickles_ends_by_a_deadline(
    make_server: Callable[..., RunningServer], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A byte now and then is never silence: of a stranger it is heard for two seconds, and nobody else waits."""
    server = make_server(AIRLOCK_THREADS="4")
    body = multipart(SCRIPT_PART)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server, timeout=30)) for _ in range(8)]
        for wire in wires:
            wire.send_head(
                server, "POST", "/v1/runs", Content_Type=MULTIPART, Content_Length=str(10 * len(body)),
                Authorization="Bearer none",
            )
        ended, began = 0, time.monotonic()
        while ended < len(wires) and time.monotonic() - began < 40:
            ended = sum(not trickled(wire) for wire in wires)
            time.sleep(0.3)

    assert ended == len(wires)
    assert until(lambda: seconds_to_answer(server) < 1, 10)


def trickled(wire: Wire) -> bool:
    """Send one byte more; False when nobody listens any longer."""
    try:
        wire.socket.sendall(b"x")
    except OSError:
        return False
    return True


def test_a_read_that_is_late_is_ended_and_the_client_is_told(server: RunningServer) -> None:
    """408: the reader sees the end of the stream, and what is still to be written can be."""
    ours, theirs = socket.socketpair()
    deadlines = web_body.Deadlines()
    with ours, theirs:
        with deadlines.within(ours, 0.2) as is_late:
            deadlines.end_late_reads()
            theirs.sendall(b"x")
            first = ours.recv(10)
            time.sleep(0.25)
            deadlines.end_late_reads()
            last = ours.recv(10)
        ours.sendall(b"answer")

        assert (first, last, is_late()) == (b"x", b"", True)
        assert theirs.recv(10) == b"answer"
