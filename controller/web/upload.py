"""PUT /v1/datasets/{name}, the request's side: the body becomes a staged file, hashed while it comes, and an Upload."""

from __future__ import annotations

import hashlib

from flask import Request
from pydantic import ValidationError
from werkzeug.exceptions import BadRequest

from controller.config import Settings
from controller.errors import UnsupportedFormat
from controller.model import Compression, Format, Reading
from controller.services.uploads import SOURCE, Upload
from controller.store.dataset_store import Expected
from controller.web.body import BODY_ADVICE, Body
from controller.web.dataset_documents import PutQuery
from controller.web.errors import invalid
from controller.web.parts import Part, Rule, receive_parts
from controller.web.submission import OPTIONS_BYTES, parse_json, refuse
from controller.web.tables import described
from controller.workspace import Staging, disk_errors

_OPTIONS_FILE = "options.json"


def receive(request: Request, staging: Staging, settings: Settings, name: str, query: PutQuery) -> Upload:
    """Read the body: the file itself, or a multipart body of `file` and `options`.

    InvalidRequest, TooLarge, UnsupportedFormat, StorageFull.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedFormat("a body with a Content-Encoding is not read: send it as it is, with `?compression=`")
    body, reading = Body(request, settings.max_body_bytes, BODY_ADVICE), Reading()
    if request.mimetype == "multipart/form-data":
        part, reading = _parts(request, body, staging)
    else:
        part = Part(file_name=name, media_type=request.mimetype)
        _described(part, query)  # before anything is received: nobody uploads a gigabyte to learn of a missing header
        part = _whole(request, body, staging, part)
    format, compression = _described(part, query)
    return Upload(
        name=name, format=format, compression=compression, reading=reading, bytes=part.bytes, sha256=part.sha256
    )


def _described(part: Part, query: PutQuery) -> tuple[Format, Compression | None]:
    return described("file", part.media_type, part.file_name, query.format, query.compression)


def expected(request: Request) -> Expected:
    """What If-Match and If-None-Match expect. InvalidRequest."""
    other = request.headers.get("If-None-Match")
    if other is not None and other.strip() != "*":
        refuse("If-None-Match", "only `*` is understood here: the dataset is put if there is none")
    versions = None
    if "If-Match" in request.headers:
        # The ETag of a version, or of its table in some format, which goes on with a suffix.
        tags = request.if_match
        versions = ("*",) if tags.star_tag else tuple(tag.partition(".")[0] for tag in sorted(tags.as_set(True)))
    return Expected(absent=other is not None, versions=versions)


def _parts(request: Request, body: Body, staging: Staging) -> tuple[Part, Reading]:
    rules = {"file": Rule(SOURCE, hashed=True), "options": Rule(_OPTIONS_FILE, OPTIONS_BYTES, text=True)}
    parts = receive_parts(body, request.mimetype_params.get("boundary", ""), rules, {}, staging)
    if "file" not in parts:
        refuse("file", "is missing")
    reading = Reading()
    if "options" in parts:
        document = parse_json(staging.read(_OPTIONS_FILE, OPTIONS_BYTES), "options")
        staging.remove(_OPTIONS_FILE)
        try:
            reading = Reading.model_validate(document)
        except ValidationError as e:
            raise invalid(e, "options") from e
    return parts["file"], reading


def _whole(request: Request, body: Body, staging: Staging, part: Part) -> Part:
    """The body as it is. BadRequest when it ends before its end."""
    size, digest = 0, hashlib.sha256()
    with disk_errors():
        file = staging.open(SOURCE)
        while piece := body.read():
            size += len(piece)
            file.write(piece)
            digest.update(piece)
    if request.content_length is not None and size != request.content_length:
        raise BadRequest(f"the body was cut off after {size} of {request.content_length} bytes")
    return Part(file_name=part.file_name, media_type=part.media_type, bytes=size, sha256=digest.hexdigest())
