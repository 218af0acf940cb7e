"""An earlier run's result instead of another execution: for tenants who ask for it, and only when all is the same.

The module of Azure ML Studio did so by itself (module contract 7.10). A server that is asked to run something runs
it: here it is an option (docs/decisions/0006-reuse.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from controller.errors import EngineError
from controller.model import Outcome, Run, Timings, Usage
from controller.services.backend import Backend, now
from controller.workspace import CHUNK_BYTES, IMAGES, Staging, Workspace


def content_digest(run: Run, staging: Staging) -> str:
    """SHA-256 of all that decides a run's result, beside the image: the script, the files, how it is called."""
    called = {"job": run.job.model_dump(mode="json"), "environment": run.environment}
    shared = {input.file for input in run.job.inputs if input.dataset is not None}  # named in the job, by its version
    return request_digest(staging, called, shared)


def request_digest(staging: Staging, asked: dict[str, Any], shared: Collection[str] = ()) -> str:
    """SHA-256 of a request: what it asks for, and the files that came with it but for the shared ones."""
    total = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for name in staging.names():
        if name in shared:
            continue
        file_digest = hashlib.sha256()
        with staging.path(name).open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                file_digest.update(piece)
        total.update(f"\0{name}\0".encode() + file_digest.digest())
    return total.hexdigest()


def reuse(backend: Backend, run: Run) -> Run | None:
    """The run, ended at once with the result of an equal one; None when there is none that can be taken.

    The new run's inputs lie in its workspace already. The earlier one must have succeeded in the very image that a
    run would get now; its files are linked, so either of the two may be deleted.
    """
    if run.content_sha256 is None:
        return None
    earlier = backend.store.reusable(run.tenant_id, run.content_sha256)
    if earlier is None or earlier.outcome is None or earlier.outcome.digest != present_digest(backend):
        return None
    workspace = backend.workspaces.of(run.id)
    if not backend.workspaces.of(earlier.id).link_results(workspace, _needed(run, earlier.outcome, workspace)):
        return None  # its files were removed meanwhile, or have been taken too often: they are made anew
    moment = now()
    first = earlier.outcome.reused_from or earlier.id
    outcome = earlier.outcome.model_copy(update={"reused_from": first, "usage": Usage(), "timings": Timings()})
    stored = workspace.stored()
    kept = {"output_bytes": stored.output_bytes, "log_file_bytes": stored.log_bytes}
    ended = {"status": outcome.status, "started_at": moment, "finished_at": moment, "outcome": outcome}
    return run.model_copy(update=ended | kept)


def _needed(run: Run, outcome: Outcome, workspace: Workspace) -> set[str]:
    """The files without which this outcome would be a promise that is not kept."""
    tables = {workspace.result(port, format).name for port, format in run.job.wanted}
    return tables | ({IMAGES} if outcome.images else set())


def present_digest(backend: Backend) -> str | None:
    """The engine's id of the environment's image; None where it cannot say it now."""
    try:
        return backend.engine.check(backend.settings.image).image_digest
    except EngineError:
        return None
