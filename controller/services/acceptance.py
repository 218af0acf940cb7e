"""The one way in which a run comes to be: its files first, then its row, then its turn."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from controller.failpoints import failpoint
from controller.model import Run, Waiting
from controller.services import tally
from controller.services.backend import Backend
from controller.workspace import Staging

_log = structlog.get_logger(__name__)


def keep(
    backend: Backend,
    staging: Staging,
    run: Run,
    add: Callable[[Run], Run | None],
    shared: Collection[str] = (),
) -> Run | None:
    """The files of a run, then its row, then word to the dispatcher: each durable before the next.

    `add` writes the row, and whatever belongs to it, in one transaction, and gives the run as it was added; when it
    gives None or raises, nothing of the run is left. `shared` are files that count as somebody else's.
    """
    with backend.tracing.span("accept", **{"airlock.run_id": run.id}):
        added = _keep(backend, staging, run, add, shared)
    if added is None:
        return None
    failpoint("run_added")
    _log.info("run_accepted", run_id=added.id, tenant_id=added.tenant_id)
    if added.status.final:
        tally.ended(backend, added)
    else:
        backend.tracing.remember(added.id)
        backend.dispatcher.submit(Waiting(run_id=added.id, tenant_id=added.tenant_id, priority=added.priority))
        failpoint("run_dispatched")
    return added


def _keep(
    backend: Backend, staging: Staging, run: Run, add: Callable[[Run], Run | None], shared: Collection[str]
) -> Run | None:
    workspace = backend.workspaces.of(run.id)
    shared = {*shared, *(input.file for input in run.job.inputs if input.dataset is not None)}
    run = run.model_copy(update={"input_bytes": staging.input_bytes(shared)})
    staging.seal(workspace.root)
    failpoint("inputs_sealed")
    # The files first: a row without its files would be an accepted run that cannot be executed.
    added = None
    try:
        added = add(run)
    finally:
        if added is None:
            workspace.remove()
    return added
