"""One column on its way out: whatever pandas holds becomes an Arrow column, or a refusal by name."""

import datetime
import decimal
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind
from pandas.api.types import infer_dtype

from runner import kinds
from runner.failure import UnsupportedValue, type_name
from runner.job import Warn

_SCALARS = (
    str, bytes, bool, int, float, complex, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
    np.generic, pd.Period, pd.Interval, uuid.UUID, bytearray, memoryview,
)  # fmt: skip
_PASSED_THROUGH = (list, tuple, dict, np.ndarray)


def from_series(series: "pd.Series[Any]", name: str, nested: bool, warn: Warn) -> pa.ChunkedArray:
    """Turn one column of a frame into Arrow.  `nested` lets lists and dicts through."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _from_categories(series, name, nested, warn)
    if isinstance(dtype, pd.SparseDtype):
        return from_series(pd.Series(np.asarray(series.array)), name, nested, warn)
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return pa.chunked_array([_as_text(series.to_numpy(dtype=object), name, warn)])
    if dtype == np.dtype(object):
        return from_arrow(_from_objects(series.to_numpy(), name, nested, warn), name, nested, warn)
    if dtype.kind == "c":
        return pa.chunked_array([kinds.complex_column(series.to_numpy(dtype=np.complex128))])
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        warn("precision_lost", f"column {name!r} ({dtype}) became 64-bit floating point")
        series = series.astype(np.float64)
    try:
        column = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        # An extension type that does not know Arrow: its values are taken one by one.
        column = _from_objects(series.to_numpy(dtype=object), name, nested, warn)
    return from_arrow(column, name, nested, warn)


def from_arrow(column: pa.Array | pa.ChunkedArray, name: str, nested: bool, warn: Warn) -> pa.ChunkedArray:
    """Settle an Arrow column: one kind of missing, no zones, no decimals, only the allowed types."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if not kinds.is_allowed(column.type) or (kinds.is_nested(column.type) and not nested):
        raise _refused_type(column, name)
    column = kinds.compact(kinds.without_views(column))
    if kind.is_dictionary(column.type):
        settled = kinds.categories(column)
        return settled if kind.is_dictionary(settled.type) else from_arrow(settled, name, nested, warn)
    if kind.is_null(column.type):
        return column.cast(pa.string())
    if kind.is_decimal(column.type):
        return kinds.decimals_as_floats(column, name, warn)
    if kind.is_uint64(column.type) and kinds.beyond(column, kinds.MAX_INT64):
        warn("precision_lost", f"column {name!r} holds integers beyond 2^63-1; it became floating point")
        return column.cast(pa.float64(), safe=False)
    if kind.is_timestamp(column.type):
        return kinds.without_zone(column, name, warn)
    return kinds.nan_as_missing(column)


def _from_categories(series: "pd.Series[Any]", name: str, nested: bool, warn: Warn) -> pa.ChunkedArray:
    """Keep the levels, unused ones too, and their order; their values follow the rules of any column."""
    levels = from_series(series.cat.categories.to_series(), name, nested, warn).combine_chunks()
    codes = series.cat.codes.to_numpy()
    indices = pa.array(codes, mask=codes < 0)
    if not kinds.is_flat(levels.type) or len(pc.unique(levels)) < len(levels) or levels.null_count:
        # The rules made two levels one, or they are no plain values any more.
        return pa.chunked_array([levels.take(indices)])
    ordered = bool(series.cat.ordered)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(indices, levels, ordered=ordered)])


def _from_objects(values: "np.ndarray[Any, Any]", name: str, nested: bool, warn: Warn) -> pa.Array:
    """Turn a column of Python objects into Arrow, after what they all are."""
    missing = pd.isna(values)
    present = values[~missing]
    if len(present) == 0:
        return pa.nulls(len(values), pa.string())
    found = infer_dtype(present, skipna=False)
    if found in ("datetime", "datetime64", "timedelta", "timedelta64"):
        return _from_times(values, present, name, warn)
    if found == "complex":
        return kinds.complex_column(np.where(missing, np.nan, values).astype(np.complex128))
    if found == "integer":
        return _from_integers(values, name, warn)
    if found in _SAME_KIND:
        return _from_same_kind(values, present, name, warn)
    _refuse_strange_cells(values, name, nested)
    if any(isinstance(value, kinds.HOLDERS) for value in present):
        return _from_nested(values, name)
    if all(isinstance(value, bytes | bytearray | memoryview) for value in present):
        return pa.array(values, from_pandas=True)
    return _as_text(values, name, warn)


_SAME_KIND = ("string", "bytes", "floating", "mixed-integer-float", "boolean", "decimal", "date", "time")


