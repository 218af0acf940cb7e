"""How many runs each tenant may have at work: asked by the dispatcher for each run that it would begin, so kept in
memory, and made anew from the rows every second and after every change.

The rows have the last word (Store.claim): this only keeps runs that would be refused there from taking a turn.
"""

from __future__ import annotations

import threading

from controller.model import Quotas
from controller.store.tenant_store import Tenants


class Places:
    def __init__(self, tenants: Tenants, defaults: Quotas) -> None:
        self._tenants = tenants
        self._defaults = defaults
        self._lock = threading.Lock()
        self._of: dict[str, int | None] = {}

    def of(self, tenant_id: str) -> int | None:
        """0 while nothing of it may begin; None: as many as there are workers."""
        return self._of.get(tenant_id, self._defaults.concurrent_runs)

    def refresh(self) -> bool:
        """Look at the rows; whether anything is different."""
        with self._lock:
            found: dict[str, int | None] = {}
            for tenant, seconds in self._tenants.shares():
                quotas = tenant.quotas.over(self._defaults)
                spent = quotas.run_seconds_per_day is not None and seconds >= quotas.run_seconds_per_day
                stopped = spent or tenant.suspended_at is not None
                found[tenant.id] = 0 if stopped else quotas.concurrent_runs
            before, self._of = self._of, found
            return before != found
