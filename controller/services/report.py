"""What the runner says happened in a sandbox, and what the controller makes of it.

The report is written beside the script, so it can say only what the script may say: which error it was, which
columns came out. Whether the run succeeded is judged here, from the clock, the cgroup, the exit and the files.
"""

from __future__ import annotations

import signal
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from controller.engines.base import Ended, SandboxResult
from controller.model import (
    CONTRACT_VERSION,
    LARGEST,
    Format,
    InputTable,
    Limits,
    Outcome,
    Output,
    Reason,
    RunWarning,
    ScriptError,
    Status,
    StoredImage,
    TableShape,
    Word,
)
from controller.workspace import IMAGES, REPORT, REPORT_BYTES, Outputs, output_file

SUCCEEDED, FAILED = 0, 1
"""The exit codes of a runner that came to its end; every other one means that it did not."""
Wanted = tuple[tuple[int, Format], ...]
"""The files that were asked for: (output port, format)."""
_ARROW_MAGIC = b"ARROW1"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


class ReportedError(ScriptError):
    line: Annotated[int | None, Field(ge=0, le=LARGEST)] = None


class Report(Word):
    """/out/report.json of the file contract. A script can write one that is wrong in a million places: the first is
    enough.
    """

    version: Literal[CONTRACT_VERSION]  # type: ignore[valid-type]
    outcome: Literal["succeeded", "failed"]
    reason: Literal["script_error", "bad_input", "output_limit"] | None = None
    error: ReportedError | None = None
    warnings: Annotated[tuple[RunWarning, ...], Field(max_length=1000, fail_fast=True)] = ()
    inputs: Annotated[tuple[InputTable, ...], Field(max_length=2, fail_fast=True)] = ()
    output: TableShape | None = None
    output2: TableShape | None = None
    files: dict[str, int] = {}
    images: Annotated[tuple[StoredImage, ...], Field(fail_fast=True)] = ()
    timings: dict[str, float] = {}


def read_report(outputs: Outputs) -> Report | None:
    """The report, or None when there is none, or none that keeps the contract."""
    data = outputs.read_at(REPORT, 0, REPORT_BYTES + 1)
    if len(data) > REPORT_BYTES:
        return None
    try:
        return Report.model_validate_json(data)
    except ValidationError:
        return None


def judge(
    result: SandboxResult,
    report: Report | None,
    outputs: Outputs,
    limits: Limits,
    wanted: Wanted,
    documents: tuple[str, ...] = (),
) -> Outcome:
    """How the run ended. Fields that a sandbox does not know (log, usage, times) are the caller's to add."""
    if result.ended is Ended.DEADLINE:
        message = f"the script was stopped at its time limit of {limits.timeout_seconds:g} seconds (timeout_seconds)"
        return _failed(Reason.TIMEOUT, _error("0085", "Timeout", message), None)
    if result.out_of_memory and result.exit_code != SUCCEEDED:
        mebibytes = limits.memory_bytes >> 20
        message = f"the script needed more than its {mebibytes} MiB of memory (memory_bytes); /work counts as well"
        return _failed(Reason.OUT_OF_MEMORY, _error("0138", "OutOfMemory", message), report)
    if result.exit_code == SUCCEEDED and report is not None and report.outcome == "succeeded":
        return _succeeded(report, outputs, limits, wanted, documents)
    if result.exit_code == FAILED and report is not None and report.error is not None:
        return _failed(Reason(report.reason or "script_error"), report.error, report, _images(report, outputs, limits))
    return _failed(Reason.CRASHED, _error("0085", "Crashed", _last_words(result, report)), None)


