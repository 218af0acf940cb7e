"""The client against a real HTTP server, above all where that server or the connection misbehaves."""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.client import follow
from controller.client.api import Client
from controller.client.download import local_name
from controller.client.errors import (
    ClientError,
    ServerRefused,
    ServerUnreachable,
    UnexpectedAnswer,
    UnsendableFile,
)
from controller.client.follow import LogRestart, LogText
from controller.client.multipart import CHUNK_BYTES, MultipartBody, Part
from controller.client.sse import Event, parse_events
from controller.client.tables import KINDS, PACKINGS, Kind, StoredTable, kind_of
from controller.model import Compression, Format
from tests.unit.plain_api import Exchange, Server, event, serving

KEY = "alk_0123_secret_crc"
DONE = {"id": "run_1", "status": "succeeded"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, KEY) as client:
        yield client


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text("def azureml_main(a=None, b=None):\n    return a\n")
    return path


def resident_bytes() -> int:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_submit_sends_each_file_as_a_part_with_its_type(server: Server, client: Client, script: Path) -> None:
    """What arrives is a form that an independent parser reads: names, types, file names and bytes."""
    bodies: list[bytes] = []
    server.answers["POST", "/v1/runs"] = lambda x: (bodies.append(x.body()), x.say(202, DONE))[1]
    table = script.with_name('odd "name"\n.CSV')
    table.write_bytes(b"a,b\r\n1,2\r\n")
    bundle = script.with_name("b.zip")
    bundle.write_bytes(b"PK\x05\x06" + bytes(18))

    run = client.submit(script, dataframe1=table, bundle=bundle, options={"cpus": 2}, wait_seconds=3)

    method, path, headers = server.seen[0]
    message = email.message_from_bytes(
        f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + bodies[0], policy=email.policy.HTTP
    )
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    assert run == DONE
    assert (method, path) == ("POST", "/v1/runs?wait=3")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert list(parts) == ["script", "dataframe1", "bundle", "options"]
    assert parts["script"].get_payload(decode=True) == script.read_bytes()
    assert parts["dataframe1"].get_content_type() == "text/csv"
    assert parts["dataframe1"].get_filename() == "odd %22name%22%0A.CSV"
    assert parts["dataframe1"].get_payload(decode=True) == table.read_bytes()
    assert parts["bundle"].get_payload(decode=True) == bundle.read_bytes()
    assert parts["options"].get_payload(decode=True) == b'{"cpus": 2}'


def test_a_dataset_is_sent_by_its_name(server: Server, client: Client, script: Path) -> None:
    """A part without a file name, of the type that says so."""
    bodies: list[bytes] = []
    server.answers["POST", "/v1/runs"] = lambda x: (bodies.append(x.body()), x.say(202, DONE))[1]

    client.submit(script, dataframe1=StoredTable("d"), dataframe2=StoredTable("e", 3))

    for name, text in (("dataframe1", b'{"dataset": "d"}'), ("dataframe2", b'{"dataset": "e", "version": 3}')):
        head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: application/json\r\n\r\n'
        assert head.encode() + text in bodies[0]


def test_a_large_upload_does_not_grow_the_client(server: Server, client: Client, script: Path) -> None:
    """Half a gigabyte passes through chunk by chunk: the process's memory stays where it was."""
    table = script.with_name("large.csv")
    size = 512 * 1024 * 1024
    with table.open("wb") as file:
        file.truncate(size)
    received: list[int] = []
    resident: list[int] = []

    def swallow(exchange: Exchange) -> None:
        left = int(exchange.headers["Content-Length"])
        received.append(left)
        while left:
            left -= len(exchange.rfile.read(min(left, 1 << 20)))
            resident.append(resident_bytes())
        exchange.say(202, DONE)

    server.answers["POST", "/v1/runs"] = swallow
    before = resident_bytes()

    client.submit(script, dataframe1=table)

    assert received[0] > size
    assert max(resident) - before < 64 * 1024 * 1024


def test_an_early_413_is_read_although_the_server_hangs_up(script: Path) -> None:
    """The server answers from the headers alone and closes: its reason arrives, not a broken pipe."""
    table = script.with_name("large.csv")
    with table.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    problem = b'{"code": "too_large", "detail": "over the limit", "limit": 10}'
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(2000)
            connection.sendall(
                b"HTTP/1.1 413 Too Large\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(problem), problem)
            )
            time.sleep(0.2)

    thread = threading.Thread(target=refuse)
    thread.start()
    with listener, Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY) as client:
        with pytest.raises(ServerRefused) as caught:
            client.submit(script, dataframe1=table)
        thread.join()

    assert (caught.value.status, caught.value.code) == (413, "too_large")
    assert caught.value.problem["limit"] == 10


