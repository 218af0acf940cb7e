"""Arguments in, return values out: the rules 1.6-1.12 and 2.1-2.13 of the module contract."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from runner.failure import ScriptRefused
from runner.ports import first_table, plan_call
from runner_jobs import Noted

D1 = pd.DataFrame({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]})
D2 = pd.DataFrame({"c": ["x"]})
BOTH = {1: D1, 2: D2}


def _method_of(function: Callable[..., Any]) -> Any:
    return type("Callable", (), {"__call__": lambda self, *arguments: function(*arguments)})()


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
    ],
)
def test_classic_arguments(function: Any, frames: Any, expected: list[Any], noted: Noted) -> None:
    """Classic: the connected tables in the order of their ports, padded and cut to what the function takes."""
    call = plan_call(function, frames, "classic", {}, noted)

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
    ],
)
def test_designer_arguments(function: Any, frames: Any, expected: list[Any], noted: Noted) -> None:
    """Designer: always both ports, unconnected ones as None, cut to the function's arity."""
    call = plan_call(function, frames, "designer", {}, noted)

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
    plan_call(function, frames, "classic", {}, noted)

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
    ],
)
def test_impossible_signatures_are_refused_by_name(function: Any, words: str, noted: Noted) -> None:
    """A signature that no port can fill is refused, naming the parameter at fault."""
    with pytest.raises(ScriptRefused, match=words):
        plan_call(function, BOTH, "classic", {}, noted)


@pytest.mark.parametrize("function", [lambda df, *, params: 0, lambda df1, df2=None, params=None: 0])
def test_parameters_go_to_params(function: Any, noted: Noted) -> None:
    """7.11: a keyword, or a third parameter, called params gets the run's parameters."""
    call = plan_call(function, {1: D1}, "classic", {"rate": 0.5}, noted)

    assert call.keywords == {"params": {"rate": 0.5}}
    assert len(call.positional) == 1


def test_a_second_parameter_called_params_is_a_table(noted: Noted) -> None:
    """1.6: the names of the first two parameters are free, even this one."""
    call = plan_call(lambda df, params: 0, BOTH, "classic", {"rate": 0.5}, noted)

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
    table = first_table(returned, "classic", noted)

    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    pd.testing.assert_frame_equal(frame, D1)
    assert noted.codes == codes


class _Stream:
    """A table of another library, known only by Arrow's protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)


def test_2_13_tables_of_other_libraries(noted: Noted) -> None:
    """2.13: whatever offers Arrow's stream is a table."""
    assert first_table((_Stream(),), "classic", noted).to_pydict() == {"a": [1]}


def test_r15_a_bare_frame_with_a_numbered_column(noted: Noted) -> None:
    """R15: a frame is never taken for a sequence, though frame[0] would work."""
    frame = pd.DataFrame({0: [1, 2]})

    assert first_table(frame, "classic", noted) is frame


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
    assert first_table(returned, "classic", noted).shape == (0, 0)
    assert noted.codes == codes


@pytest.mark.parametrize(("name", "column"), [("score", "score"), (None, "column"), (0, 0)])
def test_2_9_series(name: Any, column: Any, noted: Noted) -> None:
    """2.9: a series is one column, whatever its name."""
    frame = first_table(pd.Series([1, 2], name=name), "classic", noted)

    assert list(frame.columns) == [column]
    assert len(frame) == 2


def test_2_7_numpy_array_of_a_frame(noted: Noted) -> None:
    """2.7: np.array([df]) keeps the cells; the names are gone, which is said."""
    frame = first_table(np.array([D1]), "classic", noted)

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
        first_table(returned, "classic", noted)

    assert "return dataframe1," in str(refused.value)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        pytest.param("text", {"column": ["text"]}, id="R11-str"),
        pytest.param(3, {"column": [3]}, id="R11-int"),
        pytest.param([1, 2], {"column": [1, 2]}, id="2.10-list"),
        pytest.param(np.array([1, 2]), {"column": [1, 2]}, id="2.10-1d"),
        pytest.param(np.zeros((1, 2)), {"column_0": [0.0], "column_1": [0.0]}, id="R14-2d"),
    ],
)
def test_designer_takes_plain_values(returned: Any, expected: Any, noted: Noted) -> None:
    """2.10: the designer profile makes columns of plain values."""
    assert first_table(returned, "designer", noted).to_dict("list") == expected
