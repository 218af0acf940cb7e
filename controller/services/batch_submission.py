"""How a batch is accepted: the script, the tables that its items are cut from, and the items as far as they are known,
durable before the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from controller.errors import InvalidRequest, TooManyRuns
from controller.model import Caller, Format, Input, Job, Priority, Quotas, Reading, Run, Slice, Status, TaskKind, Word
from controller.services import pump, quotas
from controller.services.acceptance import keep
from controller.services.backend import Backend, now
from controller.services.batches import get
from controller.services.datasets import DatasetFile, link, resolve
from controller.services.mode import require_open
from controller.services.reuse import request_digest
from controller.services.submission import ENVIRONMENT, Submission, first_of, new_run
from controller.services.tenants import new_id
from controller.store.base import Added, Idempotent
from controller.store.batch_store import Batch, Item, Template
from controller.workspace import BUNDLE, SCRIPT, Staging

Name = tuple[str, int | None]
"""A dataset's name, and its version if a certain one is asked for."""


class Source(Word):
    """What the items are made of: a dataset for each, or one that is cut by so many rows or by a column's values."""

    datasets: tuple[Name, ...]
    rows: int | None = None
    column: str | None = None

    @property
    def is_cut(self) -> bool:
        return self.rows is not None or self.column is not None


class BatchSubmission(Word):
    """What is asked for; `each` says how an item's script is called, and `asked` is the source as it was sent."""

    each: Submission
    columns: tuple[str, ...] | None = None
    second: Name | None = None
    second_columns: tuple[str, ...] | None = None
    source: Source
    asked: dict[str, object]
    parallel: int = 4
    parameter: str | None = None


def submit(
    backend: Backend, caller: Caller, staging: Staging, wanted: BatchSubmission, key: str | None = None
) -> tuple[Batch, bool]:
    """Accept a batch: when this returns, its rows and what its items need are on the disk. It, and whether it is new.

    InvalidRequest, NotFound, Conflict, TooLarge, TooManyRuns, StorageFull: nothing was accepted, nothing is left.
    """
    _check(backend, wanted)
    batch_id = new_id("bat")
    idempotent = None
    if key is not None:
        asked = wanted.model_dump(mode="json") | {"what": "batch"}
        payload = request_digest(staging, asked)
        idempotent = Idempotent(
            tenant_id=caller.tenant_id, key=key, payload_sha256=payload, resource_id=batch_id, created_at=now()
        )
        if (earlier := first_of(backend, idempotent)) is not None:
            return get(backend, caller, earlier), False
    require_open(backend)
    share = quotas.of_caller(backend, caller)
    model = new_run(backend, caller, staging, wanted.each, new_id("run"), share)
    if wanted.parameter is not None and wanted.parameter in model.job.parameters:
        refuse("batch.parameter", f"{wanted.parameter!r} is a parameter of the script already")
    tables = _Tables(backend, caller, wanted)
    # Before the tables are linked there, which are the datasets'; a stored script's files are the script's.
    own_bytes = staging.input_bytes((SCRIPT, BUNDLE) if model.script else ())
    batch = _batch(batch_id, model, wanted, tables, own_bytes)
    added = _store(backend, share, staging, batch, tables, idempotent)
    if added is Added.KEY_TAKEN and idempotent is not None:  # by a request of the same moment
        return get(backend, caller, first_of(backend, idempotent) or ""), False
    if added in (Added.STORAGE_SPENT, Added.SECONDS_SPENT, Added.NO_TENANT):
        raise quotas.refusal(backend, model.model_copy(update={"input_bytes": batch.own_bytes}), share, added)
    if added is not Added.ADDED:
        limit = backend.settings.max_batches
        raise TooManyRuns(
            f"{limit} batches of yours have not ended, or too many runs wait: try again later",
            code="too_many_batches",
            quota="batches",
            limit=limit,
            value=1,
            used=limit,
        )
    pump.go_on(backend, caller.tenant_id, batch_id)
    return get(backend, caller, batch_id), True


def _check(backend: Backend, wanted: BatchSubmission) -> None:
    limit = backend.settings.max_batch_parallel
    if not 1 <= wanted.parallel <= limit:
        refuse("batch.parallel", f"must be 1 to {limit} (max_batch_parallel), not {wanted.parallel}")
    if not wanted.source.datasets:
        refuse("batch.datasets", "is empty: a batch has one item at least")
    _check_count(backend, "batch.datasets", len(wanted.source.datasets))


def _check_count(backend: Backend, where: str, count: int) -> None:
    limit = backend.settings.max_batch_items
    if count > limit:
        refuse(where, f"this would make {count} items; the limit is {limit} (max_batch_items)")


