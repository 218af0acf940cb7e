"""Arguments in, return values out: the rules 1.6-1.12 and 2.1-2.13 of the module contract."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from runner.failure import ScriptRefused
from runner.job import PROFILES, Profile
from runner.ports import plan_call
from runner.returned import result_tables
from runner_jobs import Noted

D1 = pd.DataFrame({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]})
D2 = pd.DataFrame({"c": ["x"]})
BOTH = {1: D1, 2: D2}
EMPTY = pd.DataFrame()
CLASSIC, LENIENT, DESIGNER = PROFILES["classic"], PROFILES["lenient"], PROFILES["designer"]


def only_table(returned: Any, profile: Profile, noted: Noted) -> Any:
    """The table of a profile with one output port."""
    (table,) = result_tables(returned, profile, noted)
    return table


def _method_of(function: Callable[..., Any]) -> Any:
    return type("Callable", (), {"__call__": lambda self, *arguments: function(*arguments)})()


class _Bound:
    def __init__(self, df: Any = None) -> None: ...

    def method(self, df: Any) -> Any: ...


def _passing_on(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return wrapper


def _adding_a_model(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def wrapper(df: Any) -> Any:
        return function(df, "model")

    return wrapper


@pytest.mark.parametrize(
    ("function", "frames", "expected"),
    [
        pytest.param(lambda dataframe1=None, dataframe2=None: 0, {1: D1}, [D1], id="P01-defaults-stay-defaults"),
        pytest.param(lambda dataframe: 0, {1: D1}, [D1], id="P02-one-parameter"),
        pytest.param(lambda df1, df2: 0, {1: D1}, [D1, None], id="P03-missing-one-is-none"),
        pytest.param(lambda df1, df2: 0, BOTH, [D1, D2], id="P05-both"),
        pytest.param(lambda: 0, {}, [], id="P06-no-parameters"),
        pytest.param(lambda: 0, BOTH, [], id="P07-surplus-dropped"),
        pytest.param(lambda df: 0, BOTH, [D1], id="P07-second-dropped"),
        pytest.param(lambda df1, df2: 0, {2: D2}, [D2, None], id="1.9-only-port-2-comes-first"),
        pytest.param(lambda *frames: 0, BOTH, [D1, D2], id="1.10-star-args"),
        pytest.param(lambda df, *frames: 0, {}, [None], id="1.10-star-args-padded"),
        pytest.param(lambda df1, df2, extra=3: 0, BOTH, [D1, D2], id="1.10-third-with-default"),
        pytest.param(_method_of(lambda df: 0), {1: D1}, [D1], id="1.6-object-with-call"),
        pytest.param(dict, {}, [], id="1.6-type-in-c"),
        pytest.param(max, BOTH, [D1, D2], id="1.6-builtin-that-does-not-tell"),
        pytest.param(len, BOTH, [D1], id="1.6-builtin"),
        pytest.param(functools.partial(lambda model, df: 0, 3), BOTH, [D1], id="1.6-partial"),
        pytest.param(functools.partial(lambda df, model: 0, model=3), BOTH, [D1], id="1.6-partial-by-keyword"),
        pytest.param(_Bound().method, BOTH, [D1], id="1.6-bound-method"),
        pytest.param(_Bound, BOTH, [D1], id="1.6-class"),
        pytest.param(_passing_on(lambda df: 0), BOTH, [D1], id="1.6-wrapper-that-passes-on"),
        pytest.param(_adding_a_model(lambda df, model: 0), BOTH, [D1], id="1.6-wrapper-that-adds"),
    ],
)
def test_classic_arguments(function: Any, frames: Any, expected: list[Any], noted: Noted) -> None:
    """Classic: the connected tables in the order of their ports, padded and cut to what the function takes."""
    call = plan_call(function, frames, CLASSIC, {}, noted)

    assert len(call.positional) == len(expected)
    assert all(got is wanted for got, wanted in zip(call.positional, expected, strict=True))
    assert call.keywords == {}


@pytest.mark.parametrize(
    ("function", "frames", "expected"),
    [
        pytest.param(lambda: 0, BOTH, [], id="1.8-none"),
        pytest.param(lambda df: 0, {2: D2}, [None], id="1.8-one"),
        pytest.param(lambda df1=None, df2=None: 0, {1: D1}, [D1, None], id="1.8-two"),
        pytest.param(lambda a, b, c: 0, BOTH, [D1, D2], id="1.8-three-are-left-to-the-call"),
        pytest.param(lambda *frames: 0, {2: D2}, [None, D2], id="1.8-star-args"),
        pytest.param(max, {2: D2}, [None, D2], id="1.8-builtin-that-does-not-tell"),
    ],
)
def test_designer_arguments(function: Any, frames: Any, expected: list[Any], noted: Noted) -> None:
    """Designer: always both ports, unconnected ones as None, cut to the function's arity."""
    call = plan_call(function, frames, DESIGNER, {}, noted)

    assert len(call.positional) == len(expected)
    assert all(got is wanted for got, wanted in zip(call.positional, expected, strict=True))
    assert noted.codes == []


