"""Datasets: put once in any format, kept as Arrow in versions, read in any format, deleted."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet
import pytest
from dataset_calls import CSV, directories, files, free, numbers, occupied, put, reading, ready, run_with
from wire import refused

from controller.model import Format, Job, Outcome, Run, Status, TaskKind
from controller.services.tenants import new_id
from controller.store.database import Database
from controller.store.dataset_store import Expected
from controller.store.datasets import DatasetVersion, SqlDatasets
from tests.running import until

ARROW = "application/vnd.apache.arrow.file"
TABLE = pa.table({"n": [1, 2, 3], "s": ["a", None, "c"]})


def written(format: str) -> bytes:
    """The table in this format."""
    buffer = io.BytesIO()
    if format == "parquet":
        pyarrow.parquet.write_table(TABLE, buffer)
    elif format in ("arrow", "arrow_stream"):
        make = pa.ipc.new_file if format == "arrow" else pa.ipc.new_stream
        with make(buffer, TABLE.schema) as writer:
            writer.write_table(TABLE)
    return buffer.getvalue()


SOURCES = {
    "csv": (CSV, "text/csv", ""),
    "tsv": (CSV.replace(b",", b"\t"), "text/tab-separated-values", ""),
    "json": (json.dumps(TABLE.to_pylist()).encode(), "application/json", ""),
    "parquet": (written("parquet"), "application/vnd.apache.parquet", ""),
    "arrow": (written("arrow"), ARROW, ""),
    "arrow_stream": (written("arrow_stream"), "application/vnd.apache.arrow.stream", ""),
    "csv by query": (CSV, "application/octet-stream", "format=csv"),
    "packed by query": (gzip.compress(CSV), "text/csv", "compression=gzip"),
    "packed by type": (gzip.compress(CSV), "application/gzip", "format=csv"),
    "by.name.csv": (CSV, None, ""),
    "by.name.csv.gz": (gzip.compress(CSV), None, ""),
}


@pytest.fixture
def stalled(make_server):
    """A server whose one worker is busy: what is put waits to be ingested."""
    server = occupied(make_server(AIRLOCK_WORKERS="1"))
    yield server
    free(server)


def test_every_format_becomes_the_same_table(make_tenant):
    """Whatever tells the format: the content type, the query, or the dataset's own name."""
    tenant = make_tenant()
    names = {source: source.replace(" ", "_") for source in SOURCES}
    for source, (data, kind, query) in SOURCES.items():
        assert put(tenant, names[source], data, query, kind).status_code == 202

    found = {source: tenant.get(f"/v1/datasets/{name}?wait=100").json() for source, name in names.items()}
    tables = {source: tenant.get(f"/v1/datasets/{name}/data").content for source, name in names.items()}

    assert {source: one["status"] for source, one in found.items()} == dict.fromkeys(SOURCES, "ready")
    assert {one["rows"] for one in found.values()} == {3}
    assert {source for source in SOURCES if pa.ipc.open_file(tables[source]).read_all().equals(TABLE)} == set(SOURCES)
    assert found["packed by query"]["compression"] == found["by.name.csv.gz"]["compression"] == "gzip"


def test_a_version_says_what_it_is(make_tenant):
    """Every field; what is sent is hashed as it was sent; its source goes, its table stays."""
    tenant = make_tenant()

    answer = put(tenant, "sales")

    found = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/v1/datasets/sales?version=1"
    assert answer.headers["ETag"] == f'"{found["id"]}"'
    assert found.pop("id").startswith("dsv_")
    assert found.pop("bytes") == len(tenant.get("/v1/datasets/sales/data").content)
    assert found.pop("created_at") <= found.pop("finished_at")
    assert found == {
        "name": "sales",
        "version": 1,
        "status": "ready",
        "reason": None,
        "error": None,
        "warnings": [],
        "rows": 3,
        "columns": [{"name": "n", "type": "int64"}, {"name": "s", "type": "string"}],
        "format": "csv",
        "compression": None,
        "options": {"delimiter": None, "encoding": None, "missing": [], "dates": {}, "types": {}, "columns": None},
        "source_bytes": len(CSV),
        "source_sha256": hashlib.sha256(CSV).hexdigest(),
    }


def test_the_source_goes_when_it_is_ingested(make_server):
    """A version is its Arrow file; of what was sent nothing is kept."""
    server = make_server()

    ready(server, "d")

    (directory,) = directories(server)
    kept = {"result.arrow", "preview.json", "statistics.json", "log"}
    assert until(lambda: {path.name for path in directory.iterdir()} == kept)


