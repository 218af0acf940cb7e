"""The pump of the batches: it gives waiting items their runs, as many at a time as the batch may have under way.

It is worked whenever a run of a batch ends, and by upkeep, so whatever is killed, the next stroke goes on from the
rows. Each stroke costs the same, however many items there are.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from pydantic import Field, TypeAdapter, ValidationError

from controller.errors import AirlockError
from controller.model import (
    LARGEST,
    Format,
    Input,
    Outcome,
    Part,
    Priority,
    Quotas,
    Run,
    ScriptError,
    Slice,
    Status,
    Word,
)
from controller.services import quotas
from controller.services.acceptance import keep
from controller.services.backend import Backend, now
from controller.services.report import engine_failed
from controller.services.tally import request_cancel
from controller.services.tenants import new_id
from controller.store.batch_store import Batch, Begun, Item
from controller.workspace import BUNDLE, SCRIPT, Staging

GROUPS = "groups.json"
GROUPS_BYTES = 8 << 20
TABLE = "dataframe1"
_LOST = engine_failed("the files of the batch are gone: it cannot be executed any more")
_log = structlog.get_logger(__name__)


class Group(Word):
    """Rows of the grouped table that have one value in common; as the sandbox says."""

    value: str | int | float | bool | None
    offset: Annotated[int, Field(ge=0, le=LARGEST)]
    rows: Annotated[int, Field(ge=1, le=LARGEST)]


_GROUPS = TypeAdapter(tuple[Group, ...])


def go_on(backend: Backend, tenant_id: str, batch_id: str | None) -> None:
    """A run of this batch, if it is one's, has ended. A failure is written to the log: upkeep tries again."""
    if batch_id is None:
        return
    try:
        advance(backend, tenant_id, batch_id)
    except (AirlockError, OSError) as e:
        _log.warning("batch_not_advanced", batch_id=batch_id, error=str(e))


def go_on_with_all(backend: Backend) -> None:
    """Every batch that has not ended: for what a crash, or a failure, kept from being done."""
    for tenant_id, batch_id in backend.batches.unfinished():
        go_on(backend, tenant_id, batch_id)


def advance(backend: Backend, tenant_id: str, batch_id: str) -> None:
    """Take the batch as far as it can be taken now: tell its items, begin some, or end it."""
    with backend.pumps[hash(batch_id) % len(backend.pumps)]:
        batch = backend.batches.batch(tenant_id, batch_id)
        if batch is None or batch.finished_at is not None:
            return
        if batch.cancel_requested:
            _stop(backend, batch)
        elif batch.total is None:
            _prepare(backend, batch)
            batch = backend.batches.batch(tenant_id, batch_id) or batch
        if not batch.cancel_requested:
            _begin(backend, batch)
        if backend.batches.finish(batch.id, now()):
            _log.info("batch_finished", batch_id=batch.id, cancelled=batch.cancel_requested)
            backend.news.changed(batch.id)


def _stop(backend: Backend, batch: Batch) -> None:
    for run_id in backend.batches.under_way(batch.id):
        after = request_cancel(backend, batch.tenant_id, run_id)
        if after is not None and after.status.final:
            backend.news.changed(run_id)


# -- preparing ---------------------------------------------------------------------------------------------------


def _prepare(backend: Backend, batch: Batch) -> None:
    """When the table has been cut by a column's values: its groups are the items."""
    run = backend.batches.group_run(batch)
    if run is not None and not run.status.final:
        return
    found = _groups(backend, run) if run is not None else _unreadable("its group run is gone")
    if isinstance(found, ScriptError):
        if backend.batches.failed(batch.id, found, now()):
            backend.news.changed(batch.id)
    else:
        items = (
            Item(number=number, label=group.value, slice=Slice(offset=group.offset, rows=group.rows))
            for number, group in enumerate(found, start=1)
        )
        backend.batches.prepared(batch.id, items, now())
    if run is not None:
        backend.workspaces.of(run.id).remove_parts((Part.INPUTS,))


