"""The documents of API keys and of what a tenant uses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, field_validator

from controller.model import SCOPES, Quotas
from controller.services import quotas
from controller.services.backend import Backend, now
from controller.store.tenant_store import InUse, Key, UsageDay
from controller.web.documents import Document

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_ .@/-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME, description="1 to 100 of A-Z a-z 0-9 _ . @ / - and space")]


class ApiKeyBody(Document):
    """A key to be made. Its scopes are among those of the key that makes it."""

    name: Name
    scopes: Annotated[list[str], Field(min_length=1, max_length=len(SCOPES))]
    expires_at: Annotated[AwareDatetime | None, Field(description="RFC 3339, with its offset; none: never")] = None

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str]) -> list[str]:
        if unknown := [scope for scope in scopes if scope not in SCOPES]:
            raise ValueError(f"there is no scope {unknown[0][:40]!r}; there are {', '.join(SCOPES)}")
        return [scope for scope in SCOPES if scope in scopes]

    @field_validator("expires_at")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value.astimezone(UTC) if value else None
        except OverflowError as e:
            raise ValueError("must lie in the years 1 to 9999, in UTC") from e


class RotateBody(Document):
    grace_seconds: Annotated[
        float | None,
        Field(ge=0, le=365 * 86_400, allow_inf_nan=False, description="how long the old key lives on"),
    ] = None


class ApiKeyDocument(Document):
    """An API key, without what proves it."""

    id: str
    tenant_id: str
    name: str
    scopes: list[str]
    live: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="by the minute")]
    replaced_by: Annotated[str | None, Field(description="the key that it was rotated to")]


class NewApiKeyDocument(ApiKeyDocument):
    """The only time that it is shown whole."""

    key: str


class ApiKeyList(Document):
    items: list[ApiKeyDocument]
    next_cursor: str | None


def key_document(key: Key) -> dict[str, Any]:
    fields = key.model_dump(exclude={"mac"}) | {"scopes": list(key.scopes), "live": key.live(now())}
    return ApiKeyDocument(**fields).model_dump(mode="json")


def new_key_document(key: Key, secret: str) -> dict[str, Any]:
    return key_document(key) | {"key": secret}


class ApiKeyPath(Document):
    key_id: Annotated[str, Field(max_length=100)]


class PageQuery(Document):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class UsageDayDocument(Document):
    """A day, UTC: the runs of scripts that ended, and what all of the tenant's sandboxes took."""

    tenant_id: str
    day: date
    runs: int
    run_seconds: float
    cpu_seconds: float


class TenantUsageDocument(Document):
    """What the tenant uses now, and may. `quotas` that are null have no bound of their own."""

    day: Annotated[date, Field(description="UTC")]
    runs: Annotated[int, Field(description="of scripts, that ended this day")]
    run_seconds: Annotated[float, Field(description="this day's, what runs still included")]
    cpu_seconds: Annotated[float, Field(description="of runs that ended this day")]
    queued_runs: int
    running_runs: int
    stored_bytes: int
    quotas: Quotas


def usage_document(backend: Backend, tenant_id: str) -> dict[str, Any]:
    moment = now()
    used: InUse = backend.tenants.in_use(tenant_id, moment)
    today = backend.tenants.usage(1, tenant_id, since=moment.date()).days
    account = today[0] if today else UsageDay(tenant_id=tenant_id, day=moment.date())
    counted = account.model_dump(include={"day", "runs", "cpu_seconds"})
    share = quotas.of(backend, tenant_id)
    return TenantUsageDocument(**used.model_dump() | counted, quotas=share).model_dump(mode="json")