@pytest.mark.parametrize(
    ("function", "frames", "code"),
    [
        pytest.param(lambda df: 0, {2: D2}, "second_port_only", id="1.9-port-2-alone"),
        pytest.param(lambda: 0, BOTH, "inputs_not_passed", id="P07-surplus"),
    ],
)
def test_surprising_arguments_are_noted(function: Any, frames: Any, code: str, noted: Noted) -> None:
    """What a script does not get, or gets in another place, is said in a warning."""
    plan_call(function, frames, CLASSIC, {}, noted)

    assert code in noted.codes


async def _async(df: Any) -> Any: ...


def _generator(df: Any) -> Any:
    yield df


@pytest.mark.parametrize(
    ("function", "words"),
    [
        pytest.param(lambda df1, df2, third: 0, "'third'", id="1.10-three-required"),
        pytest.param(lambda df, *, mode: 0, "'mode'", id="1.10-keyword-only"),
        pytest.param(_async, "async function", id="1.10-async"),
        pytest.param(_generator, "generator", id="1.10-generator"),
        pytest.param(functools.partial(_async, 1), "async function", id="1.10-partial-of-async"),
    ],
)
def test_impossible_signatures_are_refused_by_name(function: Any, words: str, noted: Noted) -> None:
    """A signature that no port can fill is refused, naming the parameter at fault."""
    with pytest.raises(ScriptRefused, match=words):
        plan_call(function, BOTH, CLASSIC, {}, noted)


@pytest.mark.parametrize("function", [lambda df, *, params: 0, lambda df1, df2=None, params=None: 0])
def test_parameters_go_to_params(function: Any, noted: Noted) -> None:
    """7.11: a keyword, or a third parameter, called params gets the run's parameters."""
    call = plan_call(function, {1: D1}, CLASSIC, {"rate": 0.5}, noted)

    assert call.keywords == {"params": {"rate": 0.5}}
    assert len(call.positional) == 1


def test_a_second_parameter_called_params_is_a_table(noted: Noted) -> None:
    """1.6: the names of the first two parameters are free, even this one."""
    call = plan_call(lambda df, params: 0, BOTH, CLASSIC, {"rate": 0.5}, noted)

    assert call.positional[1] is D2


def _object_array(*items: Any) -> Any:
    array = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        array[position] = item
    return array


@pytest.mark.parametrize(
    ("returned", "codes"),
    [
        pytest.param((D1,), [], id="R01-tuple"),
        pytest.param([D1], [], id="R03-list"),
        pytest.param(D1, [], id="R04-bare"),
        pytest.param(_object_array(D1), [], id="R05-object-array"),
        pytest.param((D1, D2), ["extra_dropped"], id="R07-extra-dropped"),
        pytest.param(pa.table({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}), [], id="2.13-arrow-table"),
        pytest.param((pa.record_batch({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}),), [], id="2.13-arrow-batch"),
        pytest.param({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}, ["returned_dict"], id="R12-dict"),
    ],
)
def test_every_shape_of_a_table(returned: Any, codes: list[str], noted: Noted) -> None:
    """The result is the table itself or the first item of a sequence, whatever the sequence is."""
    table = only_table(returned, CLASSIC, noted)

    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    pd.testing.assert_frame_equal(frame, D1)
    assert noted.codes == codes


