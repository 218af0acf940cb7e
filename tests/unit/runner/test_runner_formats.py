"""The formats at the edge: what comes back from each, what is refused and how, which columns are read."""

import datetime as dt
import json
import os
import resource
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from runner.failure import BadInput, ColumnNotFound, EmptyInput, OutputLimit, UnconvertibleCell, UnsupportedValue
from runner.formats import blaming
from runner.job import FORMATS
from runner_jobs import Noted, Room, arrow_bytes
from table_files import compressed, parquet_bytes, read, write_table, written

TABLE = pa.table({"a": [1, 2**63 - 1, None], "s": ["x", "", None], "f": [1.5, float("inf"), None]})
STREAM = arrow_bytes(pa.table({"a": [4294967295] * 3}), pa.ipc.new_stream)
FILE = arrow_bytes(TABLE)
TYPED = ("arrow", "arrow_stream", "parquet")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_can_be_read(form: str, tmp_path: Path) -> None:
    """Every format is an output format and an input format, and brings the same table back."""
    data = written(tmp_path, TABLE, form)

    assert read(tmp_path, data, form).equals(TABLE)


@pytest.mark.parametrize("form", TYPED)
def test_binary_formats_keep_the_types(form: str, tmp_path: Path) -> None:
    """Times, spans, categories, bytes and complex numbers survive in the formats that have types."""
    table = pa.table(
        {
            "t": pa.array([1], pa.timestamp("us")),
            "d": pa.array([1], pa.duration("us")),
            "c": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), ["x", "unused"]),
            "b": pa.array([b"\x00"]),
            "z": pa.array([{"real": 1.0, "imag": 2.0}]),
        }
    )

    assert read(tmp_path, written(tmp_path, table, form), form).equals(table)


@pytest.mark.parametrize("form", TYPED)
def test_categories_that_differ_from_chunk_to_chunk(form: str, tmp_path: Path) -> None:
    """A column of categories whose parts have levels of their own is written as one."""
    parts = [pa.array([text]).dictionary_encode() for text in ("x", "y")]
    table = pa.table({"c": pa.chunked_array(parts)})

    found = read(tmp_path, written(tmp_path, table, form), form)

    assert found.column("c").to_pylist() == ["x", "y"]


# --- which columns are read


@pytest.mark.parametrize("form", FORMATS)
def test_columns_are_selected_in_the_stated_order(form: str, tmp_path: Path) -> None:
    """The option `columns` brings these columns, in this order, of every format."""
    data = written(tmp_path, TABLE, form)

    found = read(tmp_path, data, form, columns=("f", "a"))

    assert found.equals(TABLE.select(["f", "a"]))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("option", [{"columns": ("a", "z")}, {"types": {"z": "int8"}}, {"dates": {"z": "%Y"}}])
def test_a_column_that_is_not_there(option: dict[str, Any], form: str, tmp_path: Path) -> None:
    """An option that names an absent column is refused with 0001, and with the columns that there are."""
    data = written(tmp_path, TABLE, form)

    with pytest.raises(ColumnNotFound, match=f"'{next(iter(option))}' names the column 'z', .* 'a', 's', 'f'"):
        read(tmp_path, data, form, **option)


@pytest.mark.parametrize("form", TYPED)
def test_columns_whose_names_repeat_or_have_dots(form: str, tmp_path: Path) -> None:
    """Columns are told apart by the names that the script sees: numbered, and dots are nothing special."""
    columns = [pa.array([1]), pa.array([2]), pa.array([{"b": 3}]), pa.array([4]), pa.array([5])]
    unlike = pa.Table.from_arrays(columns[1:4], names=["a", "x", "x.b"])
    alike = pa.Table.from_arrays(columns, names=["a", "a", "x", "x.b", ""])

    found = [
        read(tmp_path, arrow_or_parquet(table, form), form, columns=wanted).to_pydict()
        for table, wanted in ((alike, ("Col5", "a (2)")), (unlike, ("x",)), (unlike, ("x.b", "a")))
    ]

    assert found == [{"Col5": [5], "a (2)": [2]}, {"x": [{"b": 3}]}, {"x.b": [4], "a": [2]}]


def arrow_or_parquet(table: pa.Table, form: str) -> bytes:
    """A file of a table whose names may repeat."""
    makers = {"arrow": pa.ipc.new_file, "arrow_stream": pa.ipc.new_stream}
    return arrow_bytes(table, makers[form]) if form in makers else parquet_bytes(table)


