"""Files that only the sandbox can judge: the upload is accepted, and the run fails with a name for what is wrong."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest
from wire import SCRIPT

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

TABLE = pa.table({"a": list(range(1000)), "b": ["text"] * 1000})


def parquet() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, sink)
    return sink.getvalue()


def arrow_file() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def arrow_stream() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=100)
    return sink.getvalue()


def archive(**files: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return sink.getvalue()


def encrypted(data: bytes) -> bytes:
    """The archive with the mark of encryption on its only entry, in both of its headers."""
    local, central = data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8
    changed = bytearray(data)
    for at in (local, central):
        struct.pack_into("<H", changed, at, struct.unpack_from("<H", data, at)[0] | 1)
    return bytes(changed)


class Case(NamedTuple):
    """A file, where it goes, and the code and words of the failure."""

    part: str
    file: tuple[str, bytes]
    code: str
    words: tuple[str, ...]


CASES = {
    "CSV in no encoding": Case("dataframe1", ("t.csv", b"a\n\xff\x81\n"), "0018", ("port 1", "csv")),
    "CSV in half of UTF-16": Case("dataframe2", ("t.csv", "a\n1\n".encode("utf-16")[:-1]), "0018", ("port 2", "csv")),
    "CSV with a row too long": Case("dataframe1", ("t.csv", b"a,b\n1,2\n1,2,3\n"), "0018", ("port 1", "csv")),
    "empty CSV": Case("dataframe1", ("t.csv", b""), "0003", ("port 1", "empty")),
    "JSON cut off": Case("dataframe1", ("t.json", b'[{"a": 1}, {"a"'), "0018", ("port 1", "json")),
    "JSON that is no table": Case("dataframe2", ("t.json", b'{"a": 1}'), "0018", ("port 2", "json")),
    "Parquet cut off": Case("dataframe1", ("t.parquet", parquet()[:-100]), "0018", ("port 1", "parquet")),
    "Parquet that is text": Case("dataframe2", ("t.parquet", b"a,b\n1,2\n"), "0018", ("port 2", "parquet")),
    "Arrow cut off": Case("dataframe1", ("t.arrow", arrow_file()[:-100]), "0018", ("port 1", "arrow")),
    "Arrow stream without its end": Case(
        "dataframe2", ("t.arrows", arrow_stream()[:-8]), "0018", ("port 2", "arrow_stream", "end marker")
    ),
    "Arrow stream cut in a batch": Case(
        "dataframe1", ("t.arrows", arrow_stream()[:-500]), "0018", ("port 1", "arrow_stream")
    ),
    "Arrow stream called a file": Case("dataframe1", ("t.arrow", arrow_stream()), "0018", ("port 1", "arrow_stream")),
    "zip that is none": Case("bundle", ("b.zip", b"PK\x03\x04 but not really"), "0102", ("not a ZIP file",)),
    "empty zip file": Case("bundle", ("b.zip", b""), "0102", ("not a ZIP file",)),
    "zip cut off": Case("bundle", ("b.zip", archive(**{"m.py": "x = 1"})[:-30]), "0102", ("not a ZIP file",)),
    "zip slip": Case("bundle", ("b.zip", archive(**{"../../etc/evil.py": "x"})), "0102", ("../../etc/evil.py",)),
    "absolute name": Case("bundle", ("b.zip", archive(**{"/tmp/evil.py": "x"})), "0102", ("/tmp/evil.py",)),
    "encrypted zip": Case(
        "bundle", ("b.zip", encrypted(archive(**{"secret.py": "x"}))), "0102", ("secret.py", "encrypt")
    ),
}


@pytest.fixture(scope="module")
def judged(server: RunningServer) -> dict[str, Any]:
    """Each case's run, when it has ended. All are submitted at once: two sandboxes judge them side by side."""
    ids = {}
    for name, case in CASES.items():
        answer = server.post("/v1/runs", files={"script": SCRIPT, case.part: case.file})
        assert answer.status_code == 202, answer.text
        ids[name] = answer.json()["id"]
    return {name: server.get(f"/v1/runs/{run_id}?wait=120").json() for name, run_id in ids.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_cannot_be_read_fails_the_run(judged: dict[str, Any], name: str) -> None:
    """Failed for bad_input, with the code of the module and with the port, or the entry, that is at fault."""
    run, case = judged[name], CASES[name]

    assert (run["status"], run["reason"]) == ("failed", "bad_input"), run
    assert run["error"]["code"] == case.code
    assert [word for word in case.words if word not in run["error"]["message"]] == [], run["error"]
    assert run["output"] is None


def test_the_script_never_ran(server: RunningServer, judged: dict[str, Any]) -> None:
    """A script must not see half of its input: nothing of it is in the log."""
    data = {"script": b"print('I ran')\n" + SCRIPT, "dataframe1": CASES["Parquet cut off"].file}

    run = server.post("/v1/runs?wait=60", files=data).json()

    assert run["reason"] == "bad_input"
    assert "I ran" not in server.log(run)


def test_the_next_run_is_clean(server: RunningServer, judged: dict[str, Any]) -> None:
    """After all of them: the same table whole, in each format, and a bundle that is one."""
    whole = {"t.parquet": parquet(), "t.arrow": arrow_file(), "t.arrows": arrow_stream()}
    bundle = ("b.zip", archive(**{"m.py": "x = 41"}))
    script = "import m\ndef azureml_main(a, b):\n    print(m.x)\n    return a.head(2),\n"

    runs = [
        server.submit(script, files={"dataframe1": (name, data), "bundle": bundle}, output_format="json")
        for name, data in whole.items()
    ]

    for run in runs:
        assert run["status"] == "succeeded", run
        assert server.log(run) == "41\n"
        answer = server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"})
        assert json.loads(answer.content) == [{"a": 0, "b": "text"}, {"a": 1, "b": "text"}]
    assert until(lambda: server.containers() == [], 60)
