"""What a run gives back: its table in five formats, whole and in parts; its images; its log, live and afterwards."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import requests
from hosting import new_tenant
from wire import refused

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

ARROW = "application/vnd.apache.arrow.file"
STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
ROWS = [
    {"n": 1, "x": 0.5, "s": "a"},
    {"n": 2, "x": None, "s": 'b,"c"'},
    {"n": 3, "x": -1.5, "s": None},
]
SLOW_LOG = """
import sys, time
import pandas as pd
def azureml_main(a=None, b=None):
    print("first")
    time.sleep(1.2)
    print("last", file=sys.stderr)
    return pd.DataFrame({"a": [1]})
"""


def cells(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV file, with the types of this table."""
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return [{"n": int(row["n"]), "x": float(row["x"]) if row["x"] else None, "s": row["s"] or None} for row in rows]


READERS = {
    ARROW: lambda data: pa.ipc.open_file(data).read_all().to_pylist(),
    STREAM: lambda data: pa.ipc.open_stream(data).read_all().to_pylist(),
    PARQUET: lambda data: pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist(),
    "text/csv": lambda data: cells(data.decode()),
    "application/json": json.loads,
}
SUFFIXES = {ARROW: ".arrow", STREAM: ".arrows", PARQUET: ".parquet", "text/csv": ".csv", "application/json": ".json"}


@pytest.fixture
def output(table_run: Any) -> str:
    return f"/v1/runs/{table_run['id']}/output"


@pytest.mark.parametrize("media_type", READERS)
def test_the_table_comes_in_the_format_that_is_accepted(server: RunningServer, output: str, media_type: str) -> None:
    """The same cells in each of the five, missing ones included; the second time from the disk."""
    answers = [server.get(output, headers={"Accept": media_type}) for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].partition(";")[0] == media_type
        assert answer.headers["Content-Disposition"].endswith(SUFFIXES[media_type])
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert READERS[media_type](answer.content) == ROWS
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Accept"
    assert answers[0].headers["ETag"] == answers[1].headers["ETag"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, ARROW),
        ("*/*", ARROW),
        ("application/*", ARROW),
        ("text/*", "text/csv"),
        ("text/html, text/csv;q=0.5", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("image/png, */*;q=0.1", ARROW),
        ("TEXT/CSV", "text/csv"),
    ],
)
def test_the_accept_header_is_weighed(server: RunningServer, output: str, accept: str | None, media_type: str) -> None:
    """What is asked for most, among what there is; the Arrow file for those who do not mind."""
    answer = server.get(output, headers={"Accept": accept})

    assert answer.headers["Content-Type"].partition(";")[0] == media_type


def test_the_output_is_described_in_the_run(server: RunningServer, output: str, table_run: Any) -> None:
    """Rows, columns with their types, and the size of the Arrow file."""
    answer = server.request("HEAD", output)

    assert table_run["output"]["rows"] == 3
    assert [column["name"] for column in table_run["output"]["columns"]] == ["n", "x", "s"]
    assert [column["type"] for column in table_run["output"]["columns"]][:2] == ["int64", "double"]
    assert int(answer.headers["Content-Length"]) == table_run["output"]["bytes"]
    assert answer.content == b""


RANGES = {
    "the first bytes": ("bytes=0-9", slice(0, 10)),
    "from the middle": ("bytes=100-", slice(100, None)),
    "the last bytes": ("bytes=-6", slice(-6, None)),
    "past the end": ("bytes=100-99999999", slice(100, None)),
}


@pytest.mark.parametrize("case", RANGES)
def test_a_range_of_the_output(server: RunningServer, output: str, case: str) -> None:
    """206 with just these bytes, and where they stand."""
    header, wanted = RANGES[case]
    whole = server.get(output).content

    answer = server.get(output, headers={"Range": header})

    first, last, _ = wanted.indices(len(whole))
    assert answer.status_code == 206
    assert answer.content == whole[wanted]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(whole)}"


