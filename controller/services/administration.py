"""What the operator does to tenants, and to everybody's runs: each change with its entry in the audit log."""

from __future__ import annotations

from datetime import datetime

import structlog

from controller.errors import Conflict, NotFound
from controller.model import Caller, Quotas, Run
from controller.services import pump
from controller.services.audit import entry, note, own_entry
from controller.services.backend import Backend, now
from controller.services.tenants import new_id
from controller.store.base import Page, RunFilter
from controller.store.tenant_store import Tenant, TenantPage

NO_TENANT = "there is no tenant with this id"
NO_RUN = "there is no run with this id"
_AT_ONCE = 200
_log = structlog.get_logger(__name__)


def page(backend: Backend, limit: int, before: tuple[datetime, str] | None) -> TenantPage:
    return backend.tenants.page(limit, before)


def get(backend: Backend, tenant_id: str) -> Tenant:
    return _there(backend.tenants.tenant(tenant_id))


def create(backend: Backend, caller: Caller, name: str, quotas: Quotas) -> Tenant:
    """Conflict (`name_taken`)."""
    tenant_id = new_id("ten")
    done = entry(caller, "tenant.create", tenant_id, name=name, quotas=_set_ones(quotas))
    tenant = Tenant(id=tenant_id, name=name, created_at=done.at, quotas=quotas)
    backend.tenants.add(tenant, done)
    return tenant


def change(backend: Backend, caller: Caller, tenant_id: str, name: str | None, quotas: Quotas | None) -> Tenant:
    """Another name, other quotas; what is None stays. NotFound, Conflict (`name_taken`)."""
    details = {"name": name, "quotas": None if quotas is None else _set_ones(quotas)}
    asked = {key: value for key, value in details.items() if value is not None}
    changed = backend.tenants.change(tenant_id, name, quotas, entry(caller, "tenant.change", tenant_id, **asked))
    _tell(backend)
    return _there(changed)


def suspend(backend: Backend, caller: Caller, tenant_id: str) -> Tenant:
    """Its keys are refused from now on, and nothing of it begins; what is at work comes to its end. NotFound; Conflict
    for the operator's own."""
    _require_another(caller, tenant_id)
    done = entry(caller, "tenant.suspend", tenant_id)
    suspended = backend.tenants.suspend(tenant_id, done.at, done)
    _tell(backend)
    return _there(suspended)


def resume(backend: Backend, caller: Caller, tenant_id: str) -> Tenant:
    """What waits goes on. NotFound."""
    resumed = backend.tenants.suspend(tenant_id, None, entry(caller, "tenant.resume", tenant_id))
    _tell(backend)
    return _there(resumed)


def delete(backend: Backend, caller: Caller, tenant_id: str) -> Tenant:
    """Begin to delete a tenant with all its data: from now on nobody is let in; `go_on_deleting` does the rest.

    Asked for again, it changes nothing. NotFound; Conflict for the operator's own.
    """
    _require_another(caller, tenant_id)
    tenant = _there(backend.tenants.begin_deletion(tenant_id, entry(caller, "tenant.delete", tenant_id)))
    _stop_runs(backend, tenant_id)
    return tenant


def go_on_deleting(backend: Backend) -> None:
    """Take each deletion as far as it can be taken now. Whatever is killed, the next call goes on from the rows."""
    for tenant_id in backend.tenants.deleting():
        _stop_runs(backend, tenant_id)
        while any(erased := backend.tenants.erase(tenant_id, _AT_ONCE)):
            for run_id in erased.run_ids:
                backend.workspaces.of(run_id).remove()
                backend.news.changed(run_id)
            for batch_id in erased.batch_ids:
                backend.workspaces.of_batch(batch_id).remove()
                backend.news.changed(batch_id)
            for script_id in erased.script_ids:
                backend.workspaces.of_script(script_id).remove()
        if backend.tenants.forget(tenant_id, own_entry("tenant.deleted", tenant_id)):
            _log.info("tenant_deleted", tenant_id=tenant_id)


def _stop_runs(backend: Backend, tenant_id: str) -> None:
    for run_id in backend.tenants.live_runs(tenant_id):
        after = backend.store.request_cancel(tenant_id, run_id, now())
        backend.dispatcher.cancel(run_id)
        if after is not None and after.status.final:
            backend.news.changed(run_id)


# -- everybody's runs --------------------------------------------------------------------------------------------


def runs(
    backend: Backend, limit: int, wanted: RunFilter, before: tuple[datetime, str] | None, tenant_id: str | None
) -> Page:
    return backend.store.everybodys_runs(limit, wanted, before, tenant_id)


def kill(backend: Backend, caller: Caller, run_id: str) -> Run:
    """Stop a run, whosever it is. NotFound; Conflict when it has ended."""
    run = backend.store.any_run(run_id)
    if run is None:
        raise NotFound(NO_RUN)
    if run.status.final:
        raise Conflict(f"the run has ended already: its status is {run.status}")
    done = entry(caller, "run.kill", run_id, tenant=run.tenant_id)
    after = backend.store.request_cancel(run.tenant_id, run_id, now(), done)
    backend.dispatcher.cancel(run_id)
    if after is None:
        raise NotFound(NO_RUN)
    if after.status.final:
        backend.news.changed(run_id)
        pump.go_on(backend, after.tenant_id, after.batch_id)
    return after


def sweep(backend: Backend, caller: Caller) -> int:
    """Search for what a crash left, now: how many containers were removed. EngineUnavailable."""
    note(backend, entry(caller, "engine.sweep"))
    return backend.engine.sweep()


def _there(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound(NO_TENANT)
    return tenant


def _require_another(caller: Caller, tenant_id: str) -> None:
    if caller.tenant_id == tenant_id:
        raise Conflict("this is the tenant of the key that you use: you would lock yourself out", code="own_tenant")


def _tell(backend: Backend) -> None:
    """The dispatcher shall know at once."""
    backend.places.refresh()
    backend.dispatcher.look_again()


def _set_ones(quotas: Quotas) -> dict[str, object]:
    return quotas.model_dump(mode="json", exclude_unset=True)