class _Stream:
    """A table of another library, known only by Arrow's protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)


def test_2_13_tables_of_other_libraries(noted: Noted) -> None:
    """2.13: whatever offers Arrow's stream is a table."""
    assert only_table((_Stream(),), CLASSIC, noted).to_pydict() == {"a": [1]}


def test_r15_a_bare_frame_with_a_numbered_column(noted: Noted) -> None:
    """R15: a frame is never taken for a sequence, though frame[0] would work."""
    frame = pd.DataFrame({0: [1, 2]})

    assert only_table(frame, CLASSIC, noted) is frame


@pytest.mark.parametrize(
    ("returned", "codes"),
    [
        pytest.param(None, ["returned_nothing"], id="R08-nothing"),
        pytest.param((None,), [], id="2.6-first-is-none"),
        pytest.param((None, D1), ["extra_dropped"], id="2.6-first-is-none-second-dropped"),
    ],
)
def test_nothing_is_an_empty_table(returned: Any, codes: list[str], noted: Noted) -> None:
    """R08: no table gives one of no rows and no columns."""
    assert only_table(returned, CLASSIC, noted).shape == (0, 0)
    assert noted.codes == codes


@pytest.mark.parametrize(("name", "column"), [("score", "score"), (None, "column"), (0, 0)])
def test_2_9_series(name: Any, column: Any, noted: Noted) -> None:
    """2.9: a series is one column, whatever its name."""
    frame = only_table(pd.Series([1, 2], name=name), CLASSIC, noted)

    assert list(frame.columns) == [column]
    assert len(frame) == 2


def test_2_7_numpy_array_of_a_frame(noted: Noted) -> None:
    """2.7: np.array([df]) keeps the cells; the names are gone, which is said."""
    frame = only_table(np.array([D1]), CLASSIC, noted)

    assert frame.to_dict("list") == {"Col1": [0, 2, 4, 6], "Col2": [1, 3, 5, 7]}
    assert noted.codes == ["names_lost"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        pytest.param((), "empty sequence", id="R09-empty-tuple"),
        pytest.param([], "empty sequence", id="R09-empty-list"),
        pytest.param("text", "a str,", id="R11-str"),
        pytest.param(3, "a int,", id="R11-int"),
        pytest.param(lambda: 1, "a function,", id="R11-function"),
        pytest.param(pd.DataFrame, "a type,", id="R11-class"),
        pytest.param(["x"], "a list whose first item is a str", id="2.10-list-of-text"),
        pytest.param(np.array([1, 2]), "numpy.ndarray of shape", id="2.10-array"),
        pytest.param(iter([D1]), "list_iterator", id="2.12-iterator"),
        pytest.param(Noted(), "runner_jobs.Noted.*pickle", id="R16-object-with-hint"),
        pytest.param({"a": 1}, "dict that is no table", id="2.8-dict-of-scalars"),
        pytest.param({"a": [1], "b": [1, 2]}, "dict that is no table", id="2.8-ragged-dict"),
    ],
)
def test_what_is_no_table_is_refused_by_type(returned: Any, words: str, noted: Noted) -> None:
    """R09, R11, R16: the error names the type that was returned, and says what to return."""
    with pytest.raises(ScriptRefused, match=words) as refused:
        only_table(returned, CLASSIC, noted)

    assert "return dataframe1," in str(refused.value)


