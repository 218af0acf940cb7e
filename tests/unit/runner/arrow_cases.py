"""What is handed in: every type of Arrow's, without and with missing values, and the values at its edges."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from type_matrix import COMPLEX, ArrowCase, decimals

UNITS = ("s", "ms", "us", "ns")
EDGE = 2**53
DAY = dt.date(2020, 1, 2)


def _numbers(data_type: pa.DataType, *numbers: Any) -> pa.Array:
    """A column of what these numbers stand for in storage."""
    width = pa.int32() if data_type.bit_width == 32 else pa.int64()
    return pa.array(numbers, width).view(data_type)


def _plain() -> list[ArrowCase]:
    cases = [ArrowCase("null", pa.nulls(0), pa.nulls(2)), _case(pa.bool_(), True, False)]
    cases.append(ArrowCase("bool, no value", pa.nulls(2, pa.bool_())))
    for sign, bits in [(sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)]:
        least, most = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        data_type = getattr(pa, f"{sign}int{bits}")()
        if bits == 64:
            cases.append(_case(data_type, EDGE, 0, label=f"{data_type}, up to 2^53"))
            cases.append(_case(data_type, least, most, EDGE + 1, label=f"{data_type}, beyond 2^53"))
        else:
            cases.append(_case(data_type, least, most))
    for data_type, least in ((pa.float16(), 6e-8), (pa.float32(), 1e-45), (pa.float64(), 5e-324)):
        column = pa.array([1.5, -0.0, least, float("inf")]).cast(data_type)
        holes = pa.chunked_array([column, pa.nulls(1, data_type)])
        cases.append(ArrowCase(str(data_type), column, holes))
        nan = pa.array([1.5, float("nan"), None]).cast(data_type)
        cases.append(ArrowCase(f"{data_type}, NaN", nan))
    for data_type in (pa.decimal32(9, 2), pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(76, 2)):
        largest = "9" * (data_type.precision - 2)
        cases.append(ArrowCase(str(data_type), *_both(data_type, *decimals("0.10", f"-{largest}.99"))))
    return cases


def _times() -> list[ArrowCase]:
    cases = [
        ArrowCase("date32", *_both(pa.date32(), DAY, dt.date(1, 1, 1), dt.date(9999, 12, 31))),
        ArrowCase("date64", *_both(pa.date64(), DAY, dt.date(1, 1, 1), dt.date(9999, 12, 31))),
        ArrowCase("date32, 5 million years away", _numbers(pa.date32(), -(2**31), 2**31 - 1)),
    ]
    cases.append(ArrowCase("time64[us], no value", pa.nulls(0, pa.time64("us")), pa.nulls(2, pa.time64("us"))))
    for data_type in (pa.time32("s"), pa.time32("ms"), pa.time64("us")):
        cases.append(ArrowCase(str(data_type), *_both(data_type, dt.time(0), dt.time(23, 59, 59))))
    cases.append(ArrowCase("time64[ns], whole microseconds", *_both(pa.time64("ns"), 1000, 86_399_999_999_000)))
    cut = lambda value: value // 1000 * 1000  # noqa: E731
    cases.append(ArrowCase("time64[ns], finer", *_both(pa.time64("ns"), 1, 86_399_999_999_999), lossy=cut))
    for unit in UNITS:
        cases.append(_case(pa.timestamp(unit), 0, -1, 2**63 - 1))
    for unit in UNITS:
        cases.append(_case(pa.timestamp(unit, "UTC"), 0, -1, 2**40))
        cases.append(_case(pa.timestamp(unit, "Europe/Paris"), 0, -1, 2**40))
    cases.append(_case(pa.timestamp("us", "+05:30"), 0, -1))
    for unit in UNITS:
        cases.append(_case(pa.duration(unit), 0, -1, 2**63 - 1))
    for data_type in (pa.timestamp("us"), pa.duration("ns")):
        cases.append(ArrowCase(f"{data_type}, the smallest of all numbers", _numbers(data_type, 0, -(2**63))))
    return cases


def _texts() -> list[ArrowCase]:
    words = ("x", "", "NA", "nan", "\u65e5\u672c\U0001f642", "e\u0301", "a\0b")
    cases = [_case(data_type, *words) for data_type in (pa.string(), pa.large_string(), pa.string_view())]
    for data_type in (pa.binary(), pa.large_binary(), pa.binary_view()):
        cases.append(_case(data_type, b"", b"\x00\xff"))
    nothing = ArrowCase("binary, no value", pa.nulls(0, pa.binary()), pa.nulls(2, pa.binary()))
    return [*cases, _case(pa.binary(2), b"\x00\xff", b"ab"), nothing]


def _categories() -> list[ArrowCase]:
    def case(label: str, levels: pa.Array, ordered: bool = False, index: Any = None) -> ArrowCase:
        index = index or pa.int8()
        first, second = (
            pa.DictionaryArray.from_arrays(pa.array(codes, index), levels, ordered=ordered)
            for codes in ([1, 0, 1], [1, None, 0])
        )
        return ArrowCase(f"dictionary of {label}", first, second)

    unused = [
        case("string, one level unused", pa.array(["b", "a", "unused"])),
        case("string, ordered", pa.array(["low", "high"]), ordered=True),
        case("string, uint64 indices", pa.array(["b", "a"]), index=pa.uint64()),
        case("large_string", pa.array(["b", "a"], pa.large_string())),
        case("string_view", pa.array(["b", "a"], pa.string_view())),
        case("string, a level twice", pa.array(["a", "a"])),
        case("string, a level missing", pa.array(["a", None])),
        case("bool", pa.array([False, True])),
        case("int8", pa.array([5, -5], pa.int8())),
        case("int64", pa.array([2**63 - 1, -5])),
        case("uint64", pa.array([2**64 - 1, 0], pa.uint64())),
        case("float", pa.array([0.5, -0.5], pa.float32())),
        case("double", pa.array([0.5, float("-inf")])),
        case("double, NaN among them", pa.array([0.5, float("nan")])),
        case("halffloat", pa.array(np.array([0.5, 1.5], np.float16))),
        case("timestamp[us]", _numbers(pa.timestamp("us"), 5, -5)),
        case("timestamp[us, tz=UTC]", _numbers(pa.timestamp("us", "UTC"), 5, -5)),
        case("duration[ns]", _numbers(pa.duration("ns"), 5, -5)),
        case("date32", pa.array([DAY, dt.date(1, 1, 1)])),
        case("time64[us]", pa.array([dt.time(1), dt.time(2)])),
        case("decimal128(3, 2)", pa.array(decimals("1.25", "2.50"))),
        case("binary", pa.array([b"\x00", b"\xff"])),
        case("null", pa.nulls(2)),
    ]
    batches = [pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), [level]) for level in ("x", "y")]
    many = [
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), [f"{batch}.{n}" for n in range(100)])
        for batch in range(2)
    ]
    return [
        *unused,
        ArrowCase("dictionary of string, other levels in every batch", pa.chunked_array(batches)),
        ArrowCase("dictionary of string, 128 levels and more in all batches", pa.chunked_array(many)),
    ]


def _nested() -> list[ArrowCase]:
    item = pa.array([1, 2, 3], pa.int8())
    return [
        _case(pa.list_(pa.int64()), [1, 2], [], [EDGE + 1, None]),
        _case(pa.large_list(pa.string()), ["x"], [None, ""]),
        _case(pa.list_(pa.int8(), 2), [1, 2], [3, None]),
        _case(pa.list_view(pa.int64()), [1, 2], [], [None]),
        _case(pa.large_list_view(pa.string()), ["x"], []),
        _case(pa.list_(pa.float32()), [0.5], []),
        _case(pa.list_(pa.timestamp("ns", "Europe/Paris")), [0], [10**9]),
        _case(pa.list_(pa.decimal128(5, 2)), decimals("1.25"), []),
        _case(pa.list_(pa.string_view()), ["x"], []),
        _case(pa.list_(pa.dictionary(pa.int8(), pa.string())), ["x"], []),
        _case(pa.list_(pa.list_(pa.list_(pa.int64()))), [[[1], []]], []),
        ArrowCase("list of time64[ns], finer", *_both(pa.list_(pa.time64("ns")), [1], []), lossy=_cut_in_list),
        _case(pa.struct({"a": pa.int64(), "b": pa.string()}), {"a": 1, "b": "x"}, {"a": None, "b": ""}),
        _case(pa.map_(pa.string(), pa.int64()), [("k", 1), ("k", None)], []),
        _case(COMPLEX, {"real": 1.5, "imag": -2.0}, label="struct<real: double, imag: double> (complex numbers)"),
        _case(COMPLEX, {"real": 1.5, "imag": None}, label="struct<real: double, imag: double>, a part missing"),
        _case(pa.list_(pa.list_(pa.list_(pa.list_(pa.int64())))), [[[[1]]]], label="lists in lists, four deep"),
        ArrowCase("struct, two fields of one name", pa.StructArray.from_arrays([item, item], names=["a", "a"])),
        _case(pa.list_(pa.timestamp("us")), [2**62], label="list of timestamp[us], beyond the year 9999"),
    ]


def _cut_in_list(cell: Any) -> Any:
    return cell and [value // 1000 * 1000 for value in cell]


def _encoded() -> list[ArrowCase]:
    def runs(values: pa.Array) -> ArrowCase:
        full = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int16()), values.slice(0, 2))
        holes = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 4], pa.int32()), values)
        return ArrowCase(f"run-end encoded {values.type}", full.slice(1), holes.slice(1))

    words = pa.array(["x", "y", None])
    return [
        runs(words),
        runs(words.cast(pa.string_view())),
        runs(pa.array([1, 2, None])),
        runs(words.dictionary_encode()),
        ArrowCase("union, sparse", pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])])),
        ArrowCase("union, dense", pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["x"])]
        )),
        ArrowCase("month_day_nano_interval", *_both(pa.month_day_nano_interval(), (1, 2, 3))),
    ]  # fmt: skip


class Celsius(pa.ExtensionType):
    """An extension type of somebody's own."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "example.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        """Nothing but its name."""
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Celsius:
        """Nothing but its name."""
        return cls()


