"""What no document describes: any bytes in the place of an id, in the query, in the headers, and as a body."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.effort import BRAKES, REQUESTS, SEED, is_fault, made

if TYPE_CHECKING:
    from tests.running import RunningServer

DOCUMENT = json.loads((Path(__file__).parents[1] / "web" / "openapi.json").read_text())
PLACES = [
    (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if f"{method.upper()} {path}" not in BRAKES
]
PARAMETERS = sorted({p["name"] for item in DOCUMENT["paths"].values() for operation in item.values()
                     for p in operation.get("parameters", []) if p["in"] == "query"})
HEADERS = (
    "Accept", "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Range", "Idempotency-Key", "Last-Event-ID",
    "Content-Type", "Content-Encoding", "Authorization", "Cookie", "Expect", "Origin", "X-Forwarded-For",
    "X-HTTP-Method-Override", "Content-Length", "Transfer-Encoding", "Upgrade",
)
NOT_IN_A_LINE = re.compile(rb"[\r\n]")
TELLING = (
    "*", "bytes=0-", "bytes=-1", "bytes=9-1,0-0", 'W/"x"', '"x"', "0-0", "999999999-999999999999999", "q=0",
    "text/csv;q=2", "application/json; charset=\xff", "multipart/form-data", "multipart/form-data; boundary=\x01",
    "chunked, gzip", "-1", "100-continue", "h2c", "Bearer", "text/event-stream", "*/*;q=nan",
)

odd = st.binary(max_size=60) | st.sampled_from([b"\0", b"\xff", b"..", b".", b"%00", b"\xed\xa0\x80", b"a/b", b"//"])
value = st.binary(max_size=80).map(lambda data: NOT_IN_A_LINE.sub(b"", data)) | st.sampled_from(
    [text.encode("latin-1") for text in TELLING]
)


@st.composite
def requests(draw: st.DrawFn, there: dict[str, list[str]]) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes]:
    """Method, address, headers and body: a route of ours with something odd in every place that it has."""
    method, path = draw(st.sampled_from(PLACES))

    def place(match: re.Match[str]) -> str:
        real = draw(st.booleans()) and method != "DELETE"
        return there[match[1]][0] if real and match[1] in there else quote_from_bytes(draw(odd), safe="")

    address = re.sub(r"{(\w+)}", place, path)
    pairs = draw(st.dictionaries(st.sampled_from(PARAMETERS) | odd.map(quote_from_bytes), odd, max_size=3))
    query = "&".join(f"{name}={quote_from_bytes(data)}" for name, data in pairs.items())
    headers = [(name.encode(), data) for name, data in draw(st.dictionaries(st.sampled_from(HEADERS), value)).items()]
    return method, f"{address}?{query}".encode(), headers, draw(st.binary(max_size=200))


def ask(server: RunningServer, method: str, address: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[
    int, http.client.HTTPMessage, bytes
]:
    """Send it byte for byte; the answer's status, headers and content."""
    given = {name.lower() for name, _ in headers}
    lines = [method.encode() + b" " + address + b" HTTP/1.1", b"Host: a", b"Connection: close"]
    if b"authorization" not in given:
        lines.append(b"Authorization: Bearer " + server.key.encode())
    if not given & {b"content-length", b"transfer-encoding"} and method in ("POST", "PUT"):
        lines.append(b"Content-Length: %d" % len(body))
    lines += [name + b": " + data for name, data in headers]
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=90) as wire:
        wire.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        wire.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(wire, method=method)
        answer.begin()
        return answer.status, answer.headers, answer.read()


def test_whatever_is_sent_is_answered_and_never_with_a_fault(
    target: RunningServer, there: dict[str, list[str]]
) -> None:
    """Every answer has a request's id, and every refusal is a problem document with a code."""

    @seed(SEED)
    @settings(
        max_examples=max(1, REQUESTS // 10),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(request=requests(there))
    def check(request: tuple[str, bytes, list[tuple[bytes, bytes]], bytes]) -> None:
        made.count += 1
        status, headers, content = ask(target, *request)

        assert not is_fault(status, content), content
        assert headers["X-Request-Id"].startswith("req_")
        assert headers["X-Content-Type-Options"] == "nosniff"
        if status >= 400:
            assert headers["Content-Type"] == "application/problem+json"
            assert json.loads(content)["status"] == status

    check()