@pytest.mark.parametrize("profile", [LENIENT, DESIGNER], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        pytest.param("text", {"column": ["text"]}, id="R11-str"),
        pytest.param(3, {"column": [3]}, id="R11-int"),
        pytest.param([1, 2], {"column": [1, 2]}, id="2.10-list"),
        pytest.param(("a", "b"), {"column": ["a", "b"]}, id="2.10-tuple"),
        pytest.param(np.array([1, 2]), {"column": [1, 2]}, id="2.10-1d"),
        pytest.param((np.array([1, 2]),), {"column": [1, 2]}, id="2.10-1d-in-a-tuple"),
        pytest.param(np.float64(0.5), {"column": [0.5]}, id="2.10-numpy-scalar"),
        pytest.param(np.array(0.5), {"column": [0.5]}, id="2.10-0d"),
        pytest.param(np.zeros((1, 2)), {"column_0": [0.0], "column_1": [0.0]}, id="R14-2d"),
        pytest.param(np.array([[1, "x"]], dtype=object), {"column_0": [1], "column_1": ["x"]}, id="2.10-2d-of-objects"),
        pytest.param([D1], {"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}, id="2.11-list-of-a-frame"),
    ],
)
def test_plain_values(returned: Any, expected: Any, profile: Profile, noted: Noted) -> None:
    """2.10, 2.11: profiles that take values make columns of them; what the classic takes, they take as well."""
    assert result_tables(returned, profile, noted)[0].to_dict("list") == expected


@pytest.mark.parametrize(
    ("returned", "first", "second", "codes"),
    [
        pytest.param((D1, D2), D1, D2, [], id="2.4-two"),
        pytest.param((D1,), D1, EMPTY, [], id="2.4-one"),
        pytest.param(D1, D1, EMPTY, [], id="2.4-bare"),
        pytest.param((D1, D2, D1, D1), D1, D2, ["extra_dropped"], id="2.4-more-than-two"),
        pytest.param((None, D2), EMPTY, D2, [], id="2.6-first-is-none"),
        pytest.param((D1, None), D1, EMPTY, [], id="2.6-second-is-none"),
        pytest.param(None, EMPTY, EMPTY, ["returned_nothing"], id="2.5-nothing"),
        pytest.param(_object_array(D1, D2), D1, D2, [], id="2.4-object-array"),
        pytest.param([D1, "x"], D1, pd.DataFrame({"column": ["x"]}), [], id="2.10-second-is-a-value"),
    ],
)
def test_designer_has_two_tables(returned: Any, first: Any, second: Any, codes: list[str], noted: Noted) -> None:
    """2.4-2.6: the designer's second table is the second item; what is missing is an empty table."""
    tables = result_tables(returned, DESIGNER, noted)

    assert len(tables) == 2
    pd.testing.assert_frame_equal(tables[0], first)
    pd.testing.assert_frame_equal(tables[1], second)
    assert noted.codes == codes


def test_the_second_item_is_named_when_it_is_no_table(noted: Noted) -> None:
    """2.12: the error says which item it is, and what."""
    with pytest.raises(ScriptRefused, match="a tuple whose second item is a function"):
        result_tables((D1, lambda: 0), DESIGNER, noted)


def test_2_4_says_how_many_were_dropped(noted: Noted) -> None:
    """2.4: the warning counts what was returned and what was dropped."""
    only_table((D1, D2, D2), CLASSIC, noted)

    assert "returned 3 items; the first is the result, 2 extra ones were dropped" in noted.messages[0][1]


class _Lazy:
    def collect(self) -> Any: ...


def test_2_13_a_lazy_frame_is_told_from_its_table(noted: Noted) -> None:
    """2.13: a query that was not carried out is no table; the error says what is missing."""
    with pytest.raises(ScriptRefused, match=r"_Lazy, whose \.collect\(\) was not called"):
        only_table(_Lazy(), CLASSIC, noted)


class _Interchange:
    """A frame of another library, known only by the older protocol."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return pa.table({"a": [1]}).__dataframe__(nan_as_null, allow_copy)


class _Column:
    """A column of another library: a stream of values, not of rows."""

    name = "score"

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.chunked_array([[1, 2]]).__arrow_c_stream__(requested_schema)


class _Broken:
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        raise RuntimeError("closed")


def test_2_13_the_older_protocol_and_columns(noted: Noted) -> None:
    """2.13: frames that only know the interchange protocol are tables; a single column is a table of one."""
    assert only_table(_Interchange(), CLASSIC, noted).to_pydict() == {"a": [1]}
    assert only_table(_Column(), CLASSIC, noted).to_pydict() == {"score": [1, 2]}


def test_2_13_a_table_for_which_there_is_no_memory(noted: Noted) -> None:
    """2.13: it is told as that, and not as a table that is none."""

    class Large:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        only_table((Large(),), CLASSIC, noted)


def test_2_13_a_table_that_breaks_its_promise(noted: Noted) -> None:
    """2.13: what claims to be a table and gives none is refused by type, with its own reason."""
    with pytest.raises(ScriptRefused, match="_Broken that gives no table: RuntimeError: closed"):
        only_table((_Broken(),), CLASSIC, noted)
