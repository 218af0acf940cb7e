"""Datasets that are none: what is wrong with a request is refused, and what is wrong inside a file is told by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import subprocess
import threading

import pyarrow as pa
import pyarrow.parquet
import pytest
from dataset_calls import CSV, directories, files, free, numbers, occupied, put, reading, ready, run_with
from test_bodies import worker_memory
from wire import Wire, refused

from tests.running import until

MIB = 1 << 20


def parquet() -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"n": list(range(1000))}), buffer)
    return buffer.getvalue()


def arrow() -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, pa.schema([("n", pa.int64())])) as writer:
        writer.write(pa.record_batch({"n": list(range(1000))}))
    return buffer.getvalue()


MALFORMED = {
    "ragged": (b"a,b\n1,2\n1,2,3\n", "text/csv", "0018"),
    "no-json": (b'[{"a": 1}', "application/json", "0018"),
    "json-of-no-table": (b"42", "application/json", "0018"),
    "json-too-deep": (b"[" * 100_000, "application/json", "0018"),
    "cut-parquet": (parquet()[:-40], "application/vnd.apache.parquet", "0018"),
    "no-parquet": (b"PAR1" + b"\0" * 100 + b"PAR1", "application/vnd.apache.parquet", "0018"),
    "cut-arrow": (arrow()[:-40], "application/vnd.apache.arrow.file", "0018"),
    "csv-as-arrow": (CSV, "application/vnd.apache.arrow.file", "0018"),
    "stream-as-arrow": (b"\xff\xff\xff\xff\x00\x00\x00\x01", "application/vnd.apache.arrow.stream", "0018"),
    "cut-gzip.csv.gz": (gzip.compress(CSV * 100)[:-10], "text/csv", "0018"),
    "no-gzip.csv.gz": (CSV, "text/csv", "0018"),
    "bomb.csv.gz": (gzip.compress(b"a\n" + b"0" * (1100 * MIB), 1), "text/csv", "0018"),
}


def test_what_is_wrong_inside_a_file_is_told(make_server):
    """The version is failed, with reason, code and a message; nothing of its bytes is kept, and the error is."""
    server = make_server(AIRLOCK_MEMORY_BYTES=str(512 * MIB), AIRLOCK_MAX_MEMORY_BYTES=str(512 * MIB))
    for name, (data, kind, _) in MALFORMED.items():
        assert put(server, name, data, "", kind).status_code == 202, name

    found = {name: server.get(f"/v1/datasets/{name}?wait=100").json() for name in MALFORMED}

    told = {name: (one["status"], one["reason"], one["error"] and one["error"]["code"]) for name, one in found.items()}
    assert told == {name: ("failed", "bad_input", code) for name, (_, _, code) in MALFORMED.items()}
    assert all(len(one["error"]["message"]) > 10 and one["columns"] is None for one in found.values())
    message = found["cut-parquet"]["error"]["message"]
    refused(server.get("/v1/datasets/cut-parquet/data"), 409, "dataset_failed", message)
    refused(server.get("/v1/datasets/cut-parquet/preview"), 409, "dataset_failed")
    refused(run_with(server, {"dataset": "cut-parquet"}), 409, "dataset_failed", message)
    assert until(lambda: files(server, "dataframe1") == [])
    assert files(server, "result*") == []


def test_after_a_failure_the_name_goes_on(make_tenant):
    """The last good version stays in use, and what failed may be tried again, the same or anew."""
    tenant = make_tenant()
    bad = b"a,b\n1,2\n1,2,3\n"
    failed = put(tenant, "d", bad)
    again = put(tenant, "d", bad)
    good = put(tenant, "d", CSV, If_None_Match="*")
    put(tenant, "d", bad)

    assert (failed.status_code, failed.json()["status"]) == (201, "failed")
    assert (again.status_code, again.json()["version"]) == (201, 2)
    assert (good.status_code, good.json()["version"], good.json()["status"]) == (201, 3, "ready")
    assert tenant.get("/v1/datasets/d").json()["version"] == 3
    assert tenant.get("/v1/datasets/d?version=4").json()["status"] == "failed"
    assert tenant.get("/v1/datasets").json()["items"][0]["version"] == 4
    assert tenant.get("/v1/datasets/d/data").headers["ETag"].startswith(f'"{good.json()["id"]}')


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".hidden", "pattern"),
        ("a" * 101, "pattern"),
        ("a b", "pattern"),
        ("a%0Ab", "pattern"),
        ("%C3%A4", "pattern"),
        ("a@1", "pattern"),
        ("a%00", "pattern"),
    ],
)
def test_an_odd_name_is_refused(server, name, says):
    """In every request, with the place; the longest and the oddest that may be are taken."""
    for method, path in (("PUT", ""), ("GET", ""), ("GET", "/data"), ("DELETE", "")):
        answer = server.request(method, f"/v1/datasets/{name}{path}", data=CSV, headers={"Content-Type": "text/csv"})
        assert refused(answer, 422, "invalid_request", says)["errors"][0]["where"] == "name"


def test_the_oddest_names_that_may_be_are_taken(make_server):
    """A hundred characters; dots, dashes and underscores; names that differ in case are two."""
    server = occupied(make_server(AIRLOCK_WORKERS="1"))
    names = ["a" * 100, "-", "_._", "a..b", "A", "a"]

    answers = [put(server, name, query="") for name in names]

    assert [answer.status_code for answer in answers] == [202] * len(names)
    assert {one["name"] for one in server.get("/v1/datasets").json()["items"]} == set(names)
    refused(put(server, "a/b", query=""), 404, "not_found")
    free(server)


def test_a_request_that_is_wrong_is_refused(make_tenant):
    """Each with its place and what to do; and nothing is kept of any."""
    tenant = make_tenant()
    invalid = (422, "invalid_request")

    refused(put(tenant, "d", b""), *invalid, "empty")
    refused(tenant.request("PUT", "/v1/datasets/d", files=reading({}, b"")), *invalid, "empty")
    refused(put(tenant, "d", kind=None), 415, "unsupported_format", "text/csv")
    refused(put(tenant, "d", kind="image/png"), 415, "unsupported_format", "file", "text/csv")
    refused(put(tenant, "d", kind="application/x-www-form-urlencoded"), 415, "unsupported_format")
    refused(put(tenant, "d", Content_Encoding="gzip"), 415, "unsupported_format", "compression")
    refused(put(tenant, "d", query="format=xlsx"), *invalid, "format", "parquet")
    refused(put(tenant, "d", query="compression=rar"), *invalid, "compression", "gzip")
    refused(put(tenant, "d", query="fromat=csv"), *invalid, "fromat")
    refused(put(tenant, "d", query="wait=-1"), *invalid, "wait")
    refused(put(tenant, "d", Idempotency_Key="k" * 256), *invalid, "256 characters")
    for options, where in (({"delimiter": ";;"}, "options.delimiter"), ({"delimiters": ";"}, "options.delimiters")):
        refused(tenant.request("PUT", "/v1/datasets/d", files=reading(options)), *invalid, where)
    refused(tenant.request("PUT", "/v1/datasets/d", files={"table": ("t.csv", CSV)}), *invalid, "unknown part")
    refused(tenant.request("PUT", "/v1/datasets/d", files={"options": (None, "{}")}), *invalid, "file", "missing")
    refused(tenant.request("PUT", "/v1/datasets/d", files={"file": ("t.xlsx", CSV)}), 415, "unsupported_format")
    refused(tenant.request("PUT", "/v1/datasets/d", files={"file": (None, CSV)}), *invalid, "file name")
    refused(tenant.post("/v1/datasets/d", data=CSV), 405, "method_not_allowed", "PUT")
    assert tenant.get("/v1/datasets").json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("version", ["0", "-1", "x", "1.5", str(2**31), "9" * 30, ""])
def test_a_version_that_is_no_number_is_refused(server, version):
    """Not as missing: nobody can have it."""
    for path in ("", "/data", "/preview"):
        refused(server.get(f"/v1/datasets/d{path}?version={version}"), 422, "invalid_request", "version")
    refused(server.request("DELETE", f"/v1/datasets/d?version={version}"), 422, "invalid_request", "version")


@pytest.mark.parametrize(
    "query", ["cursor=x", "limit=0", "limit=101", "prefix=a*", "prefix=" + "a" * 101, "order=name"]
)
def test_a_list_that_makes_no_sense_is_refused(server, query):
    """A cursor that is none of ours, a page of no size, a prefix that no name has."""
    refused(server.get(f"/v1/datasets?{query}"), 422, "invalid_request", query.partition("=")[0])


def test_a_cursor_of_versions_is_a_number(server):
    """As the list gave it."""
    refused(server.get("/v1/datasets/d/versions?cursor=x"), 422, "invalid_request", "cursor")


def test_what_is_not_there_and_what_is_anothers_answer_the_same(make_tenant):
    """A dataset, a version, and another tenant's: in the same words, for every request, also of a run."""
    mine, other = make_tenant(), make_tenant()
    ready(mine, "d")

    details = set()
    for tenant, name, version in ((mine, "e", 1), (mine, "d", 2), (other, "d", 1)):
        for path in ("", "/data", "/preview", "/statistics"):
            answer = tenant.get(f"/v1/datasets/{name}{path}?version={version}")
            details.add(refused(answer, 404, "not_found")["detail"])
        answer = tenant.request("DELETE", f"/v1/datasets/{name}?version={version}")
        details.add(refused(answer, 404, "not_found")["detail"])
        answer = run_with(tenant, {"dataset": name, "version": version})
        details.add(refused(answer, 404, "not_found")["detail"])
    refused(other.get("/v1/datasets/d/versions"), 404, "not_found")

    assert len(details) == 1
    assert other.get("/v1/datasets").json()["items"] == []
    assert put(other, "d", query="").json()["version"] == 1


