"""The command line: `airlock`. Every command and option is in docs/cli.md.

Exit codes: 0 done, or the run succeeded; 1 the script failed, `doctor` found an error, `verify` a difference, or
`admin audit verify` a broken row; 2 wrong use; 3 the server failed or cannot be reached. Commands import what they need
themselves: `--help` must be quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from controller.cli.admin import admin
from controller.cli.arguments import (
    DEFAULT_URL,
    FOLDER,
    INPUT_FILE,
    NEW_FILE,
    ScriptArgument,
    TableArgument,
    byte_count,
    options_in,
    parameters,
    positive,
    server_options,
    table_file,
)
from controller.cli.batches import batch
from controller.cli.datasets import dataset
from controller.cli.endpoints import endpoint
from controller.cli.host import doctor, image, serve
from controller.cli.keys import keys, usage
from controller.cli.runs import runs
from controller.cli.scripts import script
from controller.client.tables import KINDS, StoredTable, kind_of

PROFILES = ("classic", "classic-strict", "lenient", "designer")
DTYPES = ("numpy", "nullable", "arrow")


def main() -> None:
    """Entry point of the `airlock` program."""
    cli(prog_name="airlock")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="airlock")
def cli() -> None:
    """Run scripts that nobody has to trust: each in a sealed container of its own."""


for _command in (serve, doctor, image, dataset, script, endpoint, batch, runs, keys, usage, admin):
    cli.add_command(_command)


@cli.command()
@click.argument("script", type=NEW_FILE)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def new(script: Path, force: bool) -> None:
    """Write SCRIPT, a commented start of your own: it runs as it is, here and on a server."""
    from controller.cli.new import write_starter

    write_starter(script, force=force)


@cli.command()
@server_options
@click.argument("script", type=ScriptArgument())
@click.option(
    "--dataframe1",
    type=TableArgument(),
    help=f"Table 1: {' '.join(KINDS)}, also packed: .gz .zst; or dataset:NAME[@VERSION].",
)
@click.option("--dataframe2", type=TableArgument(), help="Table 2: likewise.")
@click.option("--bundle", type=INPUT_FILE, help="Zip of modules and files that the script may use.")
@click.option("--output", type=table_file, metavar="FILE", help="Save the table; format by suffix, as above.")
@click.option("--output2", type=table_file, metavar="FILE", help="Save the second table (profile designer).")
@click.option("--images", type=FOLDER, metavar="DIR", help="Save the images in this folder.")
@click.option("--receipt", type=NEW_FILE, metavar="FILE", help="Save the run's signed receipt.")
@click.option("--timeout", "timeout_seconds", type=positive, metavar="SECONDS", help="Time limit of the run.")
@click.option("--memory", "memory_bytes", type=byte_count, metavar="BYTES", help="Memory limit, like 512MiB.")
@click.option("--cpus", type=positive, metavar="N", help="CPUs of the run, like 1 or 0.5.")
@click.option("--profile", type=click.Choice(PROFILES), help="Rules of arguments and results.")
@click.option("--dtypes", type=click.Choice(DTYPES), help="How tables arrive in pandas.")
@click.option("--reuse", is_flag=True, help="Take an identical earlier run's result, if there is one.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Text for the script; repeatable.")
@click.option("--options", "options_file", type=INPUT_FILE, metavar="FILE", help="JSON: more options of the API.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON, and nothing else.")
@click.option("--local", is_flag=True, help="Run it here, NOT isolated: no server, no container.")
@click.option("--python", metavar="PATH", help="With --local: another Python, as of a conda environment.")
def run(
    url: str | None,
    key: str | None,
    script: Path | str,
    dataframe1: Path | StoredTable | None,
    dataframe2: Path | StoredTable | None,
    bundle: Path | None,
    output: Path | None,
    output2: Path | None,
    images: Path | None,
    receipt: Path | None,
    parameter: tuple[str, ...],
    options_file: Path | None,
    as_json: bool,
    local: bool,
    python: str | None,
    **wanted: Any,
) -> None:
    """Run SCRIPT, which defines azureml_main: a file, or script:NAME[@VERSION|@TAG] for a stored one. On the server
    or here; show its log, its table and its status."""
    from controller.cli.run import Submission, Targets, run_remotely

    if python and not local:
        raise click.UsageError("--python is the Python of a local run: it needs --local")
    saved = output or output2
    kind = kind_of(saved) if saved else None
    wanted |= {"parameters": parameters(parameter), "output_format": kind.format if kind else None}
    options = options_in(options_file) if options_file else {}
    options |= {name: value for name, value in wanted.items() if value}
    submission = Submission(script, dataframe1, dataframe2, bundle, options)
    targets = Targets(output, output2, images, receipt)
    if local:
        if receipt:
            raise click.UsageError("--receipt is a server's word for a run: a local run has none")
        if os.name != "posix":
            raise click.UsageError("--local needs Linux, or another Unix")
        from controller.cli.local import run_locally

        sys.exit(run_locally(submission, targets, python, url, key, as_json=as_json))
    sys.exit(run_remotely(submission, targets, url or DEFAULT_URL, key, as_json=as_json))


@cli.command()
@server_options
@click.argument("run_id")
@click.option("--output", type=NEW_FILE, metavar="FILE", help="Save it here instead of printing it.")
def receipt(url: str | None, key: str | None, run_id: str, output: Path | None) -> None:
    """Fetch the signed receipt of RUN_ID, which must have ended."""
    from controller.cli.receipt import fetch_receipt

    sys.exit(fetch_receipt(run_id, output, url or DEFAULT_URL, key))


@cli.command()
@click.argument("receipt", type=INPUT_FILE)
@click.option("--key", type=INPUT_FILE, metavar="FILE", help="The server's public key, as PEM: whose receipt is it?")
@click.option("--script", type=INPUT_FILE, help="Is this the script?")
@click.option("--dataframe1", type=INPUT_FILE, help="Is this table 1, as it was handed in?")
@click.option("--dataframe2", type=INPUT_FILE, help="Is this table 2?")
@click.option("--bundle", type=INPUT_FILE, help="Is this the bundle?")
@click.option("--output", "outputs", type=INPUT_FILE, multiple=True, help="Is this a table, image or log? Repeatable.")
def verify(receipt: Path, key: Path | None, outputs: tuple[Path, ...], **files: Path | None) -> None:
    """Check RECEIPT, a file: unchanged since a server signed it, and made for these files. Needs no server."""
    from controller.cli.verify import Files
    from controller.cli.verify import verify as check

    sys.exit(check(receipt, key, Files(outputs=outputs, **files)))
