"""POST /v1/endpoints/{name}/call, the request's side: a body becomes staged tables and parameters."""

from __future__ import annotations

import json
from typing import Any

from flask import Request
from pydantic import Field, ValidationError
from werkzeug.exceptions import BadRequest

from controller.config import Settings
from controller.errors import UnsupportedFormat
from controller.model import Format, Input
from controller.web.body import Body, expected
from controller.web.documents import Document, Rows
from controller.web.errors import invalid
from controller.web.parts import Rule, receive_parts
from controller.web.submission import OPTIONS_BYTES, TABLES, bound, parse_json, parse_object, refuse
from controller.web.tables import described
from controller.workspace import Staging, disk_errors

_ADVICE = "send less data, or ask the operator for a larger max_body_bytes"
_PARAMETERS_FILE = "parameters.json"


class Records(Document):
    """A small table: one object for each row."""

    records: Rows


class CallBody(Document):
    """A call with a JSON object for a body. A JSON array is the rows of the first table."""

    dataframe1: Records | None = None
    dataframe2: Records | None = None
    parameters: dict[str, Any] = Field(default={}, max_length=1000)


def receive(
    request: Request, staging: Staging, settings: Settings, parameters: str | None
) -> tuple[tuple[Input, ...], dict[str, Any]]:
    """The tables, staged, and the parameters. InvalidRequest, TooLarge, UnsupportedFormat, StorageFull.

    `parameters`: JSON from the address, for bodies that are a table and nothing else.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedFormat("a body with a Content-Encoding is not read: send it as it is")
    given = _parameters(parameters.encode(), "parameters") if parameters else {}
    if not expected(request.environ):
        return (), given
    if request.mimetype == "application/json":
        inputs, more = _json(request, staging, settings)
    elif request.mimetype == "multipart/form-data":
        inputs, more = _multipart(request, staging, settings)
    else:
        inputs, more = (_whole(request, staging, settings),), {}
    if given and more:
        refuse("parameters", "were sent twice: in the address, and in the body")
    return inputs, given or more


def _json(request: Request, staging: Staging, settings: Settings) -> tuple[tuple[Input, ...], dict[str, Any]]:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedFormat(f"JSON is sent as UTF-8, not as {charset[:40]}")
    data = Body(request, settings.max_json_bytes, "send the table in another format, or in a multipart body").read_all()
    if data.lstrip()[:1] == b"[":  # the rows: the sandbox reads them, and nobody before
        staging.write(TABLES[0], data)
        return (Input(port=1, format=Format.JSON),), {}
    document = parse_object(data)
    bound("parameters", document.get("parameters"))
    try:
        sent = CallBody.model_validate(document)
    except ValidationError as e:
        raise invalid(e) from e
    inputs = []
    for port, table in enumerate((sent.dataframe1, sent.dataframe2), 1):
        if table is not None:
            staging.write(TABLES[port - 1], json.dumps(table.records).encode())
            inputs.append(Input(port=port, format=Format.JSON))
    return tuple(inputs), sent.parameters


def _multipart(request: Request, staging: Staging, settings: Settings) -> tuple[tuple[Input, ...], dict[str, Any]]:
    rules = {**{name: Rule(name) for name in TABLES}, "parameters": Rule(_PARAMETERS_FILE, OPTIONS_BYTES, text=True)}
    body = Body(request, settings.max_body_bytes, _ADVICE)
    parts = receive_parts(body, request.mimetype_params.get("boundary", ""), rules, {}, staging)
    inputs = []
    for port, name in enumerate(TABLES, 1):
        if name in parts:
            format, packed = described(name, parts[name].media_type, parts[name].file_name)
            inputs.append(Input(port=port, format=format, compression=packed))
    parameters: dict[str, Any] = {}
    if "parameters" in parts:
        parameters = _parameters(staging.read(_PARAMETERS_FILE, OPTIONS_BYTES), "parameters")
        staging.remove(_PARAMETERS_FILE)
    return tuple(inputs), parameters


def _whole(request: Request, staging: Staging, settings: Settings) -> Input:
    """The body is the first table. BadRequest when it ends before its end."""
    format, packed = described("body", request.mimetype, "")
    body, size = Body(request, settings.max_body_bytes, _ADVICE), 0
    with disk_errors():
        file = staging.open(TABLES[0])
        while piece := body.read():
            size += len(piece)
            file.write(piece)
    if request.content_length is not None and size != request.content_length:
        raise BadRequest(f"the body was cut off after {size} of {request.content_length} bytes")
    return Input(port=1, format=format, compression=packed)


def _parameters(data: bytes, where: str) -> dict[str, Any]:
    found = parse_json(data, where)
    if not isinstance(found, dict):
        refuse(where, "must be a JSON object")
    return found
