"""What a script prints: the log and the device port (rules 6.2 to 6.4, 6.8, 6.9, cases C)."""

from __future__ import annotations

import base64
import csv
import html
import io
import json

import pyarrow as pa
import pytest
from module_images import MAKE_PNG, png
from module_runs import D1, ECHO, EMPTY, Module, gives, run_module, same

from tests.running import RunningServer

STREAMS = """
    import subprocess, sys, time
    def azureml_main():
        print("from print", flush=True)
        time.sleep(0.2)
        sys.stderr.write("from stderr\\n")
        sys.stderr.flush()
        time.sleep(0.2)
        subprocess.run(["echo", "from a child"], check=True)
        time.sleep(0.2)
        subprocess.run("echo to its stderr >&2", shell=True, check=True)
"""


def test_c01_both_streams_and_children(server: RunningServer) -> None:
    """Everything is captured in the order in which it came, and the two streams are told apart."""

    module = run_module(server, STREAMS)

    gives(module, EMPTY, returned_nothing="nothing")
    whole = module.log().splitlines()
    assert whole[:4] == ["from print", "from stderr", "from a child", "to its stderr"]
    assert module.log(stream="stdout").splitlines() == ["from print", "from a child"]
    assert module.log(stream="stderr").splitlines()[:2] == ["from stderr", "to its stderr"]


def test_c02_the_device_port_as_data(server: RunningServer) -> None:
    """One row of two columns: a data URI that ends the good run by its words, and no graphics."""

    module = run_module(server, ECHO, D1)

    assert json.loads(module.text("application/json", "device")) == [
        {"Standard Output": "data:text/plain,Execution OK\r\n", "Graphics": None}
    ]


@pytest.fixture(scope="module")
def drawn(server: RunningServer) -> Module:
    """A run that prints two lines and saves two images."""
    script = MAKE_PNG + (
        "import time\ndef azureml_main(df):\n    print('1 < 2')\n    print('next')\n"
        "    png('b.png', 1)\n    time.sleep(0.02)\n    png('a.png', 2)\n    return df,\n"
    )
    return run_module(server, script, D1)


def uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def test_rule_6_2_the_device_port_in_other_shapes(drawn: Module) -> None:
    """The same row in Azure's shape, as CSV, and as Arrow."""

    (row,) = json.loads(drawn.text("application/json", "device"))
    names, values = list(row), list(row.values())
    azure = json.loads(drawn.text("application/vnd.azureml.table+json", "device"))
    lines = list(csv.reader(io.StringIO(drawn.text("text/csv", "device"), newline="")))
    table = drawn.table("device")

    assert names == ["Standard Output", "Graphics"]
    assert azure == {"ColumnNames": names, "ColumnTypes": ["String", "String"], "Values": [values]}
    assert lines == [names, values]
    same(table, pa.table({name: [value] for name, value in row.items()}))


def test_rule_6_3_prints_are_part_of_the_text(drawn: Module) -> None:
    """What the script prints comes in the same text, its lines ended by CRLF, before the closing words."""

    (row,) = json.loads(drawn.text("application/json", "device"))

    assert row["Standard Output"] == "data:text/plain,1 < 2\r\nnext\r\nExecution OK\r\n"


def test_rule_6_3_a_failed_run_does_not_say_ok(server: RunningServer) -> None:
    """The closing words are those of a good run."""

    module = run_module(server, "def azureml_main():\n    print('so far')\n    return 1 / 0\n")

    (row,) = json.loads(module.text("application/json", "device"))
    assert row["Standard Output"].startswith("data:text/plain,so far\r\n")
    assert "Execution OK" not in row["Standard Output"]


def test_rule_6_4_several_images_in_one_cell(drawn: Module) -> None:
    """The images are a JSON list of data URIs, in the order in which they were written."""

    (row,) = json.loads(drawn.text("application/json", "device"))

    assert json.loads(row["Graphics"]) == [uri(png(1)), uri(png(2))]


def test_rule_6_4_the_device_port_as_a_page(drawn: Module) -> None:
    """Text in <pre>, escaped, then one <img> for each image, with its name."""

    page = drawn.text("text/html", "device")

    text = page.partition("<pre>")[2].partition("</pre>")[0]
    assert html.unescape(text) == "1 < 2\nnext\nExecution OK\n"
    assert "1 &lt; 2" in text
    first, second = page.index(uri(png(1))), page.index(uri(png(2)))
    assert page.index("</pre>") < first < second
    assert 'alt="b.png"' in page[first - 40 : second]
    assert 'alt="a.png"' in page[second - 40 :]


def test_rule_6_8_the_log_in_the_style_of_the_module(server: RunningServer) -> None:
    """It opens with a description of the inputs, and every line has the module's prefix."""
    table = pa.table({"i": pa.array([1], pa.int32()), "x": [0.5], "y": [1.5], "s": ["t"]})

    script = "def azureml_main(df):\n    print('first')\n    print('second')\n    return df,\n"

    module = run_module(server, script, table)

    assert module.log(style="module").splitlines() == [
        "[ModuleOutput] InputName: dataframe1",
        "[ModuleOutput] Rows: 1",
        "[ModuleOutput] Cols: 4",
        "[ModuleOutput] ColumnTypes: System.Int32,1,System.Double,2,System.String,1",
        "[ModuleOutput] first",
        "[ModuleOutput] second",
    ]


def test_rule_6_9_a_long_log_is_cut_with_a_mark(server: RunningServer) -> None:
    """Head and tail of a long log are kept; a mark between them says how much is missing."""
    script = "def azureml_main():\n    print('first')\n    print(('x' * 99 + '\\n') * 30_000)\n    print('last')\n"

    module = run_module(server, script)

    log = module.log()
    assert module.run["log_truncated"] is True
    assert log.startswith("first\n")
    assert "\nlast\n" in log[-1000:]
    assert len(log) < 1_200_000
    assert "cut" in log[500_000:600_000]
    assert module.run["status"] == "succeeded", module.run


def test_rule_6_9_prints_are_unicode(server: RunningServer) -> None:
    """print and children write UTF-8; bytes that are no text do not harm the text around them."""
    script = """
        import os, subprocess, sys
        def azureml_main():
            print("Grüße 漢字", flush=True)
            subprocess.run([sys.executable, "-c", "print('aus dem Kind: \\u00e4')"], check=True)
            os.write(1, b"broken: \\xff.\\n")
    """

    module = run_module(server, script)

    log = server.get(f"{module.address}/log?stream=stdout").content.decode("utf-8", "replace")
    assert log.splitlines() == ["Grüße 漢字", "aus dem Kind: ä", "broken: \ufffd."]
