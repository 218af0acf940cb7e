"""docs/types.md, as it follows from what the code does with every case."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from arrow_cases import CASES as ARROW
from returned_cases import CASES as RETURNED
from type_matrix import ArrowCase, ReturnedCase, Trip, returned, trip

START = "<!-- From here on this page is made by tests/unit/runner/test_runner_types.py. -->\n"


def generated() -> str:
    """Everything after the mark `START`."""
    rules: dict[str, set[str]] = {}
    arriving = [line for group, cases in ARROW.items() for line in _arriving(group, cases, rules)]
    leaving = [line for group, cases in RETURNED.items() for line in _leaving(group, cases, rules)]
    codes = [f"| `{code}` | {'; or: '.join(sorted(sentences))} |" for code, sentences in sorted(rules.items())]
    lines = [
        "## What is handed in\n", *arriving,
        "## What scripts return\n", *leaving,
        "## Warnings\n", "| code | what it says, before it names the columns |", "|---|---|", *codes,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _arriving(group: str, cases: list[ArrowCase], rules: dict[str, set[str]]) -> Iterator[str]:
    yield f"### {group}\n"
    yield "| Arrow type | dtypes `numpy` | dtypes `nullable` | dtypes `arrow` |"
    yield "|---|---|---|---|"
    for case in cases:
        full = _row(case.full, rules)
        holes = _row(case.holes, rules) if case.holes is not None else full
        label = case.label.replace(f"{case.full.type}", f"`{case.full.type}`")
        yield f"| {label} | {full} |"
        if holes != full:
            yield f"| {label}, some missing | {holes} |"
    yield ""


def _row(column: pa.Array | pa.ChunkedArray, rules: dict[str, set[str]]) -> str:
    cells = []
    for dtypes in ("numpy", "nullable", "arrow"):
        found = trip(column, dtypes)
        designer = trip(column, dtypes, "designer") if found.verdict == "kept in" else None
        _remember(found, rules)
        cells.append(_cell(found, designer))
    if cells[1] == cells[0]:
        cells[1] = "the same"
    return " | ".join(cells)


def _cell(found: Trip, designer: Trip | None) -> str:
    if found.error is not None and not found.dtype:
        return f"refused ({found.error.code})"
    codes = _codes(found)
    if designer is not None:
        assert found.error is not None
        then = f"`{designer.back.type}`" if designer.back is not None else "refused, too"
        return f"`{found.dtype}`: {codes}; refused when returned ({found.error.code}), in `designer`: {then}"
    assert found.back is not None
    out = str(found.back.type)
    if found.dtype == f"{out}[pyarrow]":
        return f"`{found.dtype}`: {codes}"
    return f"`{found.dtype}`, out `{out}`: {codes}"


def _codes(found: Trip) -> str:
    return ", ".join(f"`{code}`" for code in found.noted.codes) or found.verdict


def _leaving(group: str, cases: list[ReturnedCase], rules: dict[str, set[str]]) -> Iterator[str]:
    yield f"### {group}\n"
    yield "| a column of | comes out as | verdict |"
    yield "|---|---|---|"
    for case in cases:
        found = returned(case.series)
        designer = returned(case.series, "designer")
        _remember(designer, rules)
        classic = _result(found)
        yield f"| {case.label} | {classic if designer.back is None else _both(found, designer)} |"
    yield ""


def _both(found: Trip, designer: Trip) -> str:
    if found.back is not None:
        return _result(found)
    assert found.error is not None
    assert designer.back is not None
    return f"`{designer.back.type}` | {_outcome(designer)} in `designer`, else refused ({found.error.code})"


def _result(found: Trip) -> str:
    if found.back is None:
        assert found.error is not None
        return f"| refused ({found.error.code})"
    return f"`{found.back.type}` | {_outcome(found)}"


def _outcome(found: Trip) -> str:
    return ", ".join(f"`{code}`" for code in found.noted.codes) or "exact"


def _remember(found: Trip, rules: dict[str, set[str]]) -> None:
    for code, message in found.noted.messages:
        rules.setdefault(code, set()).add(message.partition(": column ")[0])
