"""The ports: which arguments `azureml_main` gets, and which table its return value stands for."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import pandas as pd
import pyarrow as pa

from runner.failure import ScriptRefused, type_name
from runner.job import Warn

PARAMETERS_NAME = "params"
_PORTS = (1, 2)
_FIX = "return a DataFrame, or a sequence whose first item is one: 'return dataframe1,'"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Table = Union[pd.DataFrame, pa.Table]  # noqa: UP007 - pyarrow has no type hints: mypy takes this form only


@dataclass(frozen=True)
class Call:
    """The arguments for one call."""

    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]


def plan_call(
    function: Callable[..., Any],
    frames: Mapping[int, pd.DataFrame],
    profile: str,
    parameters: Mapping[str, Any],
    warn: Warn,
) -> Call:
    """Decide what the entry point is called with, from its signature.

    `frames` maps the connected ports to their tables.  Profile ``classic`` passes the connected tables in
    the order of their ports, pads with None what the function requires, and drops what it does not take.
    Profile ``designer`` passes both ports, unconnected ones as None.  A third parameter, or a keyword-only
    one, that is called ``params`` gets the run's parameters.  Raises `ScriptRefused`.
    """
    _refuse_coroutines(function)
    try:
        wanted = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a function written in C may not tell
        return Call(tuple(frames[port] for port in sorted(frames)), {})
    keywords, wanted = _take_parameters(wanted, parameters)
    plan = _designer_arguments if profile == "designer" else _classic_arguments
    return Call(plan(wanted, frames, warn), keywords)


def _refuse_coroutines(function: Callable[..., Any]) -> None:
    target = function if inspect.isroutine(function) else getattr(type(function), "__call__", function)  # noqa: B004
    for test, name in (
        (inspect.iscoroutinefunction, "an async function"),
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator (it contains 'yield')"),
    ):
        if test(function) or test(target):
            raise ScriptRefused(f"azureml_main is {name}; it must be a plain function that returns a table")


def _take_parameters(
    wanted: list[inspect.Parameter], parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], list[inspect.Parameter]]:
    keywords: dict[str, Any] = {}
    rest = []
    for position, parameter in enumerate(wanted):
        keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        extra = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and position >= len(_PORTS)
        if parameter.name == PARAMETERS_NAME and (keyword_only or extra):
            keywords[PARAMETERS_NAME] = dict(parameters)
        elif keyword_only and parameter.default is inspect.Parameter.empty:
            raise ScriptRefused(
                f"azureml_main requires the keyword {parameter.name!r}, which nothing gives it;"
                " tables are passed by position"
            )
        else:
            rest.append(parameter)
    return keywords, rest


def _classic_arguments(
    wanted: list[inspect.Parameter], frames: Mapping[int, pd.DataFrame], warn: Warn
) -> tuple[Any, ...]:
    places = [parameter for parameter in wanted if parameter.kind in _POSITIONAL]
    required = [parameter for parameter in places if parameter.default is inspect.Parameter.empty]
    if len(required) > len(_PORTS):
        raise ScriptRefused(
            f"azureml_main requires {len(required)} parameters, and there are two input ports:"
            f" give {required[len(_PORTS)].name!r} a default, or leave it out"
        )
    if list(frames) == [2]:
        warn("second_port_only", "only port 2 is connected; its table is the first argument of azureml_main")
    arguments: list[Any] = [frames[port] for port in sorted(frames)]
    arguments += [None] * (len(required) - len(arguments))
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in wanted):
        return tuple(arguments)
    surplus = len(arguments) - len(places)
    if surplus > 0:
        warn(
            "inputs_not_passed",
            f"azureml_main takes {len(places)} of the {len(frames)} connected tables; the rest is not passed",
        )
    return tuple(arguments[: len(places)])


def _designer_arguments(
    wanted: list[inspect.Parameter], frames: Mapping[int, pd.DataFrame], warn: Warn
) -> tuple[Any, ...]:
    del warn  # this profile says nothing about tables that are not taken
    both = tuple(frames.get(port) for port in _PORTS)
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in wanted):
        return both
    return both[: sum(parameter.kind in _POSITIONAL for parameter in wanted)]


def first_table(returned: Any, profile: str, warn: Warn) -> Table:
    """Find the table in what the entry point returned.  Raises `ScriptRefused` when there is none.

    Whether it is a DataFrame is asked before anything else: a frame has a length and can be indexed, so it
    must not be taken for a sequence of frames.
    """
    table = _single(returned, warn)
    if table is not None:
        return table
    if returned is None:
        warn("returned_nothing", f"azureml_main returned nothing; the result is an empty table. To change: {_FIX}")
        return pd.DataFrame()
    if isinstance(returned, np.ndarray):
        return _from_array(returned, profile, warn)
    if isinstance(returned, tuple | list):
        return _from_sequence(returned, profile, warn)
    if profile == "designer" and _is_scalar(returned):
        return pd.DataFrame({"column": [returned]})
    raise _refused(f"a {type_name(returned)}")


def _single(value: Any, warn: Warn) -> Table | None:
    """Turn the things that stand for one table into it; None for everything else."""
    if isinstance(value, pd.DataFrame | pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if isinstance(value, pd.Series):
        return value.to_frame(name="column" if value.name is None else value.name)
    if isinstance(value, dict):
        return _from_dict(value, warn)
    # Types promise to be tables by this method; a class that is returned itself promises nothing.
    if hasattr(type(value), "__arrow_c_stream__"):
        return pa.table(value)
    return None


def _from_dict(value: dict[Any, Any], warn: Warn) -> pd.DataFrame:
    try:
        frame = pd.DataFrame(value)
    except (ValueError, TypeError) as error:
        raise ScriptRefused(f"azureml_main returned a dict that is no table ({error}); {_FIX}") from error
    warn("returned_dict", "azureml_main returned a dict; it is taken as a table, its keys as column names")
    return frame


def _from_sequence(returned: Sequence[Any], profile: str, warn: Warn) -> Table:
    if len(returned) == 0:
        raise ScriptRefused(f"azureml_main returned an empty sequence ({type_name(returned)}); {_FIX}")
    first = returned[0]
    table = _single(first, warn)
    if table is None and first is None:
        table = pd.DataFrame()
    if table is not None:
        if len(returned) > 1:
            dropped = len(returned) - 1
            warn(
                "extra_dropped",
                f"azureml_main returned {len(returned)} items; the first is the result,"
                f" {dropped} extra {'one was' if dropped == 1 else 'ones were'} dropped",
            )
        return table
    if profile == "designer" and all(_is_scalar(item) for item in returned):
        return pd.DataFrame({"column": list(returned)})
    raise _refused(f"a {type_name(returned)} whose first item is a {type_name(first)}")


def _from_array(returned: np.ndarray[Any, Any], profile: str, warn: Warn) -> Table:
    if returned.dtype == object and returned.ndim == 1:
        return _from_sequence(returned.tolist(), profile, warn)
    if returned.ndim == 3 and len(returned):
        # What numpy makes of [frame]: the cells without their names and types.
        values = returned[0]
        warn(
            "names_lost",
            f"azureml_main returned a numpy array of shape {returned.shape}, which holds no column names;"
            f" the columns are named Col1 to Col{values.shape[1]}. {_FIX.capitalize()}",
        )
        return pd.DataFrame(values, columns=[f"Col{n}" for n in range(1, values.shape[1] + 1)]).infer_objects()
    if profile == "designer" and returned.ndim == 1:
        return pd.DataFrame({"column": returned})
    if profile == "designer" and returned.ndim == 2:
        return pd.DataFrame(returned, columns=[f"column_{n}" for n in range(returned.shape[1])])
    raise _refused(f"a {type_name(returned)} of shape {returned.shape} and type {returned.dtype}")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bytes | bool | int | float | complex | np.generic)


def _refused(what: str) -> ScriptRefused:
    return ScriptRefused(
        f"azureml_main returned {what}, which is no table; {_FIX}. To hand on another object, such as a model,"
        " put its bytes in a frame: pd.DataFrame({'model': [pickle.dumps(model)]})"
    )
