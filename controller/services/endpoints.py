"""Endpoints: scripts that are published under a name, and called with keys of their own."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from controller.errors import AirlockError, ConditionFailed, Conflict, NotFound, TooManyRuns, Unauthorized
from controller.model import Caller, Format, Priority, Run
from controller.services import runs, scripts
from controller.services.audit import entry
from controller.services.backend import Backend, now
from controller.services.key_text import key_id, mint, proves
from controller.services.submission import Submission, submit
from controller.services.tenants import new_id
from controller.services.traffic import quantile
from controller.store.endpoint_store import Changed, Config, Ending, Endpoint, EndpointKey, EndpointPage, Signature
from controller.store.script_store import Named, ScriptVersion

KEY = "ale"
"""What the keys of endpoints begin with."""
WHICH = ("primary", "secondary")
NO_ENDPOINT = "there is no endpoint with this name"
NO_KEY = "this is not a live key of this endpoint"
USAGE_DAYS = 90
SAMPLE_SECONDS = 120.0
SIGNATURE_COLUMNS = 2000
"""Of a table, at most: each call reads all of them before it is known whose it is."""


def publish(
    backend: Backend, caller: Caller, pepper: bytes, name: str, script: Named, config: Config, expected: int | None
) -> tuple[Endpoint, dict[str, str] | None]:
    """Publish a script, or change how it is published; calls at work end as they began.

    The endpoint, and of a new one its two keys, shown now and never again. NotFound when there is no such script;
    ConditionFailed when the endpoint has not the revision that was expected (0: it is not there).
    """
    version = scripts.find(backend, caller, script)
    keys = {which: mint(KEY, pepper) for which in WHICH}
    moment = now()
    endpoint = Endpoint(
        id=new_id("ept"),
        tenant_id=caller.tenant_id,
        name=name,
        script=script,
        config=config,
        primary_id=keys["primary"].id,
        primary_mac=keys["primary"].mac,
        secondary_id=keys["secondary"].id,
        secondary_mac=keys["secondary"].mac,
        created_at=moment,
        updated_at=moment,
    )
    _put(backend, caller, "publish", endpoint, expected)
    stored = get(backend, caller, name)
    made = stored.id == endpoint.id
    if stored.signature is None or stored.signature.version != version.version:
        _try_sample(backend, caller, stored, version)
        stored = get(backend, caller, name)
    return stored, {which: keys[which].text for which in WHICH} if made else None


def _put(backend: Backend, caller: Caller, action: str, endpoint: Endpoint, expected: int | None) -> None:
    limit = backend.settings.max_endpoints
    script = endpoint.script.model_dump(mode="json", exclude_none=True)
    done = entry(caller, f"endpoint.{action}", name=endpoint.name, script=script)
    changed = backend.endpoints.put(endpoint, expected, limit, done)
    if changed is Changed.UNEXPECTED:
        raise ConditionFailed(f"the endpoint {endpoint.name} is not as If-Match or If-None-Match expect it")
    if changed is Changed.NO_SCRIPT:
        raise NotFound(scripts.NO_SCRIPT)
    if changed is Changed.FULL:
        detail = f"you have published {limit} endpoints, which is the limit (max_endpoints)"
        raise TooManyRuns(detail, code="too_many_endpoints", limit=limit)


def _try_sample(backend: Backend, caller: Caller, endpoint: Endpoint, version: ScriptVersion) -> None:
    """Run the version's samples, if it has any, to learn which columns its tables have."""
    if not version.samples:
        return None
    with backend.workspaces.stage() as staging:
        files = backend.workspaces.of_script(version.id).input_dir
        try:
            for sample in version.samples:
                staging.link(sample.file, files / sample.file)
            wanted = submission(endpoint, Format.JSON, version=version.version)
            run, _ = submit(backend, caller, staging, wanted.model_copy(update={"inputs": version.samples}))
        except (AirlockError, FileNotFoundError) as e:
            detail = e.detail if isinstance(e, AirlockError) else "its samples are gone"
            signature = Signature(version=version.version, run_id="", error=detail)
            return backend.endpoints.sign(endpoint.id, signature)
    run = runs.wait(backend, caller, run.id, SAMPLE_SECONDS, lambda: False)
    return backend.endpoints.sign(endpoint.id, _signature(run, version.version))


