"""The cells of one column of JSON: gathered one by one, and given a type once all of them are known.

What is alike is packed into Arrow on the way, so that a long column costs little more than its values.
"""

import decimal
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from runner import conversion, inference, kinds
from runner.failure import BadInput, UnconvertibleCell, shown, type_name
from runner.job import Reading, Warn

PACK_CELLS = 65536
"""How many cells are worth packing."""

_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}
_PACKED = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_NUMBERS = {int, float, decimal.Decimal}
_MOST_DIGITS = 76


class CellList:
    """The cells of one column in the order of their rows; `missing` ones come first."""

    def __init__(self, missing: int = 0) -> None:
        self._packed: list[pa.Array | list[Any]] = [pa.nulls(missing)] if missing else []
        self._recent: list[Any] = []
        self._count = missing
        self.append: Callable[[Any], None] = self._recent.append

    def __len__(self) -> int:
        return self._count + len(self._recent)

    def fill(self, length: int) -> None:
        """Add missing cells until there are so many."""
        self._recent.extend([None] * (length - len(self)))

    def pack(self) -> None:
        """Pack the recent cells."""
        if self._recent:
            self._packed.append(_packed(self._recent))
            self._count += len(self._recent)
            self._recent.clear()

    @property
    def holds_text(self) -> bool:
        """Tell whether any cell is a text."""
        self.pack()
        return any(
            part.type == pa.string() if isinstance(part, pa.Array) else any(isinstance(cell, str) for cell in part)
            for part in self._packed
        )

    def column(self, name: str, reading: Reading, warn: Warn) -> pa.ChunkedArray:
        """Give the column, of the type that is stated, or of the one that its cells have.

        Raises `UnconvertibleCell`, or `BadInput` naming the column and the rows of what does not go together.
        """
        if conversion.is_stated(name, reading):
            return conversion.stated(self.texts(name, reading.missing, warn), name, reading, conversion.nowhere)
        self.pack()
        arrays = [part for part in self._packed if isinstance(part, pa.Array)]
        types = {array.type for array in arrays} - {pa.null()}
        if len(arrays) == len(self._packed) and len(types) == 1 and not (reading.missing and types == {pa.string()}):
            data_type = types.pop()
            return pa.chunked_array([array.cast(data_type) for array in arrays])
        return pa.chunked_array([_column(self._present(reading.missing), name, warn)])

    def texts(self, name: str, missing: tuple[str, ...], warn: Warn) -> pa.ChunkedArray:
        """Give the cells as a column of text.  Raises `UnconvertibleCell` for a cell that holds further ones."""
        texts = []
        for row, cell in enumerate(self._present(missing)):
            if isinstance(cell, list | dict):
                raise UnconvertibleCell(f"column {name!r}, row {row}: {shown(cell)} is not one value")
            texts.append(None if cell is None else _written(cell))
        return pa.chunked_array([_text_column(texts, name, warn)])

    def _present(self, missing: tuple[str, ...]) -> list[Any]:
        cells = self._cells()
        return [None if isinstance(cell, str) and cell in missing else cell for cell in cells] if missing else cells

    def _cells(self) -> list[Any]:
        self.pack()
        return [cell for part in self._packed for cell in (part.to_pylist() if isinstance(part, pa.Array) else part)]


def clean(text: str) -> str:
    """Give text without lone surrogates, which JSON can hold and no table can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _packed(cells: list[Any]) -> "pa.Array | list[Any]":
    found = {type(cell) for cell in cells} - {type(None)}
    if not found:
        return pa.nulls(len(cells))
    data_type = _PACKED.get(found.pop()) if len(found) == 1 else None
    if data_type is not None:
        try:
            return pa.array(cells, data_type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
            pass  # large integers, surrogates: they are settled when all cells are known
    return list(cells)


def _written(cell: Any) -> str:
    """Write a cell as JSON has it."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell if isinstance(cell, str) else repr(cell) if isinstance(cell, float) else str(cell)


