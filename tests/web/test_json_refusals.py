"""POST /v1/runs with a faulty JSON body, or faulty options in either body: each has its name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from wire import (
    INVALID,
    JSON,
    MULTIPART,
    json_body,
    options_part,
    refused,
    script_of,
)

if TYPE_CHECKING:
    from tests.running import RunningServer

MIB = 1 << 20

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
    "an unknown profile": (
        '{"profile": "modern"}',
        ["options.profile", "'classic', 'classic-strict', 'lenient' or 'designer'"],
    ),
    "an unknown language": ('{"language": "r"}', ["options.language", "'python'"]),
    "output as text": ('{"output_format": "txt"}', ["options.output_format", "arrow_stream", "parquet"]),
    "unknown dtypes": ('{"dtypes": "object"}', ["options.dtypes", "'numpy', 'nullable' or 'arrow'"]),
    "reuse by a word": ('{"reuse": "sometimes"}', ["options.reuse", "boolean"]),
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
        "multipart": (options_part(text), MULTIPART),
        "json": (b'{"script": "x", "options": %s}' % text.encode(), JSON),
    }
    data, content_type = sent[form]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": content_type})

    refused(answer, 422, "invalid_request", *words)


JSON_CASES = {
    "empty": (b"", ["body", "not JSON"]),
    "a list": (b"[]", ["JSON object"]),
    "a string": (b'"script"', ["JSON object"]),
    "null": (b"null", ["JSON object"]),
    "cut off": (json_body()[:-5], ["body", "not JSON"]),
    "something behind it": (json_body() + b"{}", ["body", "extra data"]),
    "not UTF-8": (b'{"script": "\xe4"}', ["body", "utf-8"]),
    "UTF-16": (json_body().decode().encode("utf-16"), ["body", "utf-8"]),
    "with a byte order mark": (b"\xef\xbb\xbf" + json_body(), ["body", "BOM"]),
    "NaN": (b'{"script": "x", "dataframe1": {"records": [{"a": NaN}]}}', ["NaN is not JSON"]),
    "-Infinity": (b'{"script": "x", "dataframe1": {"records": [{"a": -Infinity}]}}', ["-Infinity is not JSON"]),
    "1e999": (b'{"script": "x", "dataframe1": {"records": [{"a": 1e999}]}}', ["1e999", "too large"]),
    "a number of 5000 digits": (b'{"script": "x", "dataframe1": {"records": [{"a": %s}]}}' % (b"9" * 5000), ["digits"]),
    "a doubled name": (b'{"script": "x", "script": "y"}', ["script", "twice"]),
    "a doubled name in a record": (b'{"script": "x", "dataframe1": {"records": [{"a": 1, "a": 2}]}}', ["'a'", "twice"]),
    "100,000 brackets": (b"[" * 100_000 + b"]" * 100_000, ["deeper than 64"]),
    "100,000 objects in each other": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ["deeper than 64"]),
    "a cell nested 65 deep": (
        json_body(dataframe1={"records": [{"a": json.loads("[" * 61 + "]" * 61)}]}),
        ["deeper than 64"],
    ),
    "no script": (b"{}", ["script", "is missing", "script_ref"]),
    "script null": (b'{"script": null}', ["script", "is missing"]),
    "script a number": (b'{"script": 1}', ["script", "valid string"]),
    "script empty": (b'{"script": ""}', ["script is empty"]),
    "script blank": (b'{"script": " \\n\\t"}', ["script is empty"]),
    "half a character in the script": (b'{"script": "# \\ud800"}', ["ud800", "half a character"]),
    "half a character in a field's name": (b'{"\\uDFFFscript": ""}', ["half a character"]),
    "half a character in a record": (
        b'{"script": "x", "dataframe1": {"records": [{"a": "\\uDC00\\uD800"}]}}',
        ["half a character"],
    ),
    "script of 1 MiB + 1": (
        json_body(script=script_of(MIB + 1).decode()),
        ["1048577", "1048576"],
        413,
        "script_too_large",
    ),
    "script_ref of no script": (b'{"script_ref": "no-script@1"}', ["stored script"], 404, "not_found"),
    "script_ref that is no name": (b'{"script_ref": "a@0"}', ["script_ref", "pattern"]),
    "script and script_ref": (
        json_body(script_ref="a@1"),
        ["script and script_ref exclude each other"],
    ),
    "an unknown field": (json_body(dataframe3={}), ["dataframe3", "not permitted"]),
    "an unknown field of a table": (
        json_body(dataframe1={"records": [], "rows": []}),
        ["dataframe1.rows", "not permitted"],
    ),
    "a table as a list": (json_body(dataframe1=[]), ["dataframe1", "dictionary"]),
    "records as an object": (json_body(dataframe1={"records": {}}), ["dataframe1.records", "valid list"]),
    "a record that is a list": (json_body(dataframe2={"records": [[1]]}), ["dataframe2.records.0", "dictionary"]),
    "options over 256 KiB": (
        json_body(options={"parameters": {"x": "y" * 262_144}}),
        ["options", "262144"],
        413,
        "too_large",
    ),
    "over 2 MiB": (
        json_body(dataframe1={"records": [{"a": "x" * (2 * MIB)}]}),
        ["2097152", "multipart/form-data"],
        413,
        "too_large",
    ),
}


@pytest.mark.parametrize("case", JSON_CASES)
def test_a_faulty_json_body_is_refused(server: RunningServer, case: str) -> None:
    """Each has its name, and nothing of it is accepted."""
    data, words, *status_and_code = JSON_CASES[case]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    refused(answer, *(status_and_code or INVALID), *words)


def test_all_faults_of_options_are_told_at_once(server: RunningServer) -> None:
    """`errors` names each faulty place, so that nobody has to come back for the next one."""
    faulty = '{"timeout_seconds": 0, "cpus": 0, "nonsense": 1}'

    answer = server.post("/v1/runs", data=options_part(faulty), headers={"Content-Type": MULTIPART})

    problem = refused(answer, 422, "invalid_request")
    places = {error["where"] for error in problem["errors"]}
    assert places == {"options.timeout_seconds", "options.cpus", "options.nonsense"}


MANY = {
    "rows that are none": (json_body(dataframe1={"records": [1] * 500_000}), 1, ["dataframe1.records.0"]),
    "unknown fields": (json_body(**{f"f{n}": n for n in range(100_000)}), 1, ["100001 fields"]),
    "unknown fields of a table": (
        json_body(dataframe1={f"f{n}": n for n in range(100_000)}),
        1,
        ["dataframe1", "100000 fields"],
    ),
    "types that are none": (
        json_body(options={"dataframe1": {"types": {f"c{n}": 1 for n in range(1000)}}}),
        101,
        ["options.dataframe1.types.c0", "900 more"],
    ),
}


@pytest.mark.parametrize("case", MANY)
def test_of_very_many_faults_the_first_are_told(server: RunningServer, case: str) -> None:
    """A body has room for a million: nobody reads so many, and each would cost the server a kilobyte."""
    data, told, words = MANY[case]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    problem = refused(answer, *INVALID, *words)
    assert len(problem["errors"]) == told
    assert len(answer.content) < 64_000


def test_a_doubled_name_is_found_at_once(server: RunningServer) -> None:
    """Behind 100,000 others as well; of a long name the beginning is told."""
    names = [*(f"f{n}" for n in range(100_000)), *["x" * 100_000] * 2]
    data = b"{%s}" % ",".join(f'"{name}":1' for name in names).encode()
    began = time.monotonic()

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    refused(answer, *INVALID, f"'{'x' * 100}' stands twice")
    assert time.monotonic() - began < 5


def test_a_limit_is_given_as_a_number_too(server: RunningServer) -> None:
    """A client can read `limit` and `value` instead of the sentence."""
    data = json_body(script=script_of(MIB + 1).decode())

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": JSON})

    problem = refused(answer, 413, "script_too_large")
    assert (problem["limit"], problem["value"]) == (MIB, MIB + 1)
