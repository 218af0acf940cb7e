"""The input ports: which arguments `azureml_main` gets (what it returns: returned.py)."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from runner.failure import ScriptRefused
from runner.job import Profile, Warn

PARAMETERS_NAME = "params"
_PORTS = (1, 2)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Call:
    """The arguments for one call."""

    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]


def plan_call(
    function: Callable[..., Any],
    frames: Mapping[int, pd.DataFrame],
    profile: Profile,
    parameters: Mapping[str, Any],
    warn: Warn,
) -> Call:
    """Decide what the entry point is called with, from its signature.

    `frames` maps the connected ports to their tables.  They are passed in the order of their ports, with
    None for what the function requires beyond them, and without what it does not take; a profile that goes
    by ports passes both, unconnected ones as None.  A third parameter, or a keyword-only one, that is called
    ``params`` gets the run's parameters.  Raises `ScriptRefused`.
    """
    _refuse_coroutines(function)
    wanted = _parameters(function)
    if wanted is None:
        ports = _PORTS if profile.by_port else sorted(frames)
        return Call(tuple(frames.get(port) for port in ports), {})
    keywords, wanted = _take_parameters(wanted, parameters)
    plan = _arguments_by_port if profile.by_port else _arguments_in_order
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


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Give the parameters of a function; None when it is written in C and does not tell.

    A decorated function has those of the decorator's wrapper: that is what is called.  Only one that passes
    on whatever it gets has those of the function inside.
    """
    try:
        outer = inspect.signature(function, follow_wrapped=False).parameters.values()
        if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in outer):
            return list(inspect.signature(function).parameters.values())
        return list(outer)
    except (TypeError, ValueError):
        return None


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


def _arguments_in_order(
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


def _arguments_by_port(
    wanted: list[inspect.Parameter], frames: Mapping[int, pd.DataFrame], warn: Warn
) -> tuple[Any, ...]:
    del warn  # this profile says nothing about tables that are not taken
    both = tuple(frames.get(port) for port in _PORTS)
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in wanted):
        return both
    return both[: sum(parameter.kind in _POSITIONAL for parameter in wanted)]
