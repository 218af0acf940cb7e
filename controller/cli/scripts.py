"""`airlock script`: scripts that the server keeps under a name. Each command imports what it needs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import DEFAULT_URL, INPUT_FILE, options_in, server_options
from controller.cli.endings import failures_end_the_program
from controller.cli.terminal import safe_text, size

if TYPE_CHECKING:
    from controller.client.scripts import ScriptClient


@click.group()
def script() -> None:
    """Scripts that the server keeps under a name, in versions: put once, run as `script:NAME`."""


@script.command()
@server_options
@click.argument("name")
@click.argument("file", type=INPUT_FILE)
@click.option("--bundle", type=INPUT_FILE, help="Zip of modules and files that the script may use.")
@click.option("--dataframe1", type=INPUT_FILE, help="A sample of table 1, to try the script with.")
@click.option("--dataframe2", type=INPUT_FILE, help="A sample of table 2.")
@click.option("--options", "options_file", type=INPUT_FILE, metavar="FILE", help="JSON: parameters, limits, profile.")
@click.option("--description", help="What it does, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON, and nothing else.")
def put(
    url: str | None,
    key: str | None,
    name: str,
    file: Path,
    options_file: Path | None,
    description: str | None,
    as_json: bool,
    **files: Path | None,
) -> None:
    """Keep FILE under NAME, as its next version; if nothing has changed there is no new one."""
    options = options_in(options_file) if options_file else {}
    options |= {"description": description} if description else {}
    with _client(url, key) as client:
        _show(client.put_script(name, file, options=options, **files), as_json=as_json)


@script.command("list")
@server_options
@click.option("--prefix", default="", metavar="TEXT", help="Only names that begin with it.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one to a line.")
def list_scripts(url: str | None, key: str | None, prefix: str, as_json: bool) -> None:
    """Show the newest version of each script, newest first."""
    with _client(url, key) as client:
        for found in client.scripts(prefix):
            click.echo(json.dumps(found) if as_json else _line(found))


@script.command()
@server_options
@click.argument("name", metavar="NAME[@VERSION|@TAG]")
@click.option("--versions", is_flag=True, help="Show every version, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON; of several, one to a line.")
def show(url: str | None, key: str | None, name: str, versions: bool, as_json: bool) -> None:
    """Show the script NAME, or one version of it, and the parameters that it takes."""
    name, which = _parted(name)
    with _client(url, key) as client:
        if versions:
            for found in client.script_versions(name):
                click.echo(json.dumps(found) if as_json else _line(found))
            return
        found = client.script(name, which)
    _show(found, as_json=as_json)
    for parameter, declared in {} if as_json else (found["parameters"] or {}).items():
        default = "" if declared["default"] is None else f" = {json.dumps(declared['default'])}"
        click.echo(safe_text(f"  {parameter}: {declared['type']}{default}  {declared['description']}".rstrip()))


@script.command()
@server_options
@click.argument("name", metavar="NAME[@VERSION|@TAG]")
def source(url: str | None, key: str | None, name: str) -> None:
    """Print the text of the script NAME, byte for byte."""
    with _client(url, key) as client:
        sys.stdout.buffer.write(client.script_source(*_parted(name)))


@script.command()
@server_options
@click.argument("name")
@click.argument("old", metavar="VERSION|TAG")
@click.argument("new", metavar="VERSION|TAG", default="latest")
def diff(url: str | None, key: str | None, name: str, old: str, new: str) -> None:
    """Show how the text changed between two versions of NAME; exit code 1 when it did. The server compares nothing: a
    script is a stranger's text, and this is done here."""
    from difflib import unified_diff

    with _client(url, key) as client:
        before, after = (client.script_source(name, which).decode("utf-8", "replace") for which in (old, new))
    lines = before.splitlines(), after.splitlines()
    for line in unified_diff(lines[0], lines[1], f"{name}@{old}", f"{name}@{new}", lineterm=""):
        click.echo(safe_text(line))
    sys.exit(0 if before == after else 1)


@script.command()
@server_options
@click.argument("name", metavar="NAME@VERSION")
@click.argument("tag")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON, and nothing else.")
def tag(url: str | None, key: str | None, name: str, tag: str, as_json: bool) -> None:
    """Put TAG on a version, wherever it was before: `script:NAME@TAG` runs that version."""
    script_name, version = _numbered(name, needed=True)
    with _client(url, key) as client:
        _show(client.tag_script(script_name, tag, version), as_json=as_json)


@script.command()
@server_options
@click.argument("name")
@click.argument("tag")
def untag(url: str | None, key: str | None, name: str, tag: str) -> None:
    """Take TAG away from the script NAME."""
    with _client(url, key) as client:
        client.untag_script(name, tag)


@script.command()
@server_options
@click.argument("name", metavar="NAME[@VERSION]")
def delete(url: str | None, key: str | None, name: str) -> None:
    """Delete every version of the script NAME, or NAME@VERSION alone."""
    name, version = _numbered(name, needed=False)
    with _client(url, key) as client:
        client.delete_script(name, version)


@contextlib.contextmanager
def _client(url: str | None, key: str | None) -> Iterator[ScriptClient]:
    """A client; what keeps it from its answer ends the program with the exit code that says so."""
    from controller.client.scripts import ScriptClient

    with failures_end_the_program(), ScriptClient(url or DEFAULT_URL, key) as client:
        yield client


def _parted(value: str) -> tuple[str, str | None]:
    name, _, which = value.partition("@")
    return name, which or None


def _numbered(value: str, *, needed: bool) -> tuple[str, Any]:
    name, which = _parted(value)
    if (which is None and needed) or (which is not None and not which.isdecimal()):
        raise click.BadParameter(f"{value!r} names no version; write it like NAME@3", param_hint="NAME")
    return name, int(which) if which else None


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    click.echo(json.dumps(found, indent=2) if as_json else _line(found))


def _line(found: dict[str, Any]) -> str:
    tags = f"  ({', '.join(found['tags'])})" if found["tags"] else ""
    bundle = f" and a bundle of {size(found['bundle_bytes'])}" if found["bundle_sha256"] else ""
    facts = f"{size(found['script_bytes'])}{bundle}, {found['created_at'][:19].replace('T', ' ')}"
    return safe_text(f"{found['name']}@{found['version']}{tags}  {facts}  {found['description']}".rstrip())