def _groups(backend: Backend, run: Run) -> tuple[Group, ...] | ScriptError:
    """What the sandbox says of the groups, if that can be: else why not."""
    if run.status is not Status.SUCCEEDED or run.outcome is None:
        error = run.outcome.error if run.outcome else None
        return error or _unreadable("the table was not grouped")
    try:
        with backend.workspaces.of(run.id).document(GROUPS).open("rb") as file:
            data = file.read(GROUPS_BYTES + 1)
    except OSError:
        return _unreadable("the groups of the table are gone")
    rows = run.outcome.output.rows if run.outcome.output else 0
    return groups_in(data, rows, run.job.group_by or "", backend.settings.max_batch_items)


def groups_in(data: bytes, rows: int, column: str, limit: int) -> tuple[Group, ...] | ScriptError:
    """The groups that lie one after the other in a table of so many rows; or what is wrong with them."""
    try:
        groups = _GROUPS.validate_json(data) if len(data) <= GROUPS_BYTES else ()
    except ValidationError:
        groups = ()
    end = 0
    for group in groups:
        if group.offset != end:
            break
        end += group.rows
    if not groups or end != rows:
        return _unreadable("the groups are not those of the table")
    if len(groups) > limit:
        return _unreadable(f"the column {column!r} makes {len(groups)} items; the limit is {limit}", "0018")
    return groups


def _unreadable(message: str, code: str = "1000") -> ScriptError:
    return ScriptError(code=code, type="BadInput" if code == "0018" else "EngineError", message=message)


# -- beginning items ---------------------------------------------------------------------------------------------


def _begin(backend: Backend, batch: Batch) -> None:
    while items := backend.batches.next_items(batch):
        for item in items:
            if not _begin_item(backend, batch, item):
                return


def _begin_item(backend: Backend, batch: Batch, item: Item) -> bool:
    """Give the item a run; False when it is not to have one now."""
    share = quotas.of(backend, batch.tenant_id)
    run = _item_run(batch, item, share)
    begun = Begun.NOT_WANTED

    def add(run: Run) -> Run | None:
        nonlocal begun
        begun = backend.batches.begin(run, batch.parallel, backend.settings.max_queued_runs, share)
        return run if begun is Begun.BEGUN else None

    with backend.workspaces.stage() as staging:
        try:
            _link(backend, staging, batch, item)
        except FileNotFoundError:
            _log.error("batch_files_gone", batch_id=batch.id, item=item.number)
            run = _ended(run, _LOST)
        keep(backend, staging, run, add, shared=[name for name in staging.names() if name != SCRIPT])
    return begun is Begun.BEGUN


def _link(backend: Backend, staging: Staging, batch: Batch, item: Item) -> None:
    """The item's inputs, none of them copied. FileNotFoundError."""
    own = backend.workspaces.of_batch(batch.id).input_dir
    if batch.group_run_id is not None:
        table = backend.workspaces.of(batch.group_run_id).result(1, Format.ARROW)
    else:
        table = own / (item_file(item.number) if item.dataset is not None else TABLE)
    staging.link(TABLE, table)
    staging.link(SCRIPT, own / SCRIPT)
    if batch.template.job.bundle:
        staging.link(BUNDLE, own / BUNDLE)
    for input in batch.template.job.inputs[1:]:
        staging.link(input.file, own / input.file)


def item_file(number: int) -> str:
    """Where the table of an item lies that has a dataset of its own."""
    return f"{TABLE}-{number}"


def _item_run(batch: Batch, item: Item, share: Quotas) -> Run:
    template = batch.template
    own: dict[str, object] = {"slice": item.slice}
    if item.dataset is not None:
        own["dataset"] = item.dataset
    first: Input = template.job.inputs[0].model_copy(update=own)
    parameters = dict(template.job.parameters)
    if template.parameter is not None:
        parameters[template.parameter] = {"number": item.number, "total": batch.total, "label": item.label}
    job = template.job.model_copy(update={"inputs": (first, *template.job.inputs[1:]), "parameters": parameters})
    return Run(
        id=new_id("run"),
        tenant_id=batch.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=job,
        limits=quotas.cut(template.limits, share),
        environment=template.environment,
        script_sha256=template.script_sha256,
        script=template.script,
        priority=Priority.BATCH,
        at_most_once=template.at_most_once,
        batch_id=batch.id,
        item=item.number,
        created_at=now(),
    )


def _ended(run: Run, outcome: Outcome) -> Run:
    ended = {"status": outcome.status, "started_at": run.created_at, "finished_at": run.created_at, "outcome": outcome}
    return run.model_copy(update=ended)
