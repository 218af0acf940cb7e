"""Types, beyond the cases: widths, zones, categories, objects, encodings (rules 4.1 to 4.16)."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import numpy as np
import pyarrow as pa
from module_runs import D1, ECHO, echo, ended, fails, gives, levels, making, run_module, start, warned

from tests.running import RunningServer


def test_rule_4_1_integers_of_every_width(server: RunningServer) -> None:
    """Each width and sign comes back as itself, at both ends of its range: 64 bits without a sign, too."""
    table = pa.table(
        {
            f"{sign}{bits}": pa.array(
                [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if sign == "int" else [0, 2**bits - 1],
                getattr(pa, f"{sign}{bits}")(),
            )
            for sign in ("int", "uint")
            for bits in (8, 16, 32, 64)
        }
    )

    module = run_module(server, echo("[str(t) for t in df.dtypes] == list(df.columns)"), table)

    gives(module, table)


def test_rule_4_2_nullable_integers(server: RunningServer) -> None:
    """pandas' own Int64 stays an integer with missing values; so does every integer with dtypes=nullable."""
    table = pa.table({"i": [2**53 + 1, None], "b": [True, None]})

    made = run_module(server, making("{'i': pd.array([2**53 + 1, None], dtype='Int64'), 'b': [True, None]}"))
    nullable = run_module(
        server, echo("df['i'].dtype == 'Int64'", "df['b'].dtype == 'boolean'"), table, dtypes="nullable"
    )

    gives(made, table)
    gives(nullable, table)


def test_rule_4_2_large_integers_with_a_missing_one(server: RunningServer) -> None:
    """Beyond 2^53 floating point cannot hold them all: a warning of its own names the column."""

    table = pa.table({"small": [1, None], "large": [2**53 + 1, None]})

    module = run_module(server, ECHO, table)

    floats = pa.table({"small": [1.0, None], "large": [2.0**53, None]})
    gives(module, floats, integers_as_floats="'small'", precision_lost="'large'")


def test_rule_4_3_floating_point_of_every_width(server: RunningServer) -> None:
    """16, 32 and 64 bits come back as themselves; NaN is a missing value."""
    table = pa.table(
        {
            "f16": pa.array(np.array([1.5, 2.5], dtype=np.float16)),
            "f32": pa.array([0.1, None], pa.float32()),
            "f64": pa.array([0.1, None], pa.float64()),
        }
    )

    module = run_module(server, echo("[str(t) for t in df.dtypes] == ['float16', 'float32', 'float64']"), table)

    gives(module, table)


def test_rule_4_6_times_with_a_zone(server: RunningServer) -> None:
    """A time with a zone is the same moment in UTC, without its zone, inside and outside; a warning says so."""
    noon = dt.datetime(2024, 7, 1, 12)
    table = pa.table({"t": pa.array([noon, None], pa.timestamp("us", "Europe/Berlin"))})
    utc = pa.table({"t": pa.array([noon, None], pa.timestamp("us"))})
    tokyo = "def azureml_main(df):\n    return df.assign(t=df.t.dt.tz_localize('Asia/Tokyo')),\n"

    arriving = run_module(server, echo("df['t'].dt.tz is None", "df['t'][0].hour == 12"), table)
    leaving = run_module(server, tokyo, utc)

    gives(arriving, utc, zone_dropped="'t'")
    earlier = pa.array([noon - dt.timedelta(hours=9), None], pa.timestamp("us"))
    gives(leaving, pa.table({"t": earlier}), zone_dropped="'t'")


def test_rule_4_6_dates(server: RunningServer) -> None:
    """Dates arrive as times, with a warning; dates that the script makes are dates."""
    table = pa.table({"d": pa.array([dt.date(2024, 2, 29), None], pa.date32())})

    arriving = run_module(server, echo("df['d'].dtype.kind == 'M'", "df['d'][0] == pd.Timestamp('2024-02-29')"), table)
    made = run_module(server, making("{'d': [dt.date(2024, 2, 29), None]}"))

    midnight = pa.array([dt.datetime(2024, 2, 29), None], pa.timestamp("ms"))
    gives(arriving, pa.table({"d": midnight}), dates_as_times="'d'")
    gives(made, table)


def test_rule_4_8_strict_categories_are_text(server: RunningServer) -> None:
    """Profile classic-strict: a category arrives as plain text."""
    table = pa.table({"c": pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), ["low", "high", "never"])})

    module = run_module(server, echo("df['c'].dtype != 'category'"), table, profile="classic-strict")

    gives(module, pa.table({"c": ["high", None, "low"]}))


