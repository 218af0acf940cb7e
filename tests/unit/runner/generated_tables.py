"""Strategies of hypothesis: tables of any type, in any chunks, and Python objects of any sort."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

NAMES = st.text(max_size=12) | st.sampled_from(["", "a", "a (2)", "Col1", " a", "\0", "A", "e\u0301"])
SIXTY_FOUR = st.integers(-(2**63) + 1, 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1])
TEXT = st.text(max_size=8)


def _integers(data_type: pa.DataType) -> st.SearchStrategy[int]:
    bits = data_type.bit_width
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if pa.types.is_signed_integer(data_type) else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([n for n in (2**53, 2**53 + 1) if n <= high] or [0])


def _moments(data_type: pa.DataType) -> st.SearchStrategy[int]:
    """What stands in storage: Arrow takes the same numbers for a column of the type."""
    if pa.types.is_date32(data_type):
        return st.integers(-(2**31), 2**31 - 1)
    if pa.types.is_date64(data_type):
        return st.integers(-(10**9), 10**9).map(lambda day: day * 86_400_000)
    if pa.types.is_time(data_type):
        return st.integers(0, 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[data_type.unit] - 1)
    return SIXTY_FOUR


UNITS = ("s", "ms", "us", "ns")
LEAVES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    **{t: _integers(t) for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{t: _integers(t) for t in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    pa.float16(): st.floats(width=16), pa.float32(): st.floats(width=32), pa.float64(): st.floats(),
    **dict.fromkeys((pa.string(), pa.large_string(), pa.string_view()), TEXT),
    **{t: st.binary(max_size=8) for t in (pa.binary(), pa.large_binary(), pa.binary_view())},
    pa.binary(3): st.binary(min_size=3, max_size=3),
    **{t: st.decimals(-9, 9, places=2) for t in (pa.decimal32(9, 2), pa.decimal64(18, 2))},
    **{t: st.decimals(-(10**30), 10**30, places=2) for t in (pa.decimal128(38, 2), pa.decimal256(76, 2))},
    **{t: _moments(t) for t in (pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"))},
    pa.time64("ns"): _moments(pa.time64("ns")),
    **{t: SIXTY_FOUR for unit in UNITS for t in (pa.timestamp(unit), pa.duration(unit))},
    **{pa.timestamp(unit, zone): SIXTY_FOUR for unit in UNITS for zone in ("UTC", "Europe/Paris")},
}  # fmt: skip
LEAF = st.sampled_from(list(LEAVES))
LEVELS = st.sampled_from([t for t in LEAVES if t not in (pa.binary_view(), pa.decimal32(9, 2), pa.decimal64(18, 2))])
NESTED = st.one_of(
    LEAF.map(pa.list_), LEAF.map(pa.large_list), LEAF.map(pa.list_view),
    LEAF.map(lambda t: pa.list_(t, 2)),
    LEAF.map(lambda t: pa.map_(pa.string(), t)),
    st.tuples(LEAF, LEAF).map(lambda pair: pa.struct({"a": pair[0], "b": pair[1]})),
    LEAF.map(lambda t: pa.list_(pa.struct({"a": pa.list_(t)}))),
)  # fmt: skip


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.ChunkedArray:
    """A column of any type, in several chunks, each a slice of something longer."""
    shape = draw(st.sampled_from(["leaf", "leaf", "category", "nested", "null"]))
    data_type = draw({"leaf": LEAF, "category": LEVELS, "nested": NESTED, "null": st.just(pa.null())}[shape])
    cells = draw(st.lists(_cell(data_type), min_size=rows + 2, max_size=rows + 2))
    array = _array(cells, data_type)
    if shape == "category":
        array = _category(array, draw(st.booleans()))
    elif shape == "leaf" and draw(st.integers(0, 5)) == 0 and not _is_view(data_type):
        array = pc.run_end_encode(array) if data_type != pa.bool_() else array
    cut = draw(st.integers(0, rows))
    return pa.chunked_array([array.slice(1, cut), array.slice(1 + cut, rows - cut)], type=array.type)


def _is_view(data_type: pa.DataType) -> bool:
    return pa.types.is_string_view(data_type) or pa.types.is_binary_view(data_type)


def _category(array: pa.Array, ordered: bool) -> pa.Array:
    if _is_view(array.type):
        array = array.cast(pa.string())
    encoded = array.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary, ordered=ordered)


def _cell(data_type: pa.DataType) -> st.SearchStrategy[Any]:
    present: st.SearchStrategy[Any]
    if pa.types.is_null(data_type):
        return st.none()
    if data_type in LEAVES:
        present = LEAVES[data_type]
    elif pa.types.is_map(data_type):
        present = st.lists(st.tuples(TEXT, _cell(data_type.item_type)), max_size=2)
    elif pa.types.is_struct(data_type):
        present = st.fixed_dictionaries({field.name: _cell(field.type) for field in data_type})
    elif pa.types.is_fixed_size_list(data_type):
        present = st.lists(_cell(data_type.value_type), min_size=2, max_size=2)
    else:
        present = st.lists(_cell(data_type.value_type), max_size=3)
    return st.none() | present | present


def _array(cells: list[Any], data_type: pa.DataType) -> pa.Array:
    """A column of cells; moments are given by their number, at any depth."""
    if not pa.types.is_temporal(data_type):
        return pa.array(cells, data_type)
    width = pa.int32() if data_type.bit_width == 32 else pa.int64()
    return pa.array(cells, width).view(data_type)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of a few columns of any names."""
    rows = draw(st.integers(0, 6))
    found = draw(st.lists(columns(rows), max_size=4))
    names = draw(st.lists(NAMES, min_size=len(found), max_size=len(found)))
    return pa.Table.from_arrays(found, names=names)


LONG = np.longdouble(1) / 10
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**90), 10**90), st.floats(), st.text(max_size=5),
    st.binary(max_size=5), st.complex_numbers(), st.decimals(), st.dates(), st.times(), st.timedeltas(),
    st.datetimes(), st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(minutes=-210))])),
    st.uuids(), st.sampled_from([pd.NA, pd.NaT, np.nan, "\ud800", pd.Timestamp(1), pd.Timedelta(1), 2**53 + 1]),
    st.sampled_from([np.float16(0.1), np.float32(0.1), np.int8(3), np.uint64(2**64 - 1), LONG]),
    st.just(np.datetime64("2020", "D")),
)  # fmt: skip
CELLS = SCALARS | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
