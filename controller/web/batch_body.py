"""POST /v1/batches, the request's side: a multipart or JSON body becomes staged files and a BatchSubmission."""

from __future__ import annotations

from flask import Request
from pydantic import ValidationError

from controller.config import Settings
from controller.model import Input, Priority
from controller.services.batch_submission import BatchSubmission, Name, Source
from controller.services.submission import Wanted
from controller.store.script_store import Named
from controller.web.batch_documents import BatchBody, BatchSource
from controller.web.body import Body
from controller.web.documents import DatasetReference, Options
from controller.web.errors import invalid
from controller.web.parts import Rule, receive_parts
from controller.web.submission import (
    OPTIONS_BYTES,
    OPTIONS_FILE,
    bound,
    is_multipart,
    options_in,
    parse_json,
    parse_object,
    refuse,
    script_in,
    script_of,
    script_rules,
    submission_of,
    table_of,
)
from controller.workspace import Staging

_BATCH_FILE = "batch.json"
_SECOND = "dataframe2"
_NO_TABLE = "a batch takes its tables from datasets: name them in `batch`"
_ONLY_A_DATASET = 'of a batch, this must be a dataset: {"dataset": name}, of the type application/json'


def receive(request: Request, staging: Staging, settings: Settings) -> BatchSubmission:
    """Read the body. InvalidRequest, TooLarge, UnsupportedFormat, StorageFull."""
    if is_multipart(request):
        return _multipart(request, staging, settings)
    body = Body(request, settings.max_json_bytes, "send the bundle as a file, in a multipart/form-data body")
    document = parse_object(body.read_all())
    if "dataframe1" in document:
        refuse("dataframe1", _NO_TABLE)
    bound("options", document.get("options"))
    try:
        submitted = BatchBody.model_validate(document)
    except ValidationError as e:
        raise invalid(e) from e
    named = script_in(submitted.script, submitted.script_ref, staging)
    return _submission(submitted.batch, _wanted(submitted.dataframe2), submitted.options, named, bundle=False)


def _multipart(request: Request, staging: Staging, settings: Settings) -> BatchSubmission:
    rules = {
        **script_rules(settings),
        "batch": Rule(_BATCH_FILE, settings.max_json_bytes, text=True),
        _SECOND: Rule(_SECOND, reference=True),
        "options": Rule(OPTIONS_FILE, OPTIONS_BYTES, text=True),
    }
    elsewhere = {"dataframe1": _NO_TABLE}
    body = Body(request, settings.max_body_bytes, "send less data, or ask the operator for a larger max_body_bytes")
    parts = receive_parts(body, request.mimetype_params.get("boundary", ""), rules, elsewhere, staging)
    named = script_of(parts, staging)
    if "batch" not in parts:
        refuse("batch", "is missing")
    second: Input | Wanted | None = None
    if _SECOND in parts:
        if not parts[_SECOND].is_reference:
            refuse(_SECOND, _ONLY_A_DATASET)
        second = table_of(2, _SECOND, parts[_SECOND], staging)
    source = _source(_taken(staging, _BATCH_FILE, settings.max_json_bytes))
    options = options_in(_taken(staging, OPTIONS_FILE, OPTIONS_BYTES)) if "options" in parts else Options()
    return _submission(source, second, options, named, bundle="bundle" in parts)


def _taken(staging: Staging, name: str, limit_bytes: int) -> bytes:
    """A part that is for us, and no input of the items."""
    data = staging.read(name, limit_bytes)
    staging.remove(name)
    return data


def _source(data: bytes) -> BatchSource:
    try:
        return BatchSource.model_validate(parse_json(data, "batch"))
    except ValidationError as e:
        raise invalid(e, "batch") from e


def _wanted(reference: DatasetReference | None) -> Wanted | None:
    return Wanted(port=2, name=reference.dataset, version=reference.version) if reference else None


def _submission(
    asked: BatchSource, second: Input | Wanted | None, options: Options, script: Named | None, *, bundle: bool
) -> BatchSubmission:
    _check_source(asked)
    if options.reuse:
        refuse("options.reuse", "does not go with a batch: every item is executed")
    if options.priority not in (None, Priority.BATCH):
        refuse("options.priority", "of a batch it is always `batch`")
    names = _names(asked)
    # The first table stands for every item's: how it is read is checked, and said, as of a run's.
    first = Wanted(port=1, name=names[0][0] if names else "")
    each = submission_of(options, [first, *([second] if second else [])], script, bundle=bundle, waits=False)
    tables = {table.port: table for table in each.datasets}
    return BatchSubmission(
        each=each.model_copy(update={"datasets": (), "priority": Priority.BATCH}),
        columns=tables[1].columns,
        second=(tables[2].name, tables[2].version) if 2 in tables else None,
        second_columns=tables[2].columns if 2 in tables else None,
        source=Source(datasets=names, rows=asked.rows, column=asked.column),
        asked=asked.model_dump(mode="json", exclude_none=True),
        parallel=asked.parallel,
        parameter=asked.parameter,
    )


def _check_source(asked: BatchSource) -> None:
    cuts = [name for name in ("rows", "column") if getattr(asked, name) is not None]
    if asked.datasets is not None:
        if wrong := [name for name in ("dataset", "version", *cuts) if getattr(asked, name) is not None]:
            refuse(f"batch.{wrong[0]}", "does not go with `datasets`, which are an item each")
    elif asked.dataset is None:
        refuse("batch", "needs `datasets`, or a `dataset` and how it is cut")
    elif len(cuts) != 1:
        both = "`rows` and `column` exclude each other" if cuts else "needs `rows` or `column`: how the dataset is cut"
        refuse("batch", both)


def _names(asked: BatchSource) -> tuple[Name, ...]:
    if asked.datasets is None:
        return ((asked.dataset or "", asked.version),)
    return tuple((one, None) if isinstance(one, str) else (one.dataset, one.version) for one in asked.datasets)
