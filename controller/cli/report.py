"""A finished run for people: its status, where its time went, its table's first rows, or why it failed."""

from __future__ import annotations

import io
import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from controller.cli.terminal import Screen, safe_text, size

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHOWN = 10
COLUMNS_SHOWN = 8
CELL_CHARACTERS = 40
VERSIONS_SHOWN = 12
PREVIEW_BYTES = 64 * 1024 * 1024
_PLAIN_WIDTH = 160
_GAP = 2
_ARROW_FILE_START = b"ARROW1\0\0"


class UnreadableTable(Exception):
    """The result is no Arrow file that the preview can read."""


def status_line(run: dict[str, Any]) -> str:
    """One line: the status, and of the run's time and memory what the server knows."""
    timings, usage = run.get("timings") or {}, run.get("usage") or {}
    spans = (("queued", "queue"), ("start", "start"), ("script", "script"), ("collect", "collect"))
    facts = [
        f"{word} {seconds:.2f} s"
        for word, name in spans
        if (seconds := timings.get(f"{name}_seconds")) is not None
    ]
    if earlier := run.get("reused_from"):
        facts.append(f"the result of {earlier}")
    if (cpu := usage.get("cpu_seconds")) is not None:
        facts.append(f"CPU {cpu:.2f} s")
    if (peak := usage.get("peak_memory_bytes")) is not None:
        facts.append(f"memory {size(peak)}")
    total = _seconds_between(run.get("created_at"), run.get("finished_at"))
    head = f"{run['status']}" + (f" after {total:.2f} s" if total is not None else "")
    return f"{head} ({', '.join(facts)})  {run['id']}" if facts else f"{head}  {run['id']}"


def failure_text(run: dict[str, Any], shown: str) -> str:
    """Why the run failed; without hint and traceback where `shown`, the end of the log on the screen, has them."""
    error = run.get("error") or {}
    code = f" {error['code']}" if error.get("code") else ""
    text = f"{run.get('reason') or run['status']}{code}"
    message, _, hint = (error.get("message") or "").partition("\n")
    if error:
        text += f": {error.get('type') or 'error'}: {message}"
    if error.get("line"):
        text += f" (line {error['line']} of the script)"
    for more in (hint.strip(), (error.get("traceback") or "").strip()):
        if more and more not in shown:
            text += "\n" + more
    return text


def show_run(screen: Screen, run: dict[str, Any], shown: str) -> None:
    """Write the status to standard output; warnings and the reason of a failure to standard error.

    What is in `shown`, the end of the log that is on the screen already, is not repeated.
    """
    for warning in run.get("warnings") or ():
        if warning["message"] in shown:
            continue  # the runner writes its own to the log
        screen.line(safe_text(f"warning {warning['code']}: {warning['message']}"), "stderr")
    if run.get("log_truncated"):
        screen.line(f"the log was cut: of {size(run['log_bytes'])}, its beginning and end are kept", "stderr")
    screen.line(safe_text(status_line(run)))
    if run["status"] == "failed":
        screen.line(safe_text(failure_text(run, shown)), "stderr")


def show_versions(screen: Screen, run: dict[str, Any]) -> None:
    """Of a local run: what is not as it would be in the image, to standard error."""
    versions = run.get("versions")
    if versions is None:
        return
    source = versions["source"]
    if source is None:
        text = "the image's versions are not known here: give --url and --key, or make it with `airlock image build`"
        screen.line(text, "stderr")
        return
    found = [{name: safe_text(str(text)) for name, text in one.items() if text} for one in versions["differences"]]
    other = [f"{one['name']} {one['here']} ({one['image']})" for one in found if "here" in one]
    missing = [f"{one['name']} ({one['image']})" for one in found if "here" not in one]
    for label, listed in (("other versions here than", other), ("imported and not installed here, but", missing)):
        if listed:
            more = f", and {len(listed) - VERSIONS_SHOWN} more" if len(listed) > VERSIONS_SHOWN else ""
            screen.line(f"{label} in the image: {', '.join(listed[:VERSIONS_SHOWN])}{more}", "stderr")
    if not found:
        screen.line("all packages have the image's versions here", "stderr")


