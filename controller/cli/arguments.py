"""Values on the command line: read once, refused by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.client.tables import KINDS, StoredTable, kind_of, packing

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmg]i?b|b)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

DEFAULT_URL = "http://127.0.0.1:8750"
_Command = TypeVar("_Command", bound=Callable[..., Any])

INPUT_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def server_options(command: _Command) -> _Command:
    """--url and --key, for every command that talks to a server."""
    url = click.option("--url", envvar="AIRLOCK_URL", help=f"Server [default: {DEFAULT_URL}].")
    key = click.option("--key", envvar="AIRLOCK_KEY", help="API key; safer in AIRLOCK_KEY: ps shows it here.")
    return url(key(command))


DATASET = "dataset:"


class TableArgument(click.ParamType[Path | StoredTable]):
    """A table's file, or `dataset:NAME`, `dataset:NAME@VERSION` for one that the server has."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | StoredTable:
        if not isinstance(value, str) or not value.startswith(DATASET):
            return Path(INPUT_FILE.convert(value, param, ctx))
        return stored_table(value.removeprefix(DATASET))


STORED_SCRIPT = "script:"


class ScriptArgument(click.ParamType[Path | str]):
    """A script's file, or `script:NAME`, `script:NAME@VERSION`, `script:NAME@TAG` for one that the server has."""

    name = "SCRIPT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        if not isinstance(value, str) or not value.startswith(STORED_SCRIPT):
            return Path(INPUT_FILE.convert(value, param, ctx))
        if not (reference := value.removeprefix(STORED_SCRIPT)):
            self.fail("write a stored script like script:NAME, script:NAME@3 or script:NAME@TAG", param, ctx)
        return reference


def stored_table(value: str) -> StoredTable:
    """NAME or NAME@VERSION. Raises click.BadParameter."""
    name, at, version = value.partition("@")
    if not name or (at and not (version.isascii() and version.isdigit())):
        raise click.BadParameter(f"{value!r} is no dataset; write it like NAME or NAME@3")
    return StoredTable(name, int(version) if at else None)


def byte_count(value: str) -> int:
    """A size like 512MiB, 2GB or 536870912, in bytes. Raises click.BadParameter."""
    match = _SIZE.fullmatch(value.strip())
    count = round(float(match["number"]) * _UNITS[(match["unit"] or "b").lower()]) if match else 0
    if count <= 0:
        raise click.BadParameter(f"{value!r} is no size; write it like 512MiB, 2GB or 536870912")
    return count


def positive(value: str) -> float:
    """A number above zero; "nan" and "inf" are none. Raises click.BadParameter."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"{value!r} is no number above zero")
    return number


def table_file(value: str) -> Path:
    """A file to write whose suffix says the table's format. Raises click.BadParameter."""
    path = Path(value)
    if kind_of(path) is None or packing(path):
        raise click.BadParameter(f"{path}: the suffix must be one of {' '.join(KINDS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise click.BadParameter(f"{path}: a file in a folder that exists is needed")
    return path


def parameters(pairs: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, each name once. Raises click.BadParameter."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE", param_hint="--parameter")
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--parameter")
        values[name] = value
    return values


def options_in(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises click.BadParameter."""
    try:
        options = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--options") from error
    if not isinstance(options, dict):
        raise click.BadParameter(f"{file}: a JSON object is needed", param_hint="--options")
    return options
