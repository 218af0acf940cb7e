"""docs/formats.md: each row of its table is written and read; what the table says is what comes back."""

import datetime as dt
import decimal
import re
from pathlib import Path

import pyarrow as pa
import pytest
from runner import azure, conversion
from runner.failure import RunnerError
from runner.job import FORMATS
from table_files import read, written

DOCUMENT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
COLUMNS = {"Arrow": ("arrow", "arrow_stream"), "Parquet": ("parquet",), "CSV, TSV": ("csv", "tsv"),
           "JSON": ("json",), "Azure table": ("azure_json",)}  # fmt: skip
D = decimal.Decimal


def _levels(levels: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), levels)


SAMPLES = {
    "bool": pa.array([True, None, False]),
    **{f"int{bits}": pa.array([-1, None, 100], f"int{bits}") for bits in (8, 16, 32)},
    **{f"uint{bits}": pa.array([1, None, 100], f"uint{bits}") for bits in (8, 16, 32)},
    "int64": pa.array([-(2**63), None, 2**63 - 1]),
    "uint64, one beyond 2^63-1": pa.array([0, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array([1.5, None, 1.0], pa.float16()),
    "float32": pa.array([0.1, None, 1.0], pa.float32()),
    "float64": pa.array([0.1, None, 1.0]),
    "decimal": pa.array([D("1.10"), None, D("-20.25")]),
    "string": pa.array(["x", None, ""]),
    "large_string": pa.array(["x", None, ""], pa.large_string()),
    "binary": pa.array([b"\xff\0", None, b""]),
    "fixed_size_binary": pa.array([b"ab", None, b"\xff\0"], pa.binary(2)),
    "date32": pa.array([dt.date(2020, 1, 2), None, dt.date(1, 1, 1)]),
    "date64": pa.array([dt.date(2020, 1, 2), None, dt.date(1, 1, 1)], pa.date64()),
    **{f"timestamp[{unit}]": pa.array([1, None, 10**9 + 1], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    "timestamp[us, Europe/Paris]": pa.array([1, None, 2], pa.timestamp("us", "Europe/Paris")),
    **{f"time32[{unit}]": pa.array([1, None, 2], pa.time32(unit)) for unit in ("s", "ms")},
    **{f"time64[{unit}]": pa.array([1, None, 2], pa.time64(unit)) for unit in ("us", "ns")},
    **{f"duration[{unit}]": pa.array([1, None, -(10**12)], pa.duration(unit)) for unit in ("s", "us", "ns")},
    "categories of text": _levels(pa.array(["x", "y", "unused"])),
    "categories of int64": _levels(pa.array([10, 20, 30])),
    "list": pa.array([[1, None], None, []]),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "null": pa.nulls(3),
    "complex": pa.array([{"real": 1.0, "imag": 2.0}, None, {"real": 0.0, "imag": 0.0}]),
}  # fmt: skip
"""One column for each row of the table."""


def _documented() -> dict[str, dict[str, str]]:
    section = DOCUMENT.partition("## What comes back")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


def _what_comes_back(directory: Path, table: pa.Table, form: str) -> str:
    try:
        found = read(directory, written(directory, table, form), form)
    except RunnerError as error:
        return "refused" if "'c'" in str(error) else f"refused without a name: {error}"
    if found.equals(table):
        return "="
    column, original = found.column("c"), table.column("c")
    assert column.is_valid().to_pylist() == original.is_valid().to_pylist()
    if pa.types.is_string(column.type):
        return "string" if pa.types.is_large_string(original.type) or original.null_count == 3 else "text"
    assert _values(column) == _values(original)
    return str(column.type).removesuffix("[day]")


def _values(column: pa.ChunkedArray) -> list[object]:
    """Values that are equal when nothing was lost, whatever the type: whole numbers of nanoseconds for times."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_temporal(column.type):
        scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[re.search(r"\[(\w+)", str(column.type))[1]]  # type: ignore[index]
        narrow = pa.int32() if column.type.bit_width == 32 else pa.int64()
        return [None if number is None else number * scale for number in column.cast(narrow).to_pylist()]
    return [float(value) if isinstance(value, D) else value for value in column.to_pylist()]


def test_the_table_names_every_type_and_format() -> None:
    """The documented rows are the ones that are tried here, and every format has a column."""
    assert set(_documented()) == set(SAMPLES)
    assert {form for forms in COLUMNS.values() for form in forms} == set(FORMATS)


@pytest.mark.parametrize("name", SAMPLES)
def test_each_row_of_the_table_is_true(name: str, tmp_path: Path) -> None:
    """What a column of this type becomes, in each format, is what the table says, with all values kept."""
    table = pa.table({"c": SAMPLES[name]})

    found = {
        heading: " or ".join(sorted({_what_comes_back(tmp_path, table, form) for form in forms}))
        for heading, forms in COLUMNS.items()
    }

    assert found == _documented()[name]


def test_the_document_names_all_types_that_can_be_stated() -> None:
    """The types of the option `types` and of ColumnTypes are in the document."""
    named = set(re.findall(r"`([^`\n]+)`", DOCUMENT))
    stated = {name for name in (*conversion.NUMBERS, *conversion.OTHERS) if not re.fullmatch("u?int(16|32)", name)}

    assert stated <= named
    assert {name for name in azure.TYPES if name not in ("Int32", "UInt32")} <= named