def test_a_problem_becomes_an_error_with_its_code_and_fields(server: Server, client: Client) -> None:
    """Code, detail, faulty fields and the request's id are all there for the caller."""
    problem = {"code": "invalid_request", "detail": "no", "errors": [{"where": "options", "message": "odd"}]}
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(
        422, problem, "application/problem+json", X_Request_Id="req_9"
    )

    with pytest.raises(ServerRefused) as caught:
        client.get("run_1")

    error = caught.value
    assert (error.status, error.code, error.detail) == (422, "invalid_request", "no")
    assert error.errors == problem["errors"]
    assert error.request_id == "req_9"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (502, b"<html>bad gateway</html>", "text/html", "http_502"),
        (500, b"", "application/json", "http_500"),
        (404, b"[1]", "application/json", "http_404"),
        (503, b'{"title": "busy", "errors": null}', "application/problem+json", "http_503"),
    ],
)
def test_an_error_that_is_no_problem_json_still_has_a_name(
    server: Server, client: Client, status: int, body: bytes, kind: str, code: str
) -> None:
    """A proxy's page, an empty body, JSON of another shape: the status speaks for itself."""
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(status, body, kind)

    with pytest.raises(ServerRefused) as caught:
        client.get("run_1")

    assert (caught.value.status, caught.value.code, caught.value.errors) == (status, code, [])


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"id": '])
def test_a_success_that_is_not_the_apis_is_told(server: Server, client: Client, body: bytes) -> None:
    """Whoever listens at that address is not Airlock, and the error says so."""
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(200, body)

    with pytest.raises(UnexpectedAnswer, match="is this an Airlock server"):
        client.get("run_1")


def test_a_redirect_is_not_followed(server: Server, client: Client, script: Path) -> None:
    """A followed redirect would turn the POST into a GET; the new address is named instead."""
    server.answers["POST", "/v1/runs"] = lambda x: (
        x.body(), x.say(301, b"", Location="https://elsewhere.example/v1/runs")
    )[1]

    with pytest.raises(UnexpectedAnswer, match=r"moved.* https://elsewhere"):
        client.submit(script)

    assert len(server.seen) == 1


