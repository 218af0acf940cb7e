"""The end of the corridor: one accepted run, taken from `queued` to its final state in a fresh sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from controller.engines.base import Ended, SandboxResult, SandboxSpec
from controller.errors import (
    ConversionFailed,
    EngineError,
    EngineUnavailable,
    ImageMissing,
    StorageFailed,
    StorageFull,
    Unavailable,
)
from controller.failpoints import failpoint
from controller.model import (
    CONTRACT_VERSION,
    Format,
    Input,
    Job,
    Limits,
    Outcome,
    Reason,
    Run,
    Status,
    TaskKind,
    Timings,
)
from controller.runlog import RunLog
from controller.services import pump, quotas, receipts, tally
from controller.services.backend import Backend, now
from controller.services.claimed import cancelled, failure, finish, release
from controller.services.report import Wanted, engine_failed, judge, read_report
from controller.services.tidying import tidy
from controller.workspace import IMAGES, Outputs, Workspace, disk_errors, output_file

AWAY_SECONDS = 2.0
"""Until a run is tried again that could not be begun: the engine did not answer, or the disk took nothing."""
PLACE_SECONDS = 1.0
"""Until a run is looked at again whose tenant had no place for it: by then the dispatcher knows, too."""
LONGEST_PAUSE_SECONDS = 300.0
"""Before a further attempt, however many there were."""
_log = structlog.get_logger(__name__)


def execute(backend: Backend, run_id: str) -> float | None:
    """Claim the run, run it, write down how it ended. Nothing happens when somebody else claimed it before.

    Gives the seconds after which it is to be tried again, when it is queued again: the engine did not answer, or
    failed while it ran (docs/runs.md, What is tried again). None otherwise.
    """
    run = backend.store.claim(run_id, backend.claim(), now(), backend.settings.quotas)
    if run is None:
        return _place_seconds(backend, run_id)
    failpoint("run_claimed")
    backend.news.begun(run.id)
    began = time.monotonic()
    outcome: Outcome | None
    try:
        outcome = _run(backend, run)
    except (EngineUnavailable, StorageFull, StorageFailed) as e:  # nothing was made yet
        _log.warning("engine_away" if isinstance(e, EngineUnavailable) else "disk_away", run_id=run.id, error=e.detail)
        if _may_wait(backend, run) and release(backend, run, begun=False):
            return AWAY_SECONDS
        full = isinstance(e, StorageFull)
        outcome = engine_failed("the disk of the server's data directory stayed full" if full else e.detail)
    except ImageMissing as e:
        outcome = engine_failed(e.detail)
    except (Unavailable, OSError) as e:
        seconds = _try_again(backend, run, e)
        if seconds is not None:
            return seconds
        outcome = engine_failed(failure(e))
    except Exception:  # noqa: BLE001 - a fault of ours must end this run by name, not the thread with its queue
        _log.exception("unforeseen_error", run_id=run.id)
        outcome = engine_failed("this is a fault of the server; its log says more")
    if outcome is None:
        if not run.at_most_once and release(backend, run):
            return None  # the server stops: the next start takes it up
        outcome = engine_failed("the server was stopped while it ran, and it may not be begun again (at_most_once)")
    _end(backend, run, outcome, time.monotonic() - began)
    return None


def _place_seconds(backend: Backend, run_id: str) -> float | None:
    """When to look again at a run that nobody could claim, because its tenant has no place for it; None when somebody
    has it."""
    run = backend.store.any_run(run_id)
    return PLACE_SECONDS if run is not None and run.status is Status.QUEUED else None


def _may_wait(backend: Backend, run: Run) -> bool:
    """Whether a run may still wait for an engine or a disk that is away. By this process' clock: it does not jump."""
    first = backend.first_seen.setdefault(run.id, time.monotonic())
    if time.monotonic() - first < backend.settings.engine_patience_seconds:
        return True
    del backend.first_seen[run.id]
    return False


