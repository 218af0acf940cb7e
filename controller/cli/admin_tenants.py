"""`airlock admin tenant` and `airlock admin key`: who is hosted, with which quotas and keys."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import click

from controller.cli.arguments import server_options
from controller.cli.keys import (
    admin_client,
    days_option,
    grace_option,
    json_option,
    key_line,
    say_new_key,
    scope_option,
    wanted_key,
)
from controller.cli.terminal import safe_text

_LOOK_SECONDS = 0.5
_COUNTS = ("concurrent_runs", "queued_runs", "memory_bytes", "output_bytes", "stored_bytes")
QUOTAS = (*_COUNTS, "run_seconds_per_day", "cpus", "timeout_seconds", "requests_per_second")
quota_option = click.option(
    "--quota", "quotas", multiple=True, metavar="NAME=VALUE", help="A quota, or `none` for no bound; repeatable."
)


def quotas_in(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, each name once; sizes may be written like 10GiB. Raises click.BadParameter."""
    from controller.cli.arguments import byte_count

    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in QUOTAS or name in found or not value:
            known = ", ".join(QUOTAS)
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE, each once; there are {known}", param_hint="--quota")
        if value == "none":
            found[name] = None
        elif name.endswith("_bytes"):
            found[name] = byte_count(value)
        else:
            found[name] = _number(pair, value, whole=name in _COUNTS)
    return found


def _number(pair: str, value: str, *, whole: bool) -> float:
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"{pair!r}: a number above zero is needed", param_hint="--quota")
    return number


@click.group()
def tenant() -> None:
    """Tenants: create, list, show, change, suspend, resume, delete. TENANT is a name or an id."""


@tenant.command()
@server_options
@click.argument("name")
@quota_option
@json_option
def create(url: str | None, key: str | None, name: str, quotas: tuple[str, ...], as_json: bool) -> None:
    """Make a tenant called NAME."""
    with admin_client(url, key) as client:
        _say(client.create_tenant(name, quotas_in(quotas)), as_json=as_json)


@tenant.command("list")
@server_options
@json_option
def list_tenants(url: str | None, key: str | None, as_json: bool) -> None:
    """Show all tenants, the newest first."""
    with admin_client(url, key) as client:
        for one in client.tenants():
            click.echo(json.dumps(one) if as_json else _line(one))


@tenant.command()
@server_options
@click.argument("tenant")
def show(url: str | None, key: str | None, tenant: str) -> None:
    """Print a tenant as JSON."""
    with admin_client(url, key) as client:
        _say(client.tenant(client.tenant_id(tenant)), as_json=True)


@tenant.command()
@server_options
@click.argument("tenant")
@click.option("--name", help="Its new name.")
@quota_option
@click.option("--default-quotas", is_flag=True, help="First take back all quotas of its own.")
@json_option
def change(
    url: str | None,
    key: str | None,
    tenant: str,
    name: str | None,
    quotas: tuple[str, ...],
    default_quotas: bool,
    as_json: bool,
) -> None:
    """Change a tenant's name, or some of its quotas: those that are not named stay."""
    wanted = quotas_in(quotas)
    with admin_client(url, key) as client:
        tenant_id = client.tenant_id(tenant)
        changes: dict[str, Any] = {"name": name} if name else {}
        if wanted or default_quotas:
            present = {} if default_quotas else client.tenant(tenant_id)["quotas"]
            changes["quotas"] = present | wanted
        _say(client.change_tenant(tenant_id, changes), as_json=as_json)


@tenant.command()
@server_options
@click.argument("tenant")
def suspend(url: str | None, key: str | None, tenant: str) -> None:
    """Refuse its keys, and begin nothing of it, until it is resumed."""
    with admin_client(url, key) as client:
        _say(client.suspend_tenant(client.tenant_id(tenant)))


@tenant.command()
@server_options
@click.argument("tenant")
def resume(url: str | None, key: str | None, tenant: str) -> None:
    """Let a suspended tenant in again."""
    with admin_client(url, key) as client:
        _say(client.resume_tenant(client.tenant_id(tenant)))


@tenant.command()
@server_options
@click.argument("tenant")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def delete(url: str | None, key: str | None, tenant: str, yes: bool) -> None:
    """Delete a tenant with all its runs, datasets and keys, and wait until they are gone. There is no way back."""
    from controller.client.errors import ServerRefused

    with admin_client(url, key) as client:
        tenant_id = client.tenant_id(tenant)
        if not yes:
            click.confirm(f"Delete the tenant {tenant} and all its data?", abort=True)
        client.delete_tenant(tenant_id)
        while True:
            try:
                client.tenant(tenant_id)
            except ServerRefused as error:
                if error.status != 404:
                    raise
                break
            time.sleep(_LOOK_SECONDS)
        click.echo(f"{tenant_id}  deleted")


@click.group()
def key() -> None:
    """Keys of any tenant: create, list, rotate, revoke. TENANT is a name or an id."""


@key.command("create")
@server_options
@click.argument("tenant")
@click.argument("name")
@scope_option
@days_option
@json_option
def create_key(
    url: str | None,
    key: str | None,
    tenant: str,
    name: str,
    scopes: tuple[str, ...],
    days: float | None,
    as_json: bool,
) -> None:
    """Make a key called NAME for TENANT, and print it: it is shown this once."""
    with admin_client(url, key) as client:
        say_new_key(client.create_key(wanted_key(name, scopes, days), client.tenant_id(tenant)), as_json=as_json)


@key.command("list")
@server_options
@click.argument("tenant")
@json_option
def list_keys(url: str | None, key: str | None, tenant: str, as_json: bool) -> None:
    """Show the keys of TENANT, the newest first."""
    with admin_client(url, key) as client:
        for one in client.api_keys(client.tenant_id(tenant)):
            click.echo(json.dumps(one) if as_json else key_line(one))


@key.command("rotate")
@server_options
@click.argument("tenant")
@click.argument("key_id")
@grace_option
@json_option
def rotate_key(
    url: str | None, key: str | None, tenant: str, key_id: str, grace: float | None, as_json: bool
) -> None:
    """Make a key in the place of KEY_ID, and print it: it is shown this once. The old one lives on for a while."""
    with admin_client(url, key) as client:
        say_new_key(client.rotate_key(key_id, grace, client.tenant_id(tenant)), as_json=as_json)


@key.command("revoke")
@server_options
@click.argument("tenant")
@click.argument("key_id")
def revoke_key(url: str | None, key: str | None, tenant: str, key_id: str) -> None:
    """Have a key refused from now on."""
    with admin_client(url, key) as client:
        client.revoke_key(key_id, client.tenant_id(tenant))


def _say(one: dict[str, Any], *, as_json: bool = False) -> None:
    click.echo(json.dumps(one, indent=2) if as_json else _line(one))


def _line(one: dict[str, Any]) -> str:
    quotas = "  ".join(f"{name}={value}" for name, value in one["quotas"].items())
    return f"{one['id']}  {one['status']:<9}  {safe_text(str(one['name']))}  {quotas}".rstrip()
