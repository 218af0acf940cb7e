"""Bodies on the wire: too large, cut off, malformed, without end, on a full disk; and one of a gigabyte."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.exceptions import RequestTimeout
from werkzeug.wrappers import Request
from wire import (
    BOUNDARY,
    MULTIPART,
    SCRIPT,
    SCRIPT_PART,
    SLEEPER,
    Part,
    Wire,
    multipart,
    part_head,
    refused,
    well_formed,
)

from controller.web import body as web_body
from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

MIB = 1 << 20
BODY_CAP, JSON_CAP, BUNDLE_CAP, SCRIPT_CAP = 1_000_000, 100_000, 50_000, 20_000
JSON = "application/json"


def of_size(size: int) -> bytes:
    """A multipart body of exactly this many bytes, with a table in it."""
    rest = size - len(multipart(SCRIPT_PART, Part("dataframe1", b"", "t.csv")))
    return multipart(SCRIPT_PART, Part("dataframe1", (b"a\n" * rest)[:rest], "t.csv"))


def json_of_size(size: int) -> bytes:
    """A JSON body of exactly this many bytes."""
    empty = {"script": SCRIPT.decode(), "dataframe1": {"records": [{"a": ""}]}}
    empty["dataframe1"]["records"][0]["a"] = "x" * (size - len(json.dumps(empty)))
    return json.dumps(empty).encode()


def pieces(data: bytes, size: int = 65_536) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def exchange(server: RunningServer, data: bytes, content_type: str, *, chunked: bool, **headers: str) -> Any:
    """Send all of a request, and only then begin to read."""
    length = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(len(data))}
    with Wire(server) as wire:
        wire.send_head(server, "POST", "/v1/runs", Content_Type=content_type, **length, **headers)
        if chunked:
            wire.send_chunks(pieces(data))
        else:
            wire.send_body(data)
        answer = wire.answer()
    well_formed(answer)
    return answer


def uploads(server: RunningServer) -> list[str]:
    return [path.name for path in (server.data_dir / "uploads").iterdir()]


def forget(server: RunningServer, run_id: str) -> None:
    """Stop the run if it is still at it, and delete it."""
    server.post(f"/v1/runs/{run_id}/cancel")
    assert server.get(f"/v1/runs/{run_id}?wait=60").status_code == 200
    assert until(lambda: server.request("DELETE", f"/v1/runs/{run_id}").status_code == 204, 30)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("make", "content_type", "cap", "advice"),
    [
        (of_size, MULTIPART, BODY_CAP, "max_body_bytes"),
        (json_of_size, JSON, JSON_CAP, "multipart/form-data"),
    ],
    ids=["multipart", "json"],
)
def test_a_body_may_have_as_many_bytes_as_the_limit_and_no_more(
    small: RunningServer, make: Callable[[int], bytes], content_type: str, cap: int, advice: str, *, chunked: bool
) -> None:
    """n is accepted and n + 1 is not, whether the length is told beforehand or not."""
    within = exchange(small, make(cap), content_type, chunked=chunked)
    above = exchange(small, make(cap + 1), content_type, chunked=chunked)

    assert within.status_code == 202, within.text
    forget(small, json.loads(within.content)["id"])
    problem = refused(above, 413, "too_large", str(cap), advice)
    assert problem["limit"] == cap
    assert problem.get("value") == (None if chunked else cap + 1)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_client_that_sends_everything_first_can_read_the_refusal(
    small: RunningServer, connection: str, *, chunked: bool
) -> None:
    """32 MiB at a server that takes 1 MB: an answer, not a broken pipe."""
    answer = exchange(small, of_size(32 * MIB), MULTIPART, chunked=chunked, Connection=connection)

    refused(answer, 413, "too_large", str(BODY_CAP))


REFUSED_EARLY = {
    "wrong key": ({"Authorization": "Bearer alk_x"}, 401, "unauthorized"),
    "wrong content type": ({"Content_Type": "text/plain"}, 415, "unsupported_format"),
    "gzip": ({"Content_Encoding": "gzip"}, 415, "unsupported_format"),
}


@pytest.mark.parametrize("case", REFUSED_EARLY)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_refusal_that_did_not_need_the_body_can_be_read_too(
    server: RunningServer, case: str, connection: str
) -> None:
    """The key is checked before the 32 MiB are read, and they are taken in all the same."""
    headers, status, code = REFUSED_EARLY[case]

    answer = exchange(
        server,
        of_size(32 * MIB),
        headers.get("Content_Type", MULTIPART),
        chunked=False,
        Connection=connection,
        **{name: value for name, value in headers.items() if name != "Content_Type"},
    )

    refused(answer, status, code)


def test_the_connection_can_be_used_again_after_a_refusal(small: RunningServer) -> None:
    """What was left of the refused body is not taken for the next request."""
    data = of_size(4 * MIB)

    with Wire(small) as wire:
        for _ in range(2):
            wire.send_head(small, "POST", "/v1/runs", Content_Type=MULTIPART, Content_Length=str(len(data)))
            wire.send_body(data)
            refused(wire.answer(), 413, "too_large")
        wire.send_head(small, "GET", "/v1/runs")
        last = wire.answer()

    assert last.status_code == 200


def test_an_unknown_part_is_refused_before_its_bytes_are_sent(server: RunningServer) -> None:
    """Nobody uploads a gigabyte to learn of a misspelt name."""
    with Wire(server) as wire:
        wire.send_head(server, "POST", "/v1/runs", Content_Type=MULTIPART, Content_Length=str(1 << 30))
        wire.send_body(part_head(Part("dataframe_1", b"", "t.csv")) + b"x" * 2 * MIB)
        answer = wire.answer()

    refused(answer, 422, "invalid_request", "dataframe_1", "unknown part")


def test_a_bundle_may_have_as_many_bytes_as_its_limit_and_no_more(small: RunningServer) -> None:
    """Whether it is a zip is for the sandbox to say."""
    within = small.post("/v1/runs", files={"script": SCRIPT, "bundle": ("b.zip", b"z" * BUNDLE_CAP)})
    forget(small, within.json()["id"])
    above = small.post("/v1/runs", files={"script": SCRIPT, "bundle": ("b.zip", b"z" * (BUNDLE_CAP + 1))})

    assert within.status_code == 202
    assert refused(above, 413, "too_large", "bundle", str(BUNDLE_CAP))["limit"] == BUNDLE_CAP


MALFORMED_CHUNKS = {
    "size not hexadecimal": b"xyz\r\n",
    "negative size": b"-5\r\nabcde\r\n",
    "chunk longer than its size": b"2\r\nabcde\r\n0\r\n\r\n",
    "bad extension": b"5;=\r\nabcde\r\n0\r\n\r\n",
    "bad trailer": b"0\r\nno trailer\nat all\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED_CHUNKS)
@pytest.mark.parametrize("content_type", [MULTIPART, JSON])
def test_malformed_chunks_are_refused(server: RunningServer, case: str, content_type: str) -> None:
    """400: where this request ends, nobody can say, so the connection ends too."""
    with Wire(server) as wire:
        wire.send_head(server, "POST", "/v1/runs", Content_Type=content_type, Transfer_Encoding="chunked")
        wire.send_body(MALFORMED_CHUNKS[case])
        answer = wire.answer()

    well_formed(answer)
    refused(answer, 400, "bad_request", "chunked")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_an_upload_that_is_cut_off_leaves_nothing(server: RunningServer, how: str, *, chunked: bool) -> None:
    """In the middle of a table: the files are gone as soon as the server notices, and no run was made."""
    before = server.get("/v1/runs?limit=1").json()["items"][:1]
    already = set(uploads(server))
    head = part_head(SCRIPT_PART) + SCRIPT + b"\r\n" + part_head(Part("dataframe1", b"", "t.csv"))

    with Wire(server) as wire:
        length = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(100 * MIB)}
        wire.send_head(server, "POST", "/v1/runs", Content_Type=MULTIPART, **length)
        data = head + b"1,2\n" * MIB
        wire.send_body(f"{100 * MIB:x}\r\n".encode() + data if chunked else data)
        assert until(lambda: bool(set(uploads(server)) - already)), "the upload never began"
        if how == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    assert until(lambda: not set(uploads(server)) - already)
    assert server.get("/v1/runs?limit=1").json()["items"] == before


def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of the server waits only so long for the next byte; then the answer is 408."""
    monkeypatch.setattr(web_body, "STALL_SECONDS", 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        environ = {"wsgi.input": stream, "gunicorn.socket": ours, "CONTENT_LENGTH": "10"}
        reading = web_body.Body(Request(environ), 100, "")
        theirs.sendall(b"12345")

        with pytest.raises(RequestTimeout, match=r"0\.1 seconds"):
            reading.read(10)

        assert ours.gettimeout() is None, "the answer must not inherit the impatience"


def test_a_full_queue_is_told_with_the_time_to_come_back(small: RunningServer) -> None:
    """One run at a time and one waiting: the third is 429, and nothing of it is kept."""
    running = small.submit(SLEEPER, wait=0)
    assert until(lambda: small.get(f"/v1/runs/{running['id']}").json()["status"] == "running")
    waiting = small.submit(SLEEPER, wait=0)

    third = small.post("/v1/runs", files={"script": SLEEPER.encode()})
    kept = {path.name for path in (small.data_dir / "runs").iterdir()}
    cancelled = small.post(f"/v1/runs/{waiting['id']}/cancel")
    fourth = small.submit(SLEEPER, wait=0)

    problem = refused(third, 429, "too_many_runs", "1 runs of yours are waiting")
    assert (problem["limit"], third.headers["Retry-After"]) == (1, "5")
    assert kept >= {running["id"], waiting["id"]}
    assert len(kept) == len(small.get("/v1/runs").json()["items"]) - 1
    assert cancelled.json()["status"] == "cancelled"
    for run in (fourth, running, waiting):
        forget(small, run["id"])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB: the place of a data directory."""
    place = tmp_path / "data"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_the_upload_and_keeps_nothing(
    tiny_disk: Path, make_server: Callable[..., RunningServer]
) -> None:
    """507 while it is full, and the next run is as any other once there is room."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES="0")
    free = os.statvfs(tiny_disk).f_bavail

    answers = [
        server.post("/v1/runs", data=of_size(size), headers={"Content-Type": MULTIPART})
        for size in (32 * MIB, 25 * MIB)
    ]
    left = uploads(server)
    afterwards = os.statvfs(tiny_disk).f_bavail
    (tiny_disk / "ballast").write_bytes(b"\0" * (afterwards * 4096 - 64 * 1024))
    nearly_full = server.post("/v1/runs", data=of_size(128 * 1024), headers={"Content-Type": MULTIPART})
    (tiny_disk / "ballast").unlink()
    run = server.submit(SCRIPT.decode())

    for answer in answers:
        well_formed(answer)
        refused(answer, 507, "storage_full", "disk", "nothing was accepted")
        assert answer.headers["Retry-After"] == "60"
    assert left == []
    assert free - afterwards < 100, "blocks were not given back"
    refused(nearly_full, 507, "storage_full")
    assert run["status"] == "succeeded", run
    assert [item["id"] for item in server.get("/v1/runs").json()["items"]] == [run["id"]]
    assert "unforeseen_error" not in server.log_path.read_text()


def test_a_run_that_ends_on_a_full_disk_reaches_its_final_state(
    tiny_disk: Path, make_server: Callable[..., RunningServer]
) -> None:
    """How it ended is written down as soon as there is room again; nobody has to restart the server."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES="0")
    run = server.submit("import time\ndef azureml_main(a, b):\n    time.sleep(1)\n    return a,\n", wait=0)
    assert until(lambda: server.get(f"/v1/runs/{run['id']}").json()["status"] == "running")
    with (tiny_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)
    assert until(lambda: "outcome_not_stored" in server.log_path.read_text(), 30)
    before = server.get(f"/v1/runs/{run['id']}").json()["status"]
    (tiny_disk / "ballast").unlink()

    ended = server.get(f"/v1/runs/{run['id']}?wait=60").json()

    assert before == "running"
    assert ended["status"] in ("succeeded", "failed")
    assert server.submit(SCRIPT.decode())["status"] == "succeeded"


def test_a_disk_that_is_nearly_full_takes_nothing_more(make_server: Callable[..., RunningServer]) -> None:
    """Refused before anything of the body is kept, while there is still room to write down how runs end."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES=str(1 << 60))

    answer = server.post("/v1/runs", files={"script": SCRIPT})

    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (507, "storage_full", 1 << 60)
    assert list((server.data_dir / "uploads").iterdir()) == []


def worker_memory(server: RunningServer) -> tuple[int, int]:
    """Present and highest memory of the process that serves, in bytes."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    (worker,) = children
    status = dict(line.split(":", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024, int(status["VmHWM"].split()[0]) * 1024


def test_a_gigabyte_does_not_go_through_memory(server: RunningServer) -> None:
    """It streams from the socket to the disk: the process that serves grows by less than 64 MiB."""
    size = 1 << 30
    piece = os.urandom(MIB)
    head = part_head(Part("script", b"", "s.py")) + SCRIPT + b"\r\n"
    head += part_head(Part("dataframe1", b"", "t.parquet"))
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    before, _ = worker_memory(server)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)

    started = time.monotonic()
    connection.request(
        "POST",
        "/v1/runs",
        body=(head if n < 0 else tail if n == size // MIB else piece for n in range(-1, size // MIB + 1)),
        headers={
            "Authorization": f"Bearer {server.key}",
            "Content-Type": MULTIPART,
            "Content-Length": str(len(head) + size + len(tail)),
        },
    )
    answer = connection.getresponse()
    run = json.loads(answer.read())
    seconds = time.monotonic() - started
    connection.close()
    _, highest = worker_memory(server)
    stored = (server.data_dir / "runs" / run["id"] / "in" / "dataframe1").stat().st_size
    print(f"1 GiB in {seconds:.1f} s, {size / MIB / seconds:.0f} MiB/s; grew by {(highest - before) >> 20} MiB")
    forget(server, run["id"])

    assert answer.status == 202, run
    assert stored == size
    assert highest - before < 64 * MIB, f"it grew by {(highest - before) >> 20} MiB"
    assert not (server.data_dir / "runs" / run["id"]).exists()
