"""`airlock runs`: what was submitted earlier. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import DEFAULT_URL, server_options
from controller.cli.endings import exit_code, failures_end_the_program
from controller.cli.terminal import Screen, safe_text

if TYPE_CHECKING:
    from controller.client.api import Client

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
_DIFFERENT = 1


@click.group()
def runs() -> None:
    """Runs that were submitted: list, show, follow, cancel, repeat, compare, delete."""


@runs.command("list")
@server_options
@click.option("--status", type=click.Choice(STATES), help="Only these.")
@click.option("--script", metavar="SHA256", help="Only runs of this script.")
@click.option("--batch", metavar="ID", help="Only runs of this batch.")
@click.option("--limit", type=click.IntRange(1), default=50, help="How many at most [default: 50].")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def list_runs(
    url: str | None, key: str | None, status: str | None, script: str | None, batch: str | None, limit: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Show runs, the newest first."""
    wanted = {"status": status, "script": script, "batch": batch, "limit": min(limit, 100)}
    filters = {name: value for name, value in wanted.items() if value}
    with _client(url, key) as client:
        for run in itertools.islice(client.runs(**filters), limit):
            click.echo(json.dumps(run) if as_json else _line(run))


@runs.command()
@server_options
@click.argument("run_id")
def show(url: str | None, key: str | None, run_id: str) -> None:
    """Print the run as JSON."""
    with _client(url, key) as client:
        click.echo(json.dumps(client.get(run_id), indent=2))


@runs.command()
@server_options
@click.argument("run_id")
@click.option("--follow", is_flag=True, help="Stay until the run has ended.")
def log(url: str | None, key: str | None, run_id: str, follow: bool) -> None:
    """Print the log. With --follow the exit code is the run's: 0 when it succeeded, else 1."""
    from controller.cli.run import follow_log

    screen = Screen()
    with _client(url, key) as client:
        if follow:
            run, _ = follow_log(client, run_id, screen)
            sys.exit(exit_code(run))
        screen.script_text("stdout", client.log(run_id))
        screen.end_script_text()


@runs.command()
@server_options
@click.argument("run_id")
def cancel(url: str | None, key: str | None, run_id: str) -> None:
    """Stop the run, queued or running."""
    with _client(url, key) as client:
        click.echo(_line(client.cancel(run_id)))


@runs.command()
@server_options
@click.argument("run_id")
@click.option("--wait", is_flag=True, help="Wait for its end.")
@click.option("--compare", is_flag=True, help="Wait, and say whether it gave the same; exit code 1 when not.")
def rerun(url: str | None, key: str | None, run_id: str, wait: bool, compare: bool) -> None:
    """Execute the run again, as a new one: same script, inputs, parameters and limits."""
    with _client(url, key) as client:
        run = client.rerun(run_id)
        if wait or compare:
            with Screen().progress("running"):
                run = client.wait(run["id"])
        click.echo(_line(run))
        if compare and run["status"] == "succeeded":
            sys.exit(_compare(client, run_id, run["id"]))
    sys.exit(exit_code(run) if wait or compare else 0)


@runs.command()
@server_options
@click.argument("left")
@click.argument("right")
def compare(url: str | None, key: str | None, left: str, right: str) -> None:
    """Say whether two runs gave the same tables; exit code 1 when not."""
    with _client(url, key) as client:
        sys.exit(_compare(client, left, right))


@runs.command()
@server_options
@click.argument("run_id")
def delete(url: str | None, key: str | None, run_id: str) -> None:
    """Make the server forget everything of a run that has ended."""
    with _client(url, key) as client:
        client.delete(run_id)


def _compare(client: Client, left: str, right: str) -> int:
    found = client.compare(left, right)
    for table in found["tables"]:
        verdict = str(table["verdict"]).replace("_", " ")
        difference = table["first_difference"]
        message = f": {safe_text(difference['message'])}" if difference else ""
        click.echo(f"table {table['port']}: {verdict}{message}")
    return 0 if found["same"] else _DIFFERENT


def _line(run: dict[str, Any]) -> str:
    error = run.get("error") or {}
    reason = f" {run['reason']}: {safe_text(str(error.get('message', '')))[:100]}" if run["reason"] else ""
    return f"{run['id']}  {run['created_at']}  {run['status']}{reason}".replace("\n", " ")


@contextlib.contextmanager
def _client(url: str | None, key: str | None) -> Iterator[Client]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.api import Client

    with failures_end_the_program(), Client(url or DEFAULT_URL, key) as client:
        yield client
