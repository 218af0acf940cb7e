"""Methods that frames and series had in older versions of pandas."""

import sys
from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.core.generic import NDFrame

from runner import removed

if TYPE_CHECKING:
    from runner.shims import Uses

Emulation = Callable[..., Any]


def extend_frames(names: frozenset[str], uses: "Uses") -> None:
    """Give frames and series the removed methods that are among `names`, for the script's own code only.

    What is there, a column of that name included, goes first: these answer where pandas would raise.
    """
    frames = {name: function for name, function in _FRAMES.items() if name in names}
    series = {name: function for name, function in _SERIES.items() if name in names}
    if frames or series:
        _answer_for(frames, series, uses)
    if "select" in names and hasattr(pd.DataFrame, "select"):
        _select_by_condition(uses)


def _answer_for(frames: dict[str, Emulation], series: dict[str, Emulation], uses: "Uses") -> None:
    original = NDFrame.__getattr__  # type: ignore[attr-defined]

    def __getattr__(data: Any, name: str) -> Any:  # noqa: N807 - it becomes the method
        try:
            return original(data, name)
        except AttributeError:
            emulation = (series if isinstance(data, pd.Series) else frames).get(name)
            if emulation is None or not uses.asked_by_script(sys._getframe(1)):
                raise
        uses.tell(f".{name}", removed.FRAMES[name])
        return emulation(data, uses) if emulation is Ix else _bound(emulation, data)

    NDFrame.__getattr__ = __getattr__  # type: ignore[attr-defined]


def _bound(emulation: Emulation, data: Any) -> Emulation:
    def call(*arguments: Any, **options: Any) -> Any:
        return emulation(data, *arguments, **options)

    return call


def _select_by_condition(uses: "Uses") -> None:
    """Newer versions of pandas have a ``select`` of columns; with a condition, the older one is meant."""
    original = pd.DataFrame.select  # type: ignore[attr-defined]

    def select(frame: Any, *arguments: Any, **options: Any) -> Any:
        old = bool(arguments) and isinstance(arguments[0], FunctionType | BuiltinFunctionType | MethodType)
        if not old or not uses.asked_by_script(sys._getframe(1)):
            return original(frame, *arguments, **options)
        uses.tell(".select", removed.FRAMES["select"])
        return _select(frame, *arguments, **options)

    pd.DataFrame.select = select  # type: ignore[attr-defined]


