"""What the services work with: one frozen value, made by app.py, handed to each of them."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from controller.config import Settings
from controller.dispatch.base import Dispatcher
from controller.dispatch.news import News
from controller.engines.base import Engine
from controller.metrics import Metrics
from controller.people import People
from controller.services.crashes import Crashes
from controller.services.notary import Notary
from controller.services.places import Places
from controller.services.traffic import Traffic
from controller.services.waiters import Waiters
from controller.store.audit_store import Audit
from controller.store.base import Claim, Store
from controller.store.batch_store import Batches
from controller.store.dataset_store import Datasets
from controller.store.endpoint_store import Endpoints
from controller.store.script_store import Scripts
from controller.store.state_store import State
from controller.store.tenant_store import Tenants
from controller.tracing import Tracing
from controller.workspace import Workspaces

if TYPE_CHECKING:  # they work with the backend themselves
    from controller.services.audit import Refusals
    from controller.services.keys import Uses
    from controller.services.mode import CurrentMode
    from controller.services.quotas import Buckets

LEASE_SECONDS = 60.0
"""A run whose owner has not said for so long that it executes it belongs to nobody."""
LOOK_SECONDS = 1.0
"""How often a waiting request looks whether its client is still there."""


def _locks() -> tuple[threading.Lock, ...]:
    return tuple(threading.Lock() for _ in range(64))


@dataclass(frozen=True)
class Backend:
    """`conversions` bounds how many sandboxes convert a result at once, `waiters` how many requests may wait for
    something at once: the other threads stay free for requests that are answered at once."""

    settings: Settings
    store: Store
    datasets: Datasets
    batches: Batches
    tenants: Tenants
    audit: Audit
    state: State
    scripts: Scripts
    endpoints: Endpoints
    workspaces: Workspaces
    engine: Engine
    dispatcher: Dispatcher
    news: News
    conversions: threading.Semaphore
    waiters: Waiters
    notary: Notary
    metrics: Metrics
    tracing: Tracing
    owner: str
    """This process, as the rows name who executes a run."""
    people: People
    places: Places
    mode: CurrentMode
    refusals: Refusals
    uses: Uses
    buckets: Buckets
    pumps: tuple[threading.Lock, ...] = field(default_factory=_locks)
    """Of those who would take the same batch further, one does (services/pump.py)."""
    formats: tuple[threading.Lock, ...] = field(default_factory=_locks)
    """Of those who would have the same result written in the same format, one does (services/execution.py)."""
    traffic: Traffic = field(default_factory=Traffic)
    """The calls of endpoints that are at work, and the counts that are not written down yet."""
    crashes: Crashes = field(default_factory=Crashes)
    first_seen: dict[str, float] = field(default_factory=dict)
    """Runs that wait for an engine that is away, since when by time.monotonic()."""

    def claim(self) -> Claim:
        return Claim(owner=self.owner, lease_until=now() + timedelta(seconds=LEASE_SECONDS))


def waiting(backend: Backend, tenant_id: str) -> AbstractContextManager[None]:
    """A place of this tenant's among the requests that wait. Busy when there is none."""
    return backend.waiters.place(tenant_id)


def now() -> datetime:
    return datetime.now(UTC)
