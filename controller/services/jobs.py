"""Jobs: the batch interface of an endpoint, as Azure ML Studio had it. A job is accepted, and executed when it is
started; how it stands is what its run says."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from controller.errors import Conflict, NotFound, TooManyRuns
from controller.model import Format, Priority, Run, Status
from controller.services import endpoints, runs
from controller.services.backend import Backend, now
from controller.services.calls import caller_of, require_on
from controller.services.submission import Wanted, submit
from controller.services.tenants import new_id
from controller.store.endpoint_store import Endpoint, Job

NO_JOB = "there is no job with this id"


class State(StrEnum):
    """The words, and the order of the numbers, are Azure's."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    FINISHED = "Finished"


def add(backend: Backend, endpoint: Endpoint, request: dict[str, Any]) -> Job:
    """Accept a job; nothing is executed yet. TooManyRuns `too_many_jobs`."""
    id = new_id("job").partition("_")[2]
    job = Job(id=id, endpoint_id=endpoint.id, tenant_id=endpoint.tenant_id, request=request, created_at=now())
    limit = backend.settings.max_unstarted_jobs
    if not backend.endpoints.add_job(job, limit):
        raise TooManyRuns(
            f"{limit} jobs of this endpoint were not started, which is the limit: start or cancel some of them",
            code="too_many_jobs",
            quota="jobs",
            limit=limit,
            value=1,
            used=limit,
        )
    return job


def get(backend: Backend, endpoint: Endpoint, job_id: str) -> Job:
    """NotFound, also for another endpoint's."""
    job = backend.endpoints.job(endpoint.id, job_id)
    if job is None:
        raise NotFound(NO_JOB)
    return job


def run_of(backend: Backend, job: Job) -> Run | None:
    """What was made of it, if it was started and is still kept."""
    return backend.store.run(job.tenant_id, job.run_id) if job.run_id else None


def state(job: Job, run: Run | None) -> State:
    if job.run_id is None:
        return State.CANCELLED if job.cancelled else State.NOT_STARTED
    if run is None:
        return State.CANCELLED if job.cancelled else State.FAILED
    return _STATES[run.status]


_STATES = {
    Status.QUEUED: State.RUNNING,
    Status.RUNNING: State.RUNNING,
    Status.SUCCEEDED: State.FINISHED,
    Status.FAILED: State.FAILED,
    Status.CANCELLED: State.CANCELLED,
}


def start(backend: Backend, endpoint: Endpoint, job: Job) -> None:
    """Have it executed. Conflict `cannot_start` when it was started or cancelled before; EndpointOff; as `submit`."""
    require_on(endpoint)
    found = state(job, run_of(backend, job))
    if found is not State.NOT_STARTED:
        raise _cannot_start(found)
    wanted = endpoints.submission(endpoint, Format(job.request["format"])).model_copy(
        update={
            "priority": Priority.BATCH,
            "parameters": job.request["parameters"],
            "datasets": tuple(Wanted.model_validate(one) for one in job.request["inputs"]),
        }
    )
    # The key makes one run of two starts at once, and of one that was interrupted; no client can send one like it.
    key = f"\x01job {job.id}"
    earlier = backend.store.idempotent(endpoint.tenant_id, key)
    if earlier is not None:  # by a server that was killed before it could say so here
        run_id = earlier.resource_id
    else:
        with backend.workspaces.stage() as staging:
            run_id = submit(backend, caller_of(endpoint), staging, wanted, key=key)[0].id
    if not backend.endpoints.start_job(job.id, run_id):
        after = get(backend, endpoint, job.id)
        if after.run_id is None:  # cancelled in this moment
            runs.cancel(backend, caller_of(endpoint), run_id)
        raise _cannot_start(state(after, run_of(backend, after)))


def _cannot_start(found: State) -> Conflict:
    return Conflict(f"the job cannot be started: its state is {found}", code="cannot_start")


def cancel(backend: Backend, endpoint: Endpoint, job: Job) -> None:
    """Stop it, wherever it stands; of one that has ended nothing changes."""
    backend.endpoints.cancel_job(job.id)
    run = run_of(backend, get(backend, endpoint, job.id))
    if run is not None and not run.status.final:
        runs.cancel(backend, caller_of(endpoint), run.id)