def test_a_key_without_the_scope_is_refused(make_tenant):
    """401 without a key, 403 with one that may do other things."""
    tenant = make_tenant(("publish",))

    refused(tenant.get("/v1/datasets"), 403, "forbidden", "run")
    refused(put(tenant, "d"), 403, "forbidden")
    tenant.session.headers["Authorization"] = "Bearer nonsense"
    refused(put(tenant, "d"), 401, "unauthorized")


def test_a_body_over_the_limit_is_refused(small):
    """With its length told and without; as it is and in parts; and a body of exactly the limit is taken."""
    large = b"x\n" + b"1\n" * 500_000

    def chunks():
        yield from (large[at : at + 65_536] for at in range(0, len(large), 65_536))

    for answer in (
        put(small, "d", large, ""),
        put(small, "d", chunks(), ""),
        small.request("PUT", "/v1/datasets/d", files=reading({}, large)),
    ):
        assert refused(answer, 413, "too_large", "max_body_bytes")["limit"] == 1_000_000
    assert put(small, "d", large[:1_000_000], "").status_code == 202
    assert until(lambda: small.get("/v1/datasets/d").json()["status"] == "ready", 60)
    small.request("DELETE", "/v1/datasets/d")


def test_half_a_gigabyte_does_not_go_through_memory(server):
    """It streams from the socket to the disk, hashed on the way: the process that serves grows by less than 64 MiB."""
    piece, count = bytes(MIB), 512
    _, before = worker_memory(server)

    answer = put(server, "large", (piece for _ in range(count)), "", "application/vnd.apache.arrow.file")
    _, highest = worker_memory(server)

    assert answer.status_code == 202
    assert answer.json()["source_bytes"] == count * MIB
    assert answer.json()["source_sha256"] == hashlib.sha256(piece * count).hexdigest()
    assert highest - before < 64 * MIB
    server.request("DELETE", "/v1/datasets/large")