def _extensions() -> list[ArrowCase]:
    ids = [uuid.UUID(int=5), uuid.UUID(int=2**128 - 1)]
    tensor = pa.fixed_shape_tensor(pa.int8(), [2])
    period = pa.array(pd.period_range("2020-01", periods=2, freq="M"))
    interval = pa.array(pd.interval_range(0, 2))
    return [
        _extended(pa.uuid(), pa.array([value.bytes for value in ids], pa.binary(16)), list(map(str, ids))),
        _extended(pa.json_(), pa.array(['{"a": 1}', "null"]), ['{"a": 1}', "null"]),
        _extended(pa.json_(pa.string_view()), pa.array(["[1]"], pa.string_view()), ["[1]"]),
        _extended(pa.bool8(), pa.array([1, 0, 5], pa.int8()), [True, False, True]),
        _extended(pa.opaque(pa.binary(), "point", "a vendor"), pa.array([b"\x00"]), [b"\x00"]),
        _extended(pa.opaque(pa.null(), "point", "a vendor"), pa.nulls(1), [None]),
        _extended(tensor, pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [[1, 2]]),
        _extended(Celsius(), pa.array([36.6]), [36.6], "example.celsius, not registered"),
        _extended(period.type, period.storage, ["2020-01", "2020-02"], "pandas.period"),
        _extended(interval.type, interval.storage, ["(0, 1]", "(1, 2]"], "pandas.interval"),
    ]


def _extended(data_type: Any, storage: pa.Array, means: list[Any], label: str | None = None) -> ArrowCase:
    full = pa.ExtensionArray.from_storage(data_type, storage)
    holes = pa.ExtensionArray.from_storage(data_type, pa.concat_arrays([storage, pa.nulls(1, storage.type)]))
    name = label or f"{data_type.extension_name} ({storage.type})"
    return ArrowCase(name, full, holes, means=means)


def _both(data_type: pa.DataType, *cells: Any) -> tuple[pa.Array, pa.Array]:
    return pa.array(cells, data_type), pa.array([*cells, None], data_type)


def _case(data_type: pa.DataType, *cells: Any, label: str | None = None) -> ArrowCase:
    return ArrowCase(label or str(data_type), *_both(data_type, *cells))


CASES = {
    "Numbers and truth values": _plain(),
    "Times": _times(),
    "Text and bytes": _texts(),
    "Categories": _categories(),
    "Lists, structs, maps": _nested(),
    "Encodings, unions, intervals": _encoded(),
    "Extension types": _extensions(),
}
