"""Did two runs give the same? Told per table; the tables are opened in a sandbox only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from controller.errors import Conflict, ConversionFailed, EngineError, NotFound
from controller.model import LARGEST, Caller, Format, Input, Job, Part, Run, Status, TaskKind, Word
from controller.services import runs
from controller.services.backend import Backend, waiting
from controller.services.execution import aside

_FILE = TaskKind.COMPARE.documents[0]
_FILE_BYTES = 64 << 10
_Text = Annotated[str, Field(max_length=10_000)]
Cell = _Text | int | float | bool | list[Any] | dict[str, Any] | None


class Difference(Word):
    """The first place where two tables differ, in the order of columns, then rows."""

    what: Literal["rows", "columns", "type", "value"]
    column: _Text | None
    row: Annotated[int | None, Field(ge=0, le=LARGEST)]
    left: Cell
    right: Cell
    message: _Text


class Compared(Word):
    """`bytes_equal`: the same file. `values_equal`: the same names, types and values. Else the first difference."""

    verdict: Literal["bytes_equal", "values_equal", "different"]
    first_difference: Difference | None


class TableComparison(Compared):
    """Of the tables of one output port."""

    port: Literal[1, 2]


class Comparison(Word):
    """Of two runs; `same` when no table differs."""

    left: str
    right: str
    same: bool
    tables: tuple[TableComparison, ...]


def compare(backend: Backend, caller: Caller, left_id: str, right_id: str) -> Comparison:
    """NotFound; Conflict when one of them has no table, or not as many; Gone; Busy; EngineError; ConversionFailed."""
    left, right = (_finished(backend, caller, run_id) for run_id in (left_id, right_id))
    ports: tuple[Any, ...] = left.job.profile.output_ports
    if ports != right.job.profile.output_ports:
        raise Conflict("one of the runs has a second table, and the other has none (profile `designer`)")
    with waiting(backend, caller.tenant_id), backend.conversions:
        tables = tuple(TableComparison(port=port, **_tables(backend, left, right, port)) for port in ports)
    same = all(table.verdict != "different" for table in tables)
    return Comparison(left=left.id, right=right.id, same=same, tables=tables)


def _finished(backend: Backend, caller: Caller, run_id: str) -> Run:
    run = runs.get(backend, caller, run_id)
    if run.status is not Status.SUCCEEDED:
        raise Conflict(f"the run {run_id} has no output: its status is {run.status}", code="no_output")
    runs.require(run, Part.OUTPUTS)
    return run


def _tables(backend: Backend, left: Run, right: Run, port: int) -> dict[str, Any]:
    inputs = (Input(port=1, format=Format.ARROW), Input(port=2, format=Format.ARROW))
    files = {
        input.file: backend.workspaces.of(run.id).result(port, Format.ARROW)
        for input, run in zip(inputs, (left, right), strict=True)
    }
    larger = max(left, right, key=lambda run: run.limits.memory_bytes)
    try:
        with aside(backend, larger, Job(task=TaskKind.COMPARE, inputs=inputs), files) as (outcome, outputs):
            if outcome.error is not None:
                raise ConversionFailed(f"the tables cannot be compared: {outcome.error.message}")
            found = Compared.model_validate_json(outputs.read_at(_FILE, 0, _FILE_BYTES))
    except ValidationError as e:
        raise EngineError("the sandbox's comparison is none that keeps the contract") from e
    except FileNotFoundError:
        raise NotFound(runs.NO_RUN) from None
    return found.model_dump()
