"""report.json: always valid UTF-8 JSON, and never longer than what the controller reads."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from runner.job import VERSION, Column, Failure, Notice, Report, TableShape

REPORT_BYTES = 1024 * 1024
MESSAGE_CHARACTERS = 64 * 1024
TRACEBACK_CHARACTERS = 256 * 1024
WARNINGS = 100
WARNING_CHARACTERS = 2048
NAME_CHARACTERS = 255

Item = TypeVar("Item")


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
    images = _part(report.images, share)
    notices = list(report.notices)
    whole = report.outputs.get(1)
    if whole is not None and len(_part(whole.columns, share)) < len(whole.columns):
        named = len(_part(whole.columns, share))
        message = f"the report names {named} of {len(whole.columns)} columns; the result holds all"
        notices.insert(0, Notice("report_shortened", message))
    return {
        "version": VERSION,
        "outcome": "failed" if failure else "succeeded",
        "reason": failure.reason if failure else None,
        "error": _error(failure, share) if failure else None,
        "warnings": _warnings(notices, share),
        "inputs": [{"port": port} | _table(table, share) for port, table in sorted(report.inputs.items())],
        "output": _table(whole, share) if whole else None,
        "output2": _table(report.outputs[2], share) if 2 in report.outputs else None,
        "files": report.files,
        "images": [
            {"name": short_name(image.name), "offset": image.offset, "bytes": image.size, "type": image.type}
            for image in images
        ],
        "timings": {name: round(seconds, 6) for name, seconds in report.timings.items()},
    }


def _table(table: TableShape, share: int) -> dict[str, Any]:
    return {"rows": table.rows, "columns": [_column(column) for column in _part(table.columns, share)]}


def _part(items: Sequence[Item], share: int) -> Sequence[Item]:
    return items[: max(1, len(items) // share)] if share > 1 else items


def _column(column: Column) -> dict[str, str]:
    return {"name": short_name(column.name), "type": short_name(column.type)}


def short_name(text: str) -> str:
    """Cut a name, of a column or of a type, to what a document has room for."""
    return text if len(text) <= NAME_CHARACTERS else f"{text[: NAME_CHARACTERS - 3]}..."


def _error(failure: Failure, share: int) -> dict[str, Any]:
    return {
        "code": failure.code,
        "type": short_name(failure.type),
        "message": clip(failure.message, MESSAGE_CHARACTERS // share),
        "traceback": clip(failure.traceback, TRACEBACK_CHARACTERS // share),
        "line": failure.line,
    }


def _warnings(notices: Sequence[Notice], share: int) -> list[dict[str, str]]:
    room = max(2, WARNINGS // share)
    kept = list(notices)
    if len(kept) > room:
        kept[room - 1 :] = [Notice("warnings_cut", f"{len(kept) - room + 1} more warnings are not listed")]
    room_for_text = max(NAME_CHARACTERS, WARNING_CHARACTERS // share)
    return [{"code": notice.code, "message": clip(notice.message, room_for_text)} for notice in kept]
