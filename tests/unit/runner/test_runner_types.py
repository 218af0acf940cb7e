"""Every type there is, into pandas and out of it: what docs/types.md says is what the code does."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arrow_cases import CASES as ARROW
from arrow_cases import Celsius
from returned_cases import CASES as RETURNED
from returned_cases import objects
from runner.failure import UnsupportedInput, UnsupportedValue
from runner.frames import checked, to_arrow, to_pandas
from runner.job import DTYPES, PROFILES
from runner_jobs import SOURCES, Noted
from type_matrix import LOSSY, ArrowCase, ReturnedCase, Trip, is_nested, returned, trip, values
from type_page import START, generated

PAGE = SOURCES.parent / "docs" / "types.md"
CLASSIC = PROFILES["classic"]
HANDED_IN = [pytest.param(case, id=case.label) for cases in ARROW.values() for case in cases]
COME_OUT = [pytest.param(case, id=case.label) for cases in RETURNED.values() for case in cases]


def _is_by_name(result: Trip) -> None:
    """The error has its kind; it, and every warning, names the column; it names the row and the type, too."""
    assert all("column 'x'" in message for _, message in result.noted.messages)
    if result.error is not None:
        assert isinstance(result.error, UnsupportedValue if result.dtype else UnsupportedInput)
        assert str(result.error).startswith("column 'x', row ")
        assert "type " in str(result.error)


def _expected(case: ArrowCase, result: Trip) -> list[Any]:
    missing = len(result.source) - len(case.full)
    cells = case.means + [None] * missing if case.means is not None else values(result.source)
    if LOSSY.intersection(result.noted.codes):
        cells = [None if cell is None else case.lossy(cell) for cell in cells]
    return cells


@pytest.mark.parametrize("profile", ["classic", "designer"])
@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("case", HANDED_IN)
def test_what_is_handed_in(case: ArrowCase, dtypes: str, profile: str) -> None:
    """A column comes back exactly, or with the warning of a rule and the values of that rule, or is refused by name."""
    columns = [column for column in (case.full, case.holes) if column is not None]

    results = [trip(column, dtypes, profile) for column in columns]

    for result in results:
        assert result.verdict != "silent", (result.source, result.back)
        _is_by_name(result)
        if result.verdict == "converted":
            assert values(result.back) == _expected(case, result)
            assert [part.null_count for part in (result.back,)] == [_expected(case, result).count(None)]


@pytest.mark.parametrize("case", [case for case in HANDED_IN if "pandas" not in case.id])
def test_arrow_backed_is_the_identity(case: ArrowCase) -> None:
    """With dtypes=arrow a column that was read comes back as it was read, to the bit."""
    result = trip(case.full, "arrow")

    if result.verdict != "refused":
        assert result.back.type == result.arrived.type
        whole = [column.unify_dictionaries().combine_chunks() for column in (result.back, result.arrived)]
        assert whole[0].to_string() == whole[1].to_string()


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("case", HANDED_IN)
def test_without_rows(case: ArrowCase, dtypes: str) -> None:
    """A column of no rows keeps its type where the same column with rows keeps it; without a warning, unless objects
    are to tell it; no chunk is no trouble."""
    whole = case.full if isinstance(case.full, pa.ChunkedArray) else pa.chunked_array([case.full])
    none = [whole.slice(0, 0), pa.chunked_array([], type=whole.type)]

    results = [trip(column, dtypes, "designer") for column in none]

    for result in results:
        assert result.verdict == "refused" or (len(result.back) == 0 and result.verdict in ("exact", "converted"))
        if trip(whole, dtypes, "designer").verdict == "exact":
            assert result.noted.codes in ([], ["type_lost"])


@pytest.mark.parametrize("case", COME_OUT)
def test_what_is_returned(case: ReturnedCase) -> None:
    """What a script returns has the values that are written beside it, or is refused by name."""
    result = returned(case.series)
    designer = returned(case.series, "designer")

    for found in (result, designer):
        _is_by_name(found)
        assert found.back is None or values(found.back, nan_stays=False) == case.values
    assert result.back is None or str(result.back) == str(designer.back)
    assert designer.back is None or result.back is not None or is_nested(designer.back.type)


def test_the_page_says_what_the_code_does() -> None:
    """docs/types.md is made from these cases; AIRLOCK_UPDATE_GOLDEN=1 writes it anew."""
    written, text = PAGE.read_text(), generated()
    by_hand = written.partition(START)[0]

    if os.environ.get("AIRLOCK_UPDATE_GOLDEN"):
        PAGE.write_text(by_hand + START + "\n" + text)

    assert PAGE.read_text() == by_hand + START + "\n" + text, "if that is meant: AIRLOCK_UPDATE_GOLDEN=1 pytest"


def test_one_warning_for_a_thousand_columns(noted: Noted) -> None:
    """A rule that applies to many columns is one warning, with the first ten names and the number of the others."""
    table = pa.table({f"c{n}": pa.array([n, None]) for n in range(1000)} | {"t": pa.array([1.5, None])})

    frame = to_pandas(checked(table, noted), "numpy", CLASSIC, noted)
    back = to_arrow(frame, CLASSIC, noted)

    assert noted.codes == ["integers_as_floats"]
    assert noted.messages[0][1].endswith("'c8', 'c9' and 990 more")
    assert back.num_columns == 1001


def test_no_columns(noted: Noted) -> None:
    """A table without columns is one, under all dtypes."""
    for dtypes in DTYPES:
        frame = to_pandas(checked(pa.table({}), noted), dtypes, CLASSIC, noted)

        assert to_arrow(frame, CLASSIC, noted).equals(pa.table({}))


def test_registered_extension_types_become_their_storage() -> None:
    """A type that is registered in the script's process is no more than its storage here, with the same warning."""
    pa.register_extension_type(Celsius())
    try:
        result = trip(pa.ExtensionArray.from_storage(Celsius(), pa.array([36.6])), "numpy")
    finally:
        pa.unregister_extension_type("example.celsius")

    assert (result.noted.codes, result.back.to_pylist()) == (["extension_unwrapped"], [36.6])