def test_as_many_wait_as_may(make_server):
    """The next is refused with 429, and nothing of it is kept."""
    server = occupied(make_server(AIRLOCK_WORKERS="1", AIRLOCK_MAX_QUEUED_RUNS="2"))
    answers = [put(server, "d", b"x\n%d\n" % n, "") for n in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert refused(answers[2], 429, "too_many_runs", "datasets", "ingested")["limit"] == 2
    assert numbers(server, "d") == [2, 1]
    assert len(directories(server)) == 3
    free(server)


def test_two_puts_at_once_make_two_versions(make_server):
    """Sixteen, in one moment: each gets a number of its own; equal ones are one."""
    server = occupied(make_server(AIRLOCK_WORKERS="1"))
    answers = []

    def send(data):
        answers.append(put(server, "d", data, ""))

    def all_at_once(bodies):
        threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_at_once([b"x\n%d\n" % n for n in range(16)])
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 17))
    answers.clear()
    all_at_once([b"same\n1\n"] * 8)
    assert {answer.json()["version"] for answer in answers} == {17}
    assert len(directories(server)) == 18, "the sleeper and seventeen ingests"
    free(server)


@pytest.mark.parametrize("chunked", [False, True], ids=["told length", "chunks"])
def test_a_put_that_is_cut_off_leaves_nothing(server, make_tenant, chunked):
    """Half a table is no table: no version, no file; whoever still listens is told."""
    tenant = make_tenant()
    how = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": "1000"}
    half = b"64\r\n" + b"n\n" * 50 if chunked else b"n\n" * 50
    for still_listens in (True, False):
        with Wire(tenant) as wire:
            wire.send_head(tenant, "PUT", "/v1/datasets/d", Content_Type="text/csv", **how)
            wire.send_body(half)
            if still_listens:
                wire.socket.shutdown(socket.SHUT_WR)
                refused(wire.answer(), 400, "bad_request")

    assert until(lambda: not any((server.data_dir / "uploads").iterdir()))
    assert tenant.get("/v1/datasets").json()["items"] == []


