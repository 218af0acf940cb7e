"""Errors: the ones that the runner raises itself.

RunnerError                  has a reason and a code of its own
 +- ScriptRefused      0085  no usable azureml_main, or it returned something that is no table
 +- UnsupportedValue   0017  a column or a cell that a table cannot hold
 +- BadInput           0018  a table that cannot be read
 |   +- ColumnNotFound     0001  a column that was asked for is not there
 |   +- EmptyInput         0003  the file of a connected port holds nothing
 |   +- UnsupportedInput   0017  a column of a type that no script can get
 |   +- UnconvertibleCell  0042  a cell is not what its column's type was stated to be
 +- BadBundle          0102  a zip that cannot be unpacked
 +- OutputLimit        0085  an output file that does not fit
Everything else that is raised came from the script: 0085, or 0138 when memory ran out (explain.py).
"""

import reprlib

SCRIPT_NAME = "script.py"
OUT_OF_MEMORY = "0138"
VALUE_CHARACTERS = 120
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = VALUE_CHARACTERS


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


class ColumnNotFound(BadInput):
    """A column that was asked for is not in the table."""

    code = "0001"


class EmptyInput(BadInput):
    """The file of a connected port is missing, or holds nothing at all."""

    code = "0003"


class UnsupportedInput(BadInput):
    """A column of a table that was handed in has a type that no script can get."""

    code = "0017"


class UnconvertibleCell(BadInput):
    """A cell cannot be converted to the type, or by the format, that was stated for its column."""

    code = "0042"


class BadBundle(RunnerError):
    """The script bundle cannot be unpacked."""

    reason = "bad_input"
    code = "0102"


class OutputLimit(RunnerError):
    """The result, or another output file, is larger than allowed."""

    reason = "output_limit"


def type_name(value: object) -> str:
    """Name the type of a value the way a user would write it: ``int``, ``sklearn.svm.SVC``."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shown(value: object) -> str:
    """Give the repr of a value for a message: of limited length, on one line, and made safely.

    The repr of a long text or list is not made as a whole; one that raises becomes a sentence.
    """
    try:
        text = _SHORT.repr(value)
    except BaseException as error:  # the script's own __repr__ may raise anything
        return f"<a {type_name(value)} whose repr raises {type(error).__name__}>"
    return clip_line(text, VALUE_CHARACTERS)


def clip_line(text: str, limit: int) -> str:
    """Cut a text to `limit` characters of one line, all of them printable."""
    line = "".join(character if character.isprintable() else " " for character in text[: limit + 1])
    return line if len(text) <= limit else f"{line[: limit - 3]}..."


def unsupported_cell(column: str, row: int, value: object, why: str = "") -> UnsupportedValue:
    """Make the error for a cell that a table cannot hold; `row` counts from 0."""
    reason = why or "a table cannot hold it; make it text or numbers, or bytes by pickle.dumps"
    return UnsupportedValue(f"column {column!r}, row {row}: {shown(value)} of type {type_name(value)}: {reason}")
