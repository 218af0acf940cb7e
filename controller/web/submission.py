"""POST /v1/runs, the request's side: a multipart or JSON body becomes staged files and a Submission.

Files stream from the socket into the data directory; nothing of them is kept in memory, looked into or changed.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO, cast

from flask import Request
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser

from controller.config import KIB, Settings
from controller.errors import InvalidRequest, TooLarge, UnsupportedFormat
from controller.model import Format, Input
from controller.services.runs import BUNDLE, SCRIPT, Submission
from controller.web.documents import Options, SubmitBody
from controller.web.errors import invalid
from controller.workspace import Staging, disk_errors

TABLES = ("dataframe1", "dataframe2")
PARTS = ("script", *TABLES, "bundle", "options")
OPTIONS_BYTES = 256 * KIB
_OPTIONS_FILE = "options.json"
_MEDIA_TYPES = {format.media_type: format for format in Format} | {
    "application/vnd.apache.arrow": Format.ARROW,
    "application/x-parquet": Format.PARQUET,
    "application/parquet": Format.PARQUET,
    "application/csv": Format.CSV,
}
_SUFFIXES = {format.suffix: format for format in Format} | {".feather": Format.ARROW, ".ipc": Format.ARROW}
_UNTOLD = ("", "application/octet-stream", "text/plain")
"""Content types that say nothing of the format, which the file name then tells."""


def receive(request: Request, staging: Staging, settings: Settings) -> Submission:
    """Read the body. InvalidRequest, TooLarge, UnsupportedFormat, StorageFull."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedFormat("a body with a Content-Encoding is not read: send it as it is")
    if request.mimetype == "multipart/form-data":
        return _multipart(request, staging, settings)
    if request.mimetype == "application/json":
        return _json(request, staging, settings)
    raise UnsupportedFormat("send multipart/form-data or application/json")


def _multipart(request: Request, staging: Staging, settings: Settings) -> Submission:
    request.max_content_length = settings.max_body_bytes
    parts = 0

    def new_file(**_: Any) -> BinaryIO:
        nonlocal parts
        parts += 1
        return staging.open(f"part-{parts}")

    parser = FormDataParser(
        stream_factory=cast(Any, new_file),
        max_form_memory_size=settings.max_script_bytes + OPTIONS_BYTES,
        max_form_parts=len(PARTS) + 4,
        silent=False,
    )
    try:
        with disk_errors():
            _, form, files = parser.parse(
                request.stream, request.mimetype, request.content_length, request.mimetype_params
            )
            for file in files.values():
                file.close()
    except ValueError as e:
        raise InvalidRequest(f"the body is not well-formed multipart/form-data: {e}") from e
    _check_names(form, files)
    for name in ("script", "options"):
        if name in form:
            staging.write(SCRIPT if name == "script" else _OPTIONS_FILE, form[name].encode("utf-8", "surrogatepass"))
    inputs = tuple(_table(files[name], port, staging) for port, name in enumerate(TABLES, 1) if name in files)
    for name, target in (("script", SCRIPT), ("bundle", BUNDLE), ("options", _OPTIONS_FILE)):
        if name in files:
            staging.rename(_staged(files[name]), target)
    options = Options()
    if "options" in form or "options" in files:
        options = _options(staging.read(_OPTIONS_FILE, OPTIONS_BYTES))
        staging.remove(_OPTIONS_FILE)
    return _submission(options, inputs, bundle="bundle" in files)


def _check_names(form: MultiDict[str, str], files: MultiDict[str, FileStorage]) -> None:
    faults = []
    for name in sorted({*form, *files}):
        count = len(form.getlist(name)) + len(files.getlist(name))
        if name == "script_ref":
            faults.append({"where": name, "message": "stored scripts are not part of this version: send `script`"})
        elif name not in PARTS:
            faults.append({"where": name, "message": f"unknown part; known are {', '.join(PARTS)}"})
        elif count > 1:
            faults.append({"where": name, "message": f"was sent {count} times"})
        elif name in form and name not in ("script", "options"):
            faults.append({"where": name, "message": "must be sent as a file, with a file name"})
    if "script" not in form and "script" not in files:
        faults.append({"where": "script", "message": "is missing"})
    if faults:
        raise InvalidRequest(f"{faults[0]['where']}: {faults[0]['message']}", errors=faults)


