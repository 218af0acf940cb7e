"""The columns of a table: what arrives, what comes out, what is missing (section 1.4, cases T)."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
from module_runs import ECHO, arrow_file, echo, fails, gives, levels, making, run_each, run_module, warned

from tests.running import RunningServer


def test_t01_integers_floats_and_text(server: RunningServer) -> None:
    """Without missing values they come back as they were; so do the ends of their ranges."""
    table = pa.table(
        {
            "i": pa.array([-(2**63), 0, 2**63 - 1], pa.int64()),
            "f": pa.array([0.1, -1e308, 5e-324], pa.float64()),
            "s": pa.array(["x", "", "1"], pa.string()),
        }
    )
    script = echo("df['i'].dtype == 'int64'", "df['f'].dtype == 'float64'", "all(type(v) is str for v in df['s'])")

    module = run_module(server, script, table)

    gives(module, table)


def test_t02_integers_with_a_missing_one(server: RunningServer) -> None:
    """They are floating point inside, with NaN, and stay floating point on the way out: a warning says so."""
    script = echo("df['i'].dtype == 'float64'", "df['i'].isna().tolist() == [False, True]")

    module = run_module(server, script, pa.table({"i": [1, None]}))

    gives(module, pa.table({"i": [1.0, None]}), integers_as_floats="'i'")


def test_t03_missing_text_and_empty_text(server: RunningServer) -> None:
    """The empty text is a value: one cell is missing, inside and outside."""
    table = pa.table({"s": ["x", None, ""]})

    module = run_module(server, echo("df['s'].isna().sum() == 1", "df['s'][2] == ''"), table)

    gives(module, table)
    assert module.table()["s"].null_count == 1


def test_t04_the_four_ways_to_be_missing(server: RunningServer) -> None:
    """NaN, None, NaT and pd.NA are one thing, in a column of any kind."""
    script = making(
        "{'nan': [1.5, float('nan')], 'none': ['x', None],"
        " 'nat': [pd.Timestamp('2020-01-01'), pd.NaT], 'na': pd.array([1, pd.NA], dtype='Int64'),"
        " 'all four': pd.Series(['x', None, float('nan'), pd.NaT, pd.NA], dtype=object)[[0, 1]].tolist()}"
    )
    mixed = making("{'s': pd.Series(['x', None, float('nan'), pd.NaT, pd.NA], dtype=object)}")

    module = run_module(server, script)
    four = run_module(server, mixed)

    warned(module)
    assert {name: column.null_count for name, column in zip(*columns(module.table()), strict=True)} == dict.fromkeys(
        ["nan", "none", "nat", "na", "all four"], 1
    )
    gives(four, pa.table({"s": ["x", None, None, None, None]}))


def columns(table: pa.Table) -> tuple[list[str], list[pa.ChunkedArray]]:
    return table.column_names, table.columns


def test_t05_text_that_looks_missing(server: RunningServer) -> None:
    """NA, nan and None as text stay text; made here, handed in as Arrow, and handed in as CSV."""
    table = pa.table({"s": ["NA", "nan", "None"]})

    modules = {
        "made": run_module(server, making("{'s': ['NA', 'nan', 'None']}")),
        "arrow": run_module(server, ECHO, table),
        "csv": run_module(server, ECHO, ("t.csv", b"s\nNA\nnan\nNone\n")),
    }

    for module in modules.values():
        gives(module, table)


def test_t06_truth_values(server: RunningServer) -> None:
    """Without missing values bool; with them objects True, False and None; boolean again outside."""
    table = pa.table({"full": [True, False, True], "holes": [True, False, None]})
    script = echo(
        "df['full'].dtype == 'bool'", "df['holes'].dtype == 'object'", "df['holes'].tolist() == [True, False, None]"
    )

    module = run_module(server, script, table)

    gives(module, table)


def test_t08_times_to_the_microsecond(server: RunningServer) -> None:
    """A time without a zone comes back as it was, in its unit."""
    moments = [dt.datetime(2010, 5, 30, 18, 8, 0, 123456), None, dt.datetime(1677, 1, 1)]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us"))})

    module = run_module(server, echo("df['t'].dtype.kind == 'M'", "df['t'][0].microsecond == 123456"), table)

    gives(module, table)


def test_t09_spans_of_time(server: RunningServer) -> None:
    """A span comes back as it was, negative ones and missing ones included."""
    spans = [dt.timedelta(days=1, microseconds=1), None, dt.timedelta(seconds=-1)]
    table = pa.table({"d": pa.array(spans, pa.duration("us"))})

    module = run_module(server, echo("df['d'].dtype.kind == 'm'"), table)

    gives(module, table)


def test_t10_a_level_that_no_row_uses(server: RunningServer) -> None:
    """The levels of a category are kept, used or not, and in order."""
    category = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), ["low", "high", "never"])

    script = echo("list(df['c'].cat.categories) == ['low', 'high', 'never']", "not df['c'].cat.ordered")

    module = run_module(server, script, pa.table({"c": category}))

    warned(module)
    found = module.table()["c"]
    assert pa.types.is_dictionary(found.type)
    assert levels(found) == ["low", "high", "never"]
    assert found.to_pylist() == ["high", None, "low"]
    assert not found.type.ordered


def test_t11_complex_numbers(server: RunningServer) -> None:
    """They go from module to module; text formats, which cannot hold them, refuse by the column's name."""
    parts = pa.struct([("real", pa.float64()), ("imag", pa.float64())])
    expected = pa.table({"z": pa.array([{"real": 1.0, "imag": 2.0}, {"real": 0.0, "imag": -1.5}], parts)})

    made = run_module(server, making("{'z': [1 + 2j, -1.5j]}"))
    again = run_module(server, echo("df['z'].dtype == 'complex128'", "df['z'][0] == 1 + 2j"), made.table())
    refused = server.get(f"{made.address}/output", headers={"Accept": "text/csv"})

    gives(made, expected)
    gives(again, expected)
    assert (refused.status_code, refused.json()["code"]) == (422, "conversion_failed")
    assert "'z'" in refused.json()["detail"]


