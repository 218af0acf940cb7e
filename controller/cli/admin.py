"""`airlock admin`: what the operator does. Each command imports what it needs; those for tenants are beside this."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.admin_tenants import key, tenant
from controller.cli.arguments import FOLDER, INPUT_FILE, NEW_FILE, positive, server_options
from controller.cli.endings import WRONG_USE
from controller.cli.host import host_failures, server_settings
from controller.cli.keys import admin_client, json_option
from controller.cli.runs import STATES
from controller.cli.terminal import safe_text, size

if TYPE_CHECKING:
    from controller.store.audit_store import AuditRow, Head

BROKEN = 1
data_dir_option = click.option("--data-dir", type=FOLDER, metavar="DIR", help="The server's data directory.")


@click.group()
def admin() -> None:
    """Operate a server: tenants, keys, everybody's runs, drain and maintenance, audit, backup. Scope: admin."""


admin.add_command(tenant)
admin.add_command(key)


@admin.group()
def runs() -> None:
    """Everybody's runs: list, kill."""


@runs.command("list")
@server_options
@click.option("--tenant", "tenant_name", metavar="TENANT", help="Only this one's, by name or id.")
@click.option("--status", type=click.Choice(STATES), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=50, help="How many at most [default: 50].")
@json_option
def list_runs(
    url: str | None, key: str | None, tenant_name: str | None, status: str | None, limit: int, as_json: bool
) -> None:
    """Show what is executed for all tenants, the newest first."""
    with admin_client(url, key) as client:
        tenant_id = client.tenant_id(tenant_name) if tenant_name else None
        wanted = {"tenant": tenant_id, "status": status, "limit": min(limit, 100)}
        found = client.everybodys_runs(**{name: value for name, value in wanted.items() if value})
        for run in itertools.islice(found, limit):
            line = f"{run['id']}  {run['tenant_id']}  {run['created_at']}  {run['task']:<11} {run['status']}"
            click.echo(json.dumps(run) if as_json else f"{line} {run['reason'] or ''}".rstrip())


@runs.command()
@server_options
@click.argument("run_id")
def kill(url: str | None, key: str | None, run_id: str) -> None:
    """Stop a run, whosever it is."""
    with admin_client(url, key) as client:
        click.echo(f"{run_id}  {client.kill(run_id)['status']}")


@admin.group()
def engine() -> None:
    """The server and its engine: show, drain, maintenance, resume."""


@engine.command("show")
@server_options
def show_engine(url: str | None, key: str | None) -> None:
    """Print versions, the walls in force, and whether new work is taken, as JSON."""
    with admin_client(url, key) as client:
        click.echo(json.dumps(client.engine(), indent=2))


@engine.command()
@server_options
def drain(url: str | None, key: str | None) -> None:
    """Accept nothing new and begin nothing: the server comes to rest, and can be stopped when no run is at work."""
    with admin_client(url, key) as client:
        mode = client.set_mode("drain")["mode"]
        click.echo(f"{mode}; at work: {client.engine()['running_runs']}")


@engine.command()
@server_options
@click.argument("message")
@click.option("--retry", type=positive, metavar="SECONDS", help="When clients are to come back [default: 60].")
def maintenance(url: str | None, key: str | None, message: str, retry: float | None) -> None:
    """Refuse what is new with MESSAGE; what was accepted goes on, and reading works."""
    body: dict[str, Any] = {"message": message} | ({"retry_seconds": retry} if retry else {})
    with admin_client(url, key) as client:
        click.echo(client.set_mode("maintenance", body)["mode"])


@engine.command()
@server_options
def resume(url: str | None, key: str | None) -> None:
    """Take new work again."""
    with admin_client(url, key) as client:
        click.echo(client.set_mode("resume")["mode"])


@admin.command()
@server_options
def environments(url: str | None, key: str | None) -> None:
    """Show the environments: which image each is."""
    with admin_client(url, key) as client:
        for found in client.admin_environments():
            default = " (default)" if found["default"] else ""
            click.echo(f"{found['name']}{default}  {found['image']}  {found['digest']}  {found['packages']} packages")


@admin.command()
@server_options
def sweep(url: str | None, key: str | None) -> None:
    """Search for what a crash left, now."""
    with admin_client(url, key) as client:
        click.echo(f"{client.sweep()} containers removed")


