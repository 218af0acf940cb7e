"""A call of an endpoint: a run that somebody waits for, and its table for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from controller.errors import AirlockError, Busy, CallTimeout, Conflict, EndpointOff, EngineError, Refused, ScriptFailed
from controller.model import Caller, Column, Format, Input, Reason, Run, ScriptError, Status
from controller.services import endpoints, runs
from controller.services.backend import Backend
from controller.services.submission import submit
from controller.services.tally import request_cancel
from controller.store.endpoint_store import Endpoint, Kept, Signature
from controller.workspace import Staging

_MISMATCH = "schema_mismatch"
OFF = "the endpoint is switched off: its owner can switch it on again"


@contextmanager
def place(backend: Backend, endpoint: Endpoint) -> Iterator[None]:
    """A place among the endpoint's calls, before anything of the request is read. Throttled, EndpointOff."""
    require_on(endpoint)
    with backend.traffic.call(endpoint):
        yield


def require_on(endpoint: Endpoint) -> None:
    """EndpointOff when its owner has switched it off: nothing new is executed then, by whichever interface."""
    if not endpoint.config.enabled:
        raise EndpointOff(OFF)


def call(
    backend: Backend,
    endpoint: Endpoint,
    staging: Staging,
    inputs: tuple[Input, ...],
    parameters: dict[str, Any],
    output_format: Format,
    began: Callable[[Run], None],
    client_is_gone: Callable[[], bool],
) -> Run:
    """Run the script on the staged tables: the run, which succeeded. `began` is told of it as soon as it is accepted.

    ScriptFailed; CallTimeout, Busy when it had not ended: then it is cancelled. As `submit`, too.
    """
    caller, latest = caller_of(endpoint), time.monotonic() + backend.settings.max_wait_seconds
    wanted, told = endpoints.submission(endpoint, output_format), backend.news.told
    run, _ = submit(
        backend, caller, staging, wanted.model_copy(update={"inputs": inputs, "parameters": parameters})
    )
    began(run)
    try:
        run = runs.wait(backend, caller, run.id, backend.settings.max_wait_seconds, client_is_gone, (told, run))
        _require_end(backend, run, latest)
        _require_success(run)
        if endpoint.config.strict and endpoint.signature is not None:
            _require_signature(run, endpoint.signature)
    except AirlockError:
        forget(backend, endpoint, run, failed=True)
        raise
    return run


def caller_of(endpoint: Endpoint) -> Caller:
    """Whoever has one of its keys runs its script, as its tenant."""
    return Caller(tenant_id=endpoint.tenant_id, key_id=endpoint.primary_id, scopes=frozenset({"run"}))


def forget(backend: Backend, endpoint: Endpoint, run: Run, *, failed: bool) -> None:
    """Delete a call's run where the endpoint does not keep such calls."""
    keep = endpoint.config.keep
    if keep is Kept.ALL or (failed and keep is Kept.FAILED):
        return
    with suppress(Refused):  # not ended yet, or gone: retention has it then
        runs.forget(backend, run.tenant_id, run.id)


def _require_end(backend: Backend, run: Run, latest: float) -> None:
    if run.status.final:
        return
    request_cancel(backend, run.tenant_id, run.id)
    if backend.news.closed:
        raise Busy("the server is stopping: call again when it is back")
    if run.status is Status.QUEUED:
        raise Busy("the call did not begin in time: the server has too much to do")
    if time.monotonic() < latest:
        raise Busy("as many requests as may are waiting for something already: call again later")
    limit = backend.settings.max_wait_seconds
    raise CallTimeout(f"the call had not ended after {limit:g} seconds (max_wait_seconds): use a batch", limit=limit)


def _require_success(run: Run) -> None:
    outcome = run.outcome
    if run.status is Status.SUCCEEDED:
        return
    if outcome is None or outcome.reason is Reason.ENGINE_ERROR:
        raise EngineError(outcome.error.message if outcome and outcome.error else "the run could not be executed")
    if run.status is Status.CANCELLED:
        raise Conflict("the run of this call was cancelled", code="call_cancelled")
    error = outcome.error or ScriptError(code="0085", type="", message=f"the script failed: {outcome.reason}")
    reason = str(outcome.reason or Reason.SCRIPT_ERROR)
    raise ScriptFailed(error.message, code=reason, error=error.model_dump(mode="json"))


def _require_signature(run: Run, signature: Signature) -> None:
    """Of a strict endpoint: the tables have the columns that the sample run's had."""
    outcome = run.outcome
    if outcome is None:
        return
    for table in outcome.inputs:
        _require_columns(f"dataframe{table.port}", table.columns, signature.inputs.get(table.port))
    for port, output in ((1, outcome.output), (2, outcome.output2)):
        if output is not None:
            _require_columns(f"output{port}", output.columns, signature.outputs.get(port))


def _require_columns(where: str, found: tuple[Column, ...], expected: tuple[Column, ...] | None) -> None:
    if expected is None or [column.name for column in found] == [column.name for column in expected]:
        return
    names = [", ".join(column.name[:100] for column in some[:50]) or "none" for some in (found, expected)]
    message = f"{where} has the columns {names[0]}; this endpoint is strict, and its sample run had {names[1]}"
    error = ScriptError(code=_MISMATCH, type="SchemaMismatch", message=message)
    raise ScriptFailed(message, code="schema_mismatch", error=error.model_dump(mode="json"))