def show_table(screen: Screen, output: dict[str, Any], source: BinaryIO) -> None:
    """Write the table's size and its first rows. `source`: the Arrow file, of which only the start is read.

    Raises UnreadableTable.
    """
    columns, rows = _table_head(source)
    shape = f"{_count(output['rows'], 'row')} x {_count(len(columns), 'column')}"
    screen.line(f"{shape}, {size(output['bytes'])}")
    width = shutil.get_terminal_size().columns if screen.is_terminal("stdout") else _PLAIN_WIDTH
    shown = _fitting(columns, rows, width)
    for line in _drawn(columns[:shown], rows, width):
        screen.line(line)
    rest = []
    if output["rows"] > len(rows):
        rest.append(_count(output["rows"] - len(rows), "more row"))
    if len(columns) > shown:
        rest.append(_count(len(columns) - shown, "more column"))
    if rest:
        screen.line(f"... and {', '.join(rest)}")


def show_rows(screen: Screen, names: list[str], rows: list[list[object]]) -> None:
    """Write the rows, as many columns of them as fit."""
    numbers = [all(isinstance(row[n], int | float | None) for row in rows) for n in range(len(names))]
    columns = [_Column(_cell(name), "right" if number else "left") for name, number in zip(names, numbers, strict=True)]
    cells = [tuple(_cell(cell) for cell in row[:COLUMNS_SHOWN]) for row in rows]
    width = shutil.get_terminal_size().columns if screen.is_terminal("stdout") else _PLAIN_WIDTH
    shown = _fitting(columns, cells, width)
    for line in _drawn(columns[:shown], cells, width):
        screen.line(line)
    if len(columns) > shown:
        screen.line(f"... and {_count(len(columns) - shown, 'more column')}")


def _fitting(columns: list[_Column], rows: list[tuple[str, ...]], width: int) -> int:
    """How many columns fit side by side, at least one: a number must not be shown without its last digits."""
    from rich.cells import cell_len

    used = 0
    for index, column in enumerate(columns[:COLUMNS_SHOWN]):
        used += max(cell_len(text) for text in (column.name, *(row[index] for row in rows))) + _GAP
        if index and used - _GAP > width:
            return index
    return min(len(columns), COLUMNS_SHOWN)


def _drawn(columns: list[_Column], rows: list[tuple[str, ...]], width: int) -> list[str]:
    """The lines of the table; none without columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not columns:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(Text(column.name), justify=column.justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[: len(columns)]))
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None).print(table)
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


class _Column(NamedTuple):
    name: str
    justify: Literal["left", "right"]


def _table_head(source: BinaryIO) -> tuple[list[_Column], list[tuple[str, ...]]]:
    """All columns, and the first values of the first ones, of an Arrow file, as they are shown."""
    import pyarrow as pa

    try:
        batch = _first_batch(source)
        kinds = ((field.name, field.type) for field in batch.schema)
        columns = [_Column(_cell(name), "right" if _is_number(kind) else "left") for name, kind in kinds]
        values = [[_cell(v) for v in _values(column)] for column in batch.columns[:COLUMNS_SHOWN]]
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise UnreadableTable(str(error)) from error
    return columns, list(zip(*values, strict=True))


def _first_batch(source: BinaryIO) -> pa.RecordBatch:
    """The first rows. Such a file begins as an Arrow stream behind eight bytes, so its end is not needed."""
    import pyarrow as pa

    if source.read(len(_ARROW_FILE_START)) != _ARROW_FILE_START:
        raise UnreadableTable("it does not begin as an Arrow file does")
    with pa.ipc.open_stream(source) as reader:
        for batch in reader:
            if batch.num_rows:
                head = batch.slice(0, ROWS_SHOWN)
                head.validate(full=True)  # a script may have written these bytes itself
                return head
        return pa.RecordBatch.from_pylist([], schema=reader.schema)


def _values(column: pa.Array) -> list[object]:
    """The column as Python values; times as text, since not each of them fits a Python datetime."""
    import pyarrow as pa

    if pa.types.is_duration(column.type):
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if tick is None else f"{tick} {column.type.unit}" for tick in ticks]
    if pa.types.is_temporal(column.type) and not pa.types.is_interval(column.type):
        column = column.cast(pa.string())
    return list(column.to_pylist())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = safe_text(str(value)).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"


def _seconds_between(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