class _Tables:
    """The datasets that were found, and what becomes of them."""

    def __init__(self, backend: Backend, caller: Caller, wanted: BatchSubmission) -> None:
        self.source = wanted.source
        self._found: dict[Name, DatasetFile] = {}
        for name in wanted.source.datasets:
            if name not in self._found:
                self._found[name] = resolve(backend, caller, *name)
        self.second = resolve(backend, caller, *wanted.second) if wanted.second else None
        if self.source.is_cut:
            self._check_cut(backend)

    @property
    def each(self) -> Iterator[DatasetFile]:
        return (self._found[name] for name in self.source.datasets)

    @property
    def first(self) -> DatasetFile:
        return self._found[self.source.datasets[0]]

    @property
    def version_ids(self) -> list[str]:
        second = [self.second.id] if self.second else []
        return [found.id for found in self._found.values()] + second

    @property
    def total(self) -> int | None:
        """How many items it makes; None when only a sandbox can tell."""
        if self.source.column is not None:
            return None
        return len(self.source.datasets) if self.source.rows is None else -(-self.first.rows // self.source.rows)

    def items(self) -> Iterator[Item]:
        if self.source.rows is not None:
            for number, offset in enumerate(range(0, self.first.rows, self.source.rows), start=1):
                part = Slice(offset=offset, rows=min(self.source.rows, self.first.rows - offset))
                yield Item(number=number, label={"first_row": offset + 1, "rows": part.rows}, slice=part)
        elif self.source.column is None:
            for number, found in enumerate(self.each, start=1):
                label = {"dataset": found.name, "version": found.version}
                yield Item(number=number, label=label, dataset=found.use)

    def link(self, staging: Staging) -> None:
        """What the items take their tables from, but for what is grouped first. NotFound."""
        if self.second is not None:
            link(staging, "dataframe2", self.second)
        if not self.source.is_cut:
            for number, found in enumerate(self.each, start=1):
                link(staging, pump.item_file(number), found)
        elif self.source.column is None:
            link(staging, pump.TABLE, self.first)

    def _check_cut(self, backend: Backend) -> None:
        column, names = self.source.column, [column.name for column in self.first.columns]
        if column is not None and column not in names:
            known = ", ".join(repr(name[:100]) for name in names[:20]) + (", ..." if len(names) > 20 else "")
            refuse("batch.column", f"there is no column {column!r}; there are {known or 'none'}")
        if not self.first.rows:
            refuse("batch.dataset", f"version {self.first.version} has no rows, so there is nothing to be done")
        _check_count(backend, "batch.rows", self.total or 0)


def _batch(batch_id: str, model: Run, wanted: BatchSubmission, tables: _Tables, own_bytes: int) -> Batch:
    moment = now()
    use = tables.first.use if wanted.source.is_cut else None
    inputs = [Input(port=1, format=Format.ARROW, reading=Reading(columns=wanted.columns), dataset=use)]
    if tables.second is not None:
        reading = Reading(columns=wanted.second_columns)
        inputs.append(Input(port=2, format=Format.ARROW, reading=reading, dataset=tables.second.use))
    return Batch(
        id=batch_id,
        tenant_id=model.tenant_id,
        template=Template(
            job=model.job.model_copy(update={"inputs": tuple(inputs)}),
            limits=model.limits,
            environment=model.environment,
            script_sha256=model.script_sha256,
            script=model.script,
            at_most_once=model.at_most_once,
            parameter=wanted.parameter,
        ),
        source=dict(wanted.asked),
        parallel=wanted.parallel,
        total=tables.total,
        group_run_id=new_id("run") if wanted.source.column is not None else None,
        created_at=moment,
        begun_at=moment if tables.total is not None else None,
        own_bytes=own_bytes,
    )


def _store(
    backend: Backend,
    share: Quotas,
    staging: Staging,
    batch: Batch,
    tables: _Tables,
    idempotent: Idempotent | None,
) -> Added | None:
    """The files, then the rows: all of them or none."""
    settings, files = backend.settings, backend.workspaces.of_batch(batch.id)
    added = None

    def add(group_run: Run | None) -> Run | None:
        nonlocal added
        added = backend.batches.add(
            batch,
            tables.items(),
            tables.version_ids,
            group_run,
            settings.max_queued_runs,
            idempotent,
            settings.max_batches,
            share,
        )
        return group_run if added is Added.ADDED else None

    tables.link(staging)
    staging.seal(files.root)
    try:
        if batch.group_run_id is None:
            add(None)
        else:
            with backend.workspaces.stage() as source:
                link(source, pump.TABLE, tables.first)
                keep(backend, source, _group_run(backend, share, batch, tables), add)
    finally:
        if added is not Added.ADDED:
            files.remove()
    return added


def _group_run(backend: Backend, share: Quotas, batch: Batch, tables: _Tables) -> Run:
    """Limits are the largest there are: what is executed is no tenant's script, and the whole table is read."""
    settings = backend.settings
    source = Input(port=1, format=Format.ARROW, dataset=tables.first.use)
    return Run(
        id=batch.group_run_id or new_id("run"),
        tenant_id=batch.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=Job(task=TaskKind.GROUP, inputs=(source,), group_by=tables.source.column),
        limits=settings.limits(settings.max_timeout_seconds, settings.max_memory_bytes, quotas=share),
        environment=ENVIRONMENT,
        script_sha256="",
        priority=Priority.NORMAL,
        batch_id=batch.id,
        created_at=batch.created_at,
    )


def refuse(where: str, message: str) -> NoReturn:
    raise InvalidRequest(f"{where}: {message}", errors=[{"where": where, "message": message}])
