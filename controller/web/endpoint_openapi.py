"""How one endpoint is called, as an OpenAPI document that a stock generator makes a client of.

Made of what is known: the columns of the sample run's tables, and the parameters that the script declares. Where
nothing is known, any column and any parameter will do.
"""

from __future__ import annotations

from typing import Any

from controller.model import Column
from controller.store.endpoint_store import Endpoint
from controller.store.script_store import ScriptVersion

_TYPES: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("int", "uint"), {"type": "integer"}),
    (("double", "float", "halffloat"), {"type": "number"}),
    (("bool",), {"type": "boolean"}),
    (("timestamp", "date"), {"type": "string"}),
    (("string", "large_string", "dictionary", "decimal", "time", "duration"), {"type": "string"}),
)
_EXAMPLES = {"integer": 1, "number": 0.5, "boolean": True, "string": "text"}


def openapi(endpoint: Endpoint, script: ScriptVersion | None, host: str) -> dict[str, Any]:
    """OpenAPI 3.0.3: one operation, `call`, with JSON in and out."""
    signature = endpoint.signature
    inputs = signature.inputs if signature else {}
    properties: dict[str, Any] = {f"dataframe{port}": _table_in(inputs[port]) for port in sorted(inputs)} or {
        "dataframe1": _table_in(None),
        "dataframe2": _table_in(None),
    }
    declared = _parameters(script)
    properties["parameters"] = declared
    required = [f"dataframe{port}" for port in sorted(inputs)] + (["parameters"] if declared.get("required") else [])
    request = {"type": "object", "additionalProperties": False, "properties": properties}
    row = _row(signature.outputs.get(1) if signature else None)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": endpoint.name,
            "version": str(script.version if script else endpoint.revision),
            "description": endpoint.config.description or (script.description if script else ""),
        },
        "servers": [{"url": host.rstrip("/")}],
        "paths": {
            f"/v1/endpoints/{endpoint.name}/call": {
                "post": {
                    "operationId": "call",
                    "summary": endpoint.config.description or f"Call {endpoint.name}",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CallRequest"}}},
                    },
                    "responses": {
                        "200": {
                            "description": "the rows of the result",
                            "content": {
                                "application/json": {
                                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/ResultRow"}}
                                }
                            },
                        },
                        **{status: _problem(words) for status, words in _REFUSALS.items()},
                    },
                    "security": [{"key": []}],
                }
            }
        },
        "components": {
            "schemas": {
                "CallRequest": request | ({"required": required} if required else {}),
                "ResultRow": row,
                "Problem": _PROBLEM,
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


_REFUSALS = {
    "401": "the key is none of this endpoint",
    "413": "the body is too large",
    "422": "the request is not valid, or the script failed: `error` says how",
    "503": "too many calls at once, or the endpoint is switched off",
    "504": "the call took too long",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "run_id": {"type": "string"},
        "error": {"type": "object", "additionalProperties": True},
    },
}


def _problem(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": schema}}}


def _table_in(columns: tuple[Column, ...] | None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["records"],
        "additionalProperties": False,
        "properties": {"records": {"type": "array", "items": _row(columns)}},
    }


def _row(columns: tuple[Column, ...] | None) -> dict[str, Any]:
    """One object; of a missing value the cell is null."""
    if columns is None:
        return {"type": "object", "additionalProperties": True}
    cells = {column.name: json_type(column.type) | {"nullable": True} for column in columns}
    example = {name: _EXAMPLES.get(cell.get("type", "")) for name, cell in cells.items()}
    return {"type": "object", "required": list(cells), "properties": cells, "example": example}


def json_type(arrow_type: str) -> dict[str, Any]:
    """The schema of a cell; without a type where the cell may be anything."""
    for beginnings, schema in _TYPES:
        if arrow_type.startswith(beginnings):
            return dict(schema)
    return {}


def _parameters(script: ScriptVersion | None) -> dict[str, Any]:
    if script is None or script.parameters is None:
        return {"type": "object", "additionalProperties": True}
    properties: dict[str, dict[str, Any]] = {
        name: {"type": str(one.type), "description": one.description}
        | ({"default": one.default} if one.default is not None else {})
        for name, one in script.parameters.items()
    }
    required = [name for name, one in script.parameters.items() if one.default is None]
    return {"type": "object", "additionalProperties": False, "properties": properties} | (
        {"required": required} if required else {}
    )
