"""How any exception becomes the report's error: code, message with a hint, line, traceback of the script.

The traceback has the script's frames and those of the libraries, but none of the runner, and none of the
machinery that imports modules.
"""

import linecache
import os
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType

from runner.failure import OUT_OF_MEMORY, SCRIPT_NAME, RunnerError
from runner.hints import Source, hint_for
from runner.job import Failure
from runner.report import MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS, clip

_OWN_DIRECTORY = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NOT_THE_SCRIPTS = (_OWN_DIRECTORY, "<frozen importlib", "<frozen runpy", "<frozen zipimport")


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
    hint = hint_for(error, source)
    message = _message(error, source)
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


def _message(error: BaseException, source: Source) -> str:
    if isinstance(error, SyntaxError) and str(error.filename).startswith(f"{source.bundle}{os.sep}"):
        place = os.path.relpath(str(error.filename), source.bundle.parent)
        return f"{error.msg} ({place}, line {error.lineno})"
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
    """Take the frames of the runner and of importing out of a traceback and of those it is chained to."""
    waiting, seen = [told], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [entry for entry in part.stack if not entry.filename.startswith(_NOT_THE_SCRIPTS)]
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
