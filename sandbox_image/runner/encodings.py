"""Arrow has several forms of one type; every column of a table is given in the plain one.

Run-end encoding, views and wide offsets are forms of storage: the values stay, and so does their logical type.
Extension types are names put upon a storage type; the few that are known become the type they stand for, the
others what they are stored as, and a warning says so.
"""

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds
from runner.failure import VALUE_CHARACTERS, clip_line, shown
from runner.notes import Notes

_EXTENSION = b"ARROW:extension:name"
_CELL_BYTES = 65_536


def plain(column: pa.ChunkedArray, field: pa.Field, notes: Notes) -> pa.ChunkedArray:
    """Give a column of an allowed type in its plain form; `field` has its name and what metadata says of it."""
    while isinstance(column.type, pa.BaseExtensionType):
        column = _unwrapped(column, field.name, notes)
    named = (field.metadata or {}).get(_EXTENSION)
    if named is not None and not isinstance(field.type, pa.BaseExtensionType):
        _note_storage(named.decode("utf-8", "replace"), column.type, field.name, notes)
    if _holds_categories(column.type):
        _note_decoded(field.name, notes)
    column = _decoded(column)
    return _with_one_dictionary(column, field.name, notes) if kind.is_dictionary(column.type) else column


def first_value(column: pa.ChunkedArray) -> tuple[int, str]:
    """Find the first row with a value, and write that value for a message."""
    before = 0
    for chunk in column.chunks:
        row = pc.index(chunk.is_valid(), True).as_py()
        if row >= 0:
            return before + row, _cell(chunk.slice(row, 1))
        before += len(chunk)
    return 0, "no value"


def _cell(only: pa.Array) -> str:
    """Write the only cell: as Python would, unless it is large, or Python has nothing like it."""
    if only.nbytes <= _CELL_BYTES:
        with suppress(Exception):
            return shown(only[0].as_py())
    return clip_line(only.to_string(window=2, skip_new_lines=True), VALUE_CHARACTERS)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    data_type = column.type
    if kind.is_run_end_encoded(data_type):
        return _chunkwise(column, _repeated, _plain_type(data_type.value_type))
    if kinds.is_list_view(data_type):
        return _decoded(_chunkwise(column, _lists, _list_type(data_type)))
    target = _plain_type(data_type)
    if kind.is_dictionary(data_type) and target != data_type:
        # There is no cast from categories to categories.
        return _chunkwise(column, lambda c: _with_levels(c, c.dictionary.cast(target.value_type)), target)
    return column if target == data_type else column.cast(target)


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    """Give a type without views, at any depth, and without categories inside of lists, structs and maps."""
    if kind.is_dictionary(data_type):
        return pa.dictionary(data_type.index_type, _plain_leaf(data_type.value_type), data_type.ordered)
    return with_leaves(data_type, _plain_leaf)


def _holds_categories(data_type: pa.DataType) -> bool:
    """Tell whether there are categories inside of lists, structs or maps."""
    if kind.is_run_end_encoded(data_type):
        return _holds_categories(data_type.value_type)
    if not (kinds.is_nested(data_type) or kinds.is_list_view(data_type)):
        return False
    inner = [data_type.field(position).type for position in range(data_type.num_fields)]
    return any(kind.is_dictionary(each) or _holds_categories(each) for each in inner)


def _plain_leaf(leaf: pa.DataType) -> pa.DataType:
    if kind.is_dictionary(leaf):
        return _plain_leaf(leaf.value_type)
    return _PLAIN.get(leaf, leaf)


_PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def _with_one_dictionary(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    """Give categories one set of levels, in a chunk at least: they are known without any row, and files need it."""
    data_type = column.type
    if kind.is_float16(data_type.value_type) or kind.is_null(data_type.value_type):
        _note_decoded(name, notes)  # Arrow would mix up the former's levels, and cannot unite the latter's
        return kinds.decoded(column)
    if column.num_chunks == 0:
        none = pa.array([], data_type.index_type), pa.array([], data_type.value_type)
        return pa.chunked_array([pa.DictionaryArray.from_arrays(*none, ordered=data_type.ordered)])
    try:
        return column.unify_dictionaries()
    except pa.ArrowInvalid:  # together they are too many for the type of the indices
        wide = pa.dictionary(pa.int32(), data_type.value_type, data_type.ordered)
        return _chunkwise(column, _with_wide_indices, wide).unify_dictionaries()


def _with_wide_indices(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    indices = chunk.indices.cast(pa.int32())
    return pa.DictionaryArray.from_arrays(indices, chunk.dictionary, ordered=chunk.type.ordered, safe=False)


def _note_decoded(name: str, notes: Notes) -> None:
    notes.warn(
        "categories_decoded",
        "categories inside of lists, structs and maps, and levels of half precision or of no type, are not kept;"
        " the values arrive without them",
        name,
    )


def _chunkwise(
    column: pa.ChunkedArray, change: Callable[[pa.Array], pa.Array], data_type: pa.DataType
) -> pa.ChunkedArray:
    return pa.chunked_array([change(chunk) for chunk in column.chunks], type=data_type)


def with_leaves(data_type: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Give a type with every type of a single value in it changed."""
    if kind.is_struct(data_type):
        return pa.struct([field.with_type(with_leaves(field.type, change)) for field in data_type])
    if kind.is_map(data_type):
        return pa.map_(
            data_type.key_field.with_type(with_leaves(data_type.key_type, change)),
            data_type.item_field.with_type(with_leaves(data_type.item_type, change)),
            data_type.keys_sorted,
        )
    if not kinds.is_nested(data_type):
        return change(data_type)
    item = data_type.value_field.with_type(with_leaves(data_type.value_type, change))
    if kind.is_fixed_size_list(data_type):
        return pa.list_(item, data_type.list_size)
    return pa.large_list(item) if kind.is_large_list(data_type) else pa.list_(item)


def _with_levels(chunk: pa.DictionaryArray, levels: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(chunk.indices, levels, ordered=chunk.type.ordered, safe=False)


def _repeated(chunk: pa.RunEndEncodedArray) -> pa.Array:
    """Write out every run.  Arrow's own decoder does not know all types, and its takers no views."""
    ends = np.clip(chunk.run_ends.to_numpy().astype(np.int64) - chunk.offset, 0, len(chunk))
    runs = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    return _decoded(pa.chunked_array([chunk.values])).chunk(0).take(pa.array(runs))


def _list_type(data_type: pa.DataType) -> pa.DataType:
    make = pa.large_list if kind.is_large_list_view(data_type) else pa.list_
    return make(data_type.value_field)


def _lists(chunk: pa.Array) -> pa.Array:
    """Put the lists one after the other.  Arrow's own cast leaves out the last offset."""
    data_type = _list_type(chunk.type)
    lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    width = pa.int64() if kind.is_large_list(data_type) else pa.int32()
    make = pa.LargeListArray if kind.is_large_list(data_type) else pa.ListArray
    return make.from_arrays(pa.array(offsets, width), chunk.flatten(), type=data_type, mask=chunk.is_null())


def _unwrapped(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    data_type = column.type
    storage = _chunkwise(column, lambda chunk: chunk.storage, data_type.storage_type)
    known = _KNOWN.get(data_type.extension_name)
    found = known(storage, data_type) if known else storage
    _note_storage(data_type.extension_name, found.type, name, notes)
    return found


def _note_storage(extension: str, data_type: pa.DataType, name: str, notes: Notes) -> None:
    notes.warn(
        "extension_unwrapped",
        "extension types are not kept; the values are taken as what they are stored as, or as what they stand for",
        name,
        f"{extension} became {data_type}",
    )


def _uuid_text(storage: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    texts = (None if value is None else str(uuid.UUID(bytes=value)) for value in storage.to_pylist())
    return pa.chunked_array([pa.array(texts, pa.string())])


def _true_or_false(storage: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    return pc.not_equal(storage, 0)


def _pandas_text(storage: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    """Periods and intervals: what stands in storage means nothing without their frequency or their ends."""
    valid = storage.is_valid()
    values: Any = data_type.to_pandas_dtype().__from_arrow__(storage.filter(valid).cast(data_type))
    texts = np.full(len(storage), None, dtype=object)
    texts[valid.to_numpy()] = [str(value) for value in values]
    return pa.chunked_array([pa.array(texts, pa.string())])


_KNOWN: dict[str, Callable[[pa.ChunkedArray, pa.DataType], pa.ChunkedArray]] = {
    "arrow.uuid": _uuid_text,
    "arrow.bool8": _true_or_false,
    "pandas.period": _pandas_text,
    "pandas.interval": _pandas_text,
}