def _try_again(backend: Backend, run: Run, error: Unavailable | OSError) -> float | None:
    """Queue the run again after a failure that was not the script's; None when it may not be begun again."""
    _log.error("engine_failed", run_id=run.id, attempt=run.attempt, error=failure(error))
    backend.first_seen.pop(run.id, None)  # the engine was there
    if run.at_most_once or run.failures + 1 >= backend.settings.max_attempts:
        return None
    seconds = min(backend.settings.retry_seconds * 4.0**run.failures, LONGEST_PAUSE_SECONDS)
    later = now() + timedelta(seconds=seconds)
    return seconds if release(backend, run, later, failed=True) else None


def _end(backend: Backend, run: Run, outcome: Outcome, seconds: float) -> None:
    """Write the outcome down, and tell everybody who waits for it."""
    backend.first_seen.pop(run.id, None)
    if outcome.reason is Reason.ENGINE_ERROR and cancelled(backend, run):
        outcome = Outcome(status=Status.CANCELLED)
    queued = (run.started_at or run.created_at) - run.created_at
    timings = outcome.timings.model_copy(update={"queue_seconds": max(0.0, queued.total_seconds())})
    outcome = outcome.model_copy(update={"timings": timings})
    ended = finish(backend, run, outcome)
    if ended is None:
        _log.warning("run_no_longer_ours", run_id=run.id, attempt=run.attempt)
        return
    failpoint("run_finished")
    tally.executed(backend, run, outcome)
    backend.news.changed(run.id, ended)
    if run.job.task is TaskKind.INGEST:
        _tidy(backend, run)
    pump.go_on(backend, run.tenant_id, run.batch_id)
    status, reason = outcome.status, outcome.reason
    _log.info("run_finished", run_id=run.id, status=status, reason=reason, seconds=round(seconds, 3))
    if run.job.task is TaskKind.RUN:
        receipts.make_ahead(backend, ended)


def _tidy(backend: Backend, run: Run) -> None:
    try:
        tidy(backend, run.id)
    except (Unavailable, OSError) as e:
        _log.warning("not_tidied", run_id=run.id, error=failure(e))  # upkeep does it later


def _run(backend: Backend, run: Run) -> Outcome | None:
    """The run's outcome; None when the server is stopping."""
    workspace = backend.workspaces.of(run.id)
    wanted = run.job.wanted
    if run.attempt > 1:
        backend.engine.sweep(run.id)  # two attempts of one run must never be at work together
    workspace.describe(job_document(run.job.task, run.job, run.limits, wanted))
    failpoint("run_described")
    spec = SandboxSpec(
        run_id=run.id,
        attempt=run.attempt,
        image=backend.settings.image,
        input_dir=workspace.input_dir,
        output_dir=workspace.output_dir,
        limits=run.limits,
        warm=_may_be_warm(backend, run.tenant_id),
    )
    documents = run.job.task.documents
    with workspace.outputs(wanted, documents) as outputs:
        result, log = _in_sandbox(backend, spec, workspace, lambda: not cancelled(backend, run))
        ended = time.monotonic()
        backend.crashes.ended(run.tenant_id, result.exit_code)
        if result.ended is Ended.KILLED:
            if not cancelled(backend, run):
                return None
            outcome = Outcome(status=Status.CANCELLED)
        else:
            outcome = judge(result, read_report(outputs), outputs, run.limits, wanted, documents)
            if outcome.reason is Reason.CRASHED and backend.workspaces.full():
                raise EngineError("the disk of the server's data directory was full when the run ended")
        _collect(outputs, outcome, workspace, wanted, documents)
        failpoint("outputs_kept")
    return outcome.model_copy(
        update={
            "log_bytes": log.bytes,
            "log_truncated": log.truncated,
            "digest": result.digest or None,
            "usage": result.usage,
            "timings": Timings(
                start_seconds=result.start_seconds,
                script_seconds=result.usage.wall_seconds,
                collect_seconds=time.monotonic() - ended,
            ),
        }
    )


def _may_be_warm(backend: Backend, tenant_id: str) -> bool:
    return not (tenant_id in backend.settings.plain_start_tenants or backend.crashes.often(tenant_id))


def _in_sandbox(
    backend: Backend, spec: SandboxSpec, workspace: Workspace, still_wanted: Callable[[], bool]
) -> tuple[SandboxResult, RunLog]:
    grown = partial(backend.news.grown, spec.run_id)
    with disk_errors():
        log = RunLog(workspace.log, spec.limits.log_bytes, spec.attempt, grown)
    try:
        with backend.metrics.engine_errors():
            return backend.engine.run(spec, log.write, still_wanted), log
    finally:
        log.close()