@pytest.mark.parametrize("form", TYPED)
def test_only_the_selection_lies_in_memory(form: str, tmp_path: Path) -> None:
    """Reading one column of eleven takes the memory of one, also where all of it must be unpacked."""
    wide = pa.table({f"c{n}": pa.array([float(n * row) for row in range(100_000)]) for n in range(11)})
    data = compressed_columns(wide, form)
    before = pa.total_allocated_bytes()

    found = read(tmp_path, data, form, columns=("c3",))

    assert found.column("c3").equals(wide.column("c3"))
    end = time.monotonic() + 10  # the threads of Parquet's reader let go of theirs a little later
    while pa.total_allocated_bytes() - before >= 2 * found.nbytes and time.monotonic() < end:
        time.sleep(0.01)
    assert pa.total_allocated_bytes() - before < 2 * found.nbytes


def compressed_columns(table: pa.Table, form: str) -> bytes:
    """A file whose columns are compressed, so that reading one makes a buffer of it."""
    if form == "parquet":
        return parquet_bytes(table)
    sink = pa.BufferOutputStream()
    new = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("columns", "words"), [((), "at least one column"), (("a", "a"), "none twice")], ids=["none", "twice"]
)
def test_selections_that_make_no_sense(columns: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """No column at all, or one twice, is refused."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, FILE, "arrow", columns=columns)


# --- stated types, and options that do not apply


@pytest.mark.parametrize("form", TYPED)
def test_stated_types_hold_for_binary_formats_too(form: str, tmp_path: Path) -> None:
    """A column of a typed file is converted like one of text, exactly or not at all."""
    table = pa.table({"n": [1, None], "t": ["02.01.2020", None], "f": [0.1, None]})
    stated = {"n": "int8", "f": "decimal(3,2)"}

    found = read(tmp_path, written(tmp_path, table, form), form, types=stated, dates={"t": "%d.%m.%Y"})

    assert found.schema.types == [pa.int8(), pa.date32(), pa.decimal128(3, 2)]
    assert [str(column[0]) for column in found.columns] == ["1", "2020-01-02", "0.10"]


@pytest.mark.parametrize("form", TYPED)
def test_a_cell_of_a_binary_format_that_does_not_convert(form: str, tmp_path: Path) -> None:
    """It is named by column, row, value and type: error 0042."""
    table = pa.table({"n": [1, None, 300, 400]})

    with pytest.raises(UnconvertibleCell, match="column 'n', row 2: 300 is not of type int8"):
        read(tmp_path, written(tmp_path, table, form), form, types={"n": "int8"})


@pytest.mark.parametrize(
    ("form", "option", "words"),
    [
        ("json", {"delimiter": ";"}, "'delimiter' does not apply to it; it is for csv, tsv"),
        ("parquet", {"encoding": "utf-8"}, "'encoding' does not apply"),
        ("arrow", {"missing": ("NA",)}, "'missing' does not apply"),
    ],
)
def test_options_that_do_not_apply(form: str, option: dict[str, Any], words: str, tmp_path: Path) -> None:
    """An option that a format has no use for is an error rather than ignored."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, written(tmp_path, TABLE, form), form, **option)


# --- Parquet


def test_parquet_names_the_column_that_it_cannot_hold(tmp_path: Path) -> None:
    """A time in seconds that milliseconds cannot tell, which Parquet has instead, is refused by name."""
    table = pa.table({"a": [1], "far": pa.array([2**61], pa.timestamp("s"))})

    with pytest.raises(UnsupportedValue, match=r"column 'far' \(timestamp\[s\]\): Parquet cannot hold it: .*overflow"):
        written(tmp_path, table, "parquet")


@pytest.mark.parametrize(
    ("moment", "unit", "codes"),
    [
        (dt.datetime(2020, 1, 2, 3, 4, 5, 6), "ns", []),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), "us", ["precision_lost"]),
    ],
    ids=["near", "far"],
)
def test_old_times_of_parquet(moment: dt.datetime, unit: str, codes: list[str], tmp_path: Path, noted: Noted) -> None:
    """Times of 96 bits are read as they are; one that nanoseconds cannot tell does not become another time."""
    table = pa.table({"t": pa.array([moment, None], pa.timestamp("us"))})
    data = parquet_bytes(table, use_deprecated_int96_timestamps=True)

    found = read(tmp_path, data, "parquet", noted)

    assert found.schema.types == [pa.timestamp(unit)]
    assert found.column("t").cast(pa.timestamp("us")).to_pylist() == [moment, None]
    assert noted.codes == codes


def test_encrypted_parquet_is_refused_by_name(tmp_path: Path) -> None:
    """A file with an encrypted footer says that it is encrypted."""
    data = b"PARE" + b"\0" * 64 + struct.pack("<I", 64) + b"PARE"

    with pytest.raises(BadInput, match="(?i)as parquet: .*encrypted"):
        read(tmp_path, data, "parquet")


