"""The beginning of the corridor: what is asked for becomes an accepted run, durable and soon executed."""

from __future__ import annotations

import hashlib
from typing import Any

from controller.errors import Conflict, InvalidRequest
from controller.failpoints import failpoint
from controller.model import (
    Caller,
    Dtypes,
    Format,
    Input,
    Job,
    Part,
    Priority,
    Profile,
    Quotas,
    Reading,
    Run,
    Status,
    Word,
)
from controller.services import quotas, scripts
from controller.services.acceptance import keep
from controller.services.backend import Backend, now
from controller.services.datasets import link, resolve
from controller.services.mode import require_open
from controller.services.reuse import content_digest, request_digest, reuse
from controller.services.runs import get
from controller.services.tenants import new_id
from controller.store.base import Added, Idempotent
from controller.store.script_store import Named, ScriptVersion
from controller.workspace import BUNDLE, SCRIPT, Staging

ENVIRONMENT = "default"
_REPEATED = ("tenant_id", "job", "limits", "environment", "script_sha256", "script", "priority", "at_most_once")
"""What a run has in common with the one that it repeats."""


class Wanted(Word):
    """A table that is asked for by the name of its dataset."""

    port: int
    name: str
    version: int | None = None
    columns: tuple[str, ...] | None = None


class Submission(Word):
    """What is asked for; the files lie in the staging beside it. A limit that is None is the default's.

    Of a stored script the staging holds no script and no bundle; options that are not set are that version's.
    """

    script: Named | None = None
    endpoint_id: str | None = None
    profile: Profile = Profile.CLASSIC
    environment: str = ENVIRONMENT
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    dtypes: Dtypes = Dtypes.NUMPY
    reuse: bool = False
    at_most_once: bool = False
    priority: Priority = Priority.NORMAL
    parameters: dict[str, Any] = {}
    output_format: Format = Format.ARROW
    inputs: tuple[Input, ...] = ()
    datasets: tuple[Wanted, ...] = ()
    bundle: bool = False


def submit(
    backend: Backend, caller: Caller, staging: Staging, submission: Submission, key: str | None = None
) -> tuple[Run, bool]:
    """Accept a run: when this returns, its row and its inputs are on the disk, and it will be executed.

    The run, and whether it is new: with an idempotency key that was used before, the first request's run is given.
    InvalidRequest, TooLarge, TooManyRuns, QuotaSpent, NeverAllowed, Conflict, StorageFull, Draining, Maintenance:
    nothing was accepted, nothing is left.
    """
    failpoint("inputs_received")
    run_id, idempotent = new_id("run"), None
    if key is not None:
        payload = request_digest(staging, submission.model_dump(mode="json", exclude={"priority"}))
        idempotent = Idempotent(
            tenant_id=caller.tenant_id, key=key, payload_sha256=payload, resource_id=run_id, created_at=now()
        )
        if (earlier := first_of(backend, idempotent)) is not None:
            return get(backend, caller, earlier), False
    share = quotas.of_caller(backend, caller)
    run = new_run(backend, caller, staging, submission, run_id, share)
    run = _with_datasets(backend, caller, staging, run, submission.datasets)
    if submission.reuse:
        run = run.model_copy(update={"content_sha256": content_digest(run, staging)})
    return accept(backend, caller, staging, run, share, idempotent)


def _with_datasets(
    backend: Backend, caller: Caller, staging: Staging, run: Run, datasets: tuple[Wanted, ...]
) -> Run:
    """Take the tables of datasets, by links. NotFound, Conflict: as `resolve`."""
    if not datasets:
        return run
    inputs = list(run.job.inputs)
    for wanted in datasets:
        found = resolve(backend, caller, wanted.name, wanted.version)
        reading = Reading(columns=wanted.columns)
        input = Input(port=wanted.port, format=Format.ARROW, reading=reading, dataset=found.use)
        link(staging, input.file, found)
        inputs.append(input)
    inputs.sort(key=lambda input: input.port)
    return run.model_copy(update={"job": run.job.model_copy(update={"inputs": tuple(inputs)})})


def accept(
    backend: Backend, caller: Caller, staging: Staging, run: Run, share: Quotas, idempotent: Idempotent | None = None
) -> tuple[Run, bool]:
    """Make a run's inputs and its row durable, and have it executed. As `submit`."""
    added, refused = Added.QUEUE_FULL, run

    def add(run: Run) -> Run | None:
        nonlocal added, refused
        refused = run = reuse(backend, run) or run
        added = backend.store.add_run(run, backend.settings.max_queued_runs, idempotent, share)
        return run if added is Added.ADDED else None

    require_open(backend)
    accepted = keep(backend, staging, run, add, (SCRIPT, BUNDLE) if run.script else ())
    if added is Added.KEY_TAKEN and idempotent is not None:  # by a request of the same moment
        earlier = first_of(backend, idempotent)
        if earlier is None:
            raise Conflict("the first request of this Idempotency-Key was just forgotten: try again", code="key_in_use")
        return get(backend, caller, earlier), False
    if accepted is None:
        raise quotas.refusal(backend, refused, share, added)
    return accepted, True


