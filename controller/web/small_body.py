"""A small JSON object as a request's body: what the routes take that administer."""

from __future__ import annotations

from typing import TypeVar

from flask import Request
from flask_openapi import Schema
from pydantic import BaseModel, ValidationError

from controller.web.body import expected
from controller.web.documents import Document
from controller.web.errors import invalid
from controller.web.script_body import small

_SCHEMAS = "#/components/schemas"
_Document = TypeVar("_Document", bound=Document)


def receive(request: Request, kind: type[_Document]) -> _Document:
    """The body as this document; no body is an empty object. InvalidRequest, TooLarge, UnsupportedFormat."""
    if expected(request.environ):
        return small(request, kind)
    try:
        return kind.model_validate({})
    except ValidationError as e:
        raise invalid(e) from e


def described(kind: type[BaseModel]) -> dict[str, object]:
    """For the OpenAPI document."""
    schema = {"$ref": f"{_SCHEMAS}/{kind.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def schemas(*kinds: type[BaseModel]) -> dict[str, Schema]:
    """The schemas that only these bodies speak of."""
    found: dict[str, Schema] = {}
    for kind in kinds:
        schema = kind.model_json_schema(ref_template=_SCHEMAS + "/{model}")
        definitions = schema.pop("$defs", {})
        found |= {name: Schema(**value) for name, value in {kind.__name__: schema, **definitions}.items()}
    return found
