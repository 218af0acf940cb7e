"""Each tenant's share of the server: what it is, and how a request is refused that would take more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from controller.errors import AirlockError, NeverAllowed, NotFound, QuotaSpent, TooManyRequests, TooManyRuns
from controller.model import Caller, Limits, Quotas, Run, TaskKind
from controller.services.backend import Backend, now
from controller.store.base import Added

_BURST_SECONDS = 1.0
_MAX_BUCKETS = 10_000


def of(backend: Backend, tenant_id: str) -> Quotas:
    """What this tenant may have: its own quotas, and else the server's."""
    tenant = backend.tenants.tenant(tenant_id)
    defaults = backend.settings.quotas
    return tenant.quotas.over(defaults) if tenant is not None else defaults


def of_caller(backend: Backend, caller: Caller) -> Quotas:
    """Likewise, as it was when the request came."""
    return caller.quotas if caller.quotas is not None else of(backend, caller.tenant_id)


def cut(limits: Limits, quotas: Quotas) -> Limits:
    """These limits, as far as the tenant may have them now."""
    largest = {name: getattr(quotas, name) for name in ("timeout_seconds", "memory_bytes", "cpus", "output_bytes")}
    smaller = {
        name: value for name, value in largest.items() if value is not None and value < getattr(limits, name)
    }
    return limits.model_copy(update=smaller)


def refusal(backend: Backend, run: Run, quotas: Quotas, why: Added) -> AirlockError:
    """The error that says why the store did not add this run, with the limit and what there is of it already."""
    used = backend.tenants.in_use(run.tenant_id, now())
    if why is Added.NO_TENANT:
        return NotFound("the tenant is being deleted")
    if why is Added.STORAGE_SPENT and quotas.stored_bytes is not None:
        return _storage(quotas.stored_bytes, run.input_bytes + run.output_bytes, used.stored_bytes)
    if why is Added.SECONDS_SPENT and quotas.run_seconds_per_day is not None:
        limit = quotas.run_seconds_per_day
        return QuotaSpent(
            f"your runs have had their {limit:g} seconds of this day (UTC): try again tomorrow",
            quota="run_seconds_per_day",
            limit=limit,
            value=run.limits.timeout_seconds,
            used=round(used.run_seconds, 3),
            retry_seconds=_until_midnight(),
        )
    limit = min(backend.settings.max_queued_runs, quotas.queued_runs or backend.settings.max_queued_runs)
    waits = "datasets of yours wait to be ingested" if run.job.task is TaskKind.INGEST else "runs of yours are waiting"
    return TooManyRuns(
        f"{limit} {waits}, which is the limit: try again later",
        quota="queued_runs",
        limit=limit,
        value=1,
        used=min(limit, used.queued_runs),
    )


def require_room(backend: Backend, tenant_id: str, quotas: Quotas, size: int) -> None:
    """QuotaSpent, NeverAllowed when files of this size are more than the tenant may keep."""
    used = backend.tenants.in_use(tenant_id, now()).stored_bytes
    if quotas.stored_bytes is not None and used + size > quotas.stored_bytes:
        raise _storage(quotas.stored_bytes, size, used)


def _storage(limit: int, value: int, used: int) -> AirlockError:
    if value > limit:
        detail = f"{value} bytes are more than all that your runs and datasets may keep ({limit})"
        return NeverAllowed(detail, quota="stored_bytes", limit=limit, value=value, used=used)
    detail = f"your runs and datasets keep {used} bytes of {limit}, and {value} more were sent: delete some first"
    return QuotaSpent(detail, quota="stored_bytes", limit=limit, value=value, used=used)


def _until_midnight() -> float:
    moment = now()
    tomorrow = (moment + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - moment).total_seconds()


class Buckets:
    """Requests a second, by tenant: a bucket holds what one second allows, and at least one request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant_id: str, rate: float) -> int:
        """Let a request through: how many more may come at once. TooManyRequests."""
        size = max(1.0, rate * _BURST_SECONDS)
        moment = self._clock()
        with self._lock:
            left, since = self._buckets.get(tenant_id, (size, moment))
            left = min(size, left + (moment - since) * rate)
            allowed = left >= 1.0
            left -= 1.0 if allowed else 0.0
            if len(self._buckets) >= _MAX_BUCKETS:
                self._buckets.clear()
            self._buckets[tenant_id] = left, moment
        if allowed:
            return int(left)
        raise TooManyRequests(
            f"you may send {rate:g} requests a second: slow down",
            quota="requests_per_second",
            limit=rate,
            value=1,
            used=rate,
            retry_seconds=(1.0 - left) / rate,
        )