def test_nobody_listening_is_told_with_the_reason(script: Path) -> None:
    """A refused connection names the address and the system's reason."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with (
        Client(f"http://127.0.0.1:{port}", KEY) as client,
        pytest.raises(ServerUnreachable, match=f"{port}.*Connection refused"),
    ):
        client.submit(script)


@pytest.mark.parametrize("url", ["", "localhost:8750", "ftp://host", "http://", "http://[::1", "http://a:b"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """No request is made for something that is no http address."""
    with pytest.raises(ClientError, match="must look like"):
        Client(url, KEY)


def test_a_netrc_entry_does_not_replace_the_key(
    server: Server, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's ~/.netrc for the same host must not win over the key that was given."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(200, DONE)
    client._session.trust_env = True

    client.get("run_1")

    assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"


def test_the_log_arrives_while_it_is_written(server: Server, client: Client) -> None:
    """The first piece is seen before the server has the second; the finished run comes last."""
    seen_first = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield event("stdout", {"text": "héllo\nworld"})
        assert seen_first.wait(10)
        yield b": keep-alive\n\n"
        yield event("stderr", {"text": "\x1b[31m"})
        yield event("status", DONE)

    server.answers["GET", "/v1/runs/run_1/log"] = lambda x: x.stream(pieces())
    items = client.follow_log("run_1")

    first = next(items)
    seen_first.set()
    rest = list(items)

    assert first == LogText("stdout", "héllo\nworld")
    assert rest == [LogText("stderr", "\x1b[31m"), DONE]
    assert server.seen[0][1].endswith("?follow=1")


@pytest.mark.parametrize("ending", [b"", b"event: status\ndata: {\"status\": \"succeeded\"}\n"])
def test_a_log_that_breaks_off_is_an_error(server: Server, client: Client, ending: bytes) -> None:
    """A stream without its complete last event cannot pass for the end of a run."""
    server.answers["GET", "/v1/runs/run_1/log"] = lambda x: x.stream(
        [event("stdout", {"text": "a"}), ending or b":\n\n"]
    )
    items = client.follow_log("run_1")

    first = next(items)

    assert first == LogText("stdout", "a")
    with pytest.raises(ServerUnreachable, match="cut off"):
        next(items)


def numbered(place: str, name: str, data: object) -> bytes:
    """An event with an id."""
    return f"id: {place}\n".encode() + event(name, data)


def test_a_log_that_breaks_off_goes_on(server: Server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a cut, a server that is busy, and a connection that was closed: the rest is asked for by the last id."""
    monkeypatch.setattr(follow, "PAUSE_SECONDS", 0.01)
    asked: list[str | None] = []
    running = numbered("0-0", "status", {"status": "running"})

    def hang_up(exchange: Exchange) -> None:
        exchange.connection.shutdown(socket.SHUT_RDWR)
        exchange.close_connection = True

    def log(exchange: Exchange) -> None:
        asked.append(exchange.headers["Last-Event-ID"])
        answers[len(asked) - 1](exchange)

    running = numbered("0-0", "status", {"status": "running"})
    answers = [
        hang_up,
        lambda x: x.stream([running, numbered("1-9", "stdout", {"text": "a"})]),
        lambda x: x.say(503, {"code": "busy", "detail": "later"}, "application/problem+json"),
        lambda x: x.stream([numbered("1-20", "stderr", {"text": "b"})]),
        lambda x: x.stream([numbered("2-0", "restart", {"attempt": 2})]),
        lambda x: x.stream([numbered("2-9", "stdout", {"text": "c"}), numbered("2-30", "status", DONE)]),
    ]
    server.answers["GET", "/v1/runs/run_1/log"] = log

    items = list(client.follow_log("run_1"))

    assert items == [LogText("stdout", "a"), LogText("stderr", "b"), LogRestart(), LogText("stdout", "c"), DONE]
    assert asked == [None, None, "1-9", "1-9", "1-20", "2-0"]


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience has an end, and its error says that the server cannot be reached."""
    monkeypatch.setattr(follow, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.1)
    tries = []

    @contextlib.contextmanager
    def connect(last_id: str | None) -> Iterator[Iterator[bytes]]:
        tries.append(last_id)
        if len(tries) > 1:
            raise ServerUnreachable("nobody is there")
        yield iter([numbered("1-9", "stdout", {"text": "a"})])

    items = follow.Follower(connect).items()

    assert next(items) == LogText("stdout", "a")
    with pytest.raises(ServerUnreachable, match="nobody is there"):
        next(items)
    assert len(tries) > 2
    assert set(tries[1:]) == {"1-9"}


def test_a_log_that_is_refused_is_not_asked_for_again(server: Server, client: Client) -> None:
    """A run that somebody deleted, a key that was revoked: the refusal is told at once."""
    refusal = {"code": "not_found", "detail": "there is no run"}
    server.answers["GET", "/v1/runs/run_1/log"] = lambda x: x.say(404, refusal, "application/problem+json")

    with pytest.raises(ServerRefused, match="not_found"):
        next(client.follow_log("run_1"))

    assert len(server.seen) == 1


def test_wait_asks_until_the_run_has_ended(server: Server, client: Client) -> None:
    """Queued, running, done: the third answer is returned; each may be held back by the server."""
    states = iter(["queued", "running", "failed"])
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(200, {"id": "run_1", "status": next(states)})

    run = client.wait("run_1")

    assert run["status"] == "failed"
    assert [path for _, path, _ in server.seen] == ["/v1/runs/run_1?wait=20.0"] * 3


def test_output_replaces_the_file_only_when_complete(server: Server, client: Client, tmp_path: Path) -> None:
    """A download that is cut off leaves the old file as it was, and nothing beside it."""

    def cut(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", "1000")
        exchange.end_headers()
        exchange.wfile.write(b"half")
        exchange.close_connection = True

    server.answers["GET", "/v1/runs/run_1/output"] = cut
    file = tmp_path / "table.csv"
    file.write_text("old")

    with pytest.raises(ServerUnreachable):
        client.output("run_1", file, "text/csv")

    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert server.seen[0][2]["Accept"] == "text/csv"


def test_output_replaces_a_link_at_its_place(server: Server, client: Client, tmp_path: Path) -> None:
    """What stands behind a link at the target's place stays untouched; the new file is readable as usual."""
    server.answers["GET", "/v1/runs/run_1/output"] = lambda x: x.say(200, b"new", "text/csv")
    victim, file = tmp_path / "victim", tmp_path / "table.csv"
    victim.write_text("precious")
    file.symlink_to(victim)

    written = client.output("run_1", file, "text/csv")

    assert (written, file.read_text(), victim.read_text()) == (3, "new", "precious")
    assert file.stat().st_mode == victim.stat().st_mode


