"""`airlock endpoint`: stored scripts that are published as services. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import (
    DEFAULT_URL,
    INPUT_FILE,
    NEW_FILE,
    byte_count,
    options_in,
    parameters,
    positive,
    server_options,
)
from controller.cli.endings import failures_end_the_program
from controller.cli.terminal import safe_text, size
from controller.client.tables import kind_of

if TYPE_CHECKING:
    from controller.client.endpoints import EndpointClient


@click.group()
def endpoint() -> None:
    """Stored scripts as web services, each with keys of its own."""


@endpoint.command()
@server_options
@click.argument("name")
@click.argument("script", metavar="SCRIPT[@VERSION|@TAG]")
@click.option("--description", help="What it does, for people.")
@click.option("--concurrency", type=int, metavar="N", help="Calls at once, up to 200 [default: 20].")
@click.option("--timeout", "timeout_seconds", type=positive, metavar="SECONDS", help="Time limit of a call.")
@click.option("--memory", "memory_bytes", type=byte_count, metavar="BYTES", help="Memory of a call, like 512MiB.")
@click.option("--cpus", type=positive, metavar="N", help="CPUs of a call, like 1 or 0.5.")
@click.option("--keep", type=click.Choice(("none", "failed", "all")), help="Which calls are kept as runs.")
@click.option("--strict", is_flag=True, help="Tables must have the columns of the sample run.")
@click.option("--off", is_flag=True, help="Published, and switched off.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoint as JSON, and nothing else.")
def publish(
    url: str | None, key: str | None, name: str, script: str, off: bool, as_json: bool, **config: Any
) -> None:
    """Publish the stored SCRIPT as NAME, or change how NAME is published. Of a new endpoint the two keys are shown,
    once. What is not given gets its default."""
    given = {option: value for option, value in config.items() if value not in (None, False)}
    with _client(url, key) as client:
        _show(client.publish(name, script, enabled=not off, **given), as_json=as_json)


@endpoint.command("list")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def list_endpoints(url: str | None, key: str | None, as_json: bool) -> None:
    """Show the endpoints, by name."""
    with _client(url, key) as client:
        for found in client.endpoints():
            click.echo(json.dumps(found) if as_json else _line(found))


@endpoint.command()
@server_options
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoint as JSON, and nothing else.")
def show(url: str | None, key: str | None, name: str, as_json: bool) -> None:
    """Show the endpoint NAME: what it serves, and where it is called."""
    with _client(url, key) as client:
        _show(client.endpoint(name), as_json=as_json)


@endpoint.command()
@server_options
@click.argument("name")
@click.option("--dataframe1", type=INPUT_FILE, help="Table 1; its format by the suffix.")
@click.option("--dataframe2", type=INPUT_FILE, help="Table 2, likewise.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Text for the script; repeatable.")
@click.option("--parameters", "file", type=INPUT_FILE, metavar="FILE", help="JSON: parameters of any type.")
@click.option("--output", type=NEW_FILE, required=True, metavar="FILE", help="The result, by suffix: a table or .png.")
def call(
    url: str | None,
    key: str | None,
    name: str,
    dataframe1: Path | None,
    dataframe2: Path | None,
    parameter: tuple[str, ...],
    file: Path | None,
    output: Path,
) -> None:
    """Call the endpoint NAME and save what it gives; one of its own keys is enough for --key."""
    kind = kind_of(output)
    if kind is None and output.suffix.lower() != ".png":
        raise click.BadParameter(f"{output}: the suffix must be one of a table, or .png", param_hint="--output")
    sent = (options_in(file) if file else {}) | parameters(parameter)
    with _client(url, key) as client:
        accept = kind.media_type if kind else "image/png"
        written = client.call(name, output, accept, dataframe1=dataframe1, dataframe2=dataframe2, parameters=sent)
    click.echo(f"{output} ({size(written)})")


@endpoint.command()
@server_options
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoint as JSON, and nothing else.")
def rollback(url: str | None, key: str | None, name: str, as_json: bool) -> None:
    """Serve again what NAME served before the last change."""
    with _client(url, key) as client:
        _show(client.roll_back(name), as_json=as_json)


@endpoint.command()
@server_options
@click.argument("name")
@click.argument("which", type=click.Choice(("primary", "secondary")))
def regenerate(url: str | None, key: str | None, name: str, which: str) -> None:
    """Replace the key WHICH of the endpoint NAME, and print the new one; the old one is void at once."""
    with _client(url, key) as client:
        click.echo(client.regenerate_key(name, which))


@endpoint.command()
@server_options
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def usage(url: str | None, key: str | None, name: str, as_json: bool) -> None:
    """Show the calls of NAME, day by day: how many, and how long they took."""
    with _client(url, key) as client:
        found = client.endpoint_usage(name)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{found['at_work']} at work")
    for day in found["items"]:
        times = f"p50 {day['p50_seconds']} s, p99 {day['p99_seconds']} s" if day["p50_seconds"] else ""
        counts = ", ".join(f"{day[ending]} {ending}" for ending in ("succeeded", "failed", "throttled"))
        click.echo(f"{day['day']}  {counts}  {times}".rstrip())


@endpoint.command()
@server_options
@click.argument("name")
def delete(url: str | None, key: str | None, name: str) -> None:
    """Take the endpoint NAME away, and its keys with it."""
    with _client(url, key) as client:
        client.delete_endpoint(name)


@contextlib.contextmanager
def _client(url: str | None, key: str | None) -> Iterator[EndpointClient]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.endpoints import EndpointClient

    with failures_end_the_program(), EndpointClient(url or DEFAULT_URL, key) as client:
        yield client


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(_line(found))
    for name, address in found["addresses"].items():
        click.echo(f"  {name}: {address}")
    for which, key in (found["keys"] or {}).items():
        click.echo(f"  {which} key (shown only now): {key}")
    if found["sample"] and found["sample"]["error"]:
        click.echo(safe_text(f"its sample run failed: {found['sample']['error']}"), err=True)


def _line(found: dict[str, Any]) -> str:
    state = "" if found["config"]["enabled"] else "  off"
    serves = f"serves {found['script']}, which is version {found['version']}"
    return safe_text(f"{found['name']}{state}  {serves}  {found['config']['description']}".rstrip())