def _collect(
    outputs: Outputs, outcome: Outcome, workspace: Workspace, wanted: Wanted, documents: tuple[str, ...]
) -> None:
    """Keep what the outcome speaks of; the rest goes with the directory."""
    kept = {IMAGES: workspace.images} if outcome.images else {}
    if outcome.status is Status.SUCCEEDED:
        kept |= {output_file(port, format): workspace.result(port, format) for port, format in wanted}
        kept |= {name: workspace.document(name) for name in documents}
    outputs.keep_all(kept, workspace.root)


def convert(
    backend: Backend, run: Run, source: Input, data: Path | Iterable[bytes], target: Format, path: Path
) -> Path:
    """A table of the run's in another format, at `path`: a job in a sandbox of its own, done once and kept.

    ConversionFailed when the table cannot be written so, EngineError when the sandbox could not be had.
    """
    job = Job(task=TaskKind.CONVERT, inputs=(source,), output_formats=(target,))
    # One of those who ask for the same has it made; the others find it.
    with backend.formats[hash(path) % len(backend.formats)], backend.conversions:
        if path.exists():
            return path
        with aside(backend, run, job, {source.file: data}) as (outcome, outputs):
            if outcome.error is not None:
                raise ConversionFailed(f"the result cannot be written as {target}: {outcome.error.message}")
            outputs.keep(output_file(1, target), path)
            backend.store.grow(run.id, path.stat().st_size)
    return path


@contextmanager
def aside(
    backend: Backend, run: Run, job: Job, tables: Mapping[str, Path | Iterable[bytes]]
) -> Iterator[tuple[Outcome, Outputs]]:
    """Do a job with a run's tables in a sandbox of its own, while somebody waits: how it ended, and what it wrote.

    EngineError when the sandbox could not be had, FileNotFoundError when the run was removed.
    """
    # The run's own memory was enough for the table; its time limit may have been one second.
    memory = max(run.limits.memory_bytes, backend.settings.memory_bytes)
    limits = backend.settings.limits(memory_bytes=memory, quotas=quotas.of(backend, run.tenant_id))
    document, documents = job_document(job.task, job, limits, job.wanted), job.task.documents
    with backend.workspaces.of(run.id).aside(document, tables) as inner:
        spec = SandboxSpec(
            run_id=f"{run.id}-{inner.root.name}",
            attempt=1,
            image=backend.settings.image,
            input_dir=inner.input_dir,
            output_dir=inner.output_dir,
            limits=limits,
            warm=_may_be_warm(backend, run.tenant_id),
        )
        with inner.outputs(job.wanted, documents) as outputs:
            with backend.metrics.engine_errors():
                result = backend.engine.run(spec, _forget, lambda: True)
            backend.crashes.ended(run.tenant_id, result.exit_code)
            if result.ended is Ended.KILLED:
                raise EngineError("the server is stopping: ask again when it is back")
            yield judge(result, read_report(outputs), outputs, limits, job.wanted, documents), outputs


def job_document(task: TaskKind, job: Job, limits: Limits, wanted: Wanted) -> bytes:
    """/in/job.json of the file contract."""
    document: dict[str, Any] = {
        "version": CONTRACT_VERSION,
        "task": str(task),
        "profile": str(job.profile),
        "dtypes": str(job.dtypes),
        "inputs": [
            {"file": input.file, **input.model_dump(mode="json", exclude={"part", "dataset"})} for input in job.inputs
        ],
        "bundle": "bundle.zip" if job.bundle else None,
        "outputs": [
            {"port": port, "file": output_file(port, format), "format": str(format)} for port, format in wanted
        ],
        "parameters": job.parameters,
        "group_by": job.group_by,
        "limits": {
            "output_bytes": limits.output_bytes,
            "images": limits.images,
            "images_bytes": limits.images_bytes,
            "inflated_bytes": limits.inflated_bytes,
        },
    }
    return json.dumps(document).encode()


def _forget(stream: int, data: bytes) -> None:
    """The log of a conversion: there is no script in it."""
