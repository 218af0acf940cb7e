"""`airlock run --local`: the run in a process of the user's own, and what differs from the image."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from controller.cli.endings import SCRIPT_FAILED, say_failure
from controller.cli.host import server_settings
from controller.cli.run import Submission, Targets, run_and_report
from controller.cli.terminal import Screen
from controller.client.errors import ClientError
from controller.client.tables import kind_of
from controller.errors import AirlockError
from controller.local.image_packages import image_packages
from controller.local.interpreter import Interpreter, UnfitPython, examine
from controller.local.run import LocalRun, LocalRunRefused
from controller.local.versions import differences, imported_modules

_NOTICE = "NOT ISOLATED: this script runs as you, with your files and your network (--local)"


def run_locally(
    submission: Submission, targets: Targets, python: str | None, url: str | None, key: str | None, *, as_json: bool
) -> int:
    """Do the run here; the exit code. `url` and `key`: of a server that is asked for its image's versions."""
    screen = Screen()
    kinds = [kind_of(file) for _, _, file in targets.tables() if file is not None]
    try:
        interpreter = examine(python)
        screen.line(_NOTICE, "stderr")
        with (
            _stopped_by_signals(),
            _comparison(submission.script, interpreter, url, key) as compare,
            LocalRun(interpreter, [kind.format for kind in kinds if kind], compare) as local,
        ):
            return run_and_report(local, submission, targets, screen, as_json=as_json)
    except BrokenPipeError:
        raise  # whoever read our output has gone: click ends the program without a word
    except AirlockError as error:  # the run's files were taken away, or there is no room for them
        say_failure(error)
        return SCRIPT_FAILED
    except (UnfitPython, LocalRunRefused, ClientError, OSError) as error:
        return say_failure(error)


@contextlib.contextmanager
def _comparison(
    script: Path | str, interpreter: Interpreter, url: str | None, key: str | None
) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """Asks for the image's packages while the script runs; what it gives tells how this environment differs."""
    text = script.read_bytes() if isinstance(script, Path) else b""  # a stored one is refused in a moment
    image, imported = server_settings().image, imported_modules(text)
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(image_packages, url, key, image)

    def compare() -> Mapping[str, Any]:
        known = asked.result()
        if known is None:
            return {"source": None, "differences": None}
        found = differences(known.packages, interpreter.version, interpreter.packages, imported)
        return {"source": known.source, "differences": [asdict(one) for one in found]}

    try:
        yield compare
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """A program that is told to end, or whose terminal is closed, takes the script with it: it clears up first."""

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
