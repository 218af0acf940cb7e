"""How the program ends: its exit codes, and what it says when a run could not be had."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from controller.cli.terminal import safe_text

SUCCEEDED, SCRIPT_FAILED, WRONG_USE, SERVER_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes. The last is a shell's own for a program that was stopped with Ctrl-C."""


def exit_code(run: dict[str, Any]) -> int:
    """0 when the run succeeded; 3 when the engine failed it; 1 when the script did, or was stopped."""
    if run["status"] == "succeeded":
        return SUCCEEDED
    return SERVER_FAILED if run.get("reason") == "engine_error" else SCRIPT_FAILED


@contextlib.contextmanager
def failures_end_the_program() -> Iterator[None]:
    """What keeps a client from its answer is said, and ends the program with the exit code for it."""
    from controller.client import errors

    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has gone: click ends the program without a word
    except (errors.ClientError, OSError) as error:
        sys.exit(say_failure(error))


def say_failure(error: Exception) -> int:
    """Write what kept the client from its result; the exit code for it."""
    from controller.client import errors  # here: it brings the HTTP library, which help can do without

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
