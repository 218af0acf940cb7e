"""Whatever a table holds, each format brings it back, by the documented rule; whatever bytes come, nothing breaks."""

import csv
import datetime as dt
import decimal
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from runner.failure import BadInput
from runner.job import FORMATS
from runner_jobs import Noted
from table_files import compressed, parquet_bytes, read, written

D = decimal.Decimal
TEXT_FORMATS = ("csv", "tsv", "json", "azure_json")
BOUNDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = settings(BOUNDED, max_examples=200)
WIDE = settings(BOUNDED, max_examples=25)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("properties")


def _whole(data_type: pa.DataType) -> st.SearchStrategy[Any]:
    low, high = (0, 2**data_type.bit_width - 1) if "u" in str(data_type) else (
        -(2 ** (data_type.bit_width - 1)), 2 ** (data_type.bit_width - 1) - 1
    )  # fmt: skip
    return st.integers(low, high)


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Any]:
    digits = st.integers(-(10**precision) + 1, 10**precision - 1)
    return digits.map(lambda n: D(n).scaleb(-scale, decimal.Context(prec=80)))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["NA", "nan", "", " ", '"', '""', "a,b", "x\ty", "a\nb", "a\r\nb", "007", "1", "1.0", "true", "null", "2020-01-02"]
)
moments = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
STATED: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    **{name: (getattr(pa, name)(), _whole(getattr(pa, name)())) for name in WHOLE},
    "float32": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "float64": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), texts),
    "binary": (pa.binary(), st.binary(max_size=8)),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us"), moments),
    "time": (pa.time64("us"), st.times()),
    "duration": (pa.duration("us"), st.timedeltas(dt.timedelta(-99_999), dt.timedelta(99_999))),
    "decimal(12,3)": (pa.decimal128(12, 3), _decimals(12, 3)),
    "decimal(70,40)": (pa.decimal256(70, 40), _decimals(70, 40)),
}
"""Every type that can be stated, with any values of it."""

OTHERS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.large_string(), texts),
    (pa.date64(), st.dates()),
    (pa.timestamp("ms"), moments.map(lambda moment: moment.replace(microsecond=1000))),
    (pa.timestamp("ns"), st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))),
    (pa.duration("ns"), st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999))),
    (pa.list_(pa.int64()), st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=3)),
    (pa.struct([("x", pa.string()), ("y", pa.float64())]),
     st.fixed_dictionaries({"x": texts | st.none(), "y": st.floats(allow_nan=False) | st.none()})),
    (pa.map_(pa.string(), pa.int32()), st.lists(st.tuples(texts, st.integers(0, 9)), max_size=2)),
    (pa.null(), st.none()),
]  # fmt: skip


@st.composite
def tables(draw: Any, columns: list[tuple[pa.DataType, st.SearchStrategy[Any]]]) -> pa.Table:
    """A table with some rows of these columns, any cell of which may be missing."""
    rows = draw(st.integers(0, 4))
    arrays = [pa.array(draw(st.lists(v | st.none(), min_size=rows, max_size=rows)), t) for t, v in columns]
    return pa.table({f"c{n}": array for n, array in enumerate(arrays)})


# --- round trips


@WIDE
@given(table=tables([*STATED.values(), *OTHERS]))
@pytest.mark.parametrize("form", ["arrow", "arrow_stream"])
def test_arrow_is_exact(form: str, table: pa.Table, room: Path) -> None:
    """What Arrow writes comes back with the same values and types."""
    assert read(room, written(room, table, form), form).equals(table)


@WIDE
@given(table=tables([*STATED.values(), *OTHERS]))
def test_parquet_is_exact_but_for_dates_in_milliseconds(table: pa.Table, room: Path) -> None:
    """Dates in milliseconds become dates; everything else comes back as it was."""
    place = table.schema.types.index(pa.date64())
    expected = table.set_column(place, table.column_names[place], table.column(place).cast(pa.date32()))

    assert read(room, written(room, table, "parquet"), "parquet").equals(expected)


@WIDE
@given(table=tables(list(STATED.values())))
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_text_formats_are_exact_with_stated_types(form: str, table: pa.Table, room: Path) -> None:
    """Stating a column's type brings back every value of it, of every type that can be stated."""
    types = dict(zip(table.column_names, STATED, strict=True))

    found = read(room, written(room, table, form), form, types=types)

    assert found.schema.equals(table.schema)
    assert found.equals(table)


@WIDE
@given(table=tables(list(STATED.values())))
def test_azure_tables_bring_their_types_along(table: pa.Table, room: Path) -> None:
    """Without anything stated, the values come back; small integers, dates and times of day in a wider type."""
    found = read(room, written(room, table, "azure_json"), "azure_json")

    for name, stated in zip(table.column_names, STATED, strict=True):
        column = found.column(name)
        if column.null_count < len(column):
            assert _same(column, table.column(name), stated), (name, stated)


def _same(found: pa.ChunkedArray, given_column: pa.ChunkedArray, stated: str) -> bool:
    if stated == "date":
        return found.cast(pa.date32()).equals(given_column)
    if stated == "time":
        return found.cast(pa.int64()).equals(given_column.cast(pa.int64()))
    if stated.startswith("decimal"):
        return found.to_pylist() == given_column.to_pylist()
    return found.cast(given_column.type).equals(given_column)