def test_a_range_that_is_not_there(server: RunningServer, output: str) -> None:
    """416, with the length that there is."""
    size = len(server.get(output).content)

    answer = server.get(output, headers={"Range": f"bytes={size}-"})

    refused(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{size}"


def test_a_precondition_that_fails(server: RunningServer, output: str) -> None:
    """412, and a problem document instead of the table that was not meant."""
    answer = server.get(output, headers={"If-Match": '"other"'})

    refused(answer, 412, "precondition_failed", "If-Match")


def test_an_etag_saves_the_second_transfer(server: RunningServer, output: str) -> None:
    """304 for the same format, a whole answer for another; If-Range goes on where a transfer broke off."""
    etag = server.get(output).headers["ETag"]

    same = server.get(output, headers={"If-None-Match": etag})
    other = server.get(output, headers={"If-None-Match": etag, "Accept": "text/csv"})
    continued = server.get(output, headers={"If-Range": etag, "Range": "bytes=10-"})
    stale = server.get(output, headers={"If-Range": '"other"', "Range": "bytes=10-"})

    assert (same.status_code, same.content) == (304, b"")
    assert other.status_code == 200
    assert continued.status_code == 206
    assert stale.status_code == 200


def test_a_format_that_many_ask_for_at_once_is_made_once(server: RunningServer) -> None:
    """And counted once, in what the tenant has stored."""
    _, mine = new_tenant(server, "asks for the same")
    run = mine.submit("import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'x': range(1000)})")
    before = mine.get("/v1/usage").json()["stored_bytes"]

    def ask(_: int) -> requests.Response:
        return requests.get(
            f"{server.url}/v1/runs/{run['id']}/output",
            headers={"Authorization": f"Bearer {mine.key}", "Accept": "text/csv"},
            timeout=60,
        )

    with ThreadPoolExecutor(8) as asking:
        answers = list(asking.map(ask, range(8)))

    assert {(answer.status_code, len(answer.content)) for answer in answers} == {(200, len(answers[0].content))}
    assert mine.get("/v1/usage").json()["stored_bytes"] - before == len(answers[0].content)


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999", "soon"]
)
def test_a_date_that_is_none_is_no_condition(server: RunningServer, output: str, date: str) -> None:
    """Nor is one beyond the calendar, with a key or without; what If-Range names so is never the present output."""
    asset = f"{server.url}/docs/css/swagger-ui.css"
    for name in ("If-Modified-Since", "If-Unmodified-Since", "If-Range"):
        headers = {name: date, "Range": "bytes=10-"}
        status = 200 if name == "If-Range" else 206

        answers = [server.get(output, headers=headers), requests.get(asset, headers=headers, timeout=30)]

        assert [answer.status_code for answer in answers] == [status] * 2, name
        assert server.get("/v1/runs", headers=headers).status_code == 200


@pytest.mark.parametrize("output_format", ["csv", "arrow_stream"])
def test_a_format_can_be_ordered_with_the_run(server: RunningServer, output_format: str) -> None:
    """`output_format` writes it in the run's own sandbox, so that the first download is quick too."""
    media_type = {"csv": "text/csv", "arrow_stream": STREAM}[output_format]
    run = server.submit(
        "import pandas\ndef azureml_main(a, b):\n    return a",
        output_format=output_format,
        files={"dataframe1": ("t.json", json.dumps(ROWS).encode())},
    )
    made = (server.data_dir / "runs" / run["id"] / f"result{SUFFIXES[media_type]}").stat().st_size

    answer = server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": media_type})

    assert len(answer.content) == made
    assert READERS[media_type](answer.content) == ROWS


def test_records_go_in_and_come_out_as_json(server: RunningServer) -> None:
    """The JSON body's tables, both of them."""
    script = "def azureml_main(a, b):\n    return a.merge(b, on='k')\n"
    tables = {
        "dataframe1": {"records": [{"k": 1, "x": "\U0001f600"}, {"k": 2, "x": "y"}]},
        "dataframe2": {"records": [{"k": 1, "z": 1.5}, {"k": 2, "z": None}]},
    }

    run = server.post("/v1/runs?wait=60", json={"script": script, **tables})
    rows = server.get(f"/v1/runs/{run.json()['id']}/output", headers={"Accept": "application/json"}).json()

    assert run.status_code == 200
    assert rows == [{"k": 1, "x": "\U0001f600", "z": 1.5}, {"k": 2, "x": "y", "z": None}]


