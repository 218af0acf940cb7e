"""Tables of every type, made at random: each column keeps what docs/types.md promises, and nothing else is raised.

What a type may become, and with which warnings, is taken from the cases that make that page; that values stay, but
for the rules that say otherwise, is worked out from the data.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arrow_cases import CASES as ARROW
from generated_tables import CELLS, LEAVES, SCALARS, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from returned_cases import CASES as RETURNED
from returned_cases import objects
from runner.failure import UnsupportedInput, UnsupportedValue
from runner.frames import checked, to_arrow, to_pandas
from runner.job import DTYPES, PROFILES
from runner_jobs import Noted
from type_matrix import LOSSY, Trip, is_nested, logical, returned, trip, values

BOUNDED = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@functools.cache
def _promised() -> dict[tuple[Any, str], set[str]]:
    """The codes that the page has for a type, by what the type means; a nested type is one of its kind."""
    promised: dict[tuple[Any, str], set[str]] = {}
    for case in (case for cases in ARROW.values() for case in cases if case.means is None):
        for column in (case.full, case.holes):
            for dtypes in DTYPES:
                if column is not None:
                    found = trip(column, dtypes)
                    codes = {*found.noted.codes, *(["refused"] if found.back is None else [])}
                    promised.setdefault((_kind(column.type), dtypes), set()).update(codes)
    return promised


def _kind(data_type: pa.DataType) -> Any:
    if pa.types.is_run_end_encoded(data_type):
        return _kind(data_type.value_type)
    if is_nested(data_type):
        return "nested"
    if pa.types.is_dictionary(data_type):
        return "category"
    return "decimal" if pa.types.is_decimal(data_type) else logical(data_type)


@given(tables(), st.sampled_from(DTYPES), st.sampled_from(["classic", "designer", "lenient", "classic-strict"]))
@BOUNDED
def test_tables_that_are_handed_in(table: pa.Table, dtypes: str, profile: str) -> None:
    """Through pandas and back: the same, or by a rule that is on the page and named, or refused by name."""
    for position, column in enumerate(table.columns):
        result = trip(column, dtypes, "classic" if profile == "classic-strict" else profile)

        _keeps_the_promise(result, dtypes)
        if result.back is not None:
            one = pa.table([column], names=[table.column_names[position]])
            noted = Noted()
            frame = to_pandas(checked(one, noted), dtypes, PROFILES[profile], noted)
            assert frame.index.equals(pd.RangeIndex(len(table)))
            back = to_arrow(frame, PROFILES[profile], noted)
            assert back.column_names == [table.column_names[position] or "Col1"]


def _keeps_the_promise(result: Trip, dtypes: str) -> None:
    assert result.verdict != "silent", (result.source, result.back)
    assert all("column 'x'" in message for _, message in result.noted.messages)
    data_type = result.source.type
    promised = _promised()[_kind(data_type), dtypes]
    if pa.types.is_dictionary(data_type):  # its levels follow the rules of their own type
        promised = promised | _promised()[_kind(data_type.value_type), dtypes]
    assert set(result.noted.codes) <= promised, (data_type, dtypes, result.noted.codes)
    if result.error is not None:
        assert "refused" in promised
        assert isinstance(result.error, UnsupportedValue if result.dtype else UnsupportedInput)
        assert str(result.error).startswith("column 'x', row ")
    elif not LOSSY.intersection(result.noted.codes) and "nested_as_objects" not in result.noted.codes:
        exactly = dtypes == "arrow"
        assert values(result.source, exactly) == values(result.back, exactly)


@given(tables(), st.sampled_from(DTYPES))
@BOUNDED
def test_whole_tables(table: pa.Table, dtypes: str) -> None:
    """Columns do not disturb each other: a table of several is what each of them is alone."""
    noted = Noted()
    try:
        back = to_arrow(
            to_pandas(checked(table, noted), dtypes, PROFILES["designer"], noted), PROFILES["designer"], noted
        )
    except (UnsupportedInput, UnsupportedValue):
        assert any(trip(column, dtypes, "designer").back is None for column in table.columns)
        return

    assert len(set(back.column_names)) == table.num_columns == back.num_columns
    for column, found in zip(table.columns, back.columns, strict=True):
        alone = trip(column, dtypes, "designer").back
        assert (str(found), found.type) == (str(alone), alone.type)


@given(st.one_of(st.lists(SCALARS, max_size=4), st.lists(CELLS, max_size=3)), st.booleans())
@settings(BOUNDED, max_examples=400)
def test_columns_of_any_objects(cells: list[Any], designer: bool) -> None:
    """Whatever objects a column holds: a column of one type comes of it, each cell as it was, or a named refusal."""
    result = returned(objects(*cells), "designer" if designer else "classic")

    if result.error is not None:
        assert isinstance(result.error, UnsupportedValue)
        assert str(result.error).startswith("column 'x', row ")
        return
    assert len(result.back) == len(cells)
    for cell, found in zip(cells, values(result.back), strict=True):
        _means_the_same(cell, found, set(result.noted.codes))


def _means_the_same(cell: Any, found: Any, codes: set[str]) -> None:
    """The value that came out is the one that went in; or its text, and then a warning says so."""
    if isinstance(cell, list | dict) or "surrogates_replaced" in codes:
        return
    if cell is None or cell is pd.NA or cell is pd.NaT or _is_nan(cell):
        assert found is None
    elif "made_text" in codes:
        assert found == str(cell)
    elif isinstance(cell, complex) or isinstance(found, dict):  # among complex numbers real ones are, too
        assert found == {"real": complex(cell).real, "imag": complex(cell).imag}
    elif isinstance(cell, dt.datetime | np.datetime64):
        assert found == _nanoseconds(cell)
    elif isinstance(cell, dt.date):
        assert found == (cell - dt.date(1970, 1, 1)).days * 86_400 * 10**9
    elif isinstance(cell, dt.time):
        assert found == (((cell.hour * 60 + cell.minute) * 60 + cell.second) * 10**6 + cell.microsecond) * 1000
    elif isinstance(cell, dt.timedelta):
        assert found == (cell // dt.timedelta(microseconds=1)) * 1000 + getattr(cell, "nanoseconds", 0)
    else:
        assert type(found) is not str or isinstance(cell, str)
        assert found == (cell.item() if isinstance(cell, np.integer) else cell)


def _nanoseconds(moment: Any) -> int:
    """A moment as nanoseconds since 1970, in integers that have no end."""
    if isinstance(moment, np.datetime64):
        return int(moment.astype("M8[ns]").astype(int))
    naive = moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
    microseconds = (naive - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    return microseconds * 1000 + getattr(moment, "nanosecond", 0)


def _is_nan(cell: Any) -> bool:
    if isinstance(cell, decimal.Decimal):
        return cell.is_nan()
    return bool(isinstance(cell, float | complex | np.floating) and cell != cell)


@given(st.lists(st.sampled_from([case for cases in RETURNED.values() for case in cases]), min_size=1, max_size=4))
@settings(BOUNDED, max_examples=60)
def test_frames_of_any_columns(cases: list[Any]) -> None:
    """Columns of every type beside each other, all of one name: each is what it is alone, or the frame is refused."""
    rows = max(len(case.series) for case in cases)
    series = [case.series.reset_index(drop=True) for case in cases if len(case.series) == rows]
    frame = pd.concat(series, axis=1, ignore_index=True)
    frame.columns = pd.Index(["x"] * len(series))
    alone = [returned(column) for column in series]

    try:
        table = to_arrow(frame, PROFILES["classic"], Noted())
    except UnsupportedValue:
        assert any(found.back is None for found in alone)
        return

    assert [str(column) for column in table.columns] == [str(found.back) for found in alone]


@pytest.mark.parametrize("dtypes", DTYPES)
def test_the_page_covers_every_generated_type(dtypes: str) -> None:
    """A type that the tests make up is one of the page's, so that its promise is known."""
    assert {_kind(data_type) for data_type in LEAVES} <= {kind for kind, _ in _promised()}