class Ix:
    """``.ix``: labels first; positions where the labels are no numbers and the key is one."""

    def __init__(self, data: Any, uses: "Uses") -> None:
        self._data = data
        self._uses = uses

    def __getitem__(self, key: Any) -> Any:
        """Give the cells of the key."""
        positions = self._positions(key)
        return self._data.loc[key] if positions is None else self._data.iloc[positions]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Set the cells of the key; a new label makes a new row."""
        if sys.getrefcount(self._data) <= 2:  # nobody but this object holds it: it is a copy of a column
            self._uses.tell(
                "frame['x'].ix[...] = value", "frame.loc[rows, 'x'] = value", "changes a copy, not the frame"
            )
        positions = self._positions(key)
        if positions is None:
            self._data.loc[key] = value
        else:
            self._data.iloc[positions] = value

    def _positions(self, key: Any) -> Any:
        """Turn a key in which something is a position into positions alone; None when all of it is labels."""
        data = self._data
        whole = not (data.ndim == 2 and isinstance(key, tuple) and len(key) == 2)
        if whole or (isinstance(data.index, pd.MultiIndex) and not isinstance(data.columns, pd.MultiIndex)):
            return key if whole and _is_position(data.index, key) else None
        rows, columns = key
        if not (_is_position(data.index, rows) or _is_position(data.columns, columns)):
            return None
        return _place(data.index, rows), _place(data.columns, columns)


def _is_position(index: Any, key: Any) -> bool:
    if isinstance(index, pd.MultiIndex) or pd.api.types.is_numeric_dtype(index.dtype):
        return False
    if isinstance(key, slice):
        ends = [end for end in (key.start, key.stop) if end is not None]
        return bool(ends) and all(pd.api.types.is_integer(end) for end in ends)
    keys = list(key) if pd.api.types.is_list_like(key) and not isinstance(key, tuple) else [key]
    return bool(keys) and all(pd.api.types.is_integer(one) and one not in index for one in keys)


def _place(index: Any, key: Any) -> Any:
    """Give the positions of labels; positions stay as they are."""
    if _is_position(index, key):
        return key
    if isinstance(key, slice):
        return index.slice_indexer(key.start, key.stop, key.step)
    if not pd.api.types.is_list_like(key) or isinstance(key, tuple):
        return index.get_loc(key)
    if pd.api.types.is_bool_dtype(np.asarray(key)):
        return np.flatnonzero(key.reindex(index) if isinstance(key, pd.Series) else key)
    found = index.get_indexer_for(key)
    if (found < 0).any():
        raise KeyError(f"{[one for one, place in zip(key, found, strict=False) if place < 0]} not in index")
    return found


def _append_rows(
    frame: pd.DataFrame, other: Any, ignore_index: bool = False, verify_integrity: bool = False, sort: bool = False
) -> pd.DataFrame:
    others = list(other) if isinstance(other, list | tuple) else [other]
    parts = [frame, *(_rows(one, ignore_index or one is not other) for one in others)]
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    # Frames without rows have no say in the types, as it was then.
    filled = [part for part in parts if len(part)] or parts
    joined = pd.concat(filled, ignore_index=ignore_index, verify_integrity=verify_integrity)
    return joined.reindex(columns=sorted(columns) if sort else columns)


def _rows(other: Any, nameless: bool) -> pd.DataFrame:
    if isinstance(other, dict):
        if not nameless:
            raise TypeError("append(dictionary) needs ignore_index=True")
        return pd.DataFrame([other])
    if isinstance(other, pd.Series):
        if other.name is None and not nameless:
            raise TypeError("append(series) needs ignore_index=True, or a series with a name")
        return other.to_frame().T.infer_objects()
    return other if isinstance(other, pd.DataFrame) else pd.DataFrame(other)


def _append_values(series: Any, to_append: Any, ignore_index: bool = False, verify_integrity: bool = False) -> Any:
    others = to_append if isinstance(to_append, list | tuple) else [to_append]
    filled = [part for part in (series, *others) if len(part)] or [series]
    return pd.concat(filled, ignore_index=ignore_index, verify_integrity=verify_integrity)


def _select(data: Any, crit: Callable[[Any], Any], axis: int | str = 0) -> Any:
    place = data._get_axis_number(axis)
    kept = [bool(crit(label)) for label in data.axes[place]]
    return data.loc[(slice(None),) * place + (kept,)]


def _sort_frame(
    frame: Any, columns: Any = None, axis: Any = 0, ascending: Any = True, inplace: bool = False,
    kind: Any = "quicksort", na_position: Any = "last",
) -> Any:  # fmt: skip
    options = {"axis": axis, "ascending": ascending, "inplace": inplace, "kind": kind, "na_position": na_position}
    if columns is None:
        return frame.sort_index(**options)
    return frame.sort_values(by=list(columns) if isinstance(columns, tuple) else columns, **options)


def _sort_series(
    series: Any, axis: Any = 0, ascending: Any = True, kind: Any = "quicksort",
    na_position: Any = "last", inplace: bool = True,
) -> Any:  # fmt: skip
    return series.sort_values(ascending=ascending, kind=kind, na_position=na_position, inplace=inplace)


def _order(
    series: Any, na_last: Any = None, ascending: Any = True, kind: Any = "quicksort",
    na_position: Any = "last", inplace: bool = False,
) -> Any:  # fmt: skip
    place = "first" if na_last is False else na_position
    return series.sort_values(ascending=ascending, kind=kind, na_position=place, inplace=inplace)


def _as_matrix(data: Any, columns: Sequence[Any] | None = None) -> Any:
    return (data if columns is None else data[list(columns)]).to_numpy(copy=True)


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    yield from data.items()


def _get_value(data: Any, *place: Any, takeable: bool = False) -> Any:
    return (data.iat if takeable else data.at)[place if data.ndim == 2 else place[0]]


def _set_value(data: Any, *place_and_value: Any, takeable: bool = False) -> Any:
    *place, value = place_and_value
    (data.iat if takeable else data.at)[tuple(place) if data.ndim == 2 else place[0]] = value
    return data


def _convert_objects(
    data: Any, convert_dates: Any = True, convert_numeric: bool = False, convert_timedeltas: Any = True,
    copy: bool = True,
) -> Any:  # fmt: skip
    if data.ndim == 2:
        return data.apply(_convert_objects, args=(convert_dates, convert_numeric, convert_timedeltas, copy))
    if pd.api.types.is_object_dtype(data.dtype) or pd.api.types.is_string_dtype(data.dtype):
        for wanted, convert in ((convert_numeric, pd.to_numeric), (convert_dates == "coerce", pd.to_datetime)):
            converted = convert(data, errors="coerce") if wanted else None
            if converted is not None and converted.notna().any():
                return converted
    return data.infer_objects()


def _lookup(frame: pd.DataFrame, row_labels: Any, col_labels: Any) -> Any:
    if len(row_labels) != len(col_labels):
        raise ValueError("Row labels must have same size as column labels")
    rows, columns = frame.index.get_indexer(row_labels), frame.columns.get_indexer(col_labels)
    if (rows < 0).any() or (columns < 0).any():
        raise KeyError("One or more row or column labels was not found")
    return frame.to_numpy()[rows, columns]


def _mad(data: Any, axis: Any = 0, skipna: bool = True) -> Any:
    if data.ndim == 1:
        return (data - data.mean(skipna=skipna)).abs().mean(skipna=skipna)
    numbers = data.select_dtypes("number")
    away = numbers.sub(numbers.mean(axis=axis, skipna=skipna), axis=1 - numbers._get_axis_number(axis))
    return away.abs().mean(axis=axis, skipna=skipna)


_BOTH: dict[str, Emulation] = {
    "ix": Ix,
    "select": _select,
    "as_matrix": _as_matrix,
    "iteritems": _items,
    "get_value": _get_value,
    "set_value": _set_value,
    "convert_objects": _convert_objects,
    "irow": lambda data, n: data.iloc[n],
    "mad": _mad,
}
_FRAMES: dict[str, Emulation] = _BOTH | {
    "append": _append_rows,
    "applymap": lambda frame, function: frame.map(function),
    "icol": lambda frame, n: frame.iloc[:, n],
    "lookup": _lookup,
    "sort": _sort_frame,
}
_SERIES: dict[str, Emulation] = _BOTH | {"append": _append_values, "order": _order, "sort": _sort_series}