def _from_same_kind(values: "np.ndarray[Any, Any]", present: "np.ndarray[Any, Any]", name: str, warn: Warn) -> pa.Array:
    # Arrow would cut what these carry beside the day and the time of day.
    cut = any(isinstance(value, datetime.datetime) or getattr(value, "tzinfo", None) for value in present)
    if cut:
        return _as_text(values, name, warn)
    try:
        return pa.array(values, from_pandas=True)
    except UnicodeEncodeError:
        return _without_surrogates(values, name, warn)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _as_text(values, name, warn)


def _from_nested(values: "np.ndarray[Any, Any]", name: str) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        row = next(n for n, value in enumerate(values) if isinstance(value, kinds.HOLDERS))
        raise _refusal(name, row, f"{type_name(values[row])} ({error})") from error


def _from_integers(values: "np.ndarray[Any, Any]", name: str, warn: Warn) -> pa.Array:
    try:
        return pa.array(values, type=pa.int64(), from_pandas=True)
    except (pa.ArrowInvalid, OverflowError):
        pass
    try:
        floats = [None if pd.isna(value) else float(value) for value in values]
    except OverflowError:
        return _as_text(values, name, warn)
    warn("precision_lost", f"column {name!r} holds integers beyond 64 bits; it became floating point")
    return pa.array(floats, type=pa.float64())


def _from_times(values: "np.ndarray[Any, Any]", present: "np.ndarray[Any, Any]", name: str, warn: Warn) -> pa.Array:
    """Turn moments, or spans of time, into Arrow: nanoseconds when one needs them, else microseconds."""
    zones = {getattr(value, "tzinfo", None) is not None for value in present}
    if len(zones) > 1:
        return _as_text(values, name, warn)
    if any(value.utcoffset() for value in present if getattr(value, "tzinfo", None)):
        warn("zone_dropped", f"column {name!r} holds times with a time zone; they became UTC without a zone")
    spans = isinstance(present[0], datetime.timedelta | np.timedelta64)
    make, stored = (pd.Timedelta, pa.duration) if spans else (pd.Timestamp, pa.timestamp)
    if not any(_is_fine(value) for value in present):
        try:
            return pa.array(values, type=stored("us"), from_pandas=True)
        except (pa.ArrowException, TypeError):
            pass  # numpy's own scalars among them
    try:
        whole = [None if pd.isna(value) else make(value).as_unit("ns").value for value in values]
    except (ValueError, OverflowError):
        return _as_text(values, name, warn)
    return pa.array(whole, type=pa.int64()).cast(stored("ns"))


def _is_fine(value: Any) -> bool:
    """Tell whether a time is, or may be, finer than a microsecond."""
    return bool(
        getattr(value, "nanosecond", 0)
        or getattr(value, "nanoseconds", 0)
        or isinstance(value, np.datetime64 | np.timedelta64)
    )


def _as_text(values: "np.ndarray[Any, Any]", name: str, warn: Warn) -> pa.Array:
    missing = pd.isna(values)
    found = sorted({type_name(value) for value in values[~missing]})
    held = f"values of type {found[0]}" if len(found) == 1 else f"values of {len(found)} types ({', '.join(found)})"
    warn("made_text", f"column {name!r} holds {held}; each one became text")
    texts = [None if gone else str(value) for value, gone in zip(values, missing, strict=True)]
    try:
        return pa.array(texts, type=pa.string())
    except UnicodeEncodeError:
        return _without_surrogates(texts, name, warn)


def _without_surrogates(values: Any, name: str, warn: Warn) -> pa.Array:
    warn("surrogates_replaced", f"column {name!r} holds text with lone surrogates; they are now '?'")
    texts = [str(v).encode("utf-8", "replace").decode("utf-8") if isinstance(v, str) else None for v in values]
    return pa.array(texts, type=pa.string())


def _refuse_strange_cells(values: "np.ndarray[Any, Any]", name: str, nested: bool) -> None:
    allowed = (*_SCALARS, *(_PASSED_THROUGH if nested else ()))
    for row, value in enumerate(values):
        if not isinstance(value, allowed) and not _is_missing(value):
            raise _refusal(name, row, type_name(value))
        if nested and isinstance(value, kinds.HOLDERS) and kinds.too_deep(value):
            raise _refusal(name, row, f"{type_name(value)} nested more than {kinds.MAX_DEPTH} deep")


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _refused_type(column: pa.ChunkedArray, name: str) -> UnsupportedValue:
    row = next((n for n, valid in enumerate(column.is_valid().to_pylist()) if valid), 0)
    return _refusal(name, row, str(column.type))


def _refusal(name: str, row: int, what: str) -> UnsupportedValue:
    return UnsupportedValue(
        f"column {name!r}, row {row}: a table cannot hold a value of type {what}; turn it into text, numbers,"
        " times or bytes before returning it"
    )
