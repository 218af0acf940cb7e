"""`airlock new`: a script to begin with."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import click

from controller.cli.endings import WRONG_USE


def write_starter(script: Path, *, force: bool) -> None:
    """Write starter.txt, which is a script, under the name that the user gave. Exits 2 when it cannot be."""
    text = resources.files("controller.cli").joinpath("starter.txt").read_text(encoding="utf-8")
    try:
        with script.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text.replace("SCRIPT.py", script.name))
    except FileExistsError:
        click.echo(f"airlock: {script} is there already: take another name, or --force to replace it", err=True)
        sys.exit(WRONG_USE)
    except OSError as error:
        click.echo(f"airlock: {script}: {error.strerror}", err=True)
        sys.exit(WRONG_USE)
    click.echo(f"{script}: try it with `airlock run --local {script}`")