def test_ids_and_names_are_quoted_into_the_path(server: Server, client: Client, tmp_path: Path) -> None:
    """Neither an id nor an image's name can reach another address of the server."""
    path = "/v1/runs/..%2Fadmin/images/..%2F%3Fx%20y.png"
    server.answers["GET", path] = lambda x: x.say(200, b"png", "image/png")

    written = client.image("../admin", "../?x y.png", tmp_path / "image.png")

    assert written == 3


def test_cancel_delete_and_images_call_their_routes(server: Server, client: Client) -> None:
    """Each speaks to its documented route with its method."""
    server.answers["POST", "/v1/runs/run_1/cancel"] = lambda x: x.say(200, {"status": "cancelled"})
    server.answers["DELETE", "/v1/runs/run_1"] = lambda x: x.say(204, b"")
    server.answers["GET", "/v1/runs/run_1/images"] = lambda x: x.say(200, {"items": [{"name": "a"}]})

    cancelled, images = client.cancel("run_1"), client.images("run_1")
    client.delete("run_1")

    assert cancelled["status"] == "cancelled"
    assert images == [{"name": "a"}]
    assert [method for method, _, _ in server.seen] == ["POST", "GET", "DELETE"]


def test_files_that_cannot_be_sent_are_named(client: Client, script: Path, tmp_path: Path) -> None:
    """A missing file, a folder and an unknown suffix are refused before anything is sent."""
    cases = {tmp_path / "none.csv": "No such file", tmp_path: "suffix", Path("/dev/null.csv"): "No such file"}
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    cases[folder] = "not a regular file"

    for path, reason in cases.items():
        with pytest.raises(UnsendableFile, match=reason):
            client.submit(script, dataframe1=path)


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    """The promised length cannot be kept any more, and that is said rather than padded over."""
    file = tmp_path / "table.csv"
    file.write_bytes(bytes(3 * CHUNK_BYTES))
    body = MultipartBody([Part("dataframe1", file, "text/csv", "table.csv")])
    chunks = iter(body)

    next(chunks), next(chunks)
    file.write_bytes(bytes(CHUNK_BYTES))

    with pytest.raises(UnsendableFile, match="shorter"):
        list(chunks)


def test_a_file_that_grows_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    """The body is exactly as long as its Content-Length says."""
    file = tmp_path / "table.csv"
    file.write_bytes(b"abc")
    body = MultipartBody([Part("dataframe1", file, "text/csv", "table.csv")])

    file.write_bytes(b"abcdef")

    data = b"".join(body)
    assert len(data) == len(body)
    assert b"abc\r\n--" in data


def test_events_are_parsed_whatever_the_chunks() -> None:
    """One byte at a time or all at once, with CRLF, comments and several data lines: the same events."""
    stream = b": hello\r\nevent: a\r\ndata: 1\r\ndata:2\r\nid: 7\r\n\r\n\n\ndata: \xc3\xa9\n\ndata: lost\n"
    expected = [Event("a", "1\n2", "7"), Event("message", "é", "7")]

    whole = list(parse_events([stream]))
    bytewise = list(parse_events(stream[i : i + 1] for i in range(len(stream))))

    assert whole == bytewise == expected


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("plot.png", "plot.png"),
        ("a/b/plot.png", "plot-2.png"),
        ("../../etc/cron.d/x", "x"),
        ("..", "_."),
        ("/", "image"),
        ("", "image"),
        ("c:\\windows\\x.png", "x.png"),
        (".bashrc", "_bashrc"),
        ("a\nb\x1b[2J\u202e.png", "a_b_[2J_.png"),
        ("é" * 300 + ".png", "é" * 98 + ".png"),
    ],
)
def test_local_name_is_a_plain_name_of_its_own(name: str, local: str) -> None:
    """Whatever the server calls an image, its file stays in the folder and replaces no other image."""
    taken = {"plot.png"} if "/" in name else set()

    result = local_name(name, taken)

    assert result == local


def test_the_formats_are_the_servers() -> None:
    """Client and server spell the formats, their suffixes and media types, and the packings alike."""
    servers = {kind.suffix: Kind(str(kind), kind.media_type) for kind in Format}

    assert servers == KINDS
    assert set(PACKINGS.values()) == set(Compression)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("t.csv", "csv"),
        ("T.CSV.GZ", "csv"),
        ("a.b.json.zst", "json"),
        ("t.azureml.json", "azure_json"),
        ("t.azureml.json.gz", "azure_json"),
        ("t.gz", None),
        ("t.csv.bz2", None),
        ("csv", None),
    ],
)
def test_the_name_of_a_file_tells_its_format(name: str, format: str | None) -> None:
    """The longest suffix decides, behind that of a packing."""
    kind = kind_of(Path("folder.csv") / name)

    assert (kind.format if kind else None) == format
