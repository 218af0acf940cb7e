"""How a table is to be read: options.dataframe1 and .dataframe2, packed files, the formats of a file name."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from wire import refused

if TYPE_CHECKING:
    from tests.running import RunningServer

ECHO = "def azureml_main(df):\n    return df\n"
TEXT = "n;s\n1;\u00e4\n2;-\n"
AZURE = {"ColumnNames": ["n", "s"], "Values": [["1", "\u00e4"], ["2", None]]}
ROWS = [{"n": 1, "s": "\u00e4"}, {"n": 2, "s": None}]


def rows(server: RunningServer, run: Any) -> Any:
    assert run["status"] == "succeeded", run
    return server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"}).json()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return sink.getvalue().to_pybytes()


def test_what_the_author_states_is_how_it_is_read(server: RunningServer) -> None:
    """Delimiter, encoding, texts for missing, types, and the columns that are wanted, in their order."""
    reading = {"delimiter": ";", "encoding": "cp1252", "missing": ["-"], "types": {"n": "string"}}
    reading["columns"] = ["s", "n"]
    files = {"dataframe1": ("t.csv", TEXT.encode("cp1252"), "text/csv")}

    run = server.submit(ECHO, files=files, dataframe1=reading)

    assert [column["name"] for column in run["inputs"][0]["columns"]] == ["s", "n"]
    assert rows(server, run) == [{"s": "\u00e4", "n": "1"}, {"s": None, "n": "2"}]


FILES = {
    "t.csv.gz": gzip.compress("n,s\n1,\u00e4\n2,\n".encode()),
    "t.tsv.zst": zstd("n\ts\n1\t\u00e4\n2\t\n".encode()),
    "t.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "t.azureml.json": json.dumps(AZURE).encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_the_file_name_tells_format_and_packing(server: RunningServer, name: str) -> None:
    """A suffix for the format, and one more for how it is packed."""
    run = server.submit(ECHO, files={"dataframe1": (name, FILES[name], "application/octet-stream")})

    assert rows(server, run) == ROWS
    assert (run["inputs"][0]["port"], run["inputs"][0]["rows"]) == (1, 2)


def test_a_bomb_is_refused_by_name(server: RunningServer) -> None:
    """What inflates beyond the limit fails the run with that limit, long before memory runs out."""
    bomb = gzip.compress(b"a\n" + b"1\n" * (300 << 20), 1)

    run = server.submit(ECHO, files={"dataframe1": ("t.csv.gz", bomb)}, memory_bytes=512 << 20)

    assert (run["status"], run["reason"]) == ("failed", "bad_input"), run
    assert str(run["limits"]["inflated_bytes"]) in run["error"]["message"]
    assert run["limits"]["inflated_bytes"] == 256 << 20


@pytest.mark.parametrize(
    "reading",
    [
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"encoding": "../../etc"},
        {"columns": []},
        {"missing": ["x"] * 101},
        {"separator": ";"},
        {"types": {"a": 1}},
        [],
    ],
)
def test_malformed_reading_options_are_refused(server: RunningServer, reading: Any) -> None:
    """At once, by the name of the option, before anything is accepted."""
    options = json.dumps({"dataframe1": reading})

    answer = server.post(
        "/v1/runs", files={"script": ECHO, "dataframe1": ("t.csv", b"a\n1\n"), "options": (None, options)}
    )

    document = refused(answer, 422, "invalid_request")
    assert all(place["where"].startswith("options.dataframe1") for place in document["errors"])


def test_options_for_a_table_that_is_not_there_are_refused(server: RunningServer) -> None:
    """Most likely the wrong port."""
    options = json.dumps({"dataframe2": {"delimiter": ";"}})

    answer = server.post(
        "/v1/runs", files={"script": ECHO, "dataframe1": ("t.csv", b"a\n1\n"), "options": (None, options)}
    )

    document = refused(answer, 422, "invalid_request")
    assert document["errors"][0]["where"] == "options.dataframe2"
