"""`airlock batch`: one script over many tables. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import (
    DEFAULT_URL,
    INPUT_FILE,
    ScriptArgument,
    byte_count,
    options_in,
    parameters,
    positive,
    server_options,
    stored_table,
    table_file,
)
from controller.cli.endings import INTERRUPTED, SCRIPT_FAILED, SUCCEEDED, failures_end_the_program
from controller.cli.terminal import Screen, safe_text, size

if TYPE_CHECKING:
    from controller.client.batches import Batch, BatchClient

_ENDED = ("succeeded", "failed", "cancelled", "removed")


@click.group()
def batch() -> None:
    """One script over many tables: datasets, or one that is cut by rows or by a column's values."""


@batch.command()
@server_options
@click.argument("script", type=ScriptArgument())
@click.option("--dataset", metavar="NAME[@VERSION]", help="The dataset that is cut: give --rows or --column.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="An item for each N rows.")
@click.option("--column", metavar="NAME", help="An item for each value of this column.")
@click.option("--datasets", metavar="NAME,...", help="An item for each of these datasets; repeatable.", multiple=True)
@click.option("--dataframe2", metavar="NAME[@VERSION]", help="A dataset: the second table of every item.")
@click.option("--bundle", type=INPUT_FILE, help="Zip of modules and files that the script may use.")
@click.option("--parallel", type=int, metavar="N", help="Items under way at once [default: 4].")
@click.option("--item-parameter", metavar="NAME", help="Under this name the script finds its item's number and label.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Text for the script; repeatable.")
@click.option("--timeout", "timeout_seconds", type=positive, metavar="SECONDS", help="Time limit of an item.")
@click.option("--memory", "memory_bytes", type=byte_count, metavar="BYTES", help="Memory limit, like 512MiB.")
@click.option("--options", "options_file", type=INPUT_FILE, metavar="FILE", help="JSON: more options of the API.")
@click.option("--output", type=table_file, metavar="FILE", help="Wait, then save the rows of all items.")
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 when an item did not succeed.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch as JSON, and nothing else.")
def run(
    url: str | None,
    key: str | None,
    script: Path | str,
    dataset: str | None,
    rows: int | None,
    column: str | None,
    datasets: tuple[str, ...],
    dataframe2: str | None,
    bundle: Path | None,
    parallel: int | None,
    item_parameter: str | None,
    parameter: tuple[str, ...],
    options_file: Path | None,
    output: Path | None,
    wait: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Run SCRIPT, a file or script:NAME, over each table of a batch."""
    source = _source(dataset, rows, column, datasets)
    source |= {name: value for name, value in (("parallel", parallel), ("parameter", item_parameter)) if value}
    if parallel == 0:
        source["parallel"] = 0
    options = options_in(options_file) if options_file else {}
    options |= {name: value for name, value in (limits | {"parameters": parameters(parameter)}).items() if value}
    second = stored_table(dataframe2) if dataframe2 else None
    with _client(url, key) as client:
        found = client.submit_batch(script, source, dataframe2=second, bundle=bundle, options=options)
        if wait or output:
            found = _watch(client, found)
        _show(found, as_json=as_json)
        if output and all_succeeded(found):
            _save(client, found["id"], output, as_json=as_json, partial=False)
    sys.exit(_code(found) if wait or output else SUCCEEDED)


def _source(dataset: str | None, rows: int | None, column: str | None, names: tuple[str, ...]) -> dict[str, Any]:
    """What the items are made of, as the API has it."""
    listed = [name for some in names for name in some.split(",")]
    if bool(dataset) == bool(listed):
        raise click.UsageError("give either --dataset, with --rows or --column, or --datasets")
    if listed:
        if rows or column:
            raise click.UsageError("--rows and --column cut one --dataset, and do not go with --datasets")
        return {"datasets": [stored_table(name).reference for name in listed]}
    if bool(rows) == bool(column):
        raise click.UsageError("--dataset needs either --rows or --column: how it is cut")
    return dict(stored_table(dataset or "").reference) | ({"rows": rows} if rows else {"column": column})


@batch.command()
@server_options
@click.argument("batch_id")
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 when an item did not succeed.")
@click.option("--output", type=table_file, metavar="FILE", help="Save the rows of all items.")
@click.option("--partial", is_flag=True, help="With --output: of those items that succeeded.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch as JSON, and nothing else.")
def show(
    url: str | None, key: str | None, batch_id: str, wait: bool, output: Path | None, partial: bool, as_json: bool
) -> None:
    """Show how the batch BATCH_ID stands."""
    with _client(url, key) as client:
        found = client.batch(batch_id)
        if wait:
            found = _watch(client, found)
        _show(found, as_json=as_json)
        if output:
            _save(client, batch_id, output, as_json=as_json, partial=partial)
    sys.exit(_code(found) if wait and not partial else SUCCEEDED)


@batch.command()
@server_options
@click.argument("batch_id")
@click.option("--status", metavar="STATUS", help="Only those that stand so: failed, running, ...")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def items(url: str | None, key: str | None, batch_id: str, status: str | None, as_json: bool) -> None:
    """Show the items of the batch BATCH_ID, in their order."""
    with _client(url, key) as client:
        for item in client.batch_items(batch_id, status):
            click.echo(json.dumps(item) if as_json else _item_line(item))


@batch.command()
@server_options
@click.argument("batch_id")
def cancel(url: str | None, key: str | None, batch_id: str) -> None:
    """Stop the batch BATCH_ID: what runs is killed, what waits never begins."""
    with _client(url, key) as client:
        _show(client.cancel_batch(batch_id), as_json=False)


@batch.command()
@server_options
@click.argument("batch_id")
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 when an item did not succeed.")
def retry(url: str | None, key: str | None, batch_id: str, wait: bool) -> None:
    """Begin the items of the batch BATCH_ID again that failed or were cancelled."""
    with _client(url, key) as client:
        found = client.retry_batch(batch_id)
        if wait:
            found = _watch(client, found)
        _show(found, as_json=False)
    sys.exit(_code(found) if wait else SUCCEEDED)


@batch.command("list")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def list_batches(url: str | None, key: str | None, as_json: bool) -> None:
    """Show the batches, newest first."""
    with _client(url, key) as client:
        for found in client.batches():
            click.echo(json.dumps(found) if as_json else _line(found))


@batch.command()
@server_options
@click.argument("batch_id")
def delete(url: str | None, key: str | None, batch_id: str) -> None:
    """Forget the batch BATCH_ID, and all the runs of its items."""
    with _client(url, key) as client:
        client.delete_batch(batch_id)


@contextlib.contextmanager
def _client(url: str | None, key: str | None) -> Iterator[BatchClient]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.batches import BatchClient

    with failures_end_the_program(), BatchClient(url or DEFAULT_URL, key) as client:
        yield client


def _watch(client: BatchClient, found: Batch) -> Batch:
    """Wait for the end, with a line that says how far it is. Ctrl-C ends the waiting, not the batch."""
    said = progress(found)
    try:
        with Screen().progress(lambda: said):
            for found in client.watch_batch(found):  # noqa: B020 - the last one is what is wanted
                said = progress(found)
    except KeyboardInterrupt:
        batch_id = safe_text(found["id"])
        click.echo(f"interrupted: the batch goes on; `airlock batch cancel {batch_id}` stops it", err=True)
        sys.exit(INTERRUPTED)
    return found


def progress(found: Batch) -> str:
    """How far it is, in a line: counts, and how long it will take."""
    if found["total"] is None:
        return f"{found['status']};"
    done = sum(found["counts"][status] for status in _ENDED)
    failed = found["counts"]["failed"]
    eta = found["eta_seconds"]
    left = f", {_duration(eta)} left" if eta is not None else ""
    return f"{done} of {found['total']} done{f', {failed} failed' if failed else ''}{left};"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def all_succeeded(found: Batch) -> bool:
    return bool(found["status"] == "finished" and found["counts"]["succeeded"] == found["total"])


def _code(found: Batch) -> int:
    return SUCCEEDED if all_succeeded(found) else SCRIPT_FAILED


def _save(client: BatchClient, batch_id: str, output: Path, *, as_json: bool, partial: bool) -> None:
    from controller.client.api import table_type

    with Screen().progress("putting the results together"):
        written = client.batch_output(batch_id, output, table_type(output), partial=partial)
    if not as_json:
        click.echo(f"table: {output} ({size(written)})")


def _show(found: Batch, *, as_json: bool) -> None:
    click.echo(json.dumps(found, indent=2) if as_json else _line(found))
    if found["error"] and not as_json:
        click.echo(safe_text(f"{found['error']['code']}: {found['error']['message']}"), err=True)


def _line(found: Batch) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in found["counts"].items() if count)
    facts = ", ".join(filter(None, (counts, found["created_at"][:19].replace("T", " "))))
    return safe_text(f"{found['id']}  {found['status']}  {facts}")


def _item_line(item: dict[str, Any]) -> str:
    why = ""
    if item["error"]:
        first_line = (item["error"]["message"].splitlines() or [""])[0]
        why = f"  {item['error']['code']}: {first_line}"
    label = item["label"] if isinstance(item["label"], str) else json.dumps(item["label"])
    return safe_text(f"{item['number']}  {item['status']}  {item['run_id'] or '-'}  {label}{why}").replace("\n", "\\n")