def test_how_it_is_read_can_be_stated(make_tenant):
    """The parts `file` and `options`, as for a run's table."""
    tenant = make_tenant()
    data = b"k;d;p\n1;31.12.2025;NA\n2;1.1.2026;0.5\n"
    options = {"delimiter": ";", "missing": ["NA"], "columns": ["k", "p"]}

    answer = tenant.request("PUT", "/v1/datasets/d?wait=100", files=reading(options, data))

    assert answer.status_code == 201, answer.text
    assert answer.json()["options"]["delimiter"] == ";"
    table = tenant.get("/v1/datasets/d/data", headers={"Accept": "application/json"}).json()
    assert table == [{"k": 1, "p": None}, {"k": 2, "p": 0.5}]


def test_preview_and_statistics_are_the_sandboxs(make_tenant):
    """JSON as it was written when the table was ingested; on conditions, as every file."""
    tenant = make_tenant()
    found = ready(tenant, "d")

    preview, statistics = (tenant.get(f"/v1/datasets/d/{name}") for name in ("preview", "statistics"))
    again = tenant.get("/v1/datasets/d/preview", headers={"If-None-Match": preview.headers["ETag"]})

    assert preview.headers["Content-Type"] == statistics.headers["Content-Type"] == "application/json"
    assert preview.headers["ETag"] == f'"{found["id"]}.preview"'
    assert again.status_code == 304
    assert preview.json() == {
        "columns": found["columns"],
        "rows": [[1, "a"], [2, None], [3, "c"]],
        "total_rows": 3,
        "truncated": False,
    }
    n, s = statistics.json()["columns"]
    assert (n["minimum"], n["maximum"], n["mean"], s["nulls"], s["distinct"]) == (1, 3, 2.0, 1, 2)


