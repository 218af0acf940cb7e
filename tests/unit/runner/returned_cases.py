"""What scripts return: columns of every type that pandas has, and of every sort of Python objects."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from type_matrix import ReturnedCase, decimals

MICROSECOND = 1000
MOMENT = dt.datetime(2020, 1, 2, 3, 4, 5, 678901)
MOMENT_NS = pd.Timestamp(MOMENT).as_unit("ns").value
EAST = dt.timezone(dt.timedelta(hours=1))
HOUR = 3600 * 10**9
DAY_NS = pd.Timestamp("2020-01-02").as_unit("ns").value


def objects(*cells: Any) -> pd.Series[Any]:
    """A column of exactly these objects."""
    column = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        column[row] = cell
    return pd.Series(column, dtype=object)


def _own(label: str, values: Any, dtype: Any, expected: list[Any]) -> ReturnedCase:
    return ReturnedCase(label, pd.Series(values, dtype=dtype), expected)


def _numpy() -> list[ReturnedCase]:
    cases = [_own("bool", [True, False], "bool", [True, False])]
    for sign, bits in [(sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)]:
        least, most = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        name = f"{sign}int{bits}"
        cases.append(ReturnedCase(name, pd.Series(np.array([least, most], name)), [least, most]))
    for name in ("float16", "float32", "float64"):
        cases.append(_own(f"{name}, NaN", [1.5, np.nan, -np.inf], name, [1.5, None, float("-inf")]))
    cases.append(_own("longdouble", np.array([1.5], np.longdouble), None, [1.5]))
    cases.append(_own("int64, big-endian", np.array([1, -2], ">i8"), None, [1, -2]))
    number = {"real": 1.0, "imag": 2.0}
    for dtype in (np.complex64, np.complex128, np.clongdouble):
        cases.append(_own(np.dtype(dtype).name, np.array([1 + 2j, np.nan], dtype), None, [number, None]))
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 1000), ("ns", 1)):
        cases.append(_own(f"datetime64[{unit}]", np.array([5, "NaT"], f"M8[{unit}]"), None, [5 * factor, None]))
        cases.append(_own(f"timedelta64[{unit}]", np.array([-5, "NaT"], f"m8[{unit}]"), None, [-5 * factor, None]))
    return cases


def _pandas() -> list[ReturnedCase]:
    noon = pd.Series(pd.to_datetime(["2020-01-02 00:00", None]).as_unit("us"))
    cases = [
        ReturnedCase("datetime64[us, UTC]", noon.dt.tz_localize("UTC"), [DAY_NS, None]),
        ReturnedCase("datetime64[us, +01:00]", noon.dt.tz_localize(EAST), [DAY_NS - HOUR, None]),
    ]
    for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"):
        cases.append(_own(name, [1, None], name, [1, None]))
    wide = pd.Series(pd.array([2**63 - 1, 2**53 + 1, None], dtype="Int64"))
    cases.append(ReturnedCase("Int64, beyond 2^53", wide, [2**63 - 1, 2**53 + 1, None]))
    cases.append(_own("boolean", [True, None], "boolean", [True, None]))
    for name in ("Float32", "Float64"):
        zero = pd.Series([0.0, None, 1.0], dtype=name)
        cases.append(ReturnedCase(f"{name}, NaN inside", zero / zero, [None, None, 1.0]))
    for dtype in ("str", "string[python]", "string[pyarrow]"):
        cases.append(_own(dtype, ["x", "", None], dtype, ["x", "", None]))
    cases.append(_own("string[python], lone surrogate", ["a\ud800", None], "string[python]", ["a?", None]))
    return cases


def _derived() -> list[ReturnedCase]:
    levels = pd.Categorical(["b", None], categories=["b", "a"], ordered=True)
    days = pd.Categorical(pd.to_datetime(["2020-01-02"]).as_unit("s"))
    sparse = pd.arrays.SparseArray
    return [
        ReturnedCase("category of str, ordered, a level unused", pd.Series(levels), ["b", None]),
        ReturnedCase("category of int64", pd.Series(pd.Categorical([3, 1], categories=[1, 2, 3])), [3, 1]),
        ReturnedCase("category of datetime64", pd.Series(days), [DAY_NS]),
        ReturnedCase("category of Interval (pd.cut)", pd.Series(pd.cut([1, 2], [0, 1, 2])), ["(0, 1]", "(1, 2]"]),
        ReturnedCase("category of objects that become equal", pd.Series(pd.Categorical([1, "1"])), ["1", "1"]),
        ReturnedCase("category, nothing but missing", pd.Series(pd.Categorical([None, None])), [None, None]),
        ReturnedCase("Sparse[float64, nan]", pd.Series(sparse([1.5, np.nan])), [1.5, None]),
        ReturnedCase("Sparse[int64, 0]", pd.Series(sparse([0, 5])), [0, 5]),
        ReturnedCase("Sparse[bool, False]", pd.Series(sparse([False, True])), [False, True]),
        ReturnedCase("Sparse[object]", pd.Series(sparse(np.array(["x", None], object))), ["x", None]),
        ReturnedCase("period[M]", pd.Series(pd.PeriodIndex(["2020-01", None], freq="M")), ["2020-01", None]),
        ReturnedCase("interval[int64, right]", pd.Series(pd.interval_range(0, 1)), ["(0, 1]"]),
    ]


def _arrow_backed() -> list[ReturnedCase]:
    def case(data_type: pa.DataType, cells: list[Any], expected: list[Any] | None = None) -> ReturnedCase:
        series = pd.Series(pd.ArrowDtype(data_type).__from_arrow__(pa.array(cells, data_type)))
        return ReturnedCase(f"{data_type}[pyarrow]", series, cells if expected is None else expected)

    period = pa.array(pd.period_range("2020-01", periods=1, freq="M"))
    periods = pd.Series(pd.ArrowDtype(period.type).__from_arrow__(pa.chunked_array([period])))
    key = uuid.UUID(int=5)
    return [
        case(pa.int8(), [1, None]),
        case(pa.uint64(), [2**64 - 1, None]),
        ReturnedCase("double[pyarrow], NaN inside", _with_nan(), [None, None, 1.5]),
        *[case(data_type, ["x", "", None]) for data_type in (pa.string(), pa.large_string(), pa.string_view())],
        case(pa.decimal128(38, 2), decimals("0.10", None)),
        case(pa.date32(), [dt.date(2020, 1, 2), None], [DAY_NS, None]),
        case(pa.time64("ns"), [1, None]),
        case(pa.timestamp("ns", "Europe/Paris"), [1, None]),
        case(pa.duration("s"), [-1, None], [-(10**9), None]),
        case(pa.binary(2), [b"ab", None]),
        case(pa.dictionary(pa.int8(), pa.string()), ["x", None]),
        case(pa.list_(pa.int8()), [[1, None], None]),
        case(pa.struct({"a": pa.int64()}), [{"a": 1}, None]),
        case(pa.map_(pa.string(), pa.int64()), [[("k", 1)], None], [[["k", 1]], None]),
        case(pa.null(), [None]),
        case(pa.month_day_nano_interval(), [(1, 2, 3)]),
        case(pa.uuid(), [key, None], [str(key), None]),
        ReturnedCase("pandas.period[pyarrow]", periods, ["2020-01"]),
    ]


def _with_nan() -> pd.Series[Any]:
    column = pa.chunked_array([pa.array([float("nan"), None, 1.5])])
    return pd.Series(pd.ArrowDtype(pa.float64()).__from_arrow__(column))


def _objects() -> list[ReturnedCase]:
    def case(label: str, *cells: Any, expected: list[Any] | None = None) -> ReturnedCase:
        return ReturnedCase(label, objects(*cells), list(cells) if expected is None else expected)

    kinds_of_missing = (None, np.nan, pd.NaT, pd.NA, decimal.Decimal("NaN"), decimal.Decimal("sNaN"))
    gone = [None] * len(kinds_of_missing)
    return [
        case("text", "x", "", None),
        case("text, and every sort of missing", "x", *kinds_of_missing, expected=["x", *gone]),
        case("nothing but missing", *kinds_of_missing, expected=gone),
        case("text with a lone surrogate", "a\ud800", expected=["a?"]),
        case("bool", True, np.False_, None, expected=[True, False, None]),
        case("int", 1, np.int8(-1), None, expected=[1, -1, None]),
        case("int, up to 2^64-1", 2**63, 1, None),
        case("int, beyond 64 bits", 2**70, -1, None),
        case("int, beyond 76 digits", 10**77, 1, expected=[str(10**77), "1"]),
        case("int, of more digits than str() makes", 10**5000),
        case("float", 1.5, np.float32(0.5), np.nan, expected=[1.5, 0.5, None]),
        case("float16", np.float16(1.5), expected=[1.5]),
        case("longdouble", np.longdouble(1.5), expected=["1.5"]),
        case("int and float", 2**53, 2.5, None, expected=[2.0**53, 2.5, None]),
        case("int beyond 2^53 and float", 2**53 + 1, 2.5, expected=[str(2**53 + 1), "2.5"]),
        case("int and bool", 1, True, expected=["1", "True"]),
        case("text and int", "x", 1, expected=["x", "1"]),
        case("complex", 1 + 2j, None, expected=[{"real": 1.0, "imag": 2.0}, None]),
        case("complex, int and float", 1 + 2j, 3, 0.5, None, expected=[
            {"real": 1.0, "imag": 2.0}, {"real": 3.0, "imag": 0.0}, {"real": 0.5, "imag": 0.0}, None
        ]),
        case("complex and int beyond 2^53", 1j, 2**53 + 1, expected=["1j", str(2**53 + 1)]),
        case("bytes, bytearray, memoryview", b"x", bytearray(b"y"), memoryview(b"z"), expected=[b"x", b"y", b"z"]),
        case("Decimal", *decimals("0.10", "12345678901234567890.05", None)),
        case("Decimal, 76 digits", *decimals("9" * 76)),
        case("Decimal, 77 digits", *decimals("9" * 77), expected=["9" * 77]),
        case("Decimal, infinite", *decimals("Infinity", "1"), expected=["Infinity", "1"]),
        case("Decimal and int", *decimals("1.5"), 2, None, expected=decimals("1.5", "2.0", None)),
        case("Decimal and int, 77 digits", *decimals("1"), 10**76, expected=["1", str(10**76)]),
        case("Decimal and float", *decimals("1.5"), 2.5, expected=["1.5", "2.5"]),
        case("Decimal and np.timedelta64", *decimals("1.5"), np.timedelta64(5, "s"), expected=["1.5", "5 seconds"]),
        case("complex and np.timedelta64", 1j, np.timedelta64(5, "Y"), expected=["1j", "5 years"]),
        case("Decimal and bool", *decimals("1.5"), True, expected=["1.5", "True"]),
        case("datetime", MOMENT, pd.NaT, expected=[MOMENT_NS, None]),
        case("datetime, of every year", dt.datetime.min, dt.datetime.max, expected=[
            -62_135_596_800 * 10**9, (253_402_300_800 * 10**6 - 1) * MICROSECOND
        ]),
        case("datetime with a zone", MOMENT.replace(tzinfo=EAST), expected=[MOMENT_NS - HOUR]),
        case("datetime in UTC", MOMENT.replace(tzinfo=dt.UTC), expected=[MOMENT_NS]),
        case("datetime with a zone, and without", MOMENT, MOMENT.replace(tzinfo=EAST), expected=[
            str(MOMENT), str(MOMENT.replace(tzinfo=EAST))
        ]),
        case("pd.Timestamp with nanoseconds, and datetime", pd.Timestamp(1), MOMENT, expected=[1, MOMENT_NS]),
        case("pd.Timestamp of the year 20000", pd.Timestamp(np.datetime64("20000-01-01", "s")), expected=[
            568_971_820_800 * 10**9
        ]),
        case("np.datetime64", np.datetime64("2020-01-02"), np.datetime64("NaT"), expected=[DAY_NS, None]),
        case("date", dt.date(2020, 1, 2), None, expected=[DAY_NS, None]),
        case("date and datetime", dt.date(2020, 1, 2), MOMENT, expected=["2020-01-02", str(MOMENT)]),
        case("time", dt.time(1), None, expected=[HOUR, None]),
        case("time with a zone", dt.time(1, tzinfo=EAST), expected=["01:00:00+01:00"]),
        case("timedelta", dt.timedelta(microseconds=-1), None, expected=[-1000, None]),
        case("pd.Timedelta with nanoseconds", pd.Timedelta(1), expected=[1]),
        case("timedelta, the longest", dt.timedelta.max, expected=[str(dt.timedelta.max)]),
        case("uuid.UUID", uuid.UUID(int=5), None, expected=[str(uuid.UUID(int=5)), None]),
        case("pd.Period, pd.Interval", pd.Period("2020", "M"), pd.Interval(0, 1), expected=["2020-01", "(0, 1]"]),
    ]  # fmt: skip


def _cells() -> list[ReturnedCase]:
    def case(label: str, *cells: Any, expected: list[Any] | None = None) -> ReturnedCase:
        return ReturnedCase(label, objects(*cells), list(cells) if expected is None else expected)

    itself: list[Any] = []
    itself.append(itself)
    vectors = (np.array([1.5, 2.5], np.float32), np.array([], np.float32))
    return [
        case("list", [1, None], [], None),
        case("list of int and float", [1, 2.5], expected=[[1.0, 2.5]]),
        case("tuple", (1, 2), expected=[[1, 2]]),
        case("dict", {"a": 1, "b": ["x"]}, {"a": None, "b": None}),
        case("vectors (numpy)", *vectors, expected=[[1.5, 2.5], []]),
        case("matrices (numpy)", np.ones((1, 2)), expected=[[[1.0, 1.0]]]),
        case("list of datetime with a zone", [MOMENT.replace(tzinfo=EAST)], expected=[[MOMENT_NS - HOUR]]),
        case("list of datetime with two zones", [MOMENT.replace(tzinfo=EAST), MOMENT.replace(tzinfo=dt.UTC)]),
        case("list with a lone surrogate", ["a\ud800"], expected=[["a?"]]),
        case("list of date and datetime", [dt.date(2020, 1, 2), MOMENT]),
        case("list of pd.Timestamp with nanoseconds", [pd.Timestamp(1)]),
        case("list of text and int", ["x", 1]),
        case("list of int beyond 64 bits", [1], [2**70]),
        case("list of int beyond 2^53 and float", [1.5], [2**53 + 1]),
        case("dict with keys that are not text", {1: 2}),
        case("lists in lists, four deep", [[[[1]]]]),
        case("list that holds itself", itself),
        case("set", {1}),
        case("DataFrame", pd.DataFrame({"a": [1]})),
        case("any other object", object),
    ]


CASES = {
    "numpy's types": _numpy(),
    "pandas' own types": _pandas(),
    "Categories, sparse columns, periods, intervals": _derived(),
    "Arrow-backed types": _arrow_backed(),
    "Columns of Python objects": _objects(),
    "Columns of cells that hold more": _cells(),
}