def _succeeded(
    report: Report, outputs: Outputs, limits: Limits, wanted: Wanted, documents: tuple[str, ...]
) -> Outcome:
    faults = [fault for one in wanted if (fault := _table_fault(report, outputs, limits, *one))]
    faults += [fault for name in documents if (fault := _fault(report, outputs, limits, name))]
    said = {1: report.output, 2: report.output2}
    tables = {
        port: Output(rows=table.rows, columns=table.columns, bytes=outputs.size(output_file(port, Format.ARROW)))
        for port, table in said.items()
        if table is not None and (port, Format.ARROW) in wanted
    }
    missing = {port for port, _ in wanted} - {port for port, table in said.items() if table is not None}
    if missing or faults:
        message = f"the result is not whole: {'; '.join(faults) or 'the report names no output'}"
        return _failed(Reason.CRASHED, _error("0085", "Crashed", message), report)
    return Outcome(
        status=Status.SUCCEEDED,
        warnings=report.warnings,
        inputs=report.inputs,
        output=tables.get(1),
        output2=tables.get(2),
        images=_images(report, outputs, limits),
    )


def _table_fault(report: Report, outputs: Outputs, limits: Limits, port: int, format: Format) -> str | None:
    """Why a table's file is not what the report says; counted and looked at from outside, never parsed."""
    name = output_file(port, format)
    if fault := _fault(report, outputs, limits, name):
        return fault
    size = outputs.size(name)
    ends = [outputs.read_at(name, offset, len(_ARROW_MAGIC)) for offset in (0, max(0, size - len(_ARROW_MAGIC)))]
    if format is Format.ARROW and ends != [_ARROW_MAGIC, _ARROW_MAGIC]:
        return f"{name} is not an Arrow file"
    return None


def _fault(report: Report, outputs: Outputs, limits: Limits, name: str) -> str | None:
    size = outputs.size(name)
    if size != report.files.get(name):
        return f"{name} has {size} bytes, the report says {report.files.get(name)}"
    if size > limits.output_bytes:
        return f"{name} has {size} bytes, the limit is {limits.output_bytes}"
    return None


def _images(report: Report, outputs: Outputs, limits: Limits) -> tuple[StoredImage, ...]:
    """The images that really lie where the report says, under names that are safe to show."""
    kept: list[StoredImage] = []
    names: set[str] = set()
    size, end = outputs.size(IMAGES), 0
    for number, image in enumerate(report.images[: limits.images], start=1):
        stop = image.offset + image.bytes
        if image.offset < end or image.bytes <= len(_PNG_MAGIC) or stop > min(size, limits.images_bytes):
            continue
        is_png = image.type == "image/png"
        # Nothing outside of a sandbox tells an SVG from another text: those are only ever handed out as downloads.
        if is_png and outputs.read_at(IMAGES, image.offset, len(_PNG_MAGIC)) != _PNG_MAGIC:
            continue
        spare = f"image-{number}.{'png' if is_png else 'svg'}"
        name = image.name if _plain(image.name) and image.name not in names else spare
        names.add(name)
        kept.append(StoredImage(name=name, offset=image.offset, bytes=image.bytes, type=image.type))
        end = stop
    return tuple(kept)


def _plain(name: str) -> bool:
    parts = name.split("/")
    return 0 < len(name) <= 255 and name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)


def _failed(reason: Reason, error: ScriptError, report: Report | None, images: tuple[StoredImage, ...] = ()) -> Outcome:
    if report is not None and report.error is not None and not error.traceback:
        error = error.model_copy(update={"traceback": report.error.traceback, "line": report.error.line})
    warnings, inputs = (report.warnings, report.inputs) if report is not None else ((), ())
    return Outcome(
        status=Status.FAILED, reason=reason, error=error, warnings=warnings, inputs=inputs, images=images
    )


def engine_failed(message: str) -> Outcome:
    """A run that the server could not execute, through no fault of the script."""
    return Outcome(status=Status.FAILED, reason=Reason.ENGINE_ERROR, error=_error("1000", "EngineError", message))


def _error(code: str, type: str, message: str) -> ScriptError:
    return ScriptError(code=code, type=type, message=message)


def _last_words(result: SandboxResult, report: Report | None) -> str:
    code = result.exit_code
    if report is not None:
        return f"the interpreter ended with exit code {code}, which does not go with the report that it left"
    as_after = ""
    if code > 128 and code - 128 in set(signal.Signals):
        as_after = f", as after {signal.Signals(code - 128).name}"
    return f"the interpreter ended before the script's result was written (exit code {code}{as_after})"