def test_the_table_comes_in_every_format_and_in_parts(make_tenant):
    """Accept, ETag, Range, If-Range and If-None-Match, as of a run's output; named after the dataset."""
    tenant = make_tenant()
    found = ready(tenant, "d")
    whole = tenant.get("/v1/datasets/d/data")
    tag = whole.headers["ETag"]

    def get(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return tenant.get("/v1/datasets/d/data?version=1", headers=named)

    csv = get(Accept="text/csv")
    assert (whole.headers["Content-Type"], tag) == (ARROW, f'"{found["id"]}.arrow"')
    assert 'filename=d-1.arrow' in whole.headers["Content-Disposition"]
    assert csv.text == '"n","s"\n1,"a"\n2,\n3,"c"\n'
    assert csv.headers["ETag"] == f'"{found["id"]}.csv"'
    assert get(If_None_Match=tag).status_code == 304
    part = get(Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert get(Range="bytes=10-19", If_Range=tag).status_code == 206
    assert get(Range="bytes=10-19", If_Range='"other"').content == whole.content
    refused(get(Range="bytes=999999-"), 416, "range_not_satisfiable")
    refused(get(If_Match='"other"'), 412, "precondition_failed")
    refused(get(Accept="image/png"), 406, "not_acceptable", "text/csv")


def test_the_same_again_is_the_same_version(make_tenant):
    """Equal bytes, format and options give the version that is there; anything else makes the next one."""
    tenant = make_tenant()
    first = ready(tenant, "d")

    same = put(tenant, "d")
    other_bytes = ready(tenant, "d", CSV + b"4,d\n")
    older = ready(tenant, "d", CSV)
    options = tenant.request("PUT", "/v1/datasets/d?wait=100", files=reading({"missing": ["a"]})).json()
    other_name = ready(tenant, "e")

    assert (same.status_code, same.json()) == (200, first)
    assert [one["version"] for one in (other_bytes, older, options)] == [2, 3, 4]
    assert (other_name["version"], other_name["id"] != first["id"]) == (1, True)
    assert numbers(tenant, "d") == [4, 3, 2, 1]


def test_while_it_is_ingested_it_says_so(stalled):
    """202; its data is not to be had and says why; an older version stays in use; the same again waits for the same."""
    first = put(stalled, "d", query="")
    again = put(stalled, "d", query="")
    other = put(stalled, "d", CSV + b"4,d\n", query="")

    assert [answer.status_code for answer in (first, again, other)] == [202, 202, 202]
    assert (first.json()["status"], first.json()["rows"], first.json()["finished_at"]) == ("ingesting", None, None)
    assert first.json() == again.json()
    assert other.json()["version"] == 2
    for path in ("data", "preview", "statistics"):
        refused(stalled.get(f"/v1/datasets/d/{path}"), 409, "dataset_not_ready", "version 2", "still being ingested")
    refused(run_with(stalled, {"dataset": "d", "version": 1}), 409, "dataset_not_ready", "version 1")
    free(stalled)
    assert stalled.get("/v1/datasets/d?version=2&wait=100").json()["status"] == "ready"
    assert stalled.get("/v1/datasets/d").json()["version"] == 2


def test_conditions_are_kept(stalled):
    """If-None-Match: * creates only; If-Match replaces only what it names."""
    first = put(stalled, "d", query="", If_None_Match="*")
    tag = first.headers["ETag"]

    refused(put(stalled, "d", b"x\n1\n", query="", If_None_Match="*"), 412, "precondition_failed", "If-None-Match")
    refused(put(stalled, "d", b"x\n1\n", query="", If_Match='"dsv_other"'), 412, "precondition_failed")
    refused(put(stalled, "new", b"x\n1\n", query="", If_Match="*"), 412, "precondition_failed")
    second = put(stalled, "d", b"x\n1\n", query="", If_Match=tag)
    refused(put(stalled, "d", b"x\n2\n", query="", If_Match=tag), 412, "precondition_failed")
    third = put(stalled, "d", b"x\n2\n", query="", If_Match=f'"dsv_other", {second.headers["ETag"][:-1]}.arrow"')
    fourth = put(stalled, "d", b"x\n3\n", query="", If_Match="*")
    refused(put(stalled, "d", query="", If_None_Match=tag), 422, "invalid_request", "only `*`")

    assert [answer.json()["version"] for answer in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert numbers(stalled, "new") == []


def test_an_idempotency_key_makes_one_version(stalled):
    """The second answer is the first's; another file under the key is refused; a deleted version takes the key along.
    """
    first = put(stalled, "d", query="", Idempotency_Key="k", If_None_Match="*")
    put(stalled, "d", b"x\n1\n", query="")
    again = put(stalled, "d", query="", Idempotency_Key="k", If_None_Match="*")

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert numbers(stalled, "d") == [2, 1]
    for name, data in (("d", b"x\n2\n"), ("e", CSV)):
        refused(put(stalled, name, data, query="", Idempotency_Key="k", If_None_Match="*"), 409, "key_reused")
    stalled.request("DELETE", "/v1/datasets/d?version=1")
    assert put(stalled, "d", query="", Idempotency_Key="k").json()["version"] == 3


def test_datasets_are_listed_newest_first(stalled):
    """Of each its newest version; by prefix; in pages that do not move; the versions of one likewise."""
    for n, name in enumerate(("a", "b", "a", "ab")):
        put(stalled, name, b"x\n%d\n" % n, query="")

    page = stalled.get("/v1/datasets?limit=2").json()
    rest = stalled.get(f"/v1/datasets?limit=2&cursor={page['next_cursor']}").json()
    versions = stalled.get("/v1/datasets/a/versions?limit=1").json()
    older = stalled.get(f"/v1/datasets/a/versions?cursor={versions['next_cursor']}").json()

    assert [(one["name"], one["version"]) for one in page["items"] + rest["items"]] == [("ab", 1), ("a", 2), ("b", 1)]
    assert rest["next_cursor"] is None
    prefixed = stalled.get("/v1/datasets?prefix=a").json()["items"]
    assert [one["name"] for one in prefixed] == ["ab", "a"]
    assert [one["version"] for one in versions["items"] + older["items"]] == [2, 1]
    assert older["next_cursor"] is None
    assert stalled.get("/v1/runs").json()["items"][1:] == [], "ingests are no runs of the tenant's"


def add_versions(server, tenant_id, count):
    """Versions that are ready, as rows alone."""
    store = SqlDatasets(Database(f"sqlite:///{server.data_dir / 'airlock.db'}"))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(count):
        at = moment + timedelta(seconds=n)
        run = Run(
            id=new_id("run"),
            tenant_id=tenant_id,
            status=Status.SUCCEEDED,
            attempt=1,
            job=Job(task=TaskKind.INGEST, inputs=({"port": 1, "format": "csv"},)),
            limits=server.limits,
            environment="default",
            script_sha256="",
            created_at=at,
            finished_at=at,
            outcome=Outcome(status=Status.SUCCEEDED),
        )
        version = DatasetVersion(
            id=new_id("dsv"),
            tenant_id=tenant_id,
            name="many",
            version=0,
            run_id=run.id,
            format=Format.CSV,
            compression=None,
            source_bytes=1,
            source_sha256="0" * 64,
            content_sha256=str(n),
            created_at=at,
        )
        store.add(version, run, 10_000, Expected(), None)


def test_a_thousand_versions_are_no_trouble(make_server):
    """All are listed, page after page; the next one is the 1001st; all are deleted at once."""
    server = make_server()
    run = server.submit("def azureml_main(): pass")
    server.limits = run["limits"]
    store = Database(f"sqlite:///{server.data_dir / 'airlock.db'}")
    with store.reading() as db:
        tenant_id = db.exec_driver_sql("SELECT id FROM tenants").scalar()
    store.close()
    add_versions(server, tenant_id, 1000)

    found, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/v1/datasets/many/versions?limit=100{cursor and '&cursor=' + cursor}").json()
        found += [one["version"] for one in page["items"]]
        cursor = page["next_cursor"]
    listed = server.get("/v1/datasets").json()["items"]
    latest = ready(server, "many")

    assert found == list(range(1000, 0, -1))
    assert [one["version"] for one in listed] == [1000]
    assert latest["version"] == 1001
    assert server.request("DELETE", "/v1/datasets/many").status_code == 204
    refused(server.get("/v1/datasets/many"), 404, "not_found")


def test_what_is_deleted_is_gone_and_its_number_with_it(make_server):
    """One version, then all: rows and files; the next version of the name has a new number."""
    server = make_server()
    for n in range(3):
        ready(server, "d", b"x\n%d\n" % n)

    assert server.request("DELETE", "/v1/datasets/d?version=3").status_code == 204
    assert server.get("/v1/datasets/d").json()["version"] == 2
    refused(server.get("/v1/datasets/d?version=3"), 404, "not_found")
    refused(server.request("DELETE", "/v1/datasets/d?version=3"), 404, "not_found")
    assert len(directories(server)) == 2
    assert server.request("DELETE", "/v1/datasets/d").status_code == 204
    assert directories(server) == []
    for path in ("d", "d/data", "d/preview", "d/statistics", "d/versions"):
        refused(server.get(f"/v1/datasets/{path}"), 404, "not_found", "no dataset")
    refused(server.request("DELETE", "/v1/datasets/d"), 404, "not_found")
    assert server.get("/v1/datasets").json()["items"] == []
    assert ready(server, "d")["version"] == 4


def test_an_ingest_is_stopped_when_it_is_deleted(make_server):
    """While it waits and while it is executed: no container, no directory and no dataset is left."""
    server = make_server(AIRLOCK_WORKERS="1")
    large = b"a,b,c\n" + b"12345,some text,0.25\n" * 3_000_000
    put(server, "d", large, query="")
    put(server, "d", CSV, query="")
    assert until(lambda: server.containers() != [], 60)

    assert server.request("DELETE", "/v1/datasets/d").status_code == 204

    refused(server.get("/v1/datasets/d"), 404, "not_found")
    assert until(lambda: server.containers() == [], 30)
    assert until(lambda: directories(server) == [], 30)
    assert ready(server, "d")["version"] == 3


def test_whoever_waits_learns_that_it_was_deleted(stalled):
    """404 at once, not after the wait."""
    import threading

    answers = []
    waiter = threading.Thread(target=lambda: answers.append(put(stalled, "d", query="wait=100")))
    waiter.start()
    assert until(lambda: numbers(stalled, "d") == [1])

    stalled.request("DELETE", "/v1/datasets/d")

    waiter.join(30)
    refused(answers[0], 404, "not_found")


def test_an_ingest_is_no_run_of_the_tenants(make_server):
    """Its id opens nothing: it cannot be looked at, cancelled, repeated or deleted beside its dataset."""
    server = make_server()
    ready(server, "d")
    run_id = directories(server)[0].name

    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/rerun"), ("DELETE", ""), ("GET", "/output")):
        refused(server.request(method, f"/v1/runs/{run_id}{path}"), 404, "not_found")
    assert files(server, "result.arrow")
    assert server.get("/v1/datasets/d/data").status_code == 200
