"""What `airlock run` does with its arguments: submit, show the log live, save and show the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from controller.cli.endings import INTERRUPTED, exit_code, say_failure
from controller.cli.report import PREVIEW_BYTES, UnreadableTable, show_run, show_table, show_versions
from controller.cli.terminal import Screen, safe_text, size
from controller.client.api import Client, table_type
from controller.client.download import local_name, receive
from controller.client.errors import ClientError, ServerUnreachable
from controller.client.follow import LogRestart, LogText, Run
from controller.client.tables import StoredTable

_SHOWN_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class Submission:
    """What the user handed in: files of this machine, datasets of the server, and options as the API names them."""

    script: Path | str
    """A file, or the name of one that the server has."""
    dataframe1: Path | StoredTable | None
    dataframe2: Path | StoredTable | None
    bundle: Path | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Targets:
    """Where results go: the tables' files (format by suffix), the folder for images, the receipt's file; None = not
    saved."""

    output: Path | None
    output2: Path | None
    images: Path | None
    receipt: Path | None = None

    def tables(self) -> tuple[tuple[int, str, Path | None], ...]:
        """Each output port, its name in the run's document, and its file."""
        return (1, "output", self.output), (2, "output2", self.output2)


class Runs(Protocol):
    """What is needed of the place that runs a script: the server's client has it, and a local run."""

    def submit(
        self,
        script: Path | str,
        *,
        dataframe1: Path | StoredTable | None = None,
        dataframe2: Path | StoredTable | None = None,
        bundle: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Run: ...

    def follow_log(self, run_id: str) -> Iterator[LogText | LogRestart | Run]: ...

    def wait(self, run_id: str) -> Run: ...

    def output(self, run_id: str, file: Path, accept: str, port: int) -> int: ...

    def output_stream(self, run_id: str, *, port: int) -> AbstractContextManager[BinaryIO]: ...

    def image(self, run_id: str, name: str, file: Path) -> int: ...

    def receipt(self, run_id: str) -> bytes: ...

    def cancel(self, run_id: str) -> object: ...


def run_remotely(submission: Submission, targets: Targets, url: str, key: str | None, *, as_json: bool) -> int:
    """Do the run on a server; the exit code."""
    try:
        with Client(url, key) as client:
            return run_and_report(client, submission, targets, Screen(), as_json=as_json)
    except BrokenPipeError:
        raise  # whoever read our output has gone: click ends the program without a word
    except (ClientError, OSError) as error:
        return say_failure(error)


def run_and_report(
    runs: Runs, submission: Submission, targets: Targets, screen: Screen, *, as_json: bool
) -> int:
    """Do the whole run; the exit code. Ctrl-C stops it wherever it runs. Raises ClientError, OSError."""
    with screen.progress("sending"):
        run = runs.submit(
            submission.script,
            dataframe1=submission.dataframe1,
            dataframe2=submission.dataframe2,
            bundle=submission.bundle,
            options=submission.options,
        )
    try:
        run, shown = (runs.wait(run["id"]), "") if as_json else follow_log(runs, run["id"], screen)
    except KeyboardInterrupt:
        screen.line(f"interrupted: cancelling {run['id']}", "stderr")
        runs.cancel(run["id"])
        return INTERRUPTED
    if as_json:
        screen.line(json.dumps(run, indent=2))
        for port, name, file in targets.tables():
            _save_table(runs, run, port, name, file)
        _save_images(runs, run, targets.images)
        _save_receipt(runs, run, targets.receipt)
        return exit_code(run)
    show_run(screen, run, shown)
    for port, name, file in targets.tables():
        _report_table(runs, run, port, name, file, screen)
    _report_images(runs, run, targets.images, screen)
    if _save_receipt(runs, run, targets.receipt):
        screen.line(f"receipt: {targets.receipt}")
    show_versions(screen, run)
    return exit_code(run)


def follow_log(runs: Runs, run_id: str, screen: Screen) -> tuple[Run, str]:
    """Show the log until the run has ended; the run, and the end of what was shown."""
    shown = ""
    with screen.progress("running"):
        try:
            for item in runs.follow_log(run_id):
                if isinstance(item, LogRestart):
                    shown = ""
                    screen.end_script_text()
                    screen.line("the server was interrupted: the run is begun again", "stderr")
                    continue
                if not isinstance(item, LogText):
                    return item, shown
                shown = (shown + item.text)[-_SHOWN_CHARACTERS:]
                screen.script_text(item.stream, item.text)
        except ServerUnreachable as error:
            screen.end_script_text()
            screen.line(f"the log broke off ({safe_text(str(error))}); waiting for the run's end", "stderr")
        finally:
            screen.end_script_text()
        return runs.wait(run_id), shown


def _report_table(runs: Runs, run: Run, port: int, name: str, file: Path | None, screen: Screen) -> None:
    output = run.get(name)
    if output is None:
        if file is not None:
            screen.line(f"no table to save: {file} was not written", "stderr")
        return
    if port > 1:
        screen.line(f"table {port}:")
    if output["bytes"] <= PREVIEW_BYTES:
        try:
            with runs.output_stream(run["id"], port=port) as stream:
                show_table(screen, output, stream)
        except UnreadableTable as error:
            screen.line(f"the table's first rows cannot be shown: {safe_text(str(error))}", "stderr")
    else:
        screen.line(f"{output['rows']} rows, {size(output['bytes'])}: too much to show; --output saves it")
    if file is not None:
        screen.line(f"table: {file} ({size(_save_table(runs, run, port, name, file))})")


def _save_table(runs: Runs, run: Run, port: int, name: str, file: Path | None) -> int:
    if file is None or run.get(name) is None:
        return 0
    return runs.output(run["id"], file, table_type(file), port)


def _report_images(runs: Runs, run: Run, folder: Path | None, screen: Screen) -> None:
    images = run.get("images") or []
    if folder is None and images:
        names = ", ".join(safe_text(image["name"]) for image in images)
        screen.line(f"images: {names} (save them with --images DIR)")
    for file, count in _save_images(runs, run, folder):
        screen.line(f"image: {file} ({size(count)})")


def _save_images(runs: Runs, run: Run, folder: Path | None) -> list[tuple[Path, int]]:
    """Save every image under a plain name of its own in `folder`; the files with their sizes."""
    images = run.get("images") or []
    if folder is None or not images:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, int] = {}
    for image in images:
        name = local_name(image["name"], files.keys())
        files[name] = runs.image(run["id"], image["name"], folder / name)
    return [(folder / name, count) for name, count in files.items()]


def _save_receipt(runs: Runs, run: Run, file: Path | None) -> bool:
    """Save the receipt, which a run has however it ended, byte for byte; was it asked for?"""
    if file is not None:
        receive([runs.receipt(run["id"])], file)
    return file is not None
