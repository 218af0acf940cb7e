"""The cases of docs/types.md: Arrow columns that are handed in, and pandas columns that scripts return.

A case is run by the code of the runner; what came of it is a `Trip`, and its verdict is worked out from the data:
a value or a logical type that changed without a warning is a verdict of its own, which no case may have.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.types as kind
from runner.failure import RunnerError
from runner.frames import checked, to_arrow, to_pandas
from runner.job import PROFILES
from runner_jobs import Noted

COMPLEX = pa.struct([("real", pa.float64()), ("imag", pa.float64())])
LOSSY = {"precision_lost", "decimal_to_double"}
"""The warnings that say that a value itself may be another one now."""

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400 * 10**9


@dataclass
class Trip:
    """One column that went into pandas and came out again, or as far as it got."""

    source: pa.ChunkedArray
    dtype: str = ""
    noted: Noted = field(default_factory=Noted)
    arrived: pa.ChunkedArray | None = None
    """The column when it was read, in the plain form of its type."""
    back: pa.ChunkedArray | None = None
    error: RunnerError | None = None

    @property
    def verdict(self) -> str:
        """exact, converted, refused (on the way in), kept in (refused on the way out), or silent."""
        if self.back is None:
            return "kept in" if self.dtype else "refused"
        if self.noted.codes:
            return "converted"
        same = logical(self.source.type) == logical(self.back.type) or kind.is_null(self.source.type)
        exactly = self.dtype.endswith("[pyarrow]")
        same = same and levels(self.source) == levels(self.back)
        return "exact" if same and values(self.source, exactly) == values(self.back, exactly) else "silent"


def trip(column: pa.Array | pa.ChunkedArray, dtypes: str, profile: str = "classic", name: str = "x") -> Trip:
    """Send a column through pandas and back, as a run would."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    result = Trip(column)
    try:
        table = checked(pa.table([column], names=[name]), result.noted)
        result.arrived = table.column(0)
        frame = to_pandas(table, dtypes, PROFILES[profile], result.noted)
        result.dtype = str(frame.dtypes.iloc[0])
        result.back = to_arrow(frame, PROFILES[profile], result.noted).column(0)
    except RunnerError as error:
        result.error = error
    return result


def returned(series: pd.Series[Any], profile: str = "classic", name: Any = "x") -> Trip:
    """Take a column that a script returned."""
    result = Trip(pa.chunked_array([pa.nulls(0)]), str(series.dtype))
    try:
        result.back = to_arrow(series.to_frame(name), PROFILES[profile], result.noted).column(0)
    except RunnerError as error:
        result.error = error
    return result


def logical(data_type: pa.DataType) -> Any:
    """What a type means, without the forms of storage that Arrow has for it."""
    if kind.is_run_end_encoded(data_type):
        return logical(data_type.value_type)
    if kind.is_dictionary(data_type):
        return ("category", logical(data_type.value_type), data_type.ordered)
    if kind.is_string(data_type) or kind.is_large_string(data_type) or kind.is_string_view(data_type):
        return "text"
    if kind.is_binary(data_type) or kind.is_large_binary(data_type) or kind.is_binary_view(data_type):
        return "bytes"
    if kind.is_fixed_size_binary(data_type):
        return "bytes"
    if kind.is_time(data_type):
        return "time of day"
    if kind.is_struct(data_type):
        return ("struct", *((field.name, logical(field.type)) for field in data_type))
    if kind.is_map(data_type):
        return ("map", logical(data_type.key_type), logical(data_type.item_type))
    if any(test(data_type) for test in (kind.is_list, kind.is_large_list, kind.is_list_view, kind.is_large_list_view)):
        return ("list", logical(data_type.value_type))
    return str(data_type)


def levels(column: pa.ChunkedArray) -> list[Any] | None:
    """The levels of a category, used or not; None for what is no category."""
    if kind.is_run_end_encoded(column.type):
        column = pa.chunked_array([chunk.values for chunk in column.chunks], type=column.type.value_type)
    if not kind.is_dictionary(column.type):
        return None
    each = [values(pa.chunked_array([chunk.dictionary]), nan_stays=True) for chunk in column.chunks]
    return list(dict.fromkeys(level for levels_of_chunk in each for level in levels_of_chunk))


def values(column: pa.ChunkedArray, nan_stays: bool = False) -> list[Any]:
    """The values of a column in Python, moments and spans as nanoseconds; NaN is missing, unless it stays."""
    return [_value(scalar, nan_stays) for scalar in column]


def _value(scalar: pa.Scalar, nan_stays: bool) -> Any:
    data_type = scalar.type
    if not scalar.is_valid:
        return None
    if kind.is_dictionary(data_type) or kind.is_run_end_encoded(data_type):
        return _value(scalar.value, nan_stays)
    if kind.is_timestamp(data_type) or kind.is_duration(data_type) or kind.is_time(data_type):
        return scalar.value * _NANOSECONDS[data_type.unit]
    if kind.is_date(data_type):
        return scalar.value * (_DAY if kind.is_date32(data_type) else 10**6)
    if kind.is_floating(data_type):
        number = scalar.as_py()
        return number if number == number else ("NaN" if nan_stays else None)
    if kind.is_struct(data_type):
        return {field.name: _value(scalar[field.name], nan_stays) for field in data_type}
    if kind.is_map(data_type):
        return [[_value(pair[part], nan_stays) for part in (0, 1)] for pair in scalar.values]
    if hasattr(scalar, "values"):
        return [_value(item, nan_stays) for item in scalar.values]
    return scalar.as_py()


def is_nested(data_type: pa.DataType) -> bool:
    """Whether its cells are lists or dicts in Python."""
    return kind.is_nested(data_type) and data_type != COMPLEX


@dataclass(frozen=True)
class ArrowCase:
    """A type of Arrow's, with a column without missing values and the same one with some."""

    label: str
    full: pa.Array | pa.ChunkedArray
    holes: pa.Array | pa.ChunkedArray | None = None
    lossy: Callable[[Any], Any] = float
    """What is left of a value after a conversion that loses something."""
    means: list[Any] | None = None
    """The values that an extension type stands for."""


@dataclass(frozen=True)
class ReturnedCase:
    """A column that a script returned, and the values that are to come of it."""

    label: str
    series: pd.Series[Any]
    values: list[Any]


def decimals(*texts: str | None) -> list[decimal.Decimal | None]:
    """Decimal numbers, or None."""
    return [None if text is None else decimal.Decimal(text) for text in texts]