def _signature(run: Run, version: int) -> Signature:
    outcome = run.outcome
    if outcome is None:
        return Signature(version=version, run_id=run.id, error=f"it had not ended after {SAMPLE_SECONDS:g} seconds")
    tables = {1: outcome.output, 2: outcome.output2}
    widest = max((len(table.columns) for table in (*outcome.inputs, *tables.values()) if table), default=0)
    if widest > SIGNATURE_COLUMNS:
        detail = f"a table of it has {widest} columns; up to {SIGNATURE_COLUMNS} are told and compared"
        return Signature(version=version, run_id=run.id, error=detail)
    return Signature(
        version=version,
        run_id=run.id,
        inputs={table.port: table.columns for table in outcome.inputs},
        outputs={port: table.columns for port, table in tables.items() if table is not None},
        error=outcome.error.message[:1000] if outcome.error else outcome.reason,
    )


def submission(endpoint: Endpoint, output_format: Format, version: int | None = None) -> Submission:
    """What a call of an endpoint asks for, beside its tables and parameters."""
    config = endpoint.config
    limits = {name: getattr(config, name) for name in ("timeout_seconds", "memory_bytes", "cpus")}
    script = endpoint.script if version is None else Named(name=endpoint.script.name, version=version)
    return Submission(
        script=script,
        endpoint_id=endpoint.id,
        priority=Priority.INTERACTIVE,
        output_format=output_format,
        **{name: limit for name, limit in limits.items() if limit is not None},
    )


# -- looking at them, and changing them --------------------------------------------------------------------------


def get(backend: Backend, caller: Caller, name: str) -> Endpoint:
    """NotFound for a missing one and for another tenant's, in the same words."""
    found = backend.endpoints.find(caller.tenant_id, name)
    if found is None:
        raise NotFound(NO_ENDPOINT)
    return found


def page(backend: Backend, caller: Caller, limit: int, after: str) -> EndpointPage:
    return backend.endpoints.page(caller.tenant_id, limit, after)


def served(backend: Backend, endpoint: Endpoint) -> int | None:
    """The number of the version that calls get now."""
    found = backend.scripts.find(endpoint.tenant_id, endpoint.script)
    return found.version if found else None


def roll_back(backend: Backend, caller: Caller, name: str) -> Endpoint:
    """Serve again what was served before the last change; of `@latest`, the version before the newest.

    Conflict `no_previous` when there is none.
    """
    endpoint = get(backend, caller, name)
    earlier = endpoint.previous
    if earlier is None and endpoint.script.version is None and endpoint.script.tag is None:
        found = backend.scripts.versions(caller.tenant_id, endpoint.script.name, 2).scripts
        earlier = Named(name=endpoint.script.name, version=found[1].version) if len(found) > 1 else None
    if earlier is None:
        raise Conflict(f"the endpoint {name} never served anything else", code="no_previous")
    changed = endpoint.model_copy(update={"script": earlier, "updated_at": now()})
    _put(backend, caller, "rollback", changed, endpoint.revision)
    return get(backend, caller, name)


def regenerate(backend: Backend, caller: Caller, pepper: bytes, name: str, which: str) -> str:
    """A new key in the place of the primary or secondary one, which is void from now on: its text, shown once."""
    endpoint = get(backend, caller, name)
    key = mint(KEY, pepper)
    done = entry(caller, "endpoint.regenerate", endpoint.id, name=name, which=which)
    backend.endpoints.set_key(endpoint.id, which, EndpointKey(key.id, key.mac), done)
    return key.text


def delete(backend: Backend, caller: Caller, name: str) -> None:
    """Its keys are void at once; runs of its calls stay. NotFound."""
    if backend.endpoints.delete(caller.tenant_id, name, entry(caller, "endpoint.delete", name=name)) is None:
        raise NotFound(NO_ENDPOINT)


def authenticate(backend: Backend, pepper: bytes, presented: str) -> Endpoint:
    """The endpoint that this key is of. Unauthorized, in the same words, for every kind of key that is not live."""
    id = key_id(KEY, presented)
    found = backend.endpoints.by_key(id) if id else None
    if found is None or not proves(pepper, presented, found[1]):
        raise Unauthorized(NO_KEY)
    return found[0]


def usage(backend: Backend, endpoint: Endpoint) -> list[dict[str, Any]]:
    """Its calls of the last days, the newest first; times of calls that were served, in seconds."""
    backend.traffic.write(backend.endpoints)
    since = (now() - timedelta(days=USAGE_DAYS)).date().isoformat()
    days: defaultdict[str, Counter[str]] = defaultdict(Counter)
    times: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for tally, calls in backend.endpoints.calls(endpoint.id, since).items():
        days[tally.day][tally.ending] += calls
        if tally.ending != Ending.THROTTLED:
            times[tally.day][tally.bucket] += calls
    return [
        {
            "day": day,
            **{str(ending): days[day][ending] for ending in Ending},
            "p50_seconds": quantile(times[day], 0.5),
            "p99_seconds": quantile(times[day], 0.99),
        }
        for day in sorted(days, reverse=True)
    ]
