"""What a script can say in the runner's name, and what the controller makes of it: no more than data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sandbox import check_clean, ended, submit

from tests.running import RunningServer

HEAD = """
import json, os
import numpy as np
import pandas as pd
import pyarrow as pa

GOOD = {"version": 3, "outcome": "succeeded", "reason": None, "error": None, "warnings": [],
        "output": {"rows": 1, "columns": [{"name": "x", "type": "int64"}]}, "files": {"result": 0}, "images": [],
        "timings": {}}
BAD = {"version": 3, "outcome": "failed", "reason": "script_error",
       "error": {"code": "0085", "type": "Forged", "message": "forged"}}
PNG = b"\\x89PNG\\r\\n\\x1a\\n" + b"p" * 92

def arrow(table=None):
    sink = pa.BufferOutputStream()
    table = table or pa.table({"x": [1]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()

def put(name, data):
    with open("/out/" + name, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())

def leave(report, result=b"", code=0, images=b""):
    put("result", result)
    put("images", images)
    data = report if isinstance(report, bytes) else (report if isinstance(report, str) else json.dumps(report)).encode()
    put("report.json", data.replace(b'"files": {"result": 0}', b'"files": {"result": %d}' % len(result)))
    os._exit(code)

def azureml_main(a, b):
"""
CRASHED = ("failed", "crashed")
SUCCEEDED = ("succeeded", None)
SCRIPT_ERROR = ("failed", "script_error")

FORGERIES: dict[str, tuple[str, tuple[str, str | None]]] = {
    # what the script leaves in /out before it goes: its lines, and the status and reason that it gets
    "rubbish in every file": (
        "for n in os.listdir('/out'): put(n, os.urandom(1 << 20))\n    os._exit(0)",
        CRASHED,
    ),
    "rubbish as the result": ("leave(GOOD, os.urandom(5000))", CRASHED),
    "no result at all": ("leave(GOOD, b'')", CRASHED),
    "a cut Arrow file": ("leave(GOOD, arrow()[:-20])", CRASHED),
    "another size than reported": ("leave(json.dumps({**GOOD, 'files': {'result': 7}}), arrow())", CRASHED),
    "a negative size": ("leave(json.dumps({**GOOD, 'files': {'result': -1}}), arrow())", CRASHED),
    "a report of no result": ("leave({**GOOD, 'output': None}, arrow())", CRASHED),
    "a valid result and a true report": ("leave(GOOD, arrow())", SUCCEEDED),
    "a success that leaves with 1": ("leave(GOOD, arrow(), code=1)", CRASHED),
    "a failure that leaves with 0": ("leave(BAD, code=0)", CRASHED),
    "a failure that leaves with 1": ("leave(BAD, code=1)", SCRIPT_ERROR),
    "a failure that leaves with 137": ("leave(BAD, code=137)", CRASHED),
    "a reason that only the controller gives": ("leave({**BAD, 'reason': 'engine_error'}, code=1)", CRASHED),
    "out of memory, in its own words": ("leave({**BAD, 'reason': 'out_of_memory'}, code=1)", CRASHED),
    "a timeout, in its own words": ("leave({**BAD, 'reason': 'timeout'}, code=1)", CRASHED),
    "an unknown field": ("leave({**GOOD, 'status': 'succeeded'}, arrow())", CRASHED),
    "another version": ("leave({**GOOD, 'version': 1}, arrow())", CRASHED),
    "no JSON": ("leave(os.urandom(3000), arrow())", CRASHED),
    "an empty report": ("leave('', arrow())", CRASHED),
    "a JSON list": ("leave('[]', arrow())", CRASHED),
    "JSON that nests 400,000 deep": ("leave('[' * 400_000 + ']' * 400_000, arrow())", CRASHED),
    "objects that nest 100,000 deep": ("leave('{\"timings\":' * 100_000 + '}' * 100_000, arrow())", CRASHED),
    "a number of 900,000 digits": (
        "leave(json.dumps(GOOD).replace('\"rows\": 1', '\"rows\": ' + '9' * 900_000), arrow())",
        CRASHED,
    ),
    "a number of 4,000 digits": (
        "leave(json.dumps(GOOD).replace('\"rows\": 1', '\"rows\": ' + '9' * 4_000), arrow())",
        CRASHED,
    ),
    "more rows than 64 bits hold": ("leave({**GOOD, 'output': {'rows': 1 << 64, 'columns': []}}, arrow())", CRASHED),
    "a negative count of rows": ("leave({**GOOD, 'output': {'rows': -1, 'columns': []}}, arrow())", CRASHED),
    "an error's line beyond 64 bits": (
        "leave({**BAD, 'error': {**BAD['error'], 'line': 1 << 70}}, code=1)",
        CRASHED,
    ),
    "half a surrogate in a name": (
        "leave(json.dumps(GOOD).replace('\"x\"', '\"\\\\ud800\"'), arrow())",
        CRASHED,
    ),
    "a report that is not UTF-8": ("leave(json.dumps(GOOD).encode().replace(b'int64', b'int\\xff'), arrow())", CRASHED),
    "not a number as a timing": ("leave(json.dumps({**GOOD, 'timings': {'x': float('nan')}}), arrow())", SUCCEEDED),
    "a report of 100 MB": ("leave(json.dumps(GOOD) + ' ' * (100 << 20), arrow())", CRASHED),
    "rows that are not there": ("leave({**GOOD, 'output': {'rows': 10**6, 'columns': []}}, arrow())", SUCCEEDED),
    "20,000 columns": (
        "columns = [{'name': str(n), 'type': 'x'} for n in range(20_000)]\n"
        "    leave({**GOOD, 'output': {'rows': 1, 'columns': columns}}, arrow())",
        SUCCEEDED,
    ),
    "5,000 warnings": ("leave({**GOOD, 'warnings': [{'code': 'w', 'message': 'm'}] * 5000}, arrow())", CRASHED),
    "control characters in an error": (
        "leave({**BAD, 'error': {'code': '0085', 'type': 'E', 'message': '\\x1b]0;owned\\x07\\x00\\r\\n'}}, code=1)",
        SCRIPT_ERROR,
    ),
    "HTML in an error": (
        "leave({**BAD, 'error': {'code': '0085', 'type': '<b>', 'message': '<script>alert(1)</script>'}}, code=1)",
        SCRIPT_ERROR,
    ),
    "hostile Arrow between two good ends": ("leave(GOOD, b'ARROW1\\0\\0' + os.urandom(4000) + b'ARROW1')", SUCCEEDED),
    "a billion rows in 400 bytes": (
        "leave(GOOD, arrow(pa.table({'x': pa.nulls(1 << 30)})))",
        SUCCEEDED,
    ),
    "images outside the file": (
        "leave({**GOOD, 'images': [{'name': f'{o}.png', 'offset': o, 'bytes': n} for o, n in"
        " ((1 << 40, 100), (50, 100), (0, 1 << 40), (-10, 100), (0, -5), (0, 3))]}, arrow(), images=PNG)",
        SUCCEEDED,
    ),
    "images with names that climb": (
        "leave({**GOOD, 'images': [{'name': n, 'offset': 100 * i, 'bytes': 100} for i, n in enumerate("
        "['../../etc/passwd', '/etc/passwd', 'a/../../b', 'a\\\\b.png', 'line\\nbreak.png', '', 'x' * 300,"
        " 'fine.png', 'fine.png', '.', 'deep/er.png'])]}, arrow(), images=PNG * 11)",
        SUCCEEDED,
    ),
    "images that overlap": (
        "leave({**GOOD, 'images': [{'name': f'{i}.png', 'offset': 0, 'bytes': 100} for i in range(50)]},"
        " arrow(), images=PNG)",
        SUCCEEDED,
    ),
    "images that are something else": (
        "leave({**GOOD, 'images': [{'name': 'page.html', 'offset': 0, 'bytes': 100}]}, arrow(),"
        " images=b'<script>' + b' ' * 92)",
        SUCCEEDED,
    ),
    "a picture that is a page": (
        "leave({**GOOD, 'images': [{'name': 'x.svg', 'offset': 0, 'bytes': 50, 'type': 'image/svg+xml'}]}, arrow(),"
        " images=b'<script>alert(1)</script>' + b' ' * 50)",
        SUCCEEDED,
    ),
    "a picture of another kind": (
        "leave({**GOOD, 'images': [{'name': 'x.png', 'offset': 0, 'bytes': 100, 'type': 'text/html'}]}, arrow(),"
        " images=PNG)",
        CRASHED,
    ),
    "a second table that nobody asked for": (
        "leave({**GOOD, 'output2': {'rows': 9, 'columns': []}}, arrow())",
        SUCCEEDED,
    ),
    "three inputs": (
        "leave({**GOOD, 'inputs': [{'port': 1, 'rows': 1, 'columns': []}] * 3}, arrow())",
        CRASHED,
    ),
    "an input on port 3": (
        "leave({**GOOD, 'inputs': [{'port': 3, 'rows': 1, 'columns': []}]}, arrow())",
        CRASHED,
    ),
    "inputs that never were": (
        "leave({**GOOD, 'inputs': [{'port': 2, 'rows': 1 << 62, 'columns': [{'name': '\x1b[2J', 'type': '<b>'}]}]},"
        " arrow())",
        SUCCEEDED,
    ),
    "10,000 images": (
        "leave({**GOOD, 'images': [{'name': f'{i}.png', 'offset': 100 * i, 'bytes': 100} for i in range(10_000)]},"
        " arrow(), images=PNG * 10_000)",
        SUCCEEDED,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(server: RunningServer) -> Iterator[dict[str, Any]]:
    ids = {name: submit(server, f"{HEAD}    {lines}\n", timeout_seconds=60) for name, (lines, _) in FORGERIES.items()}
    yield {name: ended(server, run_id) for name, run_id in ids.items()}
    check_clean(server)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_report_says_only_what_it_may(runs: dict[str, Any], name: str) -> None:
    """Whatever a script leaves in /out before it goes, the status is what the controller can see to be true."""
    run = runs[name]

    assert (run["status"], run["reason"]) == FORGERIES[name][1], run["error"]
    assert len(json.dumps(run)) < 4 << 20


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_run_can_be_asked_for(server: RunningServer, runs: dict[str, Any], name: str) -> None:
    """Its document, its images, its log and its place in the list are served; its output, or a clear refusal."""
    address = f"/v1/runs/{runs[name]['id']}"

    statuses = [
        server.get(address + rest).status_code for rest in ("", "/images", "/log", "/log?style=module", "/device")
    ]
    output = server.get(address + "/output")

    assert statuses == [200] * 5
    assert output.status_code == (200 if runs[name]["status"] == "succeeded" else 409)
    assert server.get("/v1/runs?limit=100").status_code == 200


@pytest.mark.parametrize("name", ["hostile Arrow between two good ends", "a billion rows in 400 bytes"])
def test_hostile_arrow_meets_nobody_but_a_sandbox(small_server: RunningServer, name: str) -> None:
    """The controller hands the bytes on as they are, and does not grow; another format gets a clear refusal."""
    run = small_server.submit(f"{HEAD}    {FORGERIES[name][0]}\n")
    address = f"/v1/runs/{run['id']}/output"
    before = memory_of(small_server)

    as_it_is = small_server.get(address)
    converted = small_server.get(address, headers={"Accept": "text/csv"})

    assert as_it_is.content[:6] == as_it_is.content[-6:] == b"ARROW1"
    assert (converted.status_code, converted.json()["code"]) == (422, "conversion_failed")
    assert memory_of(small_server) - before < 64 << 20
    assert small_server.get("/healthz").status_code == 200
    assert small_server.gone(), small_server.containers()


def memory_of(server: RunningServer) -> int:
    """Resident bytes of the server's process group, which is the server and its workers."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) == server.process.pid:
                total += int((path / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (ProcessLookupError, FileNotFoundError):
            continue
    return total


def test_a_true_report_is_believed(server: RunningServer, runs: dict[str, Any]) -> None:
    """A script that writes what the runner would have written has done no harm: the table is its own."""
    run = runs["a valid result and a true report"]

    content = server.get(f"/v1/runs/{run['id']}/output").content

    assert pa.ipc.open_file(pa.py_buffer(content)).read_all().to_pydict() == {"x": [1]}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("images outside the file", []),
        ("images that overlap", ["0.png"]),
        ("images that are something else", []),
    ],
)
def test_only_real_images_are_listed(runs: dict[str, Any], name: str, kept: list[str]) -> None:
    """An image counts only where its bytes lie inside the file, follow one another, and begin as a PNG does."""

    assert [image["name"] for image in runs[name]["images"]] == kept


def test_a_second_table_comes_only_where_it_was_asked_for(server: RunningServer, runs: dict[str, Any]) -> None:
    """What the report says of it is not shown, and there is no file to be had."""
    run = runs["a second table that nobody asked for"]

    assert run["output2"] is None
    assert server.get(f"/v1/runs/{run['id']}/output2").status_code == 409


def test_a_page_in_the_place_of_a_picture_is_a_download(server: RunningServer, runs: dict[str, Any]) -> None:
    """Whoever opens its address in a browser runs nothing of it."""
    answer = server.get(f"/v1/runs/{runs['a picture that is a page']['id']}/images/x.svg")

    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_number_of_images_is_bounded(runs: dict[str, Any]) -> None:
    """A report of 10,000 images gives as many as the run's limit, and no more."""
    run = runs["10,000 images"]

    assert len(run["images"]) == run["limits"]["images"] == 100


def test_the_names_of_images_are_plain(server: RunningServer, runs: dict[str, Any]) -> None:
    """A name that climbs, is absolute, empty, too long, doubled or unprintable is replaced; the image is kept."""
    run = runs["images with names that climb"]
    names = [image["name"] for image in run["images"]]

    contents = {server.get(f"/v1/runs/{run['id']}/images/{name}").content[:8] for name in names}

    assert len(set(names)) == len(names) == 11
    assert {"fine.png", "deep/er.png"} < set(names)
    assert all(name.startswith("image-") for name in set(names) - {"fine.png", "deep/er.png"})
    assert contents == {b"\x89PNG\r\n\x1a\n"}


def test_markup_and_control_characters_stay_data(server: RunningServer, runs: dict[str, Any]) -> None:
    """An error's text comes back as JSON, never as a page, and never in the server's own log."""
    answer = server.get(f"/v1/runs/{runs['HTML in an error']['id']}")
    control = server.get(f"/v1/runs/{runs['control characters in an error']['id']}")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"\x1b" not in control.content
    assert b"owned" not in server.log_path.read_bytes()