def test_images_are_listed_and_fetched(server: RunningServer, table_run: Any) -> None:
    """By their names, which may need quoting; with the bytes that the list tells."""
    base = f"/v1/runs/{table_run['id']}/images"

    listed = server.get(base).json()
    fetched = {image["name"]: server.get(f"{base}/{requests.utils.quote(image['name'])}") for image in listed["items"]}

    assert listed == {"items": table_run["images"], "next_cursor": None}
    assert set(fetched) == {"one.png", "two words.png"}
    for image in listed["items"]:
        answer = fetched[image["name"]]
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG\r\n\x1a\n")
        assert answer.content.endswith(b"IEND\xaeB`\x82")
        assert len(answer.content) == image["bytes"]
    assert fetched["one.png"].content != fetched["two words.png"].content


def test_the_log_is_text(server: RunningServer, table_run: Any) -> None:
    """Both streams, as UTF-8, with the size that the run tells; nobody keeps it."""
    answer = server.get(f"/v1/runs/{table_run['id']}/log")

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert sorted(answer.content.decode().splitlines()) == ["to stderr", "to stdout: \u00e4\u00f6\u00fc"]
    assert len(answer.content) == table_run["log_bytes"]


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The events of a stream, as the HTML standard has them read."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_the_log_of_a_run_that_has_ended_as_events(server: RunningServer, table_run: Any) -> None:
    """stdout and stderr told apart, and the run at last."""
    with server.get(f"/v1/runs/{table_run['id']}/log", headers={"Accept": "text/event-stream"}, stream=True) as answer:
        found = list(events(answer.iter_lines(decode_unicode=True)))

    assert answer.headers["Content-Type"] == "text/event-stream"
    assert ("stdout", {"text": "to stdout: \u00e4\u00f6\u00fc\n"}) in found
    assert ("stderr", {"text": "to stderr\n"}) in found
    assert found[-1] == ("status", table_run)


@pytest.mark.parametrize("form", ["text", "events"])
def test_a_log_is_followed_live(server: RunningServer, form: str) -> None:
    """The first line is there well before the run ends, the last one and the end come by themselves."""
    run = server.submit(SLOW_LOG, wait=0)
    path, headers = f"/v1/runs/{run['id']}/log?follow=1", {}
    if form == "events":
        path, headers = f"/v1/runs/{run['id']}/log", {"Accept": "text/event-stream"}

    with server.get(path, headers=headers, stream=True) as answer:
        lines = (line for line in answer.iter_lines(chunk_size=1, decode_unicode=True) if line)
        first = next(lines)
        first_at = time.monotonic()
        status = server.get(f"/v1/runs/{run['id']}").json()["status"]
        rest = list(lines)
    seconds = time.monotonic() - first_at

    assert status == "running"
    assert seconds > 1
    if form == "text":
        assert [first, *rest] == ["first", "last"]
    else:
        found = list(events(iter([first, *rest])))
        logged = [event for event in found if event[0] != "status"]
        assert logged == [("stdout", {"text": "first\n"}), ("stderr", {"text": "last\n"})]
        assert (found[-1][0], found[-1][1]["status"]) == ("status", "succeeded")


def test_a_run_that_is_deleted_while_its_table_is_converted(server: RunningServer) -> None:
    """The download ends in the table or in 404, and the files are gone for good."""
    run = server.submit("import pandas as pd\ndef azureml_main(a, b):\n    return pd.DataFrame({'a': range(9)})")
    directory = server.data_dir / "runs" / run["id"]
    address, headers = f"{server.url}/v1/runs/{run['id']}/output", {**server.session.headers, "Accept": "text/csv"}

    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(requests.get, address, headers=headers, timeout=60)
        assert until(lambda: any((server.data_dir / "scratch").glob("aside-*")))
        deleted = server.request("DELETE", f"/v1/runs/{run['id']}")
        answer = download.result()

    assert deleted.status_code == 204
    assert answer.status_code in (200, 404), answer.text
    assert until(lambda: not directory.exists())
    assert not list((server.data_dir / "runs").glob("removed-*"))