def _column(cells: list[Any], name: str, warn: Warn) -> pa.Array:
    found = {type(cell) for cell in cells} - {type(None)}
    if found - {str} and found - {str} <= _NUMBERS and str in found:
        cells = [_INFINITIES.get(cell, cell) if isinstance(cell, str) else cell for cell in cells]
        found = {type(cell) for cell in cells} - {type(None)}
    if found == {str}:
        return _text_column(cells, name, warn)
    if found == {int}:
        return _whole_numbers(cells, name)
    if found and found <= _NUMBERS:
        return _numbers(cells, name, warn)
    if list in found or dict in found:
        cells = _nested(cells, name, warn)
    if len(found) > 1:
        raise _mixed(cells, name, "")
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError) as error:
        raise _mixed(cells, name, f"; {error}") from error


def _text_column(texts: list[Any], name: str, warn: Warn) -> pa.Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        warn("surrogates_replaced", f"column {name!r} holds text with lone surrogates; they are now '?'")
        return pa.array([None if text is None else clean(text) for text in texts], pa.string())


def _whole_numbers(cells: list[Any], name: str) -> pa.Array:
    """Keep whole numbers of any size exactly: 64 bits, 64 bits without sign, or as many digits as there are."""
    for data_type in (pa.int64(), pa.uint64()):
        try:
            return pa.array(cells, data_type)
        except (pa.ArrowInvalid, OverflowError):
            continue
    row, digits = max(
        ((row, len(str(abs(cell)))) for row, cell in enumerate(cells) if cell is not None), key=lambda pair: pair[1]
    )
    if digits > _MOST_DIGITS:
        raise BadInput(
            f"column {name!r}, row {row}: a number of {digits} digits is too long; {_MOST_DIGITS} are the most"
        )
    make = pa.decimal128 if digits <= 38 else pa.decimal256
    exact = [None if cell is None else decimal.Decimal(cell) for cell in cells]
    return pa.array(exact, make(digits, 0))


def _numbers(cells: list[Any], name: str, warn: Warn) -> pa.Array:
    """Make numbers floating point, with a warning when that loses digits."""
    lost = None
    values: list[float | None] = []
    for row, cell in enumerate(cells):
        if cell is None or isinstance(cell, float):
            values.append(cell)
            continue
        try:
            values.append(float(cell))
        except OverflowError as error:
            raise BadInput(f"column {name!r}, row {row}: {shown(cell)} is beyond 64-bit floating point") from error
        changed = int(values[-1] or 0) != cell if isinstance(cell, int) else inference.lossy(str(cell), float(cell))
        if lost is None and changed:
            lost = row
    if lost is not None:
        warn(
            "precision_lost",
            f"column {name!r} holds numbers with more digits than 64-bit floating point keeps, such as {cells[lost]}"
            f" (row {lost}); they were rounded (to keep them, state the type string or decimal(p,s))",
        )
    return pa.array(values, pa.float64())


def _nested(cells: list[Any], name: str, warn: Warn) -> list[Any]:
    for row, cell in enumerate(cells):
        if kinds.too_deep(cell):
            raise BadInput(f"column {name!r}, row {row} is nested more than {kinds.MAX_DEPTH} deep")
    rounded: list[decimal.Decimal] = []
    settled = [_floats_within(cell, rounded) for cell in cells]
    if rounded:
        warn(
            "precision_lost",
            f"column {name!r} holds numbers, such as {rounded[0]}, that lost digits in lists or objects",
        )
    return settled


def _floats_within(cell: Any, rounded: list[decimal.Decimal]) -> Any:
    if isinstance(cell, list):
        return [_floats_within(item, rounded) for item in cell]
    if isinstance(cell, dict):
        return {key: _floats_within(item, rounded) for key, item in cell.items()}
    if isinstance(cell, decimal.Decimal):
        if inference.lossy(str(cell), float(cell)):
            rounded.append(cell)
        return float(cell)
    return cell


def _mixed(cells: list[Any], name: str, why: str) -> BadInput:
    found: dict[str, int] = {}
    for row, cell in enumerate(cells):
        if cell is not None:
            found.setdefault(type_name(cell), row)
    places = ", ".join(f"{kind_name} (row {row})" for kind_name, row in found.items())
    return BadInput(f"column {name!r} holds values that do not fit one type: {places}{why}")