def first_of(backend: Backend, wanted: Idempotent) -> str | None:
    """What the first request of this idempotency key made; None when this one is the first.

    Conflict when that one asked for something else.
    """
    earlier = backend.store.idempotent(wanted.tenant_id, wanted.key)
    if earlier is None:
        return None
    if earlier.payload_sha256 != wanted.payload_sha256:
        raise Conflict(
            "this Idempotency-Key was used for another request: a new request needs a new key", code="key_reused"
        )
    return earlier.resource_id


def new_run(
    backend: Backend, caller: Caller, staging: Staging, submission: Submission, run_id: str, share: Quotas
) -> Run:
    """The run that is asked for, but for the datasets; a stored script's files are taken into the staging.

    InvalidRequest, TooLarge; NotFound when there is no such stored script.
    """
    settings, stored = backend.settings, None
    if submission.script is not None:
        stored = scripts.find(backend, caller, submission.script)
        scripts.link(backend, staging, stored)
        submission = _as_stored(submission, stored)
    script = scripts.checked_script(staging, settings.max_script_bytes)
    if submission.environment != ENVIRONMENT:
        raise InvalidRequest(f"there is no environment {submission.environment!r}; there is {ENVIRONMENT!r}")
    scripts.check_bundle(staging, submission.bundle, settings.max_bundle_bytes)
    job = Job(
        profile=submission.profile,
        dtypes=submission.dtypes,
        inputs=submission.inputs,
        bundle=submission.bundle,
        output_formats=tuple(dict.fromkeys((Format.ARROW, submission.output_format))),
        parameters=submission.parameters,
    )
    return Run(
        id=run_id,
        tenant_id=caller.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=job,
        limits=settings.limits(submission.timeout_seconds, submission.memory_bytes, submission.cpus, share),
        environment=submission.environment,
        script_sha256=hashlib.sha256(script).hexdigest(),
        script=scripts.use(stored) if stored else None,
        endpoint_id=submission.endpoint_id,
        priority=submission.priority,
        at_most_once=submission.at_most_once,
        created_at=now(),
    )


def _as_stored(submission: Submission, stored: ScriptVersion) -> Submission:
    """The options that the request does not set are the script's own."""
    own = stored.defaults.model_dump(exclude=submission.model_fields_set)
    parameters = scripts.arguments(stored, submission.parameters)
    return submission.model_copy(
        update=own | {"parameters": parameters, "bundle": stored.bundle_sha256 is not None}
    )


def rerun(backend: Backend, caller: Caller, run_id: str, key: str | None = None) -> tuple[Run, bool]:
    """The same again, as a run of its own: same script, inputs, parameters, limits. As `submit`.

    Conflict when retention has removed the inputs. An earlier result is never taken for it.
    """
    first = get(backend, caller, run_id)
    gone = Conflict("the inputs of this run were removed: it cannot be executed again", code="inputs_removed")
    if Part.INPUTS in first.removed:
        raise gone
    same = {name: getattr(first, name) for name in _REPEATED}
    share = quotas.of_caller(backend, caller)
    same["limits"] = quotas.cut(first.limits, share)
    run = Run(id=new_id("run"), status=Status.QUEUED, attempt=0, created_at=now(), rerun_of=first.id, **same)
    idempotent = None
    if key is not None:
        payload = hashlib.sha256(f"rerun {first.id}".encode()).hexdigest()
        idempotent = Idempotent(
            tenant_id=caller.tenant_id, key=key, payload_sha256=payload, resource_id=run.id, created_at=run.created_at
        )
        if (earlier := first_of(backend, idempotent)) is not None:
            return get(backend, caller, earlier), False
    with backend.workspaces.stage() as staging:
        try:
            staging.link_inputs(backend.workspaces.of(first.id), _files(first.job))
        except FileNotFoundError:
            get(backend, caller, run_id)  # deleted meanwhile
            raise gone from None
        return accept(backend, caller, staging, run, share, idempotent)


def _files(job: Job) -> list[str]:
    """What a run of this job has in its inputs: all of it, or it is not the same."""
    return [SCRIPT, *([BUNDLE] if job.bundle else []), *(input.file for input in job.inputs)]
