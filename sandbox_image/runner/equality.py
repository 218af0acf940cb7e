"""Where do two Arrow columns differ first?  Nothing becomes a Python value: none is rounded, none out of range."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds


def first_unequal(left: pa.Array, right: pa.Array) -> int | None:
    """Find the first row in which two verified arrays, of one plain type and one length, hold different values.

    Missing is equal to missing, and NaN to NaN.  Of categories it is the values that count.
    """
    if kind.is_dictionary(left.type):
        left, right = left.dictionary_decode(), right.dictionary_decode()
    if kind.is_struct(left.type):
        return _in_structs(left, right)
    if kind.is_map(left.type):
        pairs = pa.list_(pa.struct({"key": left.type.key_type, "value": left.type.item_type}))
        return _in_lists(left.cast(pairs), right.cast(pairs))
    if kinds.is_nested(left.type):
        return _in_lists(left, right)
    if kind.is_null(left.type):
        return None
    return _first(pc.or_(_one_missing(left, right), _unequal(left, right)))


def _in_structs(left: pa.Array, right: pa.Array) -> int | None:
    inner = [first_unequal(*pair) for pair in zip(left.flatten(), right.flatten(), strict=True)]
    return min((row for row in (_first(_one_missing(left, right)), *inner) if row is not None), default=None)


def _in_lists(left: pa.Array, right: pa.Array) -> int | None:
    lengths = pc.list_value_length(left)
    unlike = pc.fill_null(pc.not_equal(lengths, pc.list_value_length(right)), False)
    row = _first(pc.or_(_one_missing(left, right), unlike))
    alike = len(left) if row is None else row  # up to here, the items of both lie beside each other
    item = first_unequal(left.slice(0, alike).flatten(), right.slice(0, alike).flatten())
    if item is None:
        return row
    ends = np.cumsum(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return int(np.searchsorted(ends, item, side="right"))


def _unequal(left: pa.Array, right: pa.Array) -> pa.Array:
    if kind.is_float16(left.type):
        left, right = left.cast(pa.float32()), right.cast(pa.float32())
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    if not kind.is_floating(left.type):
        return unequal
    both_nan = pc.and_(pc.is_nan(left), pc.is_nan(right))
    return pc.and_not(unequal, pc.fill_null(both_nan, False))


def _one_missing(left: pa.Array, right: pa.Array) -> pa.Array:
    return pc.xor(left.is_null(), right.is_null())


def _first(mask: pa.Array) -> int | None:
    row: int = pc.index(mask, True).as_py()
    return None if row < 0 else row