@BOUNDED
@given(cells=st.lists(st.floats() | st.none(), min_size=1, max_size=5))
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_floating_point_needs_no_stated_type(form: str, cells: list[float | None], room: Path) -> None:
    """Floating point stays floating point, to the last bit; NaN is missing."""
    expected = [None if cell is None or cell != cell else cell for cell in cells]
    if form == "json" and not any(isinstance(cell, float) and abs(cell) < float("inf") for cell in expected):
        return  # nothing but infinities, which are texts: documented

    noted = Noted()
    found = read(room, written(room, pa.table({"a": pa.array(cells, pa.float64())}), form), form, noted)

    assert found.column("a").to_pylist() == expected
    assert noted.messages == []


# --- CSV that others wrote


numbers = (
    st.from_regex(r"[+-]?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.integers().map(str)
    | st.floats().map(repr)
)


@MANY
@given(cells=st.lists(numbers | st.sampled_from(["", "inf", "-Infinity", " 7 "]), min_size=1, max_size=3))
@example(cells=["9223372036854775808", "-1"])
@example(cells=["1e400", "0.1"])
def test_numbers_are_never_changed_in_silence(cells: list[str], room: Path) -> None:
    """A cell becomes a number only if that is the same number, or if a warning says that digits were lost."""
    noted = Noted()

    found = read(room, ("a\n" + "".join(f"{cell}\n" for cell in cells)).encode(), "csv", noted, delimiter=",")

    for cell, value in zip(cells, found.column("a").to_pylist(), strict=True):
        if isinstance(value, str):
            assert value == cell
        elif isinstance(value, int):
            assert str(value) == cell.strip() or cell.strip() == "-0"
        elif value is None:
            assert cell == ""
        elif "precision_lost" not in noted.codes:
            assert _told_by(value, cell.strip())


def _told_by(value: float, cell: str) -> bool:
    """Whether a floating point number, rounded to the digits of the cell, is what the cell says."""
    exact, rounded = D(value), decimal.Context(prec=60).create_decimal(cell)
    if not rounded.is_finite() or not rounded:
        return exact == rounded
    digits = len(rounded.normalize().as_tuple().digits)
    return decimal.Context(prec=digits).create_decimal(exact) == rounded


@st.composite
def csv_files(draw: Any) -> tuple[list[list[str]], str, str]:
    """Rows of any text, a delimiter and an encoding with a byte order mark."""
    width = draw(st.integers(1, 3))
    cell = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",;\t|\r\n'), max_size=6)
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=4))
    encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
    return rows, draw(st.sampled_from(",;\t|")), encoding


@MANY
@given(file=csv_files())
def test_csv_of_any_text_is_read_as_python_wrote_it(file: tuple[list[list[str]], str, str], room: Path) -> None:
    """Quotes, line ends, delimiters and marks of any kind come back cell by cell."""
    rows, delimiter, encoding = file
    header = [f"c{n}" for n in range(len(rows[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([header, *rows])

    found = read(
        room, text.getvalue().encode(encoding), "csv", delimiter=delimiter, types=dict.fromkeys(header, "string")
    )

    assert [list(row.values()) for row in found.to_pylist()] == rows


@BOUNDED
@given(
    rows=st.lists(st.lists(texts, min_size=3, max_size=3), min_size=2, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_delimiter_is_detected_when_all_is_quoted(rows: list[list[str]], delimiter: str, room: Path) -> None:
    """In a file that quotes its cells, nothing in them is taken for a delimiter."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    noted = Noted()

    found = read(room, text.getvalue().encode(), "csv", noted)

    assert found.column_names == ["a", "b", "c"]
    assert ("delimiter_detected" in noted.codes) == (delimiter != ",")


# --- any bytes


SMALL = pa.table({"a": [1, None, 3], "b": ["x", "", None], "c": [0.5, None, 1e300]})


@MANY
@given(
    data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    compression=st.sampled_from([None, "gzip", "zstd"]),
)
@pytest.mark.parametrize("form", FORMATS)
def test_any_bytes_are_a_table_or_a_bad_input(form: str, data: bytes, compression: str | None, room: Path) -> None:
    """Whatever is handed in, the answer is a table or an error with a name."""
    _read_or_refuse(room, compressed(data, compression) if compression else data, form, compression)


@MANY
@given(
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    compression=st.sampled_from([None, "gzip", "zstd"]),
)
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_a_changed_byte_is_a_table_or_a_bad_input(
    form: str, place: float, byte: int, compression: str | None, room: Path
) -> None:
    """A text table, or the compressed bytes of one, in which any byte is another is read or refused."""
    data = bytearray(written(room, SMALL, form))
    if compression:
        data = bytearray(compressed(bytes(data), compression))
    data[int(place * len(data))] = byte

    _read_or_refuse(room, bytes(data), form, compression)


@BOUNDED
@given(option=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=4) | st.sampled_from(list(STATED))))
@pytest.mark.parametrize("kind", ["types", "dates"])
@pytest.mark.parametrize("form", FORMATS)
def test_any_stated_type_is_kept_or_refused(form: str, kind: str, option: dict[str, str], room: Path) -> None:
    """Whatever is stated about columns, the answer is a table or an error with a name."""
    data = parquet_bytes(SMALL) if form == "parquet" else written(room, SMALL, form)

    _read_or_refuse(room, data, form, None, **{kind: option})


def _read_or_refuse(room: Path, data: bytes, form: str, compression: str | None, **reading: Any) -> None:
    refused = ""
    try:
        read(room, data, form, compression=compression, **reading).validate(full=True)
    except BadInput as error:
        refused = str(error)

    assert refused == "" or refused.startswith("the table on input port 1 (dataframe1) cannot be read as ")
