"""The device port, the second table and the log in the module's words."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from wire import refused

if TYPE_CHECKING:
    from tests.running import RunningServer

ARROW = "application/vnd.apache.arrow.file"
TWO_TABLES = """
import pandas as pd
def azureml_main(df1, df2):
    return pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": ["x"]})
"""
SVG = """
import pandas as pd
def azureml_main():
    with open("drawing.svg", "w") as file:
        file.write('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
"""


@pytest.fixture(scope="module")
def two_tables(server: RunningServer) -> Any:
    """A run of the profile `designer` that gave two tables."""
    run = server.submit(TWO_TABLES, profile="designer", output_format="csv")
    assert run["status"] == "succeeded", run
    return run


def test_the_device_port_is_a_table_of_one_row(server: RunningServer, table_run: Any) -> None:
    """Text as a data URI with CRLF ends that closes with the verdict, pictures as a list of data URIs."""
    answer = server.get(f"/v1/runs/{table_run['id']}/device")

    (row,) = answer.json()
    pictures = json.loads(row["Graphics"])
    one = server.get(f"/v1/runs/{table_run['id']}/images/one.png").content
    assert answer.headers["Content-Type"] == "application/json"
    assert list(row) == ["Standard Output", "Graphics"]
    assert row["Standard Output"].startswith("data:text/plain,")
    assert row["Standard Output"].endswith("\r\nExecution OK\r\n")
    assert "to stdout: \u00e4\u00f6\u00fc\r\n" in row["Standard Output"]
    assert [uri.partition(",")[0] for uri in pictures] == ["data:image/png;base64"] * 2
    assert base64.b64decode(pictures[0].partition(",")[2]) == one


@pytest.mark.parametrize("media_type", [ARROW, "text/csv", "application/vnd.apache.parquet"])
def test_the_device_port_comes_in_the_formats_of_tables(
    server: RunningServer, failed_run: Any, media_type: str
) -> None:
    """Also of a run that failed; without a picture the second cell is missing."""
    answer = server.get(f"/v1/runs/{failed_run['id']}/device", headers={"Accept": media_type})

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    if media_type == ARROW:
        table = pa.ipc.open_file(answer.content).read_all()
        (row,) = table.to_pylist()
        assert table.schema.names == ["Standard Output", "Graphics"]
        assert [pa.types.is_string(t) or pa.types.is_large_string(t) for t in table.schema.types] == [True, True]
        assert row["Graphics"] is None
        assert "ZeroDivisionError" in row["Standard Output"]
        assert "Execution OK" not in row["Standard Output"]


def test_the_device_port_as_a_page_is_inert(server: RunningServer) -> None:
    """What a script prints is text in it, whatever it looks like; no script runs and nothing is fetched."""
    run = server.submit("def azureml_main():\n    print('<script>alert(1)</script>')\n")

    answer = server.get(f"/v1/runs/{run['id']}/device", headers={"Accept": "text/html"})

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = "default-src 'none'; img-src data:; frame-ancestors 'none'; sandbox"
    assert answer.headers["Content-Security-Policy"] == policy
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "<script" not in answer.text


def test_the_page_shows_the_pictures(server: RunningServer, table_run: Any) -> None:
    """One image for each PNG, named like it."""
    page = server.get(f"/v1/runs/{table_run['id']}/device", headers={"Accept": "text/html"}).text

    assert page.count('<img src="data:image/png;base64,') == 2
    assert 'alt="two words.png"' in page


def test_the_device_port_waits_for_the_end(server: RunningServer, busy: Any) -> None:
    """While the run goes on there is no table: 409."""
    refused(server.get(f"/v1/runs/{busy['id']}/device"), 409, "conflict")


def test_the_second_table_has_an_address_of_its_own(server: RunningServer, two_tables: Any) -> None:
    """Profile `designer`: both tables are described, and each comes in every format."""
    path = f"/v1/runs/{two_tables['id']}"

    second = pa.ipc.open_file(server.get(f"{path}/output2").content).read_all()

    assert two_tables["output"]["columns"] == [{"name": "a", "type": "int64"}]
    assert two_tables["output2"]["rows"] == 1
    assert second.to_pylist() == [{"b": "x"}]
    assert server.get(f"{path}/output2", headers={"Accept": "application/json"}).json() == [{"b": "x"}]
    assert server.get(f"{path}/output", headers={"Accept": "application/json"}).json() == [{"a": 1}, {"a": 2}]


def test_other_profiles_have_no_second_table(server: RunningServer, table_run: Any) -> None:
    """Said in those words: 409, no_output."""
    assert table_run["output2"] is None
    refused(server.get(f"/v1/runs/{table_run['id']}/output2"), 409, "no_output")


def test_the_log_comes_stream_by_stream(server: RunningServer, table_run: Any) -> None:
    """Both together in their order, or one alone; as text and as events."""
    path = f"/v1/runs/{table_run['id']}/log"

    out, err = (server.get(path, params={"stream": name}).text for name in ("stdout", "stderr"))
    events = server.get(path, params={"stream": "stderr"}, headers={"Accept": "text/event-stream"}).text

    assert out == "to stdout: \u00e4\u00f6\u00fc\n"
    assert err.startswith("to stderr\n")
    assert "to stdout" not in err + events
    assert "event: stderr" in events
    assert "event: status" in events


def test_the_log_speaks_like_the_module(server: RunningServer) -> None:
    """It opens with a description of the inputs, and every line has the module's prefix."""
    files = {"dataframe1": ("t.csv", b"n,x,s,m\n1,0.5,a,2\n2,1.5,b,3\n", "text/csv")}
    run = server.submit("def azureml_main(df):\n    print('one\\n\\ntwo', end='')\n    return df\n", files=files)

    log = server.get(f"/v1/runs/{run['id']}/log", params={"style": "module"}).text

    assert log.splitlines() == [
        "[ModuleOutput] InputName: dataframe1",
        "[ModuleOutput] Rows: 2",
        "[ModuleOutput] Cols: 4",
        "[ModuleOutput] ColumnTypes: System.Int64,2,System.Double,1,System.String,1",
        "[ModuleOutput] one",
        "[ModuleOutput] ",
        "[ModuleOutput] two",
    ]


@pytest.mark.parametrize("query", ["stream=both", "style=classic", "stream="])
def test_other_ways_to_show_the_log_are_refused(server: RunningServer, table_run: Any, query: str) -> None:
    """A misspelt value is no default."""
    refused(server.get(f"/v1/runs/{table_run['id']}/log?{query}"), 422, "invalid_request")


def test_an_svg_is_a_download(server: RunningServer) -> None:
    """It may hold scripts: it is named among the images, and a browser never shows it as a page of this server."""
    run = server.submit(SVG)

    answer = server.get(f"/v1/runs/{run['id']}/images/drawing.svg")

    assert [(image["name"], image["type"]) for image in run["images"]] == [("drawing.svg", "image/svg+xml")]
    assert answer.headers["Content-Type"].partition(";")[0] == "image/svg+xml"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.content.startswith(b"<svg")
    assert server.get(f"/v1/runs/{run['id']}/device").json()[0]["Graphics"] is None
