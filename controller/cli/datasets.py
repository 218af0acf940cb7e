"""`airlock dataset`: tables that the server keeps under a name. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import (
    DEFAULT_URL,
    INPUT_FILE,
    options_in,
    server_options,
    stored_table,
    table_file,
)
from controller.cli.endings import failures_end_the_program
from controller.cli.terminal import safe_text, size
from controller.client.tables import StoredTable

if TYPE_CHECKING:
    from controller.client.datasets import DatasetClient

_FAILED = 1


class _DatasetArgument(click.ParamType[StoredTable]):
    name = "NAME[@VERSION]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StoredTable:
        return value if isinstance(value, StoredTable) else stored_table(value)


@click.group()
def dataset() -> None:
    """Tables that the server keeps under a name, in versions: put once, used by name."""


@dataset.command()
@server_options
@click.argument("name")
@click.argument("file", type=INPUT_FILE)
@click.option("--options", "options_file", type=INPUT_FILE, metavar="FILE", help="JSON: how the table is read.")
@click.option("--wait", is_flag=True, help="Wait until it is ready; exit code 1 when it cannot be read.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON, and nothing else.")
def put(
    url: str | None, key: str | None, name: str, file: Path, options_file: Path | None, wait: bool, as_json: bool
) -> None:
    """Put FILE under NAME, as its next version; its format is told by its suffix."""
    from controller.cli.terminal import Screen

    options = options_in(options_file) if options_file else None
    with _client(url, key) as client:
        screen = Screen()
        with screen.progress("sending"):
            found = client.put_dataset(name, file, options=options)
        if wait:
            with screen.progress("ingesting"):
                found = client.wait_for_dataset(found)
    _show(found, as_json=as_json)
    sys.exit(_FAILED if wait and found["status"] == "failed" else 0)


@dataset.command("list")
@server_options
@click.option("--prefix", default="", metavar="TEXT", help="Only names that begin with it.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def list_datasets(url: str | None, key: str | None, prefix: str, as_json: bool) -> None:
    """Show the newest version of each dataset, newest first."""
    with _client(url, key) as client:
        _show_all(client.datasets(prefix), as_json=as_json)


@dataset.command()
@server_options
@click.argument("name", type=_DatasetArgument())
@click.option("--versions", is_flag=True, help="Show every version, newest first.")
@click.option("--statistics", is_flag=True, help="Print what its columns hold, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON; of several, one to a line.")
def show(
    url: str | None, key: str | None, name: StoredTable, versions: bool, statistics: bool, as_json: bool
) -> None:
    """Show the dataset NAME: its columns, and what was wrong with it. NAME@VERSION is one version of it."""
    with _client(url, key) as client:
        if versions:
            _show_all(client.dataset_versions(name.name), as_json=as_json)
        elif statistics:
            click.echo(json.dumps(client.dataset_statistics(*name), indent=2))
        else:
            found = client.dataset(*name)
            _show(found, as_json=as_json)
            if not as_json:
                for column in found["columns"] or ():
                    click.echo(safe_text(f"  {column['name']}: {column['type']}"))


@dataset.command()
@server_options
@click.argument("name", type=_DatasetArgument())
@click.option("--output", type=table_file, required=True, metavar="FILE", help="Where to; format by suffix.")
def get(url: str | None, key: str | None, name: StoredTable, output: Path) -> None:
    """Save the table of the dataset NAME, or of NAME@VERSION."""
    from controller.client.api import table_type

    with _client(url, key) as client:
        written = client.dataset_data(name.name, output, table_type(output), name.version)
    click.echo(f"table: {output} ({size(written)})")


@dataset.command()
@server_options
@click.argument("name", type=_DatasetArgument())
@click.option("--rows", type=click.IntRange(0, 100), default=20, help="How many rows, up to 100 [default: 20].")
def preview(url: str | None, key: str | None, name: StoredTable, rows: int) -> None:
    """Show the first rows of the dataset NAME, or of NAME@VERSION."""
    from controller.cli.report import show_rows
    from controller.cli.terminal import Screen

    with _client(url, key) as client:
        found = client.dataset_preview(*name)
    shown = found["rows"][:rows]
    show_rows(Screen(), [column["name"] for column in found["columns"]], shown)
    if found["total_rows"] > len(shown):
        click.echo(f"... and {found['total_rows'] - len(shown)} more rows")


@dataset.command()
@server_options
@click.argument("name", type=_DatasetArgument())
def delete(url: str | None, key: str | None, name: StoredTable) -> None:
    """Delete every version of the dataset NAME, or NAME@VERSION alone."""
    with _client(url, key) as client:
        client.delete_dataset(*name)


@contextlib.contextmanager
def _client(url: str | None, key: str | None) -> Iterator[DatasetClient]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.datasets import DatasetClient

    with failures_end_the_program(), DatasetClient(url or DEFAULT_URL, key) as client:
        yield client


def _show_all(found: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    for one in found:
        click.echo(json.dumps(one) if as_json else _line(one))


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(_line(found))
    for warning in found["warnings"]:
        click.echo(safe_text(f"warning {warning['code']}: {warning['message']}"), err=True)
    if found["error"]:
        click.echo(safe_text(f"{found['reason']} {found['error']['code']}: {found['error']['message']}"), err=True)


def _line(found: dict[str, Any]) -> str:
    shape = ""
    if found["columns"] is not None:
        shape = f"{found['rows']} rows x {len(found['columns'])} columns, {size(found['bytes'])}"
    sent = f"from {size(found['source_bytes'])} of {found['format']}"
    facts = ", ".join(filter(None, (shape, sent, found["created_at"][:19].replace("T", " "))))
    return safe_text(f"{found['name']}@{found['version']}  {found['status']}  {facts}")
