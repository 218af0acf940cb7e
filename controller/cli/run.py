"""What `airlock run` does with its arguments: submit, show the log live, save and show the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cli.report import PREVIEW_BYTES, UnreadableTable, show_run, show_table
from controller.cli.terminal import Screen, safe_text, size
from controller.client.api import TABLE_TYPES, Client, LogText, Run
from controller.client.download import local_name
from controller.client.errors import ServerUnreachable

SUCCEEDED, SCRIPT_FAILED, WRONG_USE, SERVER_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes. The last is a shell's own for a program that was stopped with Ctrl-C."""

_SHOWN_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class Submission:
    """What the user handed in: files on this machine, and the run's options as the API names them."""

    script: Path
    dataframe1: Path | None
    dataframe2: Path | None
    bundle: Path | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Targets:
    """Where results go: the table's file (format by suffix), the folder for images; None = not saved."""

    output: Path | None
    images: Path | None


def run_and_report(
    client: Client, submission: Submission, targets: Targets, screen: Screen, *, as_json: bool
) -> int:
    """Do the whole run; the exit code. Ctrl-C cancels the run on the server. Raises ClientError, OSError."""
    with screen.progress("sending"):
        run = client.submit(
            submission.script,
            dataframe1=submission.dataframe1,
            dataframe2=submission.dataframe2,
            bundle=submission.bundle,
            options=submission.options,
        )
    try:
        if as_json:
            run, shown = client.wait(run["id"]), ""
        else:
            run, shown = _follow(client, run["id"], screen)
    except KeyboardInterrupt:
        screen.line(f"interrupted: cancelling {run['id']}", "stderr")
        client.cancel(run["id"])
        return INTERRUPTED
    if as_json:
        screen.line(json.dumps(run, indent=2))
        _save_table(client, run, targets.output)
        _save_images(client, run, targets.images)
    else:
        show_run(screen, run, shown)
        _report_table(client, run, targets.output, screen)
        _report_images(client, run, targets.images, screen)
    return exit_code(run)


def exit_code(run: Run) -> int:
    """0 when the run succeeded; 3 when the engine failed it; 1 when the script did, or was stopped."""
    if run["status"] == "succeeded":
        return SUCCEEDED
    return SERVER_FAILED if run.get("reason") == "engine_error" else SCRIPT_FAILED


def _follow(client: Client, run_id: str, screen: Screen) -> tuple[Run, str]:
    """Show the log until the run has ended; the run, and the end of what was shown."""
    shown = ""
    with screen.progress("running"):
        try:
            for item in client.follow_log(run_id):
                if not isinstance(item, LogText):
                    return item, shown
                shown = (shown + item.text)[-_SHOWN_CHARACTERS:]
                screen.script_text(item.stream, item.text)
        except ServerUnreachable as error:
            screen.end_script_text()
            screen.line(f"the log broke off ({safe_text(str(error))}); waiting for the run's end", "stderr")
        finally:
            screen.end_script_text()
        return client.wait(run_id), shown


def _report_table(client: Client, run: Run, file: Path | None, screen: Screen) -> None:
    output = run.get("output")
    if output is None:
        if file is not None:
            screen.line(f"no table to save: {file} was not written", "stderr")
        return
    if output["bytes"] <= PREVIEW_BYTES:
        try:
            with client.output_stream(run["id"]) as stream:
                show_table(screen, output, stream)
        except UnreadableTable as error:
            screen.line(f"the table's first rows cannot be shown: {safe_text(str(error))}", "stderr")
    else:
        screen.line(f"{output['rows']} rows, {size(output['bytes'])}: too much to show; --output saves it")
    if file is not None:
        screen.line(f"table: {file} ({size(_save_table(client, run, file))})")


def _save_table(client: Client, run: Run, file: Path | None) -> int:
    if file is None or run.get("output") is None:
        return 0
    return client.output(run["id"], file, TABLE_TYPES[file.suffix.lower()])


def _report_images(client: Client, run: Run, folder: Path | None, screen: Screen) -> None:
    images = run.get("images") or []
    if folder is None and images:
        names = ", ".join(safe_text(image["name"]) for image in images)
        screen.line(f"images: {names} (save them with --images DIR)")
    for file, count in _save_images(client, run, folder):
        screen.line(f"image: {file} ({size(count)})")


def _save_images(client: Client, run: Run, folder: Path | None) -> list[tuple[Path, int]]:
    """Save every image under a plain name of its own in `folder`; the files with their sizes."""
    images = run.get("images") or []
    if folder is None or not images:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, int] = {}
    for image in images:
        name = local_name(image["name"], files.keys())
        files[name] = client.image(run["id"], image["name"], folder / name)
    return [(folder / name, count) for name, count in files.items()]
