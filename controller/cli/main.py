"""The command line: `airlock`. Every command and option is in docs/cli.md.

Exit codes: 0 done, or the run succeeded; 1 the script failed, or `doctor` found an error; 2 wrong use;
3 the server failed or cannot be reached. Commands import what they need themselves: `--help` must be quick.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.cli.host import doctor, image, serve

DEFAULT_URL = "http://127.0.0.1:8750"
_OUTPUT_FORMATS = {
    ".arrow": "arrow",
    ".arrows": "arrow_stream",
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmg]i?b|b)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_Command = TypeVar("_Command", bound=Callable[..., Any])


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
    if path.suffix.lower() not in _OUTPUT_FORMATS:
        raise click.BadParameter(f"{path}: the suffix must be one of {' '.join(_OUTPUT_FORMATS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise click.BadParameter(f"{path}: a file in a folder that exists is needed")
    return path


_INPUT_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)

_FOLDER = click.Path(file_okay=False, path_type=Path)


def server_options(command: _Command) -> _Command:
    """--url and --key, for every command that talks to a server."""
    url = click.option("--url", envvar="AIRLOCK_URL", default=DEFAULT_URL, show_default=True, help="Server.")
    key = click.option("--key", envvar="AIRLOCK_KEY", help="API key; safer in AIRLOCK_KEY: ps shows it here.")
    return url(key(command))


def main() -> None:
    """Entry point of the `airlock` program."""
    cli(prog_name="airlock")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="airlock")
def cli() -> None:
    """Run scripts that nobody has to trust: each in a sealed container of its own."""


for _command in (serve, doctor, image):
    cli.add_command(_command)


@cli.command()
@server_options
@click.argument("script", type=_INPUT_FILE)
@click.option("--dataframe1", type=_INPUT_FILE, help="Table 1: .csv .tsv .json .parquet .arrow .arrows.")
@click.option("--dataframe2", type=_INPUT_FILE, help="Table 2: likewise.")
@click.option("--bundle", type=_INPUT_FILE, help="Zip of modules and files that the script may use.")
@click.option("--output", type=table_file, metavar="FILE", help="Save the table; formats as above but .tsv.")
@click.option("--images", type=_FOLDER, metavar="DIR", help="Save the images in this folder.")
@click.option("--timeout", type=positive, metavar="SECONDS", help="Time limit of the run.")
@click.option("--memory", type=byte_count, metavar="BYTES", help="Memory limit of the run, like 512MiB.")
@click.option("--cpus", type=positive, metavar="N", help="CPUs of the run, like 1 or 0.5.")
@click.option("--profile", type=click.Choice(["classic", "designer"]), help="Rules of arguments and results.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Text for the script; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON, and nothing else.")
def run(
    url: str,
    key: str | None,
    script: Path,
    dataframe1: Path | None,
    dataframe2: Path | None,
    bundle: Path | None,
    output: Path | None,
    images: Path | None,
    timeout: float | None,
    memory: int | None,
    cpus: float | None,
    profile: str | None,
    parameter: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run SCRIPT, which defines azureml_main, on the server; show its log, its table and its status."""
    from controller.cli.run import Submission, Targets, run_and_report
    from controller.cli.terminal import Screen
    from controller.client.api import Client
    from controller.client.errors import ClientError

    wanted = {
        "timeout_seconds": timeout,
        "memory_bytes": memory,
        "cpus": cpus,
        "profile": profile,
        "parameters": _parameters(parameter),
        "output_format": _OUTPUT_FORMATS[output.suffix.lower()] if output else None,
    }
    options = {name: value for name, value in wanted.items() if value}
    submission = Submission(script, dataframe1, dataframe2, bundle, options)
    try:
        with Client(url, key) as client:
            code = run_and_report(client, submission, Targets(output, images), Screen(), as_json=as_json)
    except BrokenPipeError:
        raise  # whoever read our output has gone: click ends the program without a word
    except (ClientError, OSError) as error:
        code = _say_failure(error)
    sys.exit(code)


def _parameters(pairs: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE", param_hint="--parameter")
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--parameter")
        values[name] = value
    return values


def _say_failure(error: Exception) -> int:
    """Write what kept the client from its result; the exit code for it."""
    from controller.cli.run import SERVER_FAILED, WRONG_USE
    from controller.cli.terminal import safe_text
    from controller.client import errors

    click.echo(f"airlock: {safe_text(str(error))}", err=True)
    if isinstance(error, errors.ServerRefused):
        for item in (item for item in error.errors if isinstance(item, dict)):
            where = item.get("where") or item.get("field") or "?"
            click.echo(safe_text(f"  {where}: {item.get('message', '')}"), err=True)
        if error.request_id and error.status >= 500:
            click.echo(safe_text(f"  the server's log has it as request {error.request_id}"), err=True)
        if error.status == 401:
            click.echo("  give a key in AIRLOCK_KEY or --key; `airlock serve` prints the first", err=True)
        busy = error.status >= 500 or error.status in (408, 429)
        return SERVER_FAILED if busy else WRONG_USE
    if isinstance(error, errors.ServerUnreachable):
        click.echo("  is `airlock serve` running there? --url and AIRLOCK_URL say where it is", err=True)
    return SERVER_FAILED if isinstance(error, errors.ServerUnreachable | errors.UnexpectedAnswer) else WRONG_USE
