"""The documents of the operator's API."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from controller.model import Limits, Priority, Quotas, Reason, Run, Status, TaskKind, Usage
from controller.services.mode import RETRY_SECONDS, ServerMode
from controller.store.tenant_store import Tenant
from controller.web.documents import Document, ListQuery
from controller.web.key_documents import ApiKeyPath, Name, PageQuery, UsageDayDocument


class TenantBody(Document):
    """A tenant to be made. Quotas that are not given are the server's; one that is null has no bound."""

    name: Name
    quotas: Quotas = Quotas()


class TenantChange(Document):
    """What is given is changed: `quotas` as a whole, so `{}` gives all of them back to the server's defaults."""

    name: Name | None = None
    quotas: Quotas | None = None


class TenantDocument(Document):
    """A tenant. `quotas` are those that were set for it."""

    id: str
    name: str
    status: Literal["active", "suspended", "deleting"]
    quotas: dict[str, float | None]
    created_at: datetime
    suspended_at: datetime | None


class TenantList(Document):
    items: list[TenantDocument]
    next_cursor: str | None


def tenant_document(tenant: Tenant) -> dict[str, Any]:
    status: Literal["active", "suspended", "deleting"] = "active"
    if tenant.deleting_at is not None:
        status = "deleting"
    elif tenant.suspended_at is not None:
        status = "suspended"
    return TenantDocument(
        id=tenant.id,
        name=tenant.name,
        status=status,
        quotas=tenant.quotas.model_dump(exclude_unset=True),
        created_at=tenant.created_at,
        suspended_at=tenant.suspended_at,
    ).model_dump(mode="json")


class TenantPath(Document):
    tenant_id: Annotated[str, Field(max_length=100)]


class TenantKeyPath(TenantPath, ApiKeyPath):
    pass


class AdminRunDocument(Document):
    """A run as the operator sees it: what it costs and how it stands, and nothing of what its tenant wrote."""

    id: str
    tenant_id: str
    task: Annotated[TaskKind, Field(description="`run` is a script's; the others the server does for the tenant")]
    status: Status
    reason: Reason | None
    priority: Priority
    attempt: int
    batch_id: str | None
    limits: Limits
    usage: Usage
    input_bytes: int
    output_bytes: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class AdminRunList(Document):
    items: list[AdminRunDocument]
    next_cursor: str | None


def admin_run_document(run: Run) -> dict[str, Any]:
    same = {name: getattr(run, name) for name in AdminRunDocument.model_fields if hasattr(run, name)}
    outcome = run.outcome
    told = {
        "task": run.job.task,
        "reason": outcome.reason if outcome else None,
        "usage": outcome.usage if outcome else Usage(),
    }
    return AdminRunDocument(**same | told).model_dump(mode="json")


class AdminRunsQuery(ListQuery):
    tenant: Annotated[str | None, Field(max_length=100, description="id of the tenant")] = None


class ModeDocument(Document):
    """Whether new work is taken; `since` is null if that was never changed."""

    mode: ServerMode
    message: str | None
    retry_seconds: float
    since: datetime | None


class MaintenanceBody(Document):
    message: Annotated[str, Field(min_length=1, max_length=1000, description="what clients are told")]
    retry_seconds: Annotated[
        float, Field(ge=1, le=7 * 86_400, allow_inf_nan=False, description="their `Retry-After`")
    ] = RETRY_SECONDS


class WarmDocument(Document):
    ready: int
    limit: int
    in_use: int
    launchers: int
    taken: int
    made_at_once: int
    plain: int


class EngineStateDocument(Document):
    """What the engine says of itself; `controls` are the walls in force, by name."""

    name: str
    version: str
    runtime: str
    runtime_version: str | None
    cgroup_version: str
    cgroup_driver: str
    image_digest: str | None
    controls: dict[str, bool]
    warm: WarmDocument | None


class EngineDocument(Document):
    """`engine` is null, and `engine_error` says why, where it does not answer."""

    version: Annotated[str, Field(description="of Airlock")]
    mode: ModeDocument
    running_runs: int
    queued_runs: int
    image: str
    engine: EngineStateDocument | None
    engine_error: str | None


class SweepDocument(Document):
    removed: Annotated[int, Field(description="containers that a crash had left")]


class AdminEnvironmentDocument(Document):
    name: str
    default: bool
    image: Annotated[str, Field(description="as the engine knows it")]
    digest: str
    packages: Annotated[int, Field(description="how many")]


class AdminEnvironmentList(Document):
    items: list[AdminEnvironmentDocument]
    next_cursor: str | None


class AuditDocument(Document):
    """A row of the audit log. `hash` covers it and, by the hash before it, all earlier ones."""

    number: int
    at: str
    tenant_id: Annotated[str, Field(description="who; empty for a stranger, and for the server itself")]
    key_id: str
    action: str
    subject: str
    address: str
    request_id: str
    details: Annotated[Any, Field(description="an object")]
    hash: str


class AuditList(Document):
    items: list[AuditDocument]
    next_cursor: str | None


class AuditQuery(Document):
    action: Annotated[str | None, Field(max_length=40)] = None
    tenant: Annotated[str | None, Field(max_length=100, description="who did it: id of the tenant")] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Field(pattern=r"^[0-9]{1,18}$", description="next_cursor of the page before")] = None


class UsageList(Document):
    items: list[UsageDayDocument]
    next_cursor: str | None


class UsageQuery(PageQuery):
    tenant: Annotated[str | None, Field(max_length=100, description="id of the tenant")] = None
    since: Annotated[date | None, Field(description="the first day, UTC")] = None
