"""Is a table that was read what it claims to be?  The readers of Arrow take a file at its word."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kind

from runner.failure import BadInput

_FIRST_OF_TWO_BYTES = 0x80
"""From here on, a byte is a part of a character that is not ASCII."""


def verify(table: pa.Table, threads: bool) -> None:
    """Check every offset, length and text.  Raises `BadInput` naming the first column that is corrupt."""

    def check(name: str, column: pa.ChunkedArray) -> None:
        try:
            _check(column)
        except pa.ArrowInvalid as error:
            raise BadInput(f"column {name!r} is corrupt: {error}") from error

    with ThreadPoolExecutor() if threads else nullcontext() as pool:
        each = pool.map if pool else map
        deque(each(check, table.column_names, table.columns), maxlen=0)


def _check(column: pa.ChunkedArray) -> None:
    """Validate in full, as Arrow does it; text, which costs it most, first in a way that can only say yes."""
    column.validate()
    for chunk in column.chunks:
        if not _is_sound_text(chunk):
            chunk.validate(full=True)


def _is_sound_text(chunk: pa.Array) -> bool:
    """Tell whether text is certainly sound: all of it is UTF-8, and it is cut between characters.

    Arrow looks at one cell after the other; here it is all bytes at once, those of missing cells, too.
    """
    if not (kind.is_string(chunk.type) or kind.is_large_string(chunk.type)):
        return False
    present, places, data = chunk.buffers()
    if not len(chunk) or places is None or data is None or not _counts_its_missing(chunk, present):
        return False
    width = np.dtype(np.int32 if kind.is_string(chunk.type) else np.int64)
    if places.size < (chunk.offset + len(chunk) + 1) * width.itemsize:
        return False
    offsets = np.frombuffer(places, width, len(chunk) + 1, chunk.offset * width.itemsize)
    first, last = int(offsets[0]), int(offsets[-1])
    if not 0 <= first <= last <= data.size or (offsets[1:] < offsets[:-1]).any():
        return False
    text = np.frombuffer(data, np.uint8)[first:last]
    return not text.size or bool(text.max() < _FIRST_OF_TWO_BYTES) or _is_unicode(text, offsets - first)


def _counts_its_missing(chunk: pa.Array, present: pa.Buffer | None) -> bool:
    if present is None:
        return bool(chunk.null_count == 0)
    if present.size * 8 < chunk.offset + len(chunk):
        return False
    flags = pa.Array.from_buffers(pa.bool_(), len(chunk), [None, present], offset=chunk.offset)
    return bool(flags.true_count == len(chunk) - chunk.null_count)


def _is_unicode(text: "np.ndarray[Any, np.dtype[np.uint8]]", offsets: "np.ndarray[Any, Any]") -> bool:
    """Tell whether bytes are UTF-8 as a whole, and no offset lies within a character."""
    begun = text[offsets[offsets < text.size]]
    if ((begun & 0xC0) == 0x80).any():
        return False
    ends = pa.py_buffer(np.array([0, text.size], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
