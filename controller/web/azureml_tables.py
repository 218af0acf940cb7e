"""Tables and parameters as Azure ML's web services write them in JSON, to and from ours.

What a caller sends is bounded JSON; the table in it is handed on as it is, and read in the sandbox.
"""

from __future__ import annotations

import json
from typing import Any

from controller.model import Column
from controller.store.endpoint_store import Endpoint
from controller.store.script_store import Parameter, ParameterType, ScriptVersion

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
    return {"ColumnNames": names, "Values": [[row.get(name) for name in names] for row in rows]}


def _types(where: str, names: list[str], columns: tuple[Column, ...]) -> list[str]:
    types = {column.name: column_type(column.type) for column in columns}
    if missing := [name for name in types if name not in names]:
        raise bad("InputMismatchError", f"these columns are missing: {', '.join(missing)[:1000]}", where)
    return [types.get(name, "Object") for name in names]


def column_type(arrow_type: str) -> str:
    """Azure's name of a type; `Object` where a value says itself what it is."""
    return next((name for beginning, name in _COLUMN_TYPES if arrow_type.startswith(beginning)), "Object")


def parameters_in(script: ScriptVersion, sent: Any) -> dict[str, Any]:
    """The global parameters; texts become what the script declares, as Azure's clients send texts.

    AzureError MissingRequiredGlobalParameters, UnexpectedParameter, InputParseError.
    """
    if sent is None:
        sent = {}
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
        return int(value) if parameter.type is ParameterType.INTEGER else float(value)
    except (ValueError, KeyError):
        message = f"{name!r} must be of the type {parameter.type}, not {value[:100]!r}"
        raise bad("InputParseError", message, "GlobalParameters") from None


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


def table_out(table: dict[str, Any], *, details: bool, swagger: bool) -> Any:
    """A result as Azure gave it: typed with `details`, else its values alone; or a list of objects."""
    if swagger:
        return [dict(zip(table["ColumnNames"], row, strict=True)) for row in table["Values"]]
    value = table if details else {"Values": table["Values"]}
    return {"type": "table", "value": value}
