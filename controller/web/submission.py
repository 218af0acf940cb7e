"""POST /v1/runs, the request's side: a multipart or JSON body becomes staged files and a Submission.

Files stream from the socket into the data directory; nothing of them is kept in memory, looked into or changed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Request
from pydantic import ValidationError

from controller.config import KIB, Settings
from controller.errors import InvalidRequest, TooLarge, UnsupportedFormat
from controller.model import Format, Input, Priority, Reading
from controller.services import scripts
from controller.services.submission import Submission, Wanted
from controller.store.script_store import Named
from controller.web.body import BODY_ADVICE, JSON_ADVICE, Body
from controller.web.documents import DatasetReference, Options, SubmitBody
from controller.web.errors import invalid
from controller.web.parts import REFERENCE_BYTES, Part, Rule, receive_parts
from controller.web.tables import described
from controller.workspace import BUNDLE, SCRIPT, Staging

TABLES = ("dataframe1", "dataframe2")
OPTIONS_BYTES = 256 * KIB
MAX_DEPTH = 64
_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"
REF_FILE, REF_BYTES = "script_ref", 200
_STORED_WITH_IT = "does not go with script_ref: a stored script has its own"
_OWN_OPTIONS = ("profile", "dtypes", "environment", "timeout_seconds", "memory_bytes", "cpus", "output_format")
"""Options that a stored script has values for, where the request has none."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
OPTIONS_FILE = "options.json"


def receive(request: Request, staging: Staging, settings: Settings, *, waits: bool = False) -> Submission:
    """Read the body. InvalidRequest, TooLarge, UnsupportedFormat, StorageFull.

    `waits`: somebody waits for the end of the run.
    """
    if is_multipart(request):
        return _multipart(request, staging, settings, waits)
    return _json(request, staging, settings, waits)