def test_t12_infinities(server: RunningServer) -> None:
    """They are kept, and JSON writes them as words."""
    table = pa.table({"f": [float("inf"), float("-inf"), None, 1.5]})

    module = run_module(server, ECHO, table, output_format="json")

    gives(module, table)
    assert json.loads(module.text("application/json")) == [
        {"f": "Infinity"},
        {"f": "-Infinity"},
        {"f": None},
        {"f": 1.5},
    ]


NESTED = {"list": "{'n': [1, 2], 'cell': [[1, 2], [3]]}", "dict": "{'n': [1, 2], 'cell': [{'k': 1}, {'k': 2}]}"}


def test_t14_cells_that_hold_more(server: RunningServer) -> None:
    """Lists and dicts are refused by column, row and type; profile designer passes them on."""
    scripts = {kind: making(text) for kind, text in NESTED.items()}

    classic = run_each(server, scripts)
    designer = run_each(server, scripts, profile="designer")

    for kind in NESTED:
        fails(classic[kind], "0017", "UnsupportedValue", "'cell'", "row 0", kind)
    gives(designer["list"], pa.table({"n": [1, 2], "cell": [[1, 2], [3]]}))
    gives(designer["dict"], pa.table({"n": [1, 2], "cell": [{"k": 1}, {"k": 2}]}))


def test_t16_no_rows(server: RunningServer) -> None:
    """Names and types are kept when there is no row, and no column of text becomes anything else."""
    table = pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})

    module = run_module(server, echo("list(df.columns) == ['a', 'b']", "df['a'].dtype == 'int64'"), table)

    gives(module, table)
    assert module.run["output"]["rows"] == 0


def test_t17_a_column_of_none(server: RunningServer) -> None:
    """An object column without a value is text, all missing."""

    module = run_module(server, making("{'n': [1, 2], 'empty': pd.Series([None, None], dtype=object)}"))

    gives(module, pa.table({"n": [1, 2], "empty": pa.array([None, None], pa.string())}))


def test_t19_text_of_the_whole_world(server: RunningServer) -> None:
    """Emoji, Chinese and combining marks, in names and in cells, byte for byte, as Arrow and as CSV."""
    words = ["\U0001f469\u200d\U0001f680", "\u6f22\u5b57", "e\u0301", "\u00e9", "\u202eright"]
    table = pa.table({word: [word, word[::-1]] for word in words})

    module = run_module(server, ECHO, table)
    csv = run_module(server, ECHO, ("t.csv", module.text("text/csv").encode()))

    gives(module, table)
    assert arrow_file(module.table()) == arrow_file(table)
    gives(csv, table)


T20_SECONDS = 20.0
"""160 MB in and out again take two seconds of a free machine; benchmarks/ measures it, this only finds a disaster."""


def test_t20_a_million_rows(server: RunningServer) -> None:
    """A million rows of twenty numbers come back equal, and in seconds."""
    random = np.random.default_rng(20)
    table = pa.table(
        {f"f{n}": random.standard_normal(1_000_000) for n in range(10)}
        | {f"i{n}": random.integers(-(2**62), 2**62, 1_000_000) for n in range(10)}
    )

    module = run_module(server, ECHO, table, memory_bytes=1 << 30)

    warned(module)
    assert module.run["status"] == "succeeded", module.run
    assert module.table().combine_chunks().equals(table.combine_chunks())
    assert module.run["timings"]["script_seconds"] < T20_SECONDS