def _table(file: FileStorage, port: int, staging: Staging) -> Input:
    table = Input(port=port, format=_format(f"dataframe{port}", file))
    staging.rename(_staged(file), table.file)
    return table


def _format(name: str, file: FileStorage) -> Format:
    """By the part's Content-Type, else by its file name."""
    if file.mimetype in _MEDIA_TYPES:
        return _MEDIA_TYPES[file.mimetype]
    suffix = "." + (file.filename or "").rpartition(".")[2].lower()
    if file.mimetype in _UNTOLD and suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    raise UnsupportedFormat(
        f"{name}: neither its content type nor its file name tells a format that is read; "
        f"send one of {', '.join(format.media_type for format in Format)}"
    )


def _staged(file: FileStorage) -> str:
    return str(cast(Any, file.stream).name).rpartition("/")[2]


def _options(data: bytes) -> Options:
    document = parse_json(data, "options")
    try:
        return Options.model_validate(document)
    except ValidationError as e:
        raise invalid(e, "options") from e


def _json(request: Request, staging: Staging, settings: Settings) -> Submission:
    request.max_content_length = settings.max_json_bytes
    document = parse_json(request.get_data(cache=False), "body")
    _refuse_later_fields(document)
    try:
        body = SubmitBody.model_validate(document)
    except ValidationError as e:
        raise invalid(e) from e
    script = body.script.encode("utf-8", "surrogatepass")
    if len(script) > settings.max_script_bytes:
        limit = settings.max_script_bytes
        detail = f"the script has {len(script)} bytes, the limit is {limit}; put modules into the bundle"
        raise TooLarge(detail, code="script_too_large", limit=limit, value=len(script))
    staging.write(SCRIPT, script)
    inputs = []
    for port, table in enumerate((body.dataframe1, body.dataframe2), start=1):
        if table is not None:
            inputs.append(Input(port=port, format=Format.JSON))
            staging.write(f"dataframe{port}", json.dumps(table.records, ensure_ascii=True).encode())
    return _submission(body.options, tuple(inputs), bundle=False)


def _refuse_later_fields(document: Any) -> None:
    """Parts of the API's plan that this version does not have: said plainly, and not as a misspelling."""
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    if "script_ref" in document:
        both = "script and script_ref exclude each other; " if "script" in document else ""
        message = f"{both}stored scripts are not part of this version: send `script`"
        raise InvalidRequest(message, errors=[{"where": "script_ref", "message": message}])
    for name in TABLES:
        table = document.get(name)
        if isinstance(table, dict) and "dataset" in table:
            message = "stored datasets are not part of this version: send `records`, or a file in a multipart body"
            raise InvalidRequest(f"{name}: {message}", errors=[{"where": f"{name}.dataset", "message": message}])


def _submission(options: Options, inputs: tuple[Input, ...], *, bundle: bool) -> Submission:
    return Submission(
        profile=options.profile,
        environment=options.environment,
        timeout_seconds=options.timeout_seconds,
        memory_bytes=options.memory_bytes,
        cpus=options.cpus,
        parameters=options.parameters,
        output_format=options.output_format,
        inputs=inputs,
        bundle=bundle,
    )


def parse_json(data: bytes, where: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no doubled names, UTF-8, and no deeper than Python will follow."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as e:
        reason = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise InvalidRequest(
            f"{where}: this is not valid JSON: {reason}", errors=[{"where": where, "message": reason}]
        ) from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON; write null for a missing number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large for a double")
    return number
