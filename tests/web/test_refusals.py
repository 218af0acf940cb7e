"""POST /v1/runs with something wrong in it: each case has its status, its code, and words that say what it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from wire import BOUNDARY, MULTIPART, SCRIPT, SCRIPT_PART, Part, multipart, part_head, refused

if TYPE_CHECKING:
    from tests.conftest import RunningServer

MIB = 1 << 20
JSON = "application/json"
CSV = Part("dataframe1", b"a\n1\n", "t.csv", "text/csv")


def options(text: str) -> bytes:
    return multipart(SCRIPT_PART, Part("options", text.encode()))


def body(**fields: Any) -> bytes:
    return json.dumps({"script": SCRIPT.decode()} | fields).encode()


def script_of(size: int) -> bytes:
    return SCRIPT + b"#" * (size - len(SCRIPT))


MULTIPART_CASES = {
    "no script": (multipart(CSV), 422, "invalid_request", ["script", "missing"]),
    "no part at all": (multipart(), 422, "invalid_request", ["script", "missing"]),
    "empty script file": (multipart(Part("script", b"", "s.py")), 422, "invalid_request", ["script is empty"]),
    "empty script field": (multipart(Part("script", b"")), 422, "invalid_request", ["script is empty"]),
    "blank script": (multipart(Part("script", b" \n\t\r\n ", "s.py")), 422, "invalid_request", ["script is empty"]),
    "script file of 1 MiB + 1": (
        multipart(Part("script", script_of(MIB + 1), "s.py")),
        413,
        "script_too_large",
        ["script", "1048576"],
    ),
    "script field of 1 MiB + 1": (
        multipart(Part("script", script_of(MIB + 1))),
        413,
        "script_too_large",
        ["script", "1048576"],
    ),
    "script of 8 MiB": (multipart(Part("script", script_of(8 * MIB))), 413, "script_too_large", ["1048576"]),
    "script_ref alone": (
        multipart(Part("script_ref", b"name@1")),
        422,
        "invalid_request",
        ["script_ref", "not part of this version"],
    ),
    "script and script_ref": (
        multipart(SCRIPT_PART, Part("script_ref", b"name@1")),
        422,
        "invalid_request",
        ["script_ref", "not part of this version"],
    ),
    "unknown part": (
        multipart(SCRIPT_PART, Part("dataframe3", b"a\n1\n", "t.csv")),
        422,
        "invalid_request",
        ["dataframe3", "unknown part", "dataframe1, dataframe2, bundle, options"],
    ),
    "a part without a name": (
        multipart(SCRIPT_PART).replace(b'name="script"', b'nom="script"'),
        422,
        "invalid_request",
        ["no name"],
    ),
    "a script twice": (multipart(SCRIPT_PART, SCRIPT_PART), 422, "invalid_request", ["script", "twice"]),
    "a script as file and as field": (
        multipart(SCRIPT_PART, Part("script", SCRIPT)),
        422,
        "invalid_request",
        ["script", "twice"],
    ),
    "a table twice": (multipart(SCRIPT_PART, CSV, CSV), 422, "invalid_request", ["dataframe1", "twice"]),
    "a hundred parts": (
        multipart(*[Part(f"p{n}", b"x") for n in range(100)]),
        422,
        "invalid_request",
        ["p0", "unknown part"],
    ),
    "a table as a text field": (
        multipart(SCRIPT_PART, Part("dataframe1", b"a\n1\n")),
        422,
        "invalid_request",
        ["dataframe1", "file name"],
    ),
    "a bundle as a text field": (
        multipart(SCRIPT_PART, Part("bundle", b"PK")),
        422,
        "invalid_request",
        ["bundle", "file name"],
    ),
    "a table of an unknown format by content type": (
        multipart(SCRIPT_PART, Part("dataframe2", b"x", "t.xlsx", "application/vnd.ms-excel")),
        415,
        "unsupported_format",
        ["dataframe2", "application/vnd.apache.parquet", "text/csv"],
    ),
    "a table of an unknown format by name": (
        multipart(SCRIPT_PART, Part("dataframe1", b"x", "t.xlsx")),
        415,
        "unsupported_format",
        ["dataframe1", "text/csv"],
    ),
    "a table whose name has no suffix": (
        multipart(SCRIPT_PART, Part("dataframe1", b"x", "csv")),
        415,
        "unsupported_format",
        ["dataframe1", "file name"],
    ),
    "a part in base64": (
        multipart(SCRIPT_PART, CSV._replace(head="Content-Transfer-Encoding: base64\r\n")),
        422,
        "invalid_request",
        ["dataframe1", "Content-Transfer-Encoding"],
    ),
    "cut off in a part": (multipart(SCRIPT_PART)[:-30], 422, "invalid_request", ["multipart", "closing boundary"]),
    "cut off in a head": (part_head(SCRIPT_PART)[:-3], 422, "invalid_request", ["multipart", "closing boundary"]),
    "another boundary": (
        multipart(SCRIPT_PART).replace(BOUNDARY.encode(), b"other"),
        422,
        "invalid_request",
        ["multipart", "closing boundary"],
    ),
    "empty body": (b"", 422, "invalid_request", ["multipart", "closing boundary"]),
    "a part without a disposition": (
        multipart(SCRIPT_PART).replace(b"Content-Disposition", b"Content-Description"),
        422,
        "invalid_request",
        ["multipart", "Content-Disposition"],
    ),
    "a head that is not UTF-8": (
        multipart(SCRIPT_PART).replace(b"script.py", b"\xff\xfe.py"),
        422,
        "invalid_request",
        ["multipart", "utf-8"],
    ),
    "a head that says one thing twice": (
        multipart(SCRIPT_PART._replace(head='Content-Disposition: form-data; name="options"\r\n')),
        422,
        "invalid_request",
        ["multipart", "Content-Disposition stands twice"],
    ),
    "something behind a boundary": (
        multipart(SCRIPT_PART).replace(f"{BOUNDARY}\r\n".encode(), f"{BOUNDARY} x\r\n".encode()),
        422,
        "invalid_request",
        ["multipart", "behind a boundary"],
    ),
    "a head of 3 MiB": (
        multipart(SCRIPT_PART._replace(head=f"X-Long: {'x' * 3 * MIB}\r\n")),
        422,
        "invalid_request",
        ["multipart", "head of a part"],
    ),
    "3 MiB before the first boundary": (
        b"x" * 3 * MIB + b"\r\n" + multipart(SCRIPT_PART),
        422,
        "invalid_request",
        ["multipart", "before the first boundary"],
    ),
    "3 MiB after the last boundary": (
        multipart(SCRIPT_PART) + b"x" * 3 * MIB,
        422,
        "invalid_request",
        ["multipart", "after the last"],
    ),
    "options over 256 KiB": (options(json.dumps({"x": "y" * 262_144})), 413, "too_large", ["options", "262144"]),
}


@pytest.mark.parametrize("case", MULTIPART_CASES)
def test_a_faulty_multipart_body_is_refused(server: RunningServer, case: str) -> None:
    """Each has its name, and nothing of it is accepted."""
    data, status, code, words = MULTIPART_CASES[case]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": MULTIPART})

    refused(answer, status, code, *words)


OPTION_CASES = {
    "timeout 0": ('{"timeout_seconds": 0}', ["options.timeout_seconds", "greater than 0"]),
    "timeout negative": ('{"timeout_seconds": -1}', ["options.timeout_seconds", "greater than 0"]),
    "timeout NaN": ('{"timeout_seconds": NaN}', ["NaN is not JSON"]),
    "timeout Infinity": ('{"timeout_seconds": Infinity}', ["Infinity is not JSON"]),
    "timeout 1e999": ('{"timeout_seconds": 1e999}', ["1e999", "too large"]),
    "timeout of 400 digits": (f'{{"timeout_seconds": 1{"0" * 400}}}', ["options.timeout_seconds"]),
    "timeout of 5000 digits": (f'{{"timeout_seconds": 1{"0" * 5000}}}', ["digits"]),
    "timeout a word": ('{"timeout_seconds": "soon"}', ["options.timeout_seconds", "valid number"]),
    "timeout a list": ('{"timeout_seconds": [1]}', ["options.timeout_seconds", "valid number"]),
    "memory too small": ('{"memory_bytes": 1000000}', ["options.memory_bytes", "100663296"]),
    "memory negative": ('{"memory_bytes": -1}', ["options.memory_bytes"]),
    "memory with a fraction": ('{"memory_bytes": 200000000.5}', ["options.memory_bytes", "fractional"]),
    "cpus 0": ('{"cpus": 0}', ["options.cpus", "0.05"]),
    "an unknown option": ('{"time_out": 5}', ["options.time_out", "not permitted"]),
    "an unknown environment": ('{"environment": "r"}', ["environment 'r'", "'default'"]),
    "an empty environment": ('{"environment": ""}', ["options.environment"]),
    "an unknown profile": ('{"profile": "modern"}', ["options.profile", "'classic' or 'designer'"]),
    "an unknown language": ('{"language": "r"}', ["options.language", "'python'"]),
    "output as tsv": ('{"output_format": "tsv"}', ["options.output_format", "arrow_stream", "parquet"]),
    "output as a word": ('{"output_format": "xlsx"}', ["options.output_format"]),
    "parameters as a list": ('{"parameters": [1]}', ["options.parameters", "dictionary"]),
    "too many parameters": (
        json.dumps({"parameters": {str(n): n for n in range(1001)}}),
        ["options.parameters", "1000"],
    ),
    "too deep parameters": (f'{{"parameters": {{"a": {"[" * 80}{"]" * 80}}}}}', ["deeper than 64"]),
    "no JSON": ("timeout_seconds=5", ["not JSON"]),
    "a list": ("[]", ["valid dictionary"]),
    "empty": ("", ["not JSON"]),
    "a doubled name": ('{"cpus": 1, "cpus": 2}', ["cpus", "twice"]),
    "cut off": ('{"cpus": 1', ["not JSON"]),
}


@pytest.mark.parametrize("case", OPTION_CASES)
@pytest.mark.parametrize("form", ["multipart", "json"])
def test_faulty_options_are_refused(server: RunningServer, case: str, form: str) -> None:
    """In the options part and in the JSON body alike."""
    text, words = OPTION_CASES[case]
    sent = {
        "multipart": (options(text), MULTIPART),
        "json": (b'{"script": "x", "options": %s}' % text.encode(), JSON),
    }
    data, content_type = sent[form]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": content_type})

    refused(answer, 422, "invalid_request", *words)


JSON_CASES = {
    "empty": (b"", 422, "invalid_request", ["body", "not JSON"]),
    "a list": (b"[]", 422, "invalid_request", ["JSON object"]),
    "a string": (b'"script"', 422, "invalid_request", ["JSON object"]),
    "null": (b"null", 422, "invalid_request", ["JSON object"]),
    "cut off": (body()[:-5], 422, "invalid_request", ["body", "not JSON"]),
    "something behind it": (body() + b"{}", 422, "invalid_request", ["body", "extra data"]),
    "not UTF-8": (b'{"script": "\xe4"}', 422, "invalid_request", ["body", "utf-8"]),
    "UTF-16": (body().decode().encode("utf-16"), 422, "invalid_request", ["body", "utf-8"]),
    "with a byte order mark": (b"\xef\xbb\xbf" + body(), 422, "invalid_request", ["body", "BOM"]),
    "NaN": (b'{"script": "x", "dataframe1": {"records": [{"a": NaN}]}}', 422, "invalid_request", ["NaN is not JSON"]),
    "-Infinity": (
        b'{"script": "x", "dataframe1": {"records": [{"a": -Infinity}]}}',
        422,
        "invalid_request",
        ["-Infinity is not JSON"],
    ),
    "1e999": (
        b'{"script": "x", "dataframe1": {"records": [{"a": 1e999}]}}',
        422,
        "invalid_request",
        ["1e999", "too large"],
    ),
    "a number of 5000 digits": (
        b'{"script": "x", "dataframe1": {"records": [{"a": %s}]}}' % (b"9" * 5000),
        422,
        "invalid_request",
        ["digits"],
    ),
    "a doubled name": (b'{"script": "x", "script": "y"}', 422, "invalid_request", ["script", "twice"]),
    "a doubled name in a record": (
        b'{"script": "x", "dataframe1": {"records": [{"a": 1, "a": 2}]}}',
        422,
        "invalid_request",
        ["'a'", "twice"],
    ),
    "100,000 brackets": (b"[" * 100_000 + b"]" * 100_000, 422, "invalid_request", ["deeper than 64"]),
    "100,000 objects in each other": (
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        422,
        "invalid_request",
        ["deeper than 64"],
    ),
    "a cell nested 65 deep": (
        body(dataframe1={"records": [{"a": json.loads("[" * 61 + "]" * 61)}]}),
        422,
        "invalid_request",
        ["deeper than 64"],
    ),
    "no script": (b"{}", 422, "invalid_request", ["script", "required"]),
    "script null": (b'{"script": null}', 422, "invalid_request", ["script", "valid string"]),
    "script a number": (b'{"script": 1}', 422, "invalid_request", ["script", "valid string"]),
    "script empty": (b'{"script": ""}', 422, "invalid_request", ["script is empty"]),
    "script blank": (b'{"script": " \\n\\t"}', 422, "invalid_request", ["script is empty"]),
    "half a character in the script": (
        b'{"script": "# \\ud800"}',
        422,
        "invalid_request",
        ["ud800", "half a character"],
    ),
    "half a character in a field's name": (b'{"\\uDFFFscript": ""}', 422, "invalid_request", ["half a character"]),
    "half a character in a record": (
        b'{"script": "x", "dataframe1": {"records": [{"a": "\\uDC00\\uD800"}]}}',
        422,
        "invalid_request",
        ["half a character"],
    ),
    "script of 1 MiB + 1": (
        body(script=script_of(MIB + 1).decode()),
        413,
        "script_too_large",
        ["1048577", "1048576"],
    ),
    "script_ref alone": (b'{"script_ref": "a@1"}', 422, "invalid_request", ["script_ref", "not part of this version"]),
    "script and script_ref": (
        body(script_ref="a@1"),
        422,
        "invalid_request",
        ["script and script_ref exclude each other", "not part of this version"],
    ),
    "a dataset": (
        body(dataframe1={"dataset": "iris"}),
        422,
        "invalid_request",
        ["dataframe1.dataset", "not part of this version", "records"],
    ),
    "an unknown field": (body(dataframe3={}), 422, "invalid_request", ["dataframe3", "not permitted"]),
    "an unknown field of a table": (
        body(dataframe1={"records": [], "rows": []}),
        422,
        "invalid_request",
        ["dataframe1.rows", "not permitted"],
    ),
    "a table as a list": (body(dataframe1=[]), 422, "invalid_request", ["dataframe1", "dictionary"]),
    "records as an object": (
        body(dataframe1={"records": {}}),
        422,
        "invalid_request",
        ["dataframe1.records", "valid list"],
    ),
    "a record that is a list": (
        body(dataframe2={"records": [[1]]}),
        422,
        "invalid_request",
        ["dataframe2.records.0", "dictionary"],
    ),
    "options over 256 KiB": (
        body(options={"parameters": {"x": "y" * 262_144}}),
        413,
        "too_large",
        ["options", "262144"],
    ),
    "over 16 MiB": (
        body(dataframe1={"records": [{"a": "x" * (16 * MIB)}]}),
        413,
        "too_large",
        ["16777216", "multipart/form-data"],
    ),
}


@pytest.mark.parametrize("case", JSON_CASES)
def test_a_faulty_json_body_is_refused(server: RunningServer, case: str) -> None:
    """Each has its name, and nothing of it is accepted."""
    data, status, code, words = JSON_CASES[case]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    refused(answer, status, code, *words)


HEADER_CASES = {
    "no content type": ({}, 415, "unsupported_format", ["multipart/form-data", "application/json"]),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_format", ["multipart"]),
    "plain text": ({"Content-Type": "text/plain"}, 415, "unsupported_format", ["multipart"]),
    "another JSON": ({"Content-Type": "application/problem+json"}, 415, "unsupported_format", ["multipart"]),
    "nonsense": ({"Content-Type": "///"}, 415, "unsupported_format", ["multipart"]),
    "no boundary": ({"Content-Type": "multipart/form-data"}, 422, "invalid_request", ["boundary"]),
    "an empty boundary": ({"Content-Type": "multipart/form-data; boundary="}, 422, "invalid_request", ["boundary"]),
    "a long boundary": (
        {"Content-Type": f"multipart/form-data; boundary={'b' * 201}"},
        422,
        "invalid_request",
        ["boundary", "200"],
    ),
    "a boundary that is not ASCII": (
        {"Content-Type": "multipart/form-data; boundary=\u00e4".encode("latin-1")},
        422,
        "invalid_request",
        ["boundary", "ASCII"],
    ),
    "gzip": (
        {"Content-Type": MULTIPART, "Content-Encoding": "gzip"},
        415,
        "unsupported_format",
        ["Content-Encoding", "as it is"],
    ),
    "two encodings": (
        {"Content-Type": JSON, "Content-Encoding": "identity, gzip"},
        415,
        "unsupported_format",
        ["Content-Encoding"],
    ),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_a_body_of_another_kind_is_refused(server: RunningServer, case: str) -> None:
    """What the headers say of the body decides before any of it is read."""
    headers, status, code, words = HEADER_CASES[case]

    answer = server.post("/v1/runs", data=multipart(SCRIPT_PART), headers=headers)

    refused(answer, status, code, *words)


QUERY_CASES = {
    "unknown parameter": ("waits=1", ["waits", "not permitted"]),
    "wait negative": ("wait=-1", ["wait", "greater than or equal to 0"]),
    "wait nan": ("wait=nan", ["wait", "finite"]),
    "wait inf": ("wait=inf", ["wait", "finite"]),
    "wait a word": ("wait=yes", ["wait", "valid number"]),
    "wait empty": ("wait=", ["wait", "valid number"]),
    "wait twice": ("wait=1&wait=2", ["wait", "given 2 times"]),
}


@pytest.mark.parametrize("case", QUERY_CASES)
def test_a_faulty_query_is_refused(server: RunningServer, case: str) -> None:
    """Nothing in the address is ignored either."""
    query, words = QUERY_CASES[case]

    answer = server.post(f"/v1/runs?{query}", data=multipart(SCRIPT_PART), headers={"Content-Type": MULTIPART})

    refused(answer, 422, "invalid_request", *words)


def test_all_faults_of_options_are_told_at_once(server: RunningServer) -> None:
    """`errors` names each faulty place, so that nobody has to come back for the next one."""
    faulty = '{"timeout_seconds": 0, "cpus": 0, "nonsense": 1}'

    answer = server.post("/v1/runs", data=options(faulty), headers={"Content-Type": MULTIPART})

    problem = refused(answer, 422, "invalid_request")
    places = {error["where"] for error in problem["errors"]}
    assert places == {"options.timeout_seconds", "options.cpus", "options.nonsense"}


def test_a_limit_is_given_as_a_number_too(server: RunningServer) -> None:
    """A client can read `limit` and `value` instead of the sentence."""
    data = body(script=script_of(MIB + 1).decode())

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    problem = refused(answer, 413, "script_too_large")
    assert (problem["limit"], problem["value"]) == (MIB, MIB + 1)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (multipart(Part("script", script_of(MIB), "s.py")), MULTIPART),
        (multipart(Part("script", script_of(MIB))), MULTIPART),
        (body(script=script_of(MIB).decode()), JSON),
        (body(dataframe1={"records": [{"a": json.loads("[" * 60 + "]" * 60)}]}), JSON),
        (body(dataframe1={"records": [{"a": "\U0001f600"}]}), JSON),
        (b"preamble\r\n" + multipart(SCRIPT_PART) + b"epilogue", MULTIPART),
        (multipart(SCRIPT_PART, Part("dataframe1", b"a\n1\n", "T.CSV")), MULTIPART),
        (multipart(SCRIPT_PART, CSV._replace(file_name="", content_type="text/csv; charset=utf-8")), MULTIPART),
        (
            multipart(SCRIPT_PART).replace(BOUNDARY.encode(), b"b'()+_,-./:=?"),
            'multipart/form-data; boundary="b\'()+_,-./:=?"',
        ),
    ],
    ids=[
        "1 MiB file",
        "1 MiB field",
        "1 MiB JSON",
        "64 deep",
        "two halves",
        "preamble",
        "upper case",
        "no name",
        "odd boundary",
    ],
)
def test_what_is_just_within_the_limits_is_accepted(server: RunningServer, data: bytes, content_type: str) -> None:
    """The limits are where they say they are, and forms that the standards allow are read."""
    answer = server.post("/v1/runs", data=data, headers={"Content-Type": content_type})

    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/runs/{answer.json()['id']}"


def test_limits_above_the_maximum_are_cut_and_the_run_says_so(server: RunningServer) -> None:
    """A timeout of a year is an hour, all memory is 8 GiB; the answer has the numbers that count."""
    year = 365 * 24 * 3600

    answer = server.post(
        "/v1/runs",
        data=options(json.dumps({"timeout_seconds": year, "memory_bytes": 1 << 50, "cpus": 10**9})),
        headers={"Content-Type": MULTIPART},
    )

    limits = answer.json()["limits"]
    assert answer.status_code == 202
    assert (limits["timeout_seconds"], limits["memory_bytes"]) == (3600, 8 << 30)
    assert limits["cpus"] < 10**4