def test_a_delete_during_a_put_takes_what_is_there(make_tenant):
    """The version that is still on its way comes after it, with the next number."""
    tenant = make_tenant()
    ready(tenant, "d")
    data = b"n\n" * 100
    with Wire(tenant) as wire:
        headers = {"Content_Type": "text/csv", "Content_Length": str(len(data))}
        wire.send_head(tenant, "PUT", "/v1/datasets/d?wait=100", **headers)
        wire.send_body(data[:50])
        assert tenant.request("DELETE", "/v1/datasets/d").status_code == 204
        wire.send_body(data[50:])
        answer = wire.answer()

    assert answer.status_code == 201, answer.text
    assert numbers(tenant, "d") == [2]


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 24 MiB: the place of a data directory."""
    place = tmp_path / "data"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_the_upload_and_keeps_nothing(tiny_disk, make_server):
    """507 while it is full, in both forms of the body; the next one is as any other once there is room."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES="0")
    free_blocks = os.statvfs(tiny_disk).f_bavail
    large = b"n\n" + b"1\n" * (16 * MIB)

    answers = [put(server, "d", large, ""), server.request("PUT", "/v1/datasets/d", files=reading({}, large))]

    for answer in answers:
        refused(answer, 507, "storage_full", "disk", "nothing was accepted")
    assert list((server.data_dir / "uploads").iterdir()) == directories(server) == []
    assert free_blocks - os.statvfs(tiny_disk).f_bavail < 100, "blocks were not given back"
    assert ready(server, "d")["version"] == 1
    assert "unforeseen_error" not in server.log_path.read_text()
