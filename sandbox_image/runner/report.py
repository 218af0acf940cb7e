"""report.json: always valid UTF-8 JSON, and never longer than what the controller reads."""

import json
import os
from pathlib import Path
from typing import Any

from runner.job import VERSION, Failure, Report

REPORT_BYTES = 1024 * 1024
MESSAGE_CHARACTERS = 64 * 1024
TRACEBACK_CHARACTERS = 256 * 1024
WARNINGS = 100
WARNING_CHARACTERS = 2048
NAME_CHARACTERS = 256


def clip(text: str, limit: int) -> str:
    """Cut a text to about `limit` characters, keeping its head and its tail and saying what is missing."""
    if len(text) <= limit:
        return text
    head = limit // 2
    tail = limit - head
    return f"{text[:head]}\n... [{len(text) - limit} characters cut] ...\n{text[len(text) - tail :]}"


def encode(report: Report) -> bytes:
    """Give the bytes of report.json, at most `REPORT_BYTES` of them.

    The long parts (message, traceback, warnings, columns, images) get half the room again and again until
    everything fits: a script that names 100,000 columns still gets its status, its error and its figures.
    """
    share = 1
    while True:
        text = json.dumps(_shape(report, share), ensure_ascii=False, separators=(",", ":"))
        data = text.encode("utf-8", "replace")
        if len(data) <= REPORT_BYTES:
            return data
        share *= 2


def write(report: Report, path: Path) -> None:
    """Write the report to its file, which exists already: the directory takes no new names."""
    data = memoryview(encode(report))
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _shape(report: Report, share: int) -> dict[str, Any]:
    failure = report.failure
    return {
        "version": VERSION,
        "outcome": "failed" if failure else "succeeded",
        "reason": failure.reason if failure else None,
        "error": _error(failure, share) if failure else None,
        "warnings": _warnings(report, share),
        "output": _output(report, share),
        "files": report.files,
        "images": [
            {"name": clip(image.name, NAME_CHARACTERS), "offset": image.offset, "bytes": image.size}
            for image in report.images[: len(report.images) // share or 1]
        ],
        "timings": {name: round(seconds, 6) for name, seconds in report.timings.items()},
    }


def _error(failure: Failure, share: int) -> dict[str, Any]:
    return {
        "code": failure.code,
        "type": clip(failure.type, NAME_CHARACTERS),
        "message": clip(failure.message, MESSAGE_CHARACTERS // share),
        "traceback": clip(failure.traceback, TRACEBACK_CHARACTERS // share),
        "line": failure.line,
    }


def _warnings(report: Report, share: int) -> list[dict[str, str]]:
    kept = report.notices[: WARNINGS // share or 1]
    warnings = [{"code": notice.code, "message": clip(notice.message, WARNING_CHARACTERS // share)} for notice in kept]
    if len(report.notices) > len(kept):
        left_out = len(report.notices) - len(kept)
        warnings.append({"code": "warnings_cut", "message": f"{left_out} more warnings are not listed"})
    return warnings


def _output(report: Report, share: int) -> dict[str, Any] | None:
    if report.columns is None:
        return None
    kept = report.columns[: len(report.columns) // share or 1] if share > 1 else report.columns
    output: dict[str, Any] = {
        "rows": report.rows,
        "columns": [
            {"name": clip(column.name, NAME_CHARACTERS), "type": clip(column.type, NAME_CHARACTERS)} for column in kept
        ],
    }
    if len(kept) < len(report.columns):
        output["columns_left_out"] = len(report.columns) - len(kept)
    return output