@admin.command("usage")
@server_options
@click.option("--tenant", "tenant_name", metavar="TENANT", help="Only this one's, by name or id.")
@click.option("--since", metavar="DATE", help="Only since this day, like 2026-01-31 (UTC).")
@json_option
def usage_by_day(
    url: str | None, key: str | None, tenant_name: str | None, since: str | None, as_json: bool
) -> None:
    """Show what each tenant used, by day, the newest first."""
    with admin_client(url, key) as client:
        tenant_id = client.tenant_id(tenant_name) if tenant_name else None
        wanted = {"tenant": tenant_id, "since": since}
        for day in client.days(**{name: value for name, value in wanted.items() if value}):
            used = f"{day['runs']} runs  {day['run_seconds']:.1f} s  {day['cpu_seconds']:.1f} CPU s"
            click.echo(json.dumps(day) if as_json else f"{day['day']}  {day['tenant_id']}  {used}")


@admin.group()
def audit() -> None:
    """The audit log: list, export, verify."""


@audit.command("list")
@server_options
@click.option("--action", metavar="ACTION", help="Only these, like key.create or request.refused.")
@click.option("--limit", type=click.IntRange(1), default=50, help="How many at most [default: 50].")
@json_option
def list_audit(url: str | None, key: str | None, action: str | None, limit: int, as_json: bool) -> None:
    """Show what was done and what was refused, the newest first."""
    with admin_client(url, key) as client:
        filters = {"action": action} if action else {}
        for row in itertools.islice(client.audit(**filters), limit):
            who = row["key_id"] or "-"
            said = f"{row['number']}  {row['at']}  {who}  {row['address'] or '-'}  {row['action']}  {row['subject']}"
            click.echo(json.dumps(row) if as_json else safe_text(f"{said}  {json.dumps(row['details'])}"))


@audit.command()
@server_options
@click.argument("file", type=NEW_FILE)
def export(url: str | None, key: str | None, file: Path) -> None:
    """Save all of it in FILE, one JSON object a line."""
    from controller.client.admin import line_of

    count = 0
    with admin_client(url, key) as client, file.open("w", encoding="ascii") as out:
        for count, row in enumerate(client.export_audit(), start=1):  # noqa: B007 - how many there were
            out.write(line_of(row) + "\n")
    click.echo(f"{file}: {count} rows")


@audit.command()
@server_options
@click.option("--file", type=INPUT_FILE, metavar="FILE", help="An export, instead of the server's log.")
@click.option("--head", metavar="N:HASH", help="A head that was printed earlier: is it still there?")
def verify(url: str | None, key: str | None, file: Path | None, head: str | None) -> None:
    """Follow the chain from the first row. Prints its head, N:HASH, to be kept elsewhere; or names the first row that
    is not what was written, with exit code 1."""
    from controller.store.audit_store import Broken, row_of
    from controller.store.audit_store import verify as follow

    kept = _head(head) if head else None
    try:
        if file is not None:
            found = follow(_rows_in(file), kept)
        else:
            with admin_client(url, key) as client:
                found = follow((row_of(row) for row in client.export_audit()), kept)
    except ValueError as error:
        click.echo(f"airlock: this is no export of an audit log: {safe_text(str(error))[:500]}", err=True)
        sys.exit(WRONG_USE)
    if isinstance(found, Broken):
        click.echo(f"row {found.number} {found.why}")
        sys.exit(BROKEN)
    click.echo(f"whole: {found.number} rows, head {found.number}:{found.hash}")


def _rows_in(file: Path) -> itertools.chain[AuditRow]:
    from controller.store.audit_store import row_of

    with file.open(encoding="utf-8") as lines:
        return itertools.chain([row_of(json.loads(line)) for line in lines])


def _head(text: str) -> Head:
    from controller.store.audit_store import Head

    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(digest) == 64):
        raise click.BadParameter(f"{text!r} is no head: it is N:HASH, as `verify` prints it", param_hint="--head")
    return Head(number=int(number), hash=digest)


@admin.command()
@click.argument("folder", metavar="FOLDER", type=FOLDER)
@data_dir_option
def backup(folder: Path, data_dir: Path | None) -> None:
    """Copy the data directory into FOLDER, which must be new or empty. On the server's host; the server may run."""
    from controller.backup import back_up

    settings = server_settings(data_dir=data_dir)
    with host_failures():
        made = back_up(settings.data_dir, folder)
    click.echo(f"{folder}: {made.runs} runs, {made.scripts} scripts, {size(made.bytes)}; it holds secrets")


@admin.command()
@click.argument("folder", metavar="FOLDER", type=FOLDER)
@data_dir_option
def restore(folder: Path, data_dir: Path | None) -> None:
    """Make the data directory, which must be new or empty, of the backup in FOLDER. Start the server afterwards."""
    from controller.backup import restore as make_of

    settings = server_settings(data_dir=data_dir)
    with host_failures():
        made = make_of(folder, settings.data_dir)
    held = f"{made.runs} runs, {made.batches} batches"
    click.echo(f"{settings.data_dir}: {held}, as of {made.made_at:%Y-%m-%d %H:%M} UTC")
