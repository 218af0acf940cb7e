"""A batch's results as one table: put together in a sandbox, once, when somebody asks for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from controller.errors import Busy, Conflict, ConversionFailed, EngineError, Gone, NotFound
from controller.model import Caller, Format, Input, Job, Part, Priority, Reason, Run, Status, TaskKind
from controller.services import quotas, runs
from controller.services.acceptance import keep
from controller.services.backend import Backend, now
from controller.services.batches import NO_BATCH, get
from controller.services.submission import ENVIRONMENT
from controller.services.tenants import new_id
from controller.store.batch_store import Batch, ItemStatus

_PART = re.compile(r"\bitem (\d{1,5})\b")
_BEING_MADE = "the results are being put together: ask again in a moment"


def output(
    backend: Backend,
    caller: Caller,
    batch_id: str,
    format: Format,
    client_is_gone: Callable[[], bool],
    *,
    partial: bool = False,
) -> tuple[Run, Path]:
    """The rows of all items in their order, in this format: the run that put them together, and the file.

    `partial`: of those items that succeeded. Conflict when it has not ended, or not all succeeded; Gone when a result
    was removed; ConversionFailed when they are not of one schema; Busy when it takes longer than one may wait.
    """
    batch = get(backend, caller, batch_id)
    if batch.finished_at is None:
        raise Conflict("the batch has not ended, so it has no output yet", code="no_output")
    results = _complete(backend, batch, partial=partial)
    run_id = batch.output_run_id or _begin(backend, batch, results, format)

    def look() -> Run:
        run = backend.store.run(caller.tenant_id, run_id)
        if run is None:
            raise NotFound(NO_BATCH)
        return run

    run = runs.wait_for(backend, caller, run_id, look, backend.settings.max_wait_seconds, client_is_gone)
    if not run.status.final:
        raise Busy(_BEING_MADE)
    backend.workspaces.of(run.id).remove_parts((Part.INPUTS,))
    if run.status is not Status.SUCCEEDED:
        _refuse(backend, batch, run)
    return run, runs.output(backend, run, 1, format)


def _complete(backend: Backend, batch: Batch, *, partial: bool) -> list[tuple[int, str]]:
    """Number and run of each result that is to be put together; none when that was done before."""
    counts = backend.batches.counts(batch).items
    succeeded, removed = counts[ItemStatus.SUCCEEDED], counts[ItemStatus.REMOVED]
    if batch.output_run_id is not None and (partial or succeeded + removed == batch.total):
        return []
    if succeeded + removed != (batch.total or 0) and not partial:
        found = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "it has no items"
        detail = f"not all items succeeded ({found}): retry the others, or ask for ?partial=1"
        raise Conflict(detail, code="no_output")
    results = backend.batches.results(batch)
    if removed or len(results) < succeeded:
        raise Gone("results of this batch were removed: the server keeps them for a time, and runs can be deleted")
    if not results:
        raise Conflict("no item of the batch succeeded, so there is no output", code="no_output")
    return results


def _begin(backend: Backend, batch: Batch, results: list[tuple[int, str]], format: Format) -> str:
    """Accept the run that puts them together; its id, or that of the one that somebody else began meanwhile."""
    settings, share = backend.settings, quotas.of(backend, batch.tenant_id)
    inputs = tuple(Input(port=1, format=Format.ARROW, part=f"part-{number:06d}") for number, _ in results)
    formats = tuple(dict.fromkeys((Format.ARROW, format)))
    run = Run(
        id=new_id("run"),
        tenant_id=batch.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=Job(task=TaskKind.CONCATENATE, inputs=inputs, output_formats=formats),
        limits=settings.limits(settings.max_timeout_seconds, settings.max_memory_bytes, quotas=share),
        environment=ENVIRONMENT,
        script_sha256="",
        priority=Priority.INTERACTIVE,
        batch_id=batch.id,
        created_at=now(),
    )
    present: str | None = None

    def add(run: Run) -> Run | None:
        nonlocal present
        present = backend.batches.begin_output(run, settings.max_queued_runs, share)
        return run if present == run.id else None

    with backend.workspaces.stage() as staging:
        try:
            for input, (_, run_id) in zip(inputs, results, strict=True):
                staging.link(input.file, backend.workspaces.of(run_id).result(1, Format.ARROW))
        except FileNotFoundError:
            raise Gone("a result of this batch was removed in this moment") from None
        keep(backend, staging, run, add, shared=staging.names())
    if present is None:
        raise Busy("the batch goes on again, too many runs wait, or a quota is spent: ask again later")
    return present


def _refuse(backend: Backend, batch: Batch, run: Run) -> NoReturn:
    """Why there is no table. What was no fault of the items is tried again by the next who asks."""
    error = run.outcome.error if run.outcome else None
    reason = run.outcome.reason if run.outcome else None
    if error is None or reason is Reason.ENGINE_ERROR:
        backend.batches.forget_output(batch.id, run.id)
        raise EngineError(error.message if error else "putting the results together was stopped: ask again")
    message = with_item_numbers(error.message, [int(input.file.removeprefix("part-")) for input in run.job.inputs])
    if reason is Reason.BAD_INPUT:
        raise ConversionFailed(f"the results are not of one schema: {message}", code="items_differ")
    raise ConversionFailed(
        f"the results could not be put together: {message}; each can be had by itself", code="not_concatenated"
    )


def with_item_numbers(message: str, numbers: list[int]) -> str:
    """The sandbox counts the tables that it was given; of a partial output these are not all items."""
    if numbers == list(range(1, len(numbers) + 1)):
        return message
    known = dict(enumerate(numbers, start=1))
    return _PART.sub(lambda match: f"item {known.get(int(match[1]), match[1])}", message)
