"""POST /v1/runs with a faulty multipart body, header or query: each has its name, and nothing is accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from wire import (
    BOUNDARY,
    INVALID,
    JSON,
    MULTIPART,
    SCRIPT,
    SCRIPT_PART,
    Part,
    json_body,
    multipart,
    options_part,
    part_head,
    refused,
    script_of,
)

from controller.config import Settings

if TYPE_CHECKING:
    from tests.running import RunningServer

MIB = 1 << 20
CSV = Part("dataframe1", b"a\n1\n", "t.csv", "text/csv")

MULTIPART_CASES = {
    "no script": (multipart(CSV), ["script", "missing"]),
    "no part at all": (multipart(), ["script", "missing"]),
    "empty script file": (multipart(Part("script", b"", "s.py")), ["script is empty"]),
    "empty script field": (multipart(Part("script", b"")), ["script is empty"]),
    "blank script": (multipart(Part("script", b" \n\t\r\n ", "s.py")), ["script is empty"]),
    "script file of 1 MiB + 1": (
        multipart(Part("script", script_of(MIB + 1), "s.py")),
        ["script", "1048576"],
        413,
        "script_too_large",
    ),
    "script field of 1 MiB + 1": (
        multipart(Part("script", script_of(MIB + 1))),
        ["script", "1048576"],
        413,
        "script_too_large",
    ),
    "script of 8 MiB": (multipart(Part("script", script_of(8 * MIB))), ["1048576"], 413, "script_too_large"),
    "a table alone": (multipart(Part("dataframe1", b"a\n1\n", "t.csv")), ["script", "is missing", "script_ref"]),
    "script_ref of no script": (multipart(Part("script_ref", b"no-script@1")), ["stored script"], 404, "not_found"),
    "script_ref that is no name": (multipart(Part("script_ref", b"a b@1")), ["script_ref", "name@3"]),
    "script_ref of bytes": (multipart(Part("script_ref", b"\xff\xfe")), ["script_ref", "name@3"]),
    "script_ref with a bundle": (
        multipart(Part("script_ref", b"name@1"), Part("bundle", b"PK", "b.zip")),
        ["bundle", "does not go with script_ref"],
    ),
    "script_ref of 201 bytes": (multipart(Part("script_ref", b"n" * 201)), ["script_ref", "200"], 413, "too_large"),
    "script and script_ref": (
        multipart(SCRIPT_PART, Part("script_ref", b"name@1")),
        ["script and script_ref exclude each other"],
    ),
    "unknown part": (
        multipart(SCRIPT_PART, Part("dataframe3", b"a\n1\n", "t.csv")),
        ["dataframe3", "unknown part", "script, script_ref, bundle, dataframe1, dataframe2, options"],
    ),
    "a part without a name": (multipart(SCRIPT_PART).replace(b'name="script"', b'nom="script"'), ["no name"]),
    "a script twice": (multipart(SCRIPT_PART, SCRIPT_PART), ["script", "twice"]),
    "a script as file and as field": (multipart(SCRIPT_PART, Part("script", SCRIPT)), ["script", "twice"]),
    "a table twice": (multipart(SCRIPT_PART, CSV, CSV), ["dataframe1", "twice"]),
    "a hundred parts": (multipart(*[Part(f"p{n}", b"x") for n in range(100)]), ["p0", "unknown part"]),
    "a table as a text field": (multipart(SCRIPT_PART, Part("dataframe1", b"a\n1\n")), ["dataframe1", "file name"]),
    "a bundle as a text field": (multipart(SCRIPT_PART, Part("bundle", b"PK")), ["bundle", "file name"]),
    "a table of an unknown format by content type": (
        multipart(SCRIPT_PART, Part("dataframe2", b"x", "t.xlsx", "application/vnd.ms-excel")),
        ["dataframe2", "application/vnd.apache.parquet", "text/csv"],
        415,
        "unsupported_format",
    ),
    "a table of an unknown format by name": (
        multipart(SCRIPT_PART, Part("dataframe1", b"x", "t.xlsx")),
        ["dataframe1", "text/csv"],
        415,
        "unsupported_format",
    ),
    "a table whose name has no suffix": (
        multipart(SCRIPT_PART, Part("dataframe1", b"x", "csv")),
        ["dataframe1", "file name"],
        415,
        "unsupported_format",
    ),
    "a part in base64": (
        multipart(SCRIPT_PART, CSV._replace(head="Content-Transfer-Encoding: base64\r\n")),
        ["dataframe1", "Content-Transfer-Encoding"],
    ),
    "cut off in a part": (multipart(SCRIPT_PART)[:-30], ["multipart", "closing boundary"]),
    "cut off in a head": (part_head(SCRIPT_PART)[:-3], ["multipart", "closing boundary"]),
    "another boundary": (
        multipart(SCRIPT_PART).replace(BOUNDARY.encode(), b"other"),
        ["multipart", "closing boundary"],
    ),
    "empty body": (b"", ["multipart", "closing boundary"]),
    "a part without a disposition": (
        multipart(SCRIPT_PART).replace(b"Content-Disposition", b"Content-Description"),
        ["multipart", "Content-Disposition"],
    ),
    "a head that is not UTF-8": (multipart(SCRIPT_PART).replace(b"script.py", b"\xff\xfe.py"), ["multipart", "utf-8"]),
    "a head that says one thing twice": (
        multipart(SCRIPT_PART._replace(head='Content-Disposition: form-data; name="options"\r\n')),
        ["multipart", "Content-Disposition stands twice"],
    ),
    "something behind a boundary": (
        multipart(SCRIPT_PART).replace(f"{BOUNDARY}\r\n".encode(), f"{BOUNDARY} x\r\n".encode()),
        ["multipart", "behind a boundary"],
    ),
    "a head of 3 MiB": (
        multipart(SCRIPT_PART._replace(head=f"X-Long: {'x' * 3 * MIB}\r\n")),
        ["multipart", "head of a part"],
    ),
    "3 MiB before the first boundary": (
        b"x" * 3 * MIB + b"\r\n" + multipart(SCRIPT_PART),
        ["multipart", "before the first boundary"],
    ),
    "3 MiB after the last boundary": (multipart(SCRIPT_PART) + b"x" * 3 * MIB, ["multipart", "after the last"]),
    "options over 256 KiB": (options_part(json.dumps({"x": "y" * 262_144})), ["options", "262144"], 413, "too_large"),
}


@pytest.mark.parametrize("case", MULTIPART_CASES)
def test_a_faulty_multipart_body_is_refused(server: RunningServer, case: str) -> None:
    """Each has its name, and nothing of it is accepted."""
    data, words, *status_and_code = MULTIPART_CASES[case]

    answer = server.post("/v1/runs", data=data, headers={"Content-Type": MULTIPART})

    refused(answer, *(status_and_code or INVALID), *words)


HEADER_CASES = {
    "no content type": ({}, ["multipart/form-data", "application/json"], 415, "unsupported_format"),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, ["multipart"], 415, "unsupported_format"),
    "plain text": ({"Content-Type": "text/plain"}, ["multipart"], 415, "unsupported_format"),
    "another JSON": ({"Content-Type": "application/problem+json"}, ["multipart"], 415, "unsupported_format"),
    "nonsense": ({"Content-Type": "///"}, ["multipart"], 415, "unsupported_format"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, ["boundary"]),
    "an empty boundary": ({"Content-Type": "multipart/form-data; boundary="}, ["boundary"]),
    "a long boundary": ({"Content-Type": f"multipart/form-data; boundary={'b' * 201}"}, ["boundary", "200"]),
    "a boundary that is not ASCII": (
        {"Content-Type": "multipart/form-data; boundary=\u00e4".encode("latin-1")},
        ["boundary", "ASCII"],
    ),
    "gzip": (
        {"Content-Type": MULTIPART, "Content-Encoding": "gzip"},
        ["Content-Encoding", "as it is"],
        415,
        "unsupported_format",
    ),
    "two encodings": (
        {"Content-Type": JSON, "Content-Encoding": "identity, gzip"},
        ["Content-Encoding"],
        415,
        "unsupported_format",
    ),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_a_body_of_another_kind_is_refused(server: RunningServer, case: str) -> None:
    """What the headers say of the body decides before any of it is read."""
    headers, words, *status_and_code = HEADER_CASES[case]

    answer = server.post("/v1/runs", data=multipart(SCRIPT_PART), headers=headers)

    refused(answer, *(status_and_code or INVALID), *words)


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


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (multipart(Part("script", script_of(MIB), "s.py")), MULTIPART),
        (multipart(Part("script", script_of(MIB))), MULTIPART),
        (json_body(script=script_of(MIB).decode()), JSON),
        (json_body(dataframe1={"records": [{"a": json.loads("[" * 60 + "]" * 60)}]}), JSON),
        (json_body(dataframe1={"records": [{"a": "\U0001f600"}]}), JSON),
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
    """A timeout of a year is an hour, all memory is the host's share; the answer has the numbers that count."""
    year = 365 * 24 * 3600

    answer = server.post(
        "/v1/runs",
        data=options_part(json.dumps({"timeout_seconds": year, "memory_bytes": 1 << 50, "cpus": 10**9})),
        headers={"Content-Type": MULTIPART},
    )

    limits = answer.json()["limits"]
    assert answer.status_code == 202
    assert (limits["timeout_seconds"], limits["memory_bytes"]) == (3600, Settings().max_memory_bytes)
    assert limits["cpus"] < 10**4
