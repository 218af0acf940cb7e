"""`airlock keys` and `airlock usage`: a tenant's own API keys, and what it uses. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import DEFAULT_URL, positive, server_options
from controller.cli.endings import failures_end_the_program
from controller.cli.terminal import safe_text

if TYPE_CHECKING:
    from controller.client.admin import AdminClient

SCOPES = ("run", "publish", "tenant_admin", "admin")
scope_option = click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What it may do; repeatable."
)
days_option = click.option("--days", type=positive, metavar="N", help="It expires in so many days [default: never].")
grace_option = click.option(
    "--grace", type=click.FloatRange(0), metavar="SECONDS", help="How long the old key lives on [default: a day]."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group()
def keys() -> None:
    """The tenant's API keys: list, create, show, rotate, revoke. They need a key with the scope tenant_admin."""


@keys.command("list")
@server_options
@json_option
def list_keys(url: str | None, key: str | None, as_json: bool) -> None:
    """Show the tenant's keys, the newest first: id, what they may do, whether they are live, when they were used."""
    with admin_client(url, key) as client:
        for one in client.api_keys():
            click.echo(json.dumps(one) if as_json else key_line(one))


@keys.command()
@server_options
@click.argument("name")
@scope_option
@days_option
@json_option
def create(
    url: str | None, key: str | None, name: str, scopes: tuple[str, ...], days: float | None, as_json: bool
) -> None:
    """Make a key called NAME, and print it: it is shown this once."""
    with admin_client(url, key) as client:
        say_new_key(client.create_key(wanted_key(name, scopes, days)), as_json=as_json)


@keys.command()
@server_options
@click.argument("key_id")
def show(url: str | None, key: str | None, key_id: str) -> None:
    """Print what is known of a key as JSON."""
    with admin_client(url, key) as client:
        click.echo(json.dumps(client.key(key_id), indent=2))


@keys.command()
@server_options
@click.argument("key_id")
@grace_option
@json_option
def rotate(url: str | None, key: str | None, key_id: str, grace: float | None, as_json: bool) -> None:
    """Make a key in the place of KEY_ID, and print it: it is shown this once. The old one lives on for a while."""
    with admin_client(url, key) as client:
        say_new_key(client.rotate_key(key_id, grace), as_json=as_json)


@keys.command()
@server_options
@click.argument("key_id")
def revoke(url: str | None, key: str | None, key_id: str) -> None:
    """Have a key refused from now on."""
    with admin_client(url, key) as client:
        client.revoke_key(key_id)


@click.command()
@server_options
def usage(url: str | None, key: str | None) -> None:
    """Print what the tenant uses now, and may, as JSON. It needs a key with the scope tenant_admin."""
    with admin_client(url, key) as client:
        click.echo(json.dumps(client.usage(), indent=2))


def wanted_key(name: str, scopes: tuple[str, ...], days: float | None) -> dict[str, Any]:
    """The body of a request for a key."""
    ends = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    return {"name": name, "scopes": list(dict.fromkeys(scopes)), "expires_at": ends and ends.isoformat()}


def say_new_key(made: dict[str, Any], *, as_json: bool) -> None:
    """The key alone on standard output, so that it can be piped; what it is on standard error."""
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(f"{key_line(made)}\nShown only now, keep it:", err=True)
    click.echo(made["key"])


def key_line(one: dict[str, Any]) -> str:
    """A key in one line."""
    state = "live" if one["live"] else "ended"
    used = one["last_used_at"] or "never"
    return f"{one['id']}  {state:<5}  {','.join(one['scopes'])}  used {used}  {safe_text(str(one['name']))}"


@contextlib.contextmanager
def admin_client(url: str | None, key: str | None) -> Iterator[AdminClient]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.admin import AdminClient

    with failures_end_the_program(), AdminClient(url or DEFAULT_URL, key) as client:
        yield client
