"""One column on its way out: whatever pandas holds becomes an Arrow column, or a refusal by name."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from runner import encodings, kinds, objects
from runner.arriving import note_zone
from runner.failure import UnsupportedValue
from runner.notes import Notes

_NO_ARROW = (pa.ArrowException, TypeError, ValueError, NotImplementedError)


def from_series(series: "pd.Series[Any]", name: str, nested: bool, notes: Notes) -> pa.ChunkedArray:
    """Turn one column of a frame into Arrow.  `nested` lets cells be lists and dicts.

    Raises `UnsupportedValue` naming the column, the row, the value and the type of what a table cannot hold.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _chunked(_from_numpy(series.to_numpy(), name, nested, notes))
    if isinstance(dtype, pd.CategoricalDtype):
        return _from_categories(series, name, nested, notes)
    if isinstance(dtype, pd.SparseDtype):
        return _chunked(_from_numpy(np.asarray(series.array), name, nested, notes))
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return _chunked(objects.as_text(objects.with_none(series.to_numpy(dtype=object)), name, notes))
    if isinstance(dtype, pd.DatetimeTZDtype):
        note_zone(name, str(dtype.tz), notes)
        return _chunked(pa.array(series.dt.tz_convert(None).to_numpy(), from_pandas=True))
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):  # NaN and pd.NA are told apart in there
        width = np.float32 if isinstance(dtype, pd.Float32Dtype) else np.float64
        return _chunked(pa.array(series.to_numpy(dtype=width, na_value=np.nan), from_pandas=True))
    return _from_extension(series, name, nested, notes)


def from_arrow(column: pa.ChunkedArray, field: pa.Field, notes: Notes) -> pa.ChunkedArray:
    """Take a column whose Arrow type somebody chose: it stays as it is, in the plain form of its type."""
    if not kinds.is_allowed(column.type):
        row, value = encodings.first_value(column)
        raise UnsupportedValue(
            f"column {field.name!r}, row {row}: {value}: a table cannot hold values of type {column.type}"
            " (docs/types.md)"
        )
    return encodings.plain(column, field, notes)


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _from_numpy(values: "np.ndarray[Any, Any]", name: str, nested: bool, notes: Notes) -> Any:
    """Numbers, truth values and times are not copied; what is missing among them is found on the way."""
    dtype = values.dtype
    if dtype.kind not in "biufcmM":
        return objects.from_objects(values.astype(object, copy=False), name, nested, notes)
    if dtype.itemsize > {"f": 8, "c": 16}.get(dtype.kind, 8):
        objects.note_long(name, str(dtype), notes)
        values = values.astype(np.float64 if dtype.kind == "f" else np.complex128)
    elif not dtype.isnative:
        values = values.astype(dtype.newbyteorder("="))
    if dtype.kind == "c":
        return kinds.complex_column(values.astype(np.complex128, copy=False))
    if _is_complete(values):
        return pa.array(values)
    if dtype.kind == "f" and values.flags.c_contiguous:
        return _with_gaps(values)
    return pa.array(values, from_pandas=True)


def _with_gaps(values: "np.ndarray[Any, Any]") -> pa.Array:
    """Floats with NaN as missing: as Arrow does it, ten times faster, since numpy looks at many of them at once."""
    missing = np.isnan(values)
    known = np.packbits(~missing, bitorder="little")
    buffers = [pa.py_buffer(known), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers, np.count_nonzero(missing))


def _is_complete(values: "np.ndarray[Any, Any]") -> bool:
    """Tell, many times faster than Arrow's search, that no number and no time is missing; False is no promise."""
    if not len(values):
        return True
    if values.dtype.kind in "mM":
        return bool(values.view(np.int64).min() != np.iinfo(np.int64).min)  # which is NaT
    if values.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):
        return bool(not np.isnan(values.min()))  # NaN is the least of all


def _from_extension(series: "pd.Series[Any]", name: str, nested: bool, notes: Notes) -> pa.ChunkedArray:
    """Text, pandas' nullable types, Arrow-backed columns, and types of other libraries."""
    try:
        column = _chunked(pa.array(series.array, from_pandas=True))
    except _NO_ARROW:
        # Text that is not Unicode, or a type that does not know Arrow: the values are taken one by one.
        return _chunked(objects.from_objects(series.to_numpy(dtype=object), name, nested, notes))
    column = from_arrow(column, pa.field(name, column.type), notes)
    return kinds.compact(column) if isinstance(series.dtype, pd.StringDtype) else column


def _from_categories(series: "pd.Series[Any]", name: str, nested: bool, notes: Notes) -> pa.ChunkedArray:
    """Keep the levels, unused ones too, and their order; their values follow the rules of any column."""
    levels = from_series(series.cat.categories.to_series(), name, nested, notes).combine_chunks()
    codes = series.array.codes
    indices = pa.array(codes, mask=codes < 0) if len(codes) and codes.min() < 0 else pa.array(codes)
    if not kinds.is_flat(levels.type) or len(pc.unique(levels)) < len(levels) or levels.null_count:
        notes.warn(
            "categories_decoded", "levels became equal to one another, or nested; the values are kept alone", name
        )
        return pa.chunked_array([levels.take(indices)])
    ordered = bool(series.cat.ordered)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(indices, levels, ordered=ordered, safe=False)])
