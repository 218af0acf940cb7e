"""PUT /v1/scripts/{name}, the request's side: a body becomes staged files and an Upload."""

from __future__ import annotations

from typing import TypeVar

from flask import Request
from pydantic import ValidationError

from controller.config import Settings
from controller.errors import InvalidRequest, UnsupportedFormat
from controller.model import Input, Reading
from controller.services.scripts import Upload
from controller.services.submission import ENVIRONMENT
from controller.store.script_store import Defaults
from controller.web.body import Body
from controller.web.documents import Document
from controller.web.errors import invalid
from controller.web.parts import Rule, receive_parts
from controller.web.script_documents import ScriptBody, ScriptOptions
from controller.web.submission import (
    OPTIONS_BYTES,
    OPTIONS_FILE,
    TABLES,
    bound,
    is_multipart,
    parse_json,
    parse_object,
    refuse,
)
from controller.web.tables import described
from controller.workspace import BUNDLE, SCRIPT, Staging

_Model = TypeVar("_Model", bound=Document)
SOURCE_TYPES = ("text/x-python", "text/plain")


def receive(request: Request, staging: Staging, settings: Settings, name: str) -> Upload:
    """Read the body. InvalidRequest, TooLarge, UnsupportedFormat, StorageFull."""
    if request.mimetype in SOURCE_TYPES:
        staging.write(SCRIPT, Body(request, settings.max_script_bytes, "put modules into a bundle").read_all())
        return _upload(name, ScriptOptions(), ())
    if is_multipart(request):
        return _multipart(request, staging, settings, name)
    body = Body(request, settings.max_json_bytes, "send the bundle as a file, in a multipart/form-data body")
    document = parse_object(body.read_all())
    bound("options", document.get("options"))
    try:
        sent = ScriptBody.model_validate(document)
    except ValidationError as e:
        raise invalid(e) from e
    staging.write(SCRIPT, sent.script.encode())
    return _upload(name, sent.options, ())


def small(request: Request, model: type[_Model]) -> _Model:
    """A small JSON body. InvalidRequest, TooLarge, UnsupportedFormat."""
    if request.mimetype != "application/json":
        raise UnsupportedFormat("send application/json")
    body = Body(request, OPTIONS_BYTES, "nothing that this request takes is so large")
    try:
        return model.model_validate(parse_object(body.read_all()))
    except ValidationError as e:
        raise invalid(e) from e


def _multipart(request: Request, staging: Staging, settings: Settings, name: str) -> Upload:
    rules = {
        "script": Rule(SCRIPT, settings.max_script_bytes, text=True, code="script_too_large"),
        "bundle": Rule(BUNDLE, settings.max_bundle_bytes),
        **{table: Rule(table, settings.max_sample_bytes) for table in TABLES},
        "options": Rule(OPTIONS_FILE, OPTIONS_BYTES, text=True),
    }
    body = Body(request, settings.max_body_bytes, "send less data, or ask the operator for a larger max_body_bytes")
    parts = receive_parts(body, request.mimetype_params.get("boundary", ""), rules, {}, staging)
    if "script" not in parts:
        raise InvalidRequest("script: is missing", errors=[{"where": "script", "message": "is missing"}])
    options = ScriptOptions()
    if "options" in parts:
        document = parse_json(staging.read(OPTIONS_FILE, OPTIONS_BYTES), "options")
        staging.remove(OPTIONS_FILE)
        try:
            options = ScriptOptions.model_validate(document)
        except ValidationError as e:
            raise invalid(e, "options") from e
    samples = []
    for port, table in enumerate(TABLES, 1):
        if table in parts:
            format, packed = described(table, parts[table].media_type, parts[table].file_name)
            samples.append(Input(port=port, format=format, compression=packed))
    return _upload(name, options, tuple(samples), bundle="bundle" in parts)


def _upload(name: str, options: ScriptOptions, samples: tuple[Input, ...], *, bundle: bool = False) -> Upload:
    if options.environment != ENVIRONMENT:
        refuse("options.environment", f"there is no environment {options.environment!r}; there is {ENVIRONMENT!r}")
    readings: dict[int, Reading | None] = {1: options.dataframe1, 2: options.dataframe2}
    for port in {port for port, reading in readings.items() if reading} - {sample.port for sample in samples}:
        refuse(f"options.dataframe{port}", f"there is no dataframe{port} to be read in this way")
    return Upload(
        name=name,
        description=options.description,
        defaults=Defaults(**{field: getattr(options, field) for field in Defaults.model_fields}),
        parameters=options.parameters,
        samples=tuple(one.model_copy(update={"reading": readings[one.port] or Reading()}) for one in samples),
        bundle=bundle,
    )
