"""The server's log: one JSON object a line, on stderr, with the request's id and the run's where there is one.

Never a key, a script or a tenant's bytes. What is logged on purpose is chosen by hand, line by line; what comes by
itself is what this module is about: the message of an exception may quote anything ("invalid literal for int() with
base 10: ..."), and a library's warning a whole header. So of an exception its kinds and places are written, and of a
library's line the text as it stands in that library's code, before anything was put into it.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

_PLACES = 30
"""Of one exception, the innermost: a recursion without end has thousands."""
_log = structlog.get_logger("library")


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_messages,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, WhereItCan(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[LibraryHandler()], level=logging.WARNING, force=True)


class WhereItCan:
    """A file for a log, which is lost where it cannot be written: on a full disk, in a pipe that nobody reads. Whoever
    has a line to say is in the middle of something, and must come to its end.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


class LibraryHandler(logging.Handler):
    """Lines of libraries that use Python's own logging, gunicorn's among them."""

    def emit(self, record: logging.LogRecord) -> None:
        numbers = [one for one in record.args if isinstance(one, int)] if isinstance(record.args, tuple) else []
        level = record.levelno if record.levelno >= logging.ERROR else logging.WARNING
        _log.log(
            level,
            "library_said",
            library=record.name,
            said=str(record.msg),
            numbers=numbers,
            exc_info=record.exc_info or None,
        )


def _without_messages(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Instead of an exception, its kind and where it was raised, and those of what led to it."""
    found = event.pop("exc_info", None)
    if not found:
        return event
    error = found if isinstance(found, BaseException) else (found if isinstance(found, tuple) else sys.exc_info())[1]
    if error is not None:
        event["exception"] = [
            {"kind": _kind(one), "at": _places(one.__traceback__)} for one in _chain(error)
        ]
    return event


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised for."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _kind(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return f"{name} {error.errno}" if isinstance(error, OSError) and error.errno else name


def _places(raised: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(raised)[-_PLACES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