def is_multipart(request: Request) -> bool:
    """Or JSON. UnsupportedFormat when it is neither."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedFormat("a body with a Content-Encoding is not read: send it as it is")
    if request.mimetype not in ("multipart/form-data", "application/json"):
        raise UnsupportedFormat("send multipart/form-data or application/json")
    return request.mimetype == "multipart/form-data"


def _multipart(request: Request, staging: Staging, settings: Settings, waits: bool) -> Submission:
    rules = {
        **script_rules(settings),
        **{name: Rule(name, reference=True) for name in TABLES},
        "options": Rule(OPTIONS_FILE, OPTIONS_BYTES, text=True),
    }
    body = Body(request, settings.max_body_bytes, BODY_ADVICE)
    parts = receive_parts(body, request.mimetype_params.get("boundary", ""), rules, {}, staging)
    named = script_of(parts, staging)
    tables = [table_of(port, name, parts[name], staging) for port, name in enumerate(TABLES, 1) if name in parts]
    options = Options()
    if "options" in parts:
        options = options_in(staging.read(OPTIONS_FILE, OPTIONS_BYTES))
        staging.remove(OPTIONS_FILE)
    return submission_of(options, tables, named, bundle="bundle" in parts, waits=waits)


def script_rules(settings: Settings) -> dict[str, Rule]:
    """The parts that say what is to be executed."""
    return {
        "script": Rule(SCRIPT, settings.max_script_bytes, text=True, code="script_too_large"),
        "script_ref": Rule(REF_FILE, REF_BYTES, text=True),
        "bundle": Rule(BUNDLE, settings.max_bundle_bytes),
    }


def script_of(parts: Mapping[str, Part], staging: Staging) -> Named | None:
    """The stored script that is named; None when the script itself was sent. InvalidRequest."""
    if "script_ref" not in parts:
        require_script("script" in parts, None)
        return None
    require_script("script" in parts, "")
    if "bundle" in parts:
        refuse("bundle", _STORED_WITH_IT)
    reference = staging.read(REF_FILE, REF_BYTES)
    staging.remove(REF_FILE)
    return scripts.parse(reference.decode("utf-8", "replace"))


def require_script(sent: bool, reference: str | None) -> None:
    """InvalidRequest when there are both a script and a reference to one, or neither."""
    if sent and reference is not None:
        refuse("script_ref", "script and script_ref exclude each other")
    if not sent and reference is None:
        refuse("script", "is missing: send the text, or as script_ref the name of a stored one")


def table_of(port: int, name: str, part: Part, staging: Staging) -> Input | Wanted:
    if part.is_reference:
        document = parse_json(staging.read(name, REFERENCE_BYTES), name)
        staging.remove(name)
        try:
            reference = DatasetReference.model_validate(document)
        except ValidationError as e:
            raise invalid(e, name) from e
        return Wanted(port=port, name=reference.dataset, version=reference.version)
    format, packed = described(name, part.media_type, part.file_name)
    return Input(port=port, format=format, compression=packed)


def options_in(data: bytes) -> Options:
    document = parse_json(data, "options")
    try:
        return Options.model_validate(document)
    except ValidationError as e:
        raise invalid(e, "options") from e


def _json(request: Request, staging: Staging, settings: Settings, waits: bool) -> Submission:
    body = Body(request, settings.max_json_bytes, JSON_ADVICE)
    document = parse_object(body.read_all())
    bound("options", document.get("options"))
    try:
        submitted = SubmitBody.model_validate(document)
    except ValidationError as e:
        raise invalid(e) from e
    named = script_in(submitted.script, submitted.script_ref, staging)
    tables: list[Input | Wanted] = []
    for port, table in enumerate((submitted.dataframe1, submitted.dataframe2), start=1):
        if table is not None and table.dataset is not None:
            tables.append(Wanted(port=port, name=table.dataset, version=table.version))
        elif table is not None:
            tables.append(Input(port=port, format=Format.JSON))
            staging.write(f"dataframe{port}", json.dumps(table.records).encode())
    return submission_of(submitted.options, tables, named, bundle=False, waits=waits)


def script_in(script: str | None, reference: str | None, staging: Staging) -> Named | None:
    """The stored script that a JSON body names; None when it has the script itself. InvalidRequest."""
    require_script(script is not None, reference)
    if script is not None:
        staging.write(SCRIPT, script.encode())
    return scripts.parse(reference) if reference is not None else None


def bound(where: str, value: Any) -> None:
    """TooLarge when this part of a JSON body, options or parameters, is larger than it may be in a multipart one."""
    size = len(json.dumps(value))
    if size > OPTIONS_BYTES:
        detail = f"{where}: {size} bytes of JSON, the limit is {OPTIONS_BYTES}; send data as a table"
        raise TooLarge(detail, limit=OPTIONS_BYTES, value=size)


def submission_of(
    options: Options, tables: list[Input | Wanted], script: Named | None, *, bundle: bool, waits: bool
) -> Submission:
    readings = {1: options.dataframe1, 2: options.dataframe2}
    for port, reading in readings.items():
        if reading is not None and port not in {table.port for table in tables}:
            refuse(f"options.dataframe{port}", f"there is no dataframe{port} to be read in this way")
    tables = [_read_as(table, readings[table.port]) for table in tables]
    return Submission(
        script=script,
        reuse=options.reuse,
        at_most_once=options.at_most_once,
        priority=options.priority or (Priority.INTERACTIVE if waits else Priority.NORMAL),
        parameters=options.parameters,
        inputs=tuple(table for table in tables if isinstance(table, Input)),
        datasets=tuple(table for table in tables if isinstance(table, Wanted)),
        bundle=bundle,
        **{name: getattr(options, name) for name in _OWN_OPTIONS if name in options.model_fields_set},
    )


def _read_as(table: Input | Wanted, reading: Reading | None) -> Input | Wanted:
    if reading is None:
        return table
    if isinstance(table, Input):
        return table.model_copy(update={"reading": reading})
    for option in reading.model_fields_set - {"columns"}:
        where = f"options.dataframe{table.port}.{option}"
        refuse(where, "does not go with a dataset, which was read when it was put; only `columns` does")
    return table.model_copy(update={"columns": reading.columns})


def refuse(where: str, message: str) -> NoReturn:
    """InvalidRequest, at one place."""
    raise InvalidRequest(f"{where}: {message}", errors=[{"where": where, "message": message}])


def parse_object(data: bytes) -> dict[str, Any]:
    """A body that is a JSON object, as `parse_json` reads it."""
    document = parse_json(data, "body")
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return document


def parse_json(data: bytes, where: str) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, no doubled names, whole characters; and at most MAX_DEPTH deep."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
        _check_depth(document)
        if _SURROGATE.search(data):
            _check_characters(document)
    except (ValueError, RecursionError) as e:
        reason = _TOO_DEEP if isinstance(e, RecursionError) else str(e)
        raise InvalidRequest(
            f"{where}: this is not JSON that is read here: {reason}", errors=[{"where": where, "message": reason}]
        ) from e
    return document


def _check_depth(document: Any) -> None:
    """What is deeper than this could be read, and not be written again: Python would end its recursion there."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _check_characters(document: Any) -> None:
    """An escape like \\ud800 without its other half is no character: nothing could write it down again."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"the escape \\u{ord(e.object[e.start]):x} is half a character, without its other half") from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice[:100]!r} stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON; write null for a missing number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large for a double")
    return number
