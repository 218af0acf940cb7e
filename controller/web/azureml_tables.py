"""Tables and parameters as Azure ML's web services write them in JSON, to and from ours.

What a caller sends is bounded JSON; the table in it is handed on as it is, and read in the sandbox.
"""

from __future__ import annotations

import json
import math
from typing import Any

from controller.model import Column
from controller.store.endpoint_store import Endpoint
from controller.store.script_store import Parameter, ParameterType, ScriptVersion
from controller.web.submission import bound

MAX_GAPS = 1_000_000
"""Cells of a list of objects that its rows leave out. A body bounds what it says, and not what it leaves out: rows with
one name each are as many cells as the square of their number."""

_COLUMN_TYPES = (
    ("bool", "Boolean"),
    ("int8", "Int16"),
    ("int16", "Int16"),
    ("int32", "Int32"),
    ("int64", "Int64"),
    ("uint8", "Byte"),
    ("uint16", "Int32"),
    ("uint32", "Int64"),
    ("uint64", "UInt64"),
    ("float", "Single"),
    ("double", "Double"),
    ("timestamp", "DateTime"),
    ("string", "String"),
    ("large_string", "String"),
)


class AzureError(Exception):
    """A refusal in Azure's words: `code` and `message` of the error, and the detail's own code and target."""

    def __init__(self, status: int, code: str, detail_code: str, message: str, target: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.detail_code = status, code, detail_code
        self.message, self.target = message, target


def bad(detail_code: str, message: str, target: str = "") -> AzureError:
    return AzureError(400, "BadArgument", detail_code, message, target)


def table_in(where: str, sent: Any, columns: tuple[Column, ...] | None) -> bytes:
    """A table that was sent, in the form that the sandbox reads; with the types that the sample run's columns had.

    AzureError InputParseError, InputMismatchError.
    """
    if isinstance(sent, list):
        sent = _of_objects(where, sent)
    if not isinstance(sent, dict) or not {"ColumnNames", "Values"} <= set(sent):
        raise bad("InputParseError", "a table is an object of ColumnNames and Values, or a list of objects", where)
    names, values = sent["ColumnNames"], sent["Values"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad("InputParseError", "ColumnNames must be a list of texts", where)
    if not isinstance(values, list):
        raise bad("InputParseError", "Values must be a list of rows", where)
    for number, row in enumerate(values):
        if not isinstance(row, list) or len(row) != len(names):
            raise bad("InputParseError", f"row {number} of Values must be a list of {len(names)} values", where)
    table = {"ColumnNames": names, "Values": values}
    if columns is not None:
        table["ColumnTypes"] = _types(where, names, columns)
    return json.dumps(table).encode()


def _of_objects(where: str, rows: list[Any]) -> dict[str, Any]:
    if not all(isinstance(row, dict) for row in rows):
        raise bad("InputParseError", "each row must be an object: column name to value", where)
    names = list(dict.fromkeys(name for row in rows for name in row))
    gaps = len(rows) * len(names) - sum(map(len, rows))
    if gaps > MAX_GAPS:
        message = f"{len(rows)} rows of {len(names)} columns leave out {gaps} cells, the limit is {MAX_GAPS}"
        raise bad("InputParseError", message, where)
    return {"ColumnNames": names, "Values": [[row.get(name) for name in names] for row in rows]}


def _types(where: str, names: list[str], columns: tuple[Column, ...]) -> list[str]:
    types = {column.name: column_type(column.type) for column in columns}
    there = set(names)
    if missing := [name for name in types if name not in there]:
        raise bad("InputMismatchError", f"these columns are missing: {', '.join(missing)[:1000]}", where)
    return [types.get(name, "Object") for name in names]


def column_type(arrow_type: str) -> str:
    """Azure's name of a type; `Object` where a value says itself what it is."""
    return next((name for beginning, name in _COLUMN_TYPES if arrow_type.startswith(beginning)), "Object")


def parameters_in(script: ScriptVersion, sent: Any) -> dict[str, Any]:
    """The global parameters; texts become what the script declares, as Azure's clients send texts.

    AzureError MissingRequiredGlobalParameters, UnexpectedParameter, InputParseError; TooLarge.
    """
    if sent is None:
        sent = {}
    bound("GlobalParameters", sent)
    if not isinstance(sent, dict):
        raise bad("InputParseError", "GlobalParameters must be an object", "GlobalParameters")
    if script.parameters is None:
        return sent
    for name in sent:
        if name not in script.parameters:
            raise bad("UnexpectedParameter", f"{name[:100]!r} is no parameter of this service", "GlobalParameters")
    missing = [name for name, one in script.parameters.items() if one.default is None and sent.get(name) is None]
    if missing:
        message = f"these parameters are missing: {', '.join(missing)[:1000]}"
        raise bad("MissingRequiredGlobalParameters", message, "GlobalParameters")
    return {name: _typed(name, script.parameters[name], value) for name, value in sent.items() if value is not None}


def _typed(name: str, parameter: Parameter, value: Any) -> Any:
    if not isinstance(value, str) or parameter.type is ParameterType.STRING:
        return value
    try:
        if parameter.type is ParameterType.BOOLEAN:
            return {"true": True, "false": False}[value.strip().lower()]
        return int(value) if parameter.type is ParameterType.INTEGER else _finite(value)
    except (ValueError, KeyError):
        message = f"{name!r} must be of the type {parameter.type}, not {value[:100]!r}"
        raise bad("InputParseError", message, "GlobalParameters") from None


def _finite(text: str) -> float:
    """ValueError for what JSON has no number for either: nan, inf, 1e999."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def ports_in(endpoint: Endpoint, sent: Any) -> dict[int, Any]:
    """What was sent for each port, by the names of the endpoint's inputs. AzureError."""
    if not isinstance(sent, dict):
        raise bad("InputParseError", "Inputs must be an object: the name of an input to its table", "Inputs")
    known = {name: port for port, name in enumerate(endpoint.config.inputs, 1)}
    for name in sent:
        if name not in known:
            message = f"there is no input {name[:100]!r}; there are: {', '.join(known)}"
            raise bad("InputMismatchError", message, "Inputs")
    signature = endpoint.signature.inputs if endpoint.signature else {}
    for name, port in known.items():
        if port in signature and name not in sent:
            raise bad("InputMismatchError", f"the input {name!r} is missing", "Inputs")
    return {known[name]: table for name, table in sent.items()}


def too_large(limit: int) -> AzureError:
    message = f"the result is larger than {limit} bytes, which is the limit of an answer: use batch execution"
    return AzureError(400, "LibraryExecutionError", "OutputLimit", message)


def table_out(table: dict[str, Any], limit: int, *, details: bool, swagger: bool) -> Any:
    """A result as Azure gave it: typed with `details`, else its values alone; or a list of objects.

    AzureError OutputLimit: objects say the names of the columns once for each row, which may be many times the table.
    """
    if swagger:
        if len(json.dumps(table["ColumnNames"])) * len(table["Values"]) > limit:
            raise too_large(limit)
        return [dict(zip(table["ColumnNames"], row, strict=True)) for row in table["Values"]]
    value = table if details else {"Values": table["Values"]}
    return {"type": "table", "value": value}