def test_rule_4_8_categories_that_a_script_makes(server: RunningServer) -> None:
    """A category of numbers is one of the numbers' type; an order among the levels is kept."""
    script = making("{'c': pd.Categorical([3, 1, None], categories=[1, 2, 3], ordered=True)}")

    module = run_module(server, script)

    warned(module)
    found = module.table()["c"]
    assert (found.type.value_type, found.type.ordered) == (pa.int64(), True)
    assert (found.to_pylist(), levels(found)) == ([3, 1, None], [1, 2, 3])


def test_rule_4_10_bytes(server: RunningServer) -> None:
    """Bytes are bytes, of any value, empty ones and missing ones included; JSON writes base64."""
    table = pa.table({"b": pa.array([b"\x00\xff", b"", None], pa.binary())})

    module = run_module(server, echo("type(df['b'][0]) is bytes"), table, output_format="json")

    gives(module, table)
    assert json.loads(module.text("application/json")) == [{"b": "AP8="}, {"b": ""}, {"b": None}]


def test_rule_4_11_values_of_several_kinds(server: RunningServer) -> None:
    """Scalars of several kinds in one column become text, with a warning that names it."""

    module = run_module(server, making("{'m': ['x', 1, 2.5, None, True]}"))

    gives(module, pa.table({"m": ["x", "1", "2.5", None, "True"]}), made_text="'m'")


def test_rule_4_11_periods_and_intervals(server: RunningServer) -> None:
    """They become what str() makes of them, with a warning."""

    module = run_module(
        server, making("{'p': pd.period_range('2020-01', periods=2, freq='M'), 'i': pd.interval_range(0, 2)}")
    )

    gives(module, pa.table({"p": ["2020-01", "2020-02"], "i": ["(0, 1]", "(1, 2]"]}), made_text="'p'")
    assert "'i'" in module.warning("made_text")


def test_rule_4_11_sparse_columns(server: RunningServer) -> None:
    """A sparse column comes out dense."""

    module = run_module(server, making("{'s': pd.arrays.SparseArray([0.0, 1.5, 0.0])}"))

    gives(module, pa.table({"s": [0.0, 1.5, 0.0]}))


def test_rule_4_11_decimals_and_large_integers(server: RunningServer) -> None:
    """Decimals are exact; integers that 64 bits cannot hold become exact decimals, with a warning."""
    script = making("{'d': [decimal.Decimal('0.10'), decimal.Decimal('12345678901234567890.05')], 'n': [2**70, -1]}")

    module = run_module(server, script)

    decimals = pa.array([decimal.Decimal("0.10"), decimal.Decimal("12345678901234567890.05")], pa.decimal128(22, 2))
    integers = pa.array([2**70, -1], pa.decimal128(38, 0))
    gives(module, pa.table({"d": decimals, "n": integers}), integers_as_decimals="'n'")


def test_rule_4_13_a_column_of_no_type(server: RunningServer) -> None:
    """A column that never had a type arrives as floating point, all missing."""

    module = run_module(server, echo("df['x'].dtype == 'float64'"), pa.table({"x": pa.nulls(2), "n": [1, 2]}))

    gives(module, pa.table({"x": pa.array([None, None], pa.float64()), "n": [1, 2]}))


def test_rule_4_14_encodings(server: RunningServer) -> None:
    """A byte order mark is no part of the first name; half a character is replaced, with a warning."""
    bom = start(server, ECHO, ("t.csv", b"\xef\xbb\xbfn\xc3\xa4me,x\n\xc3\xbc,1\n"))
    lone = start(server, making("{'s': pd.Series(['a\\ud800b', 'plain'], dtype=object)}"))

    read, made = ended(server, bom), ended(server, lone)

    gives(read, pa.table({"näme": ["ü"], "x": [1]}))
    gives(made, pa.table({"s": ["a?b", "plain"]}), surrogates_replaced="'s'")


def test_rule_4_15_long_scripts(server: RunningServer) -> None:
    """The old limits (1000 lines, 32 KB, and 16 KB on a command line) do not hold: lines count as they should."""
    script = "x = 0\n" * 5000 + f"text = '{'y' * 100_000}'\n" + "def azureml_main(df):\n    return 1 / x\n"

    module = run_module(server, script, D1)

    fails(module, "0085", "ZeroDivisionError", "division by zero", line=5003)


def test_rule_4_16_a_guid_is_text(server: RunningServer) -> None:
    """The dataset type Guid (Arrow's uuid) arrives as text; what uuid.UUID makes comes out as text."""
    value = "12345678-1234-5678-1234-567812345678"
    table = pa.table({"g": pa.array([bytes.fromhex(value.replace("-", "")), None], pa.binary(16)).cast(pa.uuid())})

    arriving = run_module(server, echo(f"df['g'][0] == '{value}'"), table)
    made = run_module(server, making(f"{{'g': [uuid.UUID('{value}')]}}", "import uuid"))

    gives(arriving, pa.table({"g": [value, None]}), extension_unwrapped="'g'")
    gives(made, pa.table({"g": [value]}), made_text="'g'")
