"""What many tables agree on: their columns, the levels of their categories, the decimals of their times."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells
from runner.failure import BadInput, clip_line, shown
from runner.formats import refusing
from runner.output_file import Layout

_TYPE_CHARACTERS = 200


class Agreement:
    """Grows with every table that joins.

    Types must be the same, but for what is only a form of storage: how wide the offsets of text and the numbers of
    categories are.  Categories get the levels of all.
    """

    def __init__(self, with_units: bool) -> None:
        self._columns: list[_Column] = []
        self._first = 0
        self._with_units = with_units

    def join(self, number: int, table: pa.Table) -> None:
        """Take one more table in.  Raises `BadInput` naming it by its number, and what is different about it."""
        with refusing(f"item {number}"):
            if not self._first:
                self._first = number
                fields = zip(table.column_names, table.columns, strict=True)
                self._columns = [_Column(name, column.type) for name, column in fields]
            self._expect_names(table.column_names)
            for mine, column in zip(self._columns, table.columns, strict=True):
                mine.join(column, f"item {self._first}", self._with_units)

    def layout(self) -> Layout:
        """Give the layout of the rows of all tables."""
        schema = pa.schema([(column.name, column.type) for column in self._columns])
        return Layout(schema, tuple(column.unit for column in self._columns))

    def fitted(self, table: pa.Table) -> pa.Table:
        """Give a table that has joined the types, and the levels, of all."""
        pairs = zip(self._columns, table.columns, strict=True)
        return pa.Table.from_arrays([mine.fitted(column) for mine, column in pairs], schema=self.layout().schema)

    def _expect_names(self, names: list[str]) -> None:
        first = f"item {self._first}"
        if len(names) != len(self._columns):
            raise BadInput(f"it has {len(names)} columns, {first} has {len(self._columns)}")
        for place, (name, mine) in enumerate(zip(names, self._columns, strict=True), start=1):
            if name != mine.name:
                raise BadInput(f"column {place} is {shown(name)}, in {first} it is {shown(mine.name)}")


class _Column:
    def __init__(self, name: str, data_type: pa.DataType) -> None:
        self.name = name
        self.type = data_type
        self.unit: str | None = None
        self._stated = data_type
        self._levels: pa.Array | None = None

    def join(self, column: pa.ChunkedArray, first: str, with_units: bool) -> None:
        common = _common(self.type, column.type)
        if common is None:
            stated, found = (clip_line(str(each), _TYPE_CHARACTERS) for each in (self._stated, column.type))
            raise BadInput(f"column {shown(self.name)} is {found}, in {first} it is {stated}")
        self.type = common
        if kind.is_dictionary(common):
            self._add_levels(column.chunk(0).dictionary.cast(common.value_type), first)
        elif with_units and kind.is_timestamp(common):
            units = [unit for unit in (self.unit, cells.unit(column)) if unit]
            self.unit = max(units, key=cells.UNITS.index)

    def fitted(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if self._levels is None:
            return column.cast(self.type)
        return pa.chunked_array([self._with_all_levels(chunk) for chunk in column.chunks], self.type)

    def _add_levels(self, levels: pa.Array, first: str) -> None:
        if self._levels is None:
            self._levels = levels.unique()
            return
        if levels.equals(self._levels):
            return
        fresh = levels.filter(pc.invert(pc.is_in(levels, value_set=self._levels))).unique()
        if self.type.ordered and not _goes_on(levels, self._levels):
            raise BadInput(f"the ordered levels of column {shown(self.name)} are others than in {first}")
        if len(fresh):
            self._levels = pa.concat_arrays([self._levels, fresh])
        if not _fits(len(self._levels), self.type.index_type):
            self.type = pa.dictionary(pa.int32(), self.type.value_type, self.type.ordered)

    def _with_all_levels(self, chunk: pa.DictionaryArray) -> pa.DictionaryArray:
        levels = chunk.dictionary.cast(self.type.value_type)
        indices = chunk.indices
        if not levels.equals(self._levels):
            indices = pc.index_in(levels, value_set=self._levels).take(indices)
        indices = indices.cast(self.type.index_type)
        return pa.DictionaryArray.from_arrays(indices, self._levels, ordered=self.type.ordered)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Give the type that holds the columns of both types as what they are; None when there is none."""
    if one == other:
        return one
    if kind.is_dictionary(one) and kind.is_dictionary(other) and one.ordered == other.ordered:
        values = _common(one.value_type, other.value_type)
        index = one.index_type if one.index_type == other.index_type else pa.int32()
        return None if values is None else pa.dictionary(index, values, one.ordered)
    for forms in _FORMS:
        if one in forms and other in forms:
            return forms[1]
    return None


_FORMS = ((pa.string(), pa.large_string()), (pa.binary(), pa.large_binary()))


def _goes_on(one: pa.Array, other: pa.Array) -> bool:
    shorter = min(len(one), len(other))
    return bool(one.slice(0, shorter).equals(other.slice(0, shorter)))


def _fits(levels: int, index_type: pa.DataType) -> bool:
    bits: int = index_type.bit_width - (1 if kind.is_signed_integer(index_type) else 0)
    return levels <= 1 << bits
