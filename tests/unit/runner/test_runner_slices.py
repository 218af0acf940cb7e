"""Some rows of a table: what the slice of an input says, and what it costs."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from generated_tables import columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner.formats import read_table
from runner.job import FORMATS, Input, Reading, Slice
from runner_jobs import Noted, Room, arrow_bytes
from table_files import ROOM, written

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WHERE = st.integers(0, 8) | st.just(2**63 - 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("slices")


def _read(path: Path, form: str, rows: Slice | None, noted: Noted | None = None, **reading: Any) -> pa.Table:
    return read_table(path, Input(1, path.name, form, None, Reading(**reading), rows), ROOM, noted or Noted())


@BOUNDED
@given(data=st.data(), offset=WHERE, rows=WHERE)
def test_a_slice_of_an_arrow_file_is_a_slice_of_its_table(
    data: st.DataObject, offset: int, rows: int, place: Path
) -> None:
    """Of any columns in any batches: the rows asked for, or as many of them as there are, types and all."""
    length = data.draw(st.integers(0, 6))
    found = data.draw(st.lists(columns(length), min_size=1, max_size=3))
    table = pa.Table.from_arrays(found, names=[f"c{n}" for n in range(len(found))])
    cut = data.draw(st.integers(0, length))
    path = place / "table"
    if any(pa.types.is_dictionary(column.type) for column in found):
        table = table.unify_dictionaries()
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table.slice(0, cut))
        file.write_table(table.slice(cut))

    whole, part = _read(path, "arrow", None), _read(path, "arrow", Slice(offset, rows))

    expected = whole.slice(offset, rows)
    assert part.schema.equals(expected.schema)
    assert part.num_rows == expected.num_rows
    for one, other in zip(part.columns, expected.columns, strict=True):
        assert one.combine_chunks().to_string(window=100) == other.combine_chunks().to_string(window=100)


@BOUNDED
@given(offset=st.integers(0, 6), rows=st.integers(0, 6))
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_sliced(form: str, offset: int, rows: int, place: Path) -> None:
    """The rows are those of the table as it is read whole."""
    path = place / form
    path.write_bytes(written(place, pa.table({"n": [1, 2, 3, 4, 5], "s": ["a", None, "c", "d", "e"]}), form))

    assert _read(path, form, Slice(offset, rows)).equals(_read(path, form, None).slice(offset, rows))


def test_a_sliced_job(room: Room) -> None:
    """A script gets the rows of the slice, numbered from 0, and the report counts them."""
    room.give_table(1, {"n": list(range(10))})
    room.job["inputs"][0]["slice"] = {"offset": 8, "rows": 5}

    done = room.run("def azureml_main(df):\n    return df.assign(i=df.index)\n")

    assert done.table.to_pydict() == {"n": [8, 9], "i": [0, 1]}
    assert done.report["inputs"] == [{"port": 1, "rows": 2, "columns": [{"name": "n", "type": "int64"}]}]


def test_errors_and_warnings_speak_of_the_slice(room: Room, tmp_path: Path) -> None:
    """Rows of errors are counted in the slice; what is outside of it is neither converted nor warned of."""
    table = pa.table({"s": ["x", "1", "2", "y"], "n": [2**60 + 1, 1, None, None]})
    path = tmp_path / "table"
    path.write_bytes(arrow_bytes(table))
    room.give(1, arrow_bytes(table), "arrow", types={"s": "int64"})
    room.job["inputs"][0]["slice"] = {"offset": 1, "rows": 3}

    assert "column 's', row 2: 'y' is not of type int64" in room.run().error["message"]
    assert _read(path, "arrow", Slice(1, 2), types={"s": "int64"})["s"].to_pylist() == [1, 2]


def test_only_the_slice_is_verified_and_held(tmp_path: Path) -> None:
    """A slice costs what its rows cost: the rest of the file is neither looked at nor in memory."""
    rows = 2_000_000
    table = pa.table({"n": pa.array(range(rows)), "s": pa.array(["text"] * rows)})
    path = tmp_path / "table"
    data = arrow_bytes(table)
    path.write_bytes(data.replace(b"texttexttext", b"text\xff\xfe\xfdttext", 1))  # only in the first rows
    before = pa.total_allocated_bytes()

    part = _read(path, "arrow", Slice(rows - 1000, 1000))

    assert part["n"].to_pylist() == list(range(rows - 1000, rows))
    assert pa.total_allocated_bytes() - before < 100_000
    with pytest.raises(Exception, match="column 's' is corrupt"):
        _read(path, "arrow", Slice(0, 1000))


def test_batches_after_the_slice_are_not_read(tmp_path: Path) -> None:
    """Of a file that is compressed, at most one batch at a time is unpacked, and those that have rows are kept."""
    batch = pa.table({"n": pa.array(range(100_000))})
    path = tmp_path / "table"
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(path), batch.schema, options=options) as file:
        for _ in range(20):
            file.write_table(batch)
    before = pa.total_allocated_bytes()

    part = _read(path, "arrow", Slice(500_010, 10))

    assert part["n"].to_pylist() == list(range(10, 20))
    assert pa.total_allocated_bytes() - before <= 2 * batch.nbytes


def test_conversions_take_slices(room: Room) -> None:
    """The task convert writes the rows of the slice."""
    room.job["task"] = "convert"
    room.job["outputs"] = [{"port": 1, "file": "result", "format": "json"}]
    room.give_table(1, {"n": [1, 2, 3]})
    room.job["inputs"][0]["slice"] = {"offset": 1, "rows": 1}

    done = room.run()

    assert json.loads((done.outputs / "result").read_bytes()) == [{"n": 2}]
