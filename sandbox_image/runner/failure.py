"""Errors: the ones the runner raises itself, and how any exception becomes the report's error.

RunnerError                  has a reason and a code of its own
 +- ScriptRefused      0085  no usable azureml_main, or it returned something that is no table
 +- UnsupportedValue   0017  a column or a cell that a table cannot hold
 +- BadInput           0018  a table that cannot be read
 +- BadBundle          0102  a zip that cannot be unpacked
 +- OutputLimit        0085  an output file that does not fit
Everything else that is raised came from the script: 0085, or 0138 when memory ran out.
"""

import linecache
import os
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from runner.job import Failure
from runner.report import MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS, clip

SCRIPT_NAME = "script.py"
OUT_OF_MEMORY = "0138"
_OWN_DIRECTORY = os.path.dirname(os.path.abspath(__file__)) + os.sep


class RunnerError(Exception):
    """A failure that the runner found and explains itself; it needs no traceback."""

    reason = "script_error"
    code = "0085"


class ScriptRefused(RunnerError):
    """The script has no usable entry point, or returned something that is no table."""


class UnsupportedValue(RunnerError):
    """A column or a cell holds something that a table cannot hold."""

    code = "0017"


class BadInput(RunnerError):
    """A table that was handed in cannot be read."""

    reason = "bad_input"
    code = "0018"


class BadBundle(RunnerError):
    """The script bundle cannot be unpacked."""

    reason = "bad_input"
    code = "0102"


class OutputLimit(RunnerError):
    """The result, or another output file, is larger than allowed."""

    reason = "output_limit"


@dataclass(frozen=True)
class Source:
    """What is needed to read a traceback: the script's text, its bundle, and that bundle's only folder."""

    text: str
    bundle: Path
    only_folder: Path | None = None


def explain(error: BaseException, source: Source) -> Failure:
    """Turn any exception into the report's error.

    Nothing the exception does can prevent it: a text that cannot be made is replaced by a sentence, and
    long texts keep their head and their tail.
    """
    try:
        return _explain(error, source)
    except BaseException as second:  # even its attributes may be the script's own code
        name = type(error).__name__
        return Failure("script_error", "0085", name, f"<this {name} cannot be described: {type(second).__name__}>")


def _explain(error: BaseException, source: Source) -> Failure:
    if isinstance(error, RunnerError):
        return Failure(error.reason, error.code, type(error).__name__, clip(str(error), MESSAGE_CHARACTERS))
    hint = _hint(error, source)
    message = _message(error)
    return Failure(
        reason="script_error",
        code=OUT_OF_MEMORY if isinstance(error, MemoryError) else "0085",
        type=type(error).__name__,
        message=clip(f"{message}\nHint: {hint}" if hint else message, MESSAGE_CHARACTERS),
        traceback=_traceback(error, source),
        line=_line(error, source),
    )


def remember_source(text: str) -> None:
    """Let tracebacks show the script's lines, though no file of that name is in reach."""
    linecache.cache[SCRIPT_NAME] = (len(text), None, text.splitlines(keepends=True), SCRIPT_NAME)


def type_name(value: object) -> str:
    """Name the type of a value the way a user would write it: ``int``, ``sklearn.svm.SVC``."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return (
            f"the script ended the interpreter (SystemExit: {_text_of(error)});"
            " a script ends by returning from azureml_main"
        )
    if isinstance(error, KeyboardInterrupt):
        return "the script raised KeyboardInterrupt"
    if isinstance(error, MemoryError):
        return f"memory ran out. {_text_of(error)}".rstrip()
    return _text_of(error)


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as second:
        return f"<the text of this {type(error).__name__} cannot be made: {type(second).__name__}>"
    return clip(text, MESSAGE_CHARACTERS).encode("utf-8", "replace").decode("utf-8")


def _hint(error: BaseException, source: Source) -> str | None:
    if isinstance(error, ModuleNotFoundError):
        return _import_hint(error, source)
    if isinstance(error, SyntaxError) and "Missing parentheses in call to 'print'" in str(error.msg):
        return "this is Python 3, where print is a function: write print(x)."
    if isinstance(error, FileNotFoundError) and "\\" in str(error.filename):
        return "separate the parts of a path by '/', not by '\\': open('./Script Bundle/file.txt')."
    return None


def _import_hint(error: ModuleNotFoundError, source: Source) -> str:
    name = str(error.name).partition(".")[0]
    folder = source.only_folder
    if folder and ((folder / f"{name}.py").is_file() or (folder / name).is_dir()):
        return (
            f"the bundle holds everything in one folder, {folder.name!r}: write 'from {folder.name} import"
            f" {name}', or zip the files without the folder."
        )
    return "packages are fixed in the environment's image; modules of your own go into the script bundle."


def _line(error: BaseException, source: Source) -> int | None:
    """The line to point at: the deepest one in the script, else the deepest one in its bundle."""
    if isinstance(error, SyntaxError) and error.filename == SCRIPT_NAME and isinstance(error.lineno, int):
        return error.lineno
    in_script = in_bundle = None
    for frame in _frames(error.__traceback__):
        name = frame.tb_frame.f_code.co_filename
        if name == SCRIPT_NAME:
            in_script = frame.tb_lineno
        elif name.startswith(f"{source.bundle}{os.sep}"):
            in_bundle = frame.tb_lineno
    return in_script or in_bundle


def _frames(frame: TracebackType | None) -> Iterator[TracebackType]:
    while frame is not None:
        yield frame
        frame = frame.tb_next


def _traceback(error: BaseException, source: Source) -> str:
    remember_source(source.text)
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _drop_own_frames(told)
        return _bounded(told.format(), TRACEBACK_CHARACTERS).encode("utf-8", "replace").decode("utf-8")
    except BaseException as second:
        return f"{type(error).__name__}: <the traceback cannot be made: {type(second).__name__}>\n"


def _drop_own_frames(told: traceback.TracebackException) -> None:
    """Take the runner's frames out of a traceback and out of those it is chained to."""
    waiting, seen = [told], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [entry for entry in part.stack if not entry.filename.startswith(_OWN_DIRECTORY)]
        waiting += [linked for linked in (part.__cause__, part.__context__) if linked is not None]
        waiting += part.exceptions or []


def _bounded(pieces: Iterable[str], limit: int) -> str:
    """Join pieces of text, holding little more than `limit` characters at any time."""
    text, cut = "", 0
    for piece in pieces:
        text += piece
        if len(text) > 2 * limit:
            cut += len(text) - limit
            text = text[: limit // 2] + text[-(limit // 2) :]
    if not cut:
        return clip(text, limit)
    middle = limit // 2
    return f"{text[:middle]}\n... [{cut} characters cut] ...\n{text[middle:]}"