# --- broken files


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        pytest.param(b"", "csv", "the file is empty", id="empty"),
        pytest.param(b"\n", "csv", "it holds no header", id="csv-no-header"),
        pytest.param(b"a,b\n1\n", "csv", "line 2 has 1 cells where the header has 2", id="csv-ragged"),
        pytest.param(FILE[:-3], "arrow", "Not an Arrow file", id="arrow-cut"),
        pytest.param(STREAM, "arrow", "format arrow_stream", id="stream-as-file"),
        pytest.param(FILE, "arrow_stream", "its format is arrow", id="file-as-stream"),
        pytest.param(STREAM[:-8], "arrow_stream", "end marker is missing", id="stream-cut-between-messages"),
        pytest.param(STREAM[:-4], "arrow_stream", "arrow_stream: .*", id="stream-cut-in-the-marker"),
        pytest.param(STREAM[:-30], "arrow_stream", "arrow_stream: .*", id="stream-cut-in-a-message"),
        pytest.param(parquet_bytes(TABLE)[:-3], "parquet", "Parquet magic bytes", id="parquet-cut"),
        pytest.param(b"PAR1" + b"\xff" * 64 + struct.pack("<I", 60) + b"PAR1", "parquet", "parquet: .*", id="parquet"),
        pytest.param(b"a,b\n1,2\n", "parquet", "Parquet", id="csv-as-parquet"),
    ],
)
def test_broken_tables_are_refused(data: bytes, form: str, words: str, tmp_path: Path) -> None:
    """A broken table is an error that names port, file and format, and no path of ours."""
    with pytest.raises(BadInput, match=words) as refused:
        read(tmp_path, data, form)

    assert f"the table on input port 1 (dataframe1) cannot be read as {form}" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_whatever_goes_wrong_is_blamed_on_the_table() -> None:
    """An error that nobody foresaw names the port and the format; one with a code of its own keeps it."""
    words = r"input port 2 \(dataframe2\) cannot be read as arrow: .*ordinal"

    with pytest.raises(BadInput, match=words) as plain, blaming(2, "arrow"):
        "\xff".encode("ascii")
    with pytest.raises(EmptyInput, match="cannot be read as csv: nothing") as special, blaming(1, "csv"):
        raise EmptyInput("nothing")

    assert (plain.value.code, special.value.code) == ("0018", "0003")


def test_a_stream_may_hold_what_looks_like_its_end(tmp_path: Path) -> None:
    """Values that look like the end marker are values: a complete stream that ends in them is read."""
    assert read(tmp_path, STREAM, "arrow_stream").to_pydict() == {"a": [4294967295] * 3}


def test_every_cut_of_every_format_is_refused(tmp_path: Path) -> None:
    """However many bytes are missing at the end, a binary table is refused and never read as a shorter one."""
    whole = {"arrow": FILE, "arrow_stream": STREAM, "parquet": parquet_bytes(TABLE)}
    accepted = []

    for form, data in whole.items():
        for length in range(1, len(data), 7):
            try:
                read(tmp_path, data[:length], form)
                accepted.append((form, length))
            except BadInput:
                continue

    assert accepted == []


# --- the size limit of a file


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file may grow beyond 64 KiB, as RLIMIT_FSIZE has it in a container."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield 65536
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_that_does_not_fit(form: str, small_files: int, tmp_path: Path) -> None:
    """Past the size limit the error names the file and the limit, and the file is left empty."""
    path = tmp_path / "result"
    path.touch()
    table = pa.table({"a": [os.urandom(1000).hex() for _ in range(200)]})

    with pytest.raises(OutputLimit, match=f"'result' .*File too large; the limit is {small_files} bytes"):
        write_table(table, path, form, small_files)

    assert path.stat().st_size == 0


# --- the whole way through a job


def test_a_job_reads_as_stated_and_writes_every_format(room: Room) -> None:
    """Compression, options and formats of job.json reach the readers and writers."""
    data = compressed("n;t\n007;é\n;NA\n".encode("cp1252"), "zstd")
    room.give(1, data, "csv", "zstd", delimiter=";", encoding="cp1252", missing=["NA"], types={"n": "string"})
    for form in ("tsv", "azure_json"):
        room.also(form)

    done = room.run("def azureml_main(frame):\n    return frame")

    assert done.table.to_pydict() == {"n": ["007", None], "t": ["é", None]}
    assert (done.outputs / "result.tsv").read_text() == '"n"\t"t"\n"007"\t"é"\n\t\n'
    assert json.loads((done.outputs / "result.azure_json").read_bytes())["Values"] == [["007", "é"], [None, None]]
    assert done.warnings == []


def test_a_job_names_the_cell_that_does_not_convert(room: Room) -> None:
    """The report has the code 0042 and the place, and the script was not begun."""
    room.give(1, b"n\n1\nx\n", "csv", types={"n": "int64"})

    done = room.run("print('begun')")

    assert (done.error["code"], done.report["reason"]) == ("0042", "bad_input")
    assert "column 'n', row 1 (line 3): 'x' is not of type int64" in done.error["message"]
    assert "begun" not in done.log
