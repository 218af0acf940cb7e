"""The two parsers that meet what strangers send, on whatever can be sent: no server, many examples."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.wrappers import Request
from wire import BOUNDARY, Part, multipart

from controller.errors import InvalidRequest, TooLarge
from controller.web.body import Body
from controller.web.parts import Rule, receive_parts
from controller.web.submission import parse_json
from controller.workspace import Staging, Workspaces

PARTS = ("script", "dataframe1", "dataframe2", "bundle")
RULES = {name: Rule(f"{name}.bin", text=True) for name in PARTS}
DELIMITER = f"--{BOUNDARY}".encode()
NEARLY = [DELIMITER[:-1], b"\r\n" + DELIMITER[:-1], b"\n" + DELIMITER[1:]]
BREAKS = [b"\r\n", b"\r", b"\n", b"--", b"\r\n\r\n"]
DATA = (
    st.lists(st.sampled_from(BREAKS + NEARLY) | st.binary(max_size=30), max_size=12)
    .map(b"".join)
    .filter(lambda data: DELIMITER not in data)
)
"""What a sender may put between boundaries: anything in which the boundary does not occur."""


class Pieces:
    """A stream that gives its bytes in pieces of its own choice, as a socket does."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._file = io.BytesIO(data)
        self._sizes = sizes

    def read(self, count: int) -> bytes:
        size = self._sizes.pop(0) if self._sizes else count
        return self._file.read(min(size, count))


def body(data: bytes, sizes: list[int], limit: int = 1 << 20) -> Body:
    return Body(Request({"wsgi.input": Pieces(data, sizes), "HTTP_TRANSFER_ENCODING": "chunked"}), limit, "send less")


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Workspaces:
    return Workspaces(tmp_path_factory.mktemp("data"))


SIZES = st.lists(st.integers(1, 60), max_size=40)


@settings(max_examples=100, deadline=None)
@given(contents=st.dictionaries(st.sampled_from(PARTS), DATA, min_size=1), sizes=SIZES)
def test_parts_arrive_byte_for_byte(workspaces: Workspaces, contents: dict[str, bytes], sizes: list[int]) -> None:
    """However the bytes were cut on their way, and however much they look like a boundary."""
    data = multipart(*[Part(name, content, f"{name}.csv", "text/csv") for name, content in contents.items()])

    with workspaces.stage() as staging:
        found = receive_parts(body(data, sizes), BOUNDARY, RULES, {}, staging)
        stored = {name: staging.read(RULES[name].file, 1 << 20) for name in found}

    assert stored == contents
    assert {(part.file_name, part.media_type) for part in found.values()} == {
        (f"{name}.csv", "text/csv") for name in contents
    }


def test_no_place_to_cut_is_special(workspaces: Workspaces) -> None:
    """A body that arrives in two pieces, at whatever byte the network cut it, gives the same files."""
    contents = {"script": b"\r\n\r", "dataframe1": b"", "bundle": b"\n-\r\n--"}
    data = multipart(*[Part(name, content, "file") for name, content in contents.items()])
    results = []

    for at in range(1, len(data)):
        with workspaces.stage() as staging:
            found = receive_parts(body(data, [at]), BOUNDARY, RULES, {}, staging)
            results.append({name: staging.read(RULES[name].file, 1 << 20) for name in found})

    assert results == [contents] * (len(data) - 1)


def outcome(staging: Staging, data: bytes, sizes: list[int]) -> Any:
    """What became of a body: the parts, or the refusal's words."""
    try:
        return receive_parts(body(data, sizes), BOUNDARY, RULES, {}, staging)
    except InvalidRequest as e:
        return e.code


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.sampled_from([*BREAKS, *NEARLY, DELIMITER]) | st.binary(max_size=20), max_size=20), sizes=SIZES
)
@example(pieces=[f"--{BOUNDARY}\r\nContent-Disposition: form-data; name*=x''%ff\r\n\r\n".encode()], sizes=[])
def test_anything_else_is_refused_by_name(workspaces: Workspaces, pieces: list[bytes], sizes: list[int]) -> None:
    """Rubbish between boundaries: an InvalidRequest or a form without parts, and no other exception."""
    data = b"".join(pieces)

    with workspaces.stage() as staging:
        found = outcome(staging, data, sizes)

    assert found in ("invalid_request", {})


def test_a_part_is_cut_off_at_its_limit(workspaces: Workspaces) -> None:
    """No more of it is written than a chunk above the limit, and the code is the rule's."""
    rules = {"script": Rule("script.py", limit_bytes=10, code="script_too_large")}
    data = multipart(Part("script", b"x" * 11, "s.py"))

    with workspaces.stage() as staging, pytest.raises(TooLarge, match="more than 10 bytes") as caught:
        receive_parts(body(data, [1] * len(data)), BOUNDARY, rules, {}, staging)

    assert (caught.value.code, caught.value.limit) == ("script_too_large", 10)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(0, 300), limit=st.integers(0, 300), sizes=SIZES)
def test_a_body_is_counted(size: int, limit: int, sizes: list[int]) -> None:
    """Up to the limit it is read whole; one byte more is too large."""
    reading = body(b"x" * size, sizes, limit)

    if size > limit:
        with pytest.raises(TooLarge, match="send less"):
            reading.read_all()
    else:
        assert reading.read_all() == b"x" * size


FRAGMENTS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\ud800", b"\\udc00", b"\\u00e4", b"NaN", b"1e999", b"-", b"0", b"1.5",
     b"null", b"true", b'"a"', b'"a":', b" ", b"\xff", b"\xef\xbb\xbf", b"[" * 70, b'{"a":' * 70]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.lists(FRAGMENTS | st.binary(max_size=4), max_size=12).map(b"".join))
@example(data=b"[" * 64 + b"]" * 64)
@example(data=b'{"a": "\\ud83d\\ude00"}')
def test_what_json_is_read_can_be_written_again(data: bytes) -> None:
    """A value that goes into the database and into job.json, or an InvalidRequest; no other exception."""

    try:
        value = parse_json(data, "body")
    except InvalidRequest:
        return
    assert json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) == value
