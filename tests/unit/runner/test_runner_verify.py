"""Text is verified by a shorter way than Arrow's own: it must never let through what Arrow refuses."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st
from runner.failure import BadInput
from runner.verify import verify

BYTES = st.one_of(st.text(max_size=12).map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=12))


def text_array(
    data: bytes, offsets: list[int], present: int | None, missing: int, skipped: int = 0, large: bool = False
) -> pa.Array:
    """An array out of buffers as a hostile file may hold them; `present` are the bits of its validity."""
    bits = None if present is None else pa.py_buffer(present.to_bytes(4, "little"))
    places = pa.py_buffer(np.array(offsets, np.int64 if large else np.int32))
    data_type = pa.large_string() if large else pa.string()
    return pa.Array.from_buffers(
        data_type, len(offsets) - 1 - skipped, [bits, places, pa.py_buffer(data)], null_count=missing, offset=skipped
    )


def refuses(array: pa.Array) -> bool:
    try:
        verify(pa.table({"a": array}), threads=False)
    except BadInput:
        return True
    return False


@given(
    data=BYTES, offsets=st.lists(st.integers(-1, 14), min_size=1, max_size=6), ordered=st.booleans(),
    present=st.none() | st.integers(0, 63), missing=st.integers(0, 3), skipped=st.integers(0, 2), large=st.booleans(),
)  # fmt: skip
@example("é".encode(), [0, 1, 2], True, None, 0, 0, False)
@example("aé".encode(), [0, 1, 3], True, None, 0, 0, True)
@example(b"abc", [0, 1, 3], True, 1, 0, 0, False)
@example(b"abc", [0, 3, 1, 2], False, None, 0, 0, False)
@example(b"\xffab", [0, 1, 3], True, 2, 1, 0, False)
def test_the_verdict_on_text_is_arrows_own(
    data: bytes, offsets: list[int], ordered: bool, present: int | None, missing: int, skipped: int, large: bool
) -> None:
    """Whatever a file claims: what Arrow's full validation refuses is refused, and nothing else."""
    skipped = min(skipped, len(offsets) - 1)
    try:
        array = text_array(data, sorted(offsets) if ordered else offsets, present, missing, skipped, large)
    except pa.ArrowInvalid:  # so plainly wrong that Arrow does not even make it
        reject()
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        expected = True
    else:
        expected = False

    assert refuses(array) == expected


@pytest.mark.parametrize("word", ["plain", "größer", "日本語", "🙂"])
def test_text_of_every_alphabet_is_sound(word: str) -> None:
    """Cells that end within the bytes of a text, and slices of a column, are no faults."""
    column = pa.array([word, None, "", word * 3, "a" + word])

    assert not refuses(column)
    assert not refuses(column.slice(1, 3))
    assert not refuses(column.cast(pa.large_string()))


def test_a_fault_in_the_last_of_many_cells_is_found() -> None:
    """One byte among a million that is not UTF-8 is found, and the column is named."""
    data = bytearray(b"x" * 1_000_000)
    data[-1] = 0xFF
    offsets = list(range(0, 1_000_001, 10))

    assert refuses(text_array(bytes(data), offsets, None, 0))
