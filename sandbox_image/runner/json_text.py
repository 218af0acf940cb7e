"""Reading JSON piece by piece, so that no more of it lies in memory as Python values than one row.

Numbers keep their digits: a fraction that floating point would change is a `decimal.Decimal`.
"""

import decimal
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from runner.failure import BadInput, shown

_BLANKS = " \t\r\n"
_SURE_LENGTH = 15  # any number of so many digits comes back from floating point as it was,
_SURE_SIZE = 1e-300  # unless it is so small that there are fewer


class JsonText:
    """A JSON text and how far it has been read.  All methods raise `BadInput` naming line and column."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        decoder: Any = json.JSONDecoder(
            object_pairs_hook=_without_repeats, parse_int=_whole, parse_float=_number, parse_constant=_refuse_constant
        )
        self._scan = decoder.scan_once

    def peek(self) -> str:
        """Give the next character that is not blank, and stay before it; nothing at the end."""
        character = self._text[self._position : self._position + 1]
        while character and character in _BLANKS:
            self._position += 1
            character = self._text[self._position : self._position + 1]
        return character

    def value(self) -> Any:
        """Read one whole value."""
        self.peek()
        try:
            value, self._position = self._scan(self._text, self._position)
        except StopIteration:
            raise self.fault("a value is expected") from None
        except json.JSONDecodeError as error:
            self._position = error.pos
            raise self.fault(error.msg) from error
        except BadInput as error:  # from the functions below, which know no place
            raise self.fault(str(error)) from error
        except RecursionError:
            raise self.fault("it is nested too deeply") from None
        return value

    def elements(self) -> Iterator[int]:
        """Go through an array: number the elements from 0, and stand before each; the caller reads it."""
        return self._parts("[", "]")

    def members(self) -> Iterator[str]:
        """Go through an object: give each key, and stand before its value; the caller reads it."""
        seen = set()
        for _ in self._parts("{", "}"):
            if self.peek() != '"':
                raise self.fault("a key in double quotes is expected")
            key = self.value()
            if key in seen:
                raise self.fault(f"the key {shown(key)} comes twice")
            seen.add(key)
            self._take(":")
            yield key

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise self.fault("something follows the end")

    def fault(self, what: str) -> BadInput:
        """Give the error for what is wrong at this place."""
        before = self._text[: self._position]
        line = before.count("\n") + 1
        return BadInput(f"line {line}, column {self._position - before.rfind(chr(10))}: {what}")

    def _parts(self, opening: str, closing: str) -> Iterator[int]:
        """Go through what is between two brackets, separated by commas; the caller reads it."""
        self._take(opening)
        number = 0
        following = self.peek()
        while following != closing or number:
            yield number
            number += 1
            following = self.peek()
            if following == closing:
                break
            if following != ",":
                raise self.fault(f"',' or {closing!r} is expected")
            self._position += 1
        self._position += 1

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise self.fault(f"{character!r} is expected")
        self._position += 1


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadInput(f"an object holds the key {shown(key)} twice")
            seen.add(key)
    return found


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python converts no more than some thousands of digits
        raise BadInput(f"the number {shown(text)} has {len(text)} digits, which is too many") from None


def _number(text: str) -> "float | decimal.Decimal":
    value = float(text)
    if math.isinf(value) or (value == 0 and re.match("[^eE]*[1-9]", text)):
        raise BadInput(f"the number {shown(text)} is beyond the range of 64-bit floating point")
    if (len(text) <= _SURE_LENGTH and abs(value) > _SURE_SIZE) or repr(value) == text:
        return value
    written = decimal.Decimal(text)
    return value if decimal.Decimal(repr(value)) == written else written


def _refuse_constant(name: str) -> float:
    raise BadInput(f'{name} is no JSON; a missing value is null, the infinities are texts: "Infinity"')
