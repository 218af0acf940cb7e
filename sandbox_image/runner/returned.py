"""What `azureml_main` returned, and which tables it stands for: one per output port.

Whether something is a table is asked before anything else: a frame has a length and can be indexed, so it must
never be taken for a sequence of frames.
"""

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import pandas as pd
import pyarrow as pa

from runner.failure import ScriptRefused, type_name
from runner.job import Profile, Warn

_FIX = "return a DataFrame, or a sequence whose first item is one: 'return dataframe1,'"
_ORDINALS = ("first", "second")

Table = Union[pd.DataFrame, pa.Table]  # noqa: UP007 - pyarrow has no type hints: mypy takes this form only


def result_tables(returned: Any, profile: Profile, warn: Warn) -> list[Table]:
    """Find the tables in what the entry point returned, one for each output port of the profile.

    Profiles with two tables always give two; the second is empty when it was not returned.  Raises
    `ScriptRefused` that names the type of what is no table.
    """
    items = _items(returned, profile, warn)
    ports = 2 if profile.two_tables else 1
    if len(items) > ports:
        dropped = len(items) - ports
        kept = "the first two are the results" if ports == 2 else "the first is the result"
        were = "one was" if dropped == 1 else "ones were"
        warn("extra_dropped", f"azureml_main returned {len(items)} items; {kept}, {dropped} extra {were} dropped")
    tables = []
    for position, item in enumerate(items[:ports]):
        table = pd.DataFrame() if item is None else _table(item, profile, warn)
        if table is None:
            what = _described(item)
            if item is not returned:
                what = f"a {type_name(returned)} whose {_ORDINALS[position]} item is {what}"
            raise _refused(what)
        tables.append(table)
    return tables + [pd.DataFrame() for _ in range(ports - len(tables))]


def _items(returned: Any, profile: Profile, warn: Warn) -> Sequence[Any]:
    """Take the returned value apart into what it holds for the ports, which may be any objects."""
    if returned is None:
        warn("returned_nothing", f"azureml_main returned nothing; the result is an empty table. To change: {_FIX}")
        return [None]
    if isinstance(returned, np.ndarray):
        return _items_of_array(returned, profile, warn)
    if not isinstance(returned, tuple | list):
        return [returned]
    if len(returned) == 0:
        raise ScriptRefused(f"azureml_main returned an empty sequence ({type_name(returned)}); {_FIX}")
    if profile.values and all(_is_scalar(item) for item in returned):
        return [pd.DataFrame({"column": list(returned)})]
    return returned


def _items_of_array(returned: np.ndarray[Any, Any], profile: Profile, warn: Warn) -> Sequence[Any]:
    if returned.dtype == object and returned.ndim == 1:
        return _items(returned.tolist(), profile, warn)
    if returned.ndim == 3 and len(returned):
        # What numpy makes of [frame]: the cells without their names and types.
        names = [f"Col{n}" for n in range(1, returned.shape[2] + 1)]
        warn(
            "names_lost",
            f"azureml_main returned a numpy array of shape {returned.shape}, which holds no column names;"
            f" the columns are named Col1 to Col{len(names)}. {_FIX.capitalize()}",
        )
        return [pd.DataFrame(values, columns=names).infer_objects() for values in returned]
    if profile.values and returned.ndim <= 2:
        return [returned]
    raise _refused(_described(returned))


def _table(value: Any, profile: Profile, warn: Warn) -> Table | None:
    """Turn the things that stand for one table into it; None for everything else."""
    if isinstance(value, pd.DataFrame | pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if isinstance(value, pd.Series):
        return value.to_frame(name="column" if value.name is None else value.name)
    if isinstance(value, dict):
        return _from_dict(value, warn)
    if profile.values:
        if isinstance(value, np.ndarray) and value.ndim <= 2:
            return _from_values(value)
        if _is_scalar(value):
            return pd.DataFrame({"column": [value]})
    return _of_another_library(value)


def _from_dict(value: dict[Any, Any], warn: Warn) -> pd.DataFrame:
    try:
        frame = pd.DataFrame(value)
    except (ValueError, TypeError) as error:
        raise ScriptRefused(f"azureml_main returned a dict that is no table ({error}); {_FIX}") from error
    warn("returned_dict", "azureml_main returned a dict; it is taken as a table, its keys as column names")
    return frame


def _from_values(values: np.ndarray[Any, Any]) -> pd.DataFrame:
    if values.ndim < 2:
        return pd.DataFrame({"column": values.reshape(-1)}).infer_objects()
    return pd.DataFrame(values, columns=[f"column_{n}" for n in range(values.shape[1])]).infer_objects()


def _of_another_library(value: Any) -> Table | None:
    """Take what promises to be a table, or a column, by Arrow's protocol or by the older one for frames."""
    kind = type(value)  # a class that is returned itself promises nothing
    try:
        if hasattr(kind, "__arrow_c_stream__"):
            return _from_stream(value)
        if hasattr(kind, "__dataframe__"):
            import pyarrow.interchange

            return pyarrow.interchange.from_dataframe(value)
    except MemoryError:
        raise  # its error has a code of its own
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ScriptRefused(f"azureml_main returned a {type_name(value)} that gives no table: {reason}") from error
    return None


def _from_stream(value: Any) -> pa.Table:
    try:
        return pa.table(value)
    except (ValueError, TypeError):  # a stream of one column, not of rows
        name = getattr(value, "name", None)
        return pa.table({name if isinstance(name, str) and name else "column": pa.chunked_array(value)})


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bytes | bool | int | float | complex | np.generic)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a {type_name(value)} of shape {value.shape} and type {value.dtype}"
    if callable(getattr(type(value), "collect", None)):  # polars' LazyFrame, and its like
        return f"a {type_name(value)}, whose .collect() was not called"
    return f"a {type_name(value)}"


def _refused(what: str) -> ScriptRefused:
    return ScriptRefused(
        f"azureml_main returned {what}, which is no table; {_FIX}. To hand on another object, such as a model,"
        " put its bytes in a frame: pd.DataFrame({'model': [pickle.dumps(model)]})"
    )