def test_an_extension_that_only_metadata_names(noted: Noted) -> None:
    """The reader does not know the type and leaves its name in the metadata of the field: that is said."""
    field = pa.field("x", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    table = pa.table([pa.array([b"\x01"])], schema=pa.schema([field]))

    read = checked(table, noted)
    to_arrow(table, CLASSIC, noted)

    assert noted.codes == ["extension_unwrapped"] * 2
    assert "'x' (geoarrow.wkb became binary)" in noted.messages[0][1]
    assert read.schema.field(0).metadata is None


@pytest.mark.parametrize("code", [None, ("x", "y")])
def test_strict_categories_arrive_as_their_values(code: Any, noted: Noted) -> None:
    """Profile classic-strict gives the values of categories, under all dtypes, because its author chose it."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), ["x", "unused"])

    frames = {d: to_pandas(pa.table({"x": column}), d, PROFILES["classic-strict"], noted) for d in DTYPES}

    assert {d: str(frame["x"].dtype) for d, frame in frames.items()} == {
        "numpy": "str",
        "nullable": "str",
        "arrow": "string[pyarrow]",
    }
    assert all(frame["x"].dropna().tolist() == ["x"] for frame in frames.values())
    assert noted.codes == []


class _Loud:
    """Something whose repr raises what not even `except Exception` catches."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        pytest.param(_Loud(), "_Loud whose repr raises KeyboardInterrupt", id="raising"),
        pytest.param([list(range(10**6))] * 10**6, "[[0, 1, 2", id="long"),
        pytest.param({"k" * 10**6: 1}, "kkk", id="wide"),
    ],
)
def test_the_value_in_an_error_is_short(cell: Any, words: str, noted: Noted) -> None:
    """The value that is refused is in the message: of one line, of limited length, whatever its repr does."""
    with pytest.raises(UnsupportedValue, match="column 'x', row 1: ") as caught:
        to_arrow(objects("text", cell).to_frame("x"), CLASSIC, noted)

    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_conversion_does_not_copy_numbers(noted: Noted) -> None:
    """Numbers, times and text leave a frame without a copy: the result shares its memory with the frame."""
    frame = pd.DataFrame({"f": np.arange(4.0), "i": np.arange(4), "b": np.arange(4) > 1, "s": list("abcd")})
    frame["t"] = pd.to_datetime(frame["i"])

    before = pa.total_allocated_bytes()
    table = to_arrow(frame, CLASSIC, noted)

    for name in ("f", "i", "t"):
        buffer = table[name].chunk(0).buffers()[1]
        assert buffer.address == frame[name].to_numpy().ctypes.data
    assert pa.total_allocated_bytes() - before < 1024
