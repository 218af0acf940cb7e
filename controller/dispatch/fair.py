"""Whose turn is it? The order in which waiting runs begin: a plain structure, without threads and without a clock.

Between tenants: each has an account of the seconds that its runs took, and whoever had least goes next (start-time
fair queueing; docs/decisions/0008-fair-turns.md). A tenant that comes back after a pause starts where the others
are: time that it did not use is not saved up, so nobody can flood the server with it.

Within a tenant: `interactive` before `normal` before `batch`, the oldest first; every tenth turn goes to the oldest of
all, so that nothing waits for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.model import Priority, Waiting

_FIRST_GUESS_SECONDS = 1.0
"""What a run of a tenant that has not run anything yet will take."""
_NEWEST_SHARE = 0.3
"""Of the newest run in a tenant's average."""
_OLDEST_EVERY = 10


@dataclass
class _Tenant:
    """`served` is the account; `average` what one of its runs takes."""

    served: float
    average: float = _FIRST_GUESS_SECONDS
    turns: int = 0
    at_work: int = 0
    queues: dict[Priority, OrderedDict[str, int]] = field(
        default_factory=lambda: {priority: OrderedDict() for priority in Priority}
    )

    def next(self, allowed: tuple[Priority, ...]) -> tuple[Priority, str] | None:
        """The run that begins next, and its class; None when nothing of these classes waits."""
        queues = ((priority, self.queues[priority]) for priority in allowed)
        heads = [(priority, *next(iter(queue.items()))) for priority, queue in queues if queue]
        if not heads:
            return None
        by_age = (self.turns + 1) % _OLDEST_EVERY == 0
        priority, run_id, _ = min(heads, key=lambda head: head[2]) if by_age else heads[0]
        return priority, run_id

    def count(self) -> int:
        return sum(map(len, self.queues.values()))


class FairQueue:
    """Not safe for threads: the dispatcher holds a lock."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._places: dict[str, Waiting] = {}
        self._now = 0.0
        self._number = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._places

    def add(self, run: Waiting) -> None:
        """At the end of its tenant's queue. Told twice, it stands there once."""
        if run.run_id in self._places:
            return
        tenant = self._tenants.setdefault(run.tenant_id, _Tenant(served=self._now))
        if not tenant.at_work and not tenant.count():
            tenant.served = max(tenant.served, self._now)
        self._number += 1
        tenant.queues[run.priority][run.run_id] = self._number
        self._places[run.run_id] = run

    def take(
        self, *, batch_too: bool = True, places: Callable[[str], int | None] = lambda _: None
    ) -> Waiting | None:
        """The run that begins next; it is charged to its tenant, provisionally, until `done`. A tenant that has as many
        runs at work as it has places is passed over, and keeps its turn."""
        allowed = tuple(Priority) if batch_too else (Priority.INTERACTIVE, Priority.NORMAL)
        best: tuple[float, str, Priority, str] | None = None
        for tenant_id, tenant in self._tenants.items():
            if best is not None and tenant.served >= best[0]:
                continue
            most = places(tenant_id)
            if (most is None or tenant.at_work < most) and (head := tenant.next(allowed)) is not None:
                best = tenant.served, tenant_id, *head
        if best is None:
            return None
        served, tenant_id, priority, run_id = best
        tenant = self._tenants[tenant_id]
        self._now = max(self._now, served)
        tenant.served += tenant.average
        tenant.turns += 1
        tenant.at_work += 1
        del tenant.queues[priority][run_id]
        return self._places.pop(run_id)

    def done(self, tenant_id: str, seconds: float) -> None:
        """A run that was taken is over and took this long: the guess in the account becomes the truth."""
        tenant = self._tenants[tenant_id]
        tenant.at_work -= 1
        tenant.served += seconds - tenant.average
        tenant.average += _NEWEST_SHARE * (seconds - tenant.average)
        if not tenant.at_work and not tenant.count() and tenant.served <= self._now:
            del self._tenants[tenant_id]

    def remove(self, run_id: str) -> bool:
        """It will not begin; False when it does not wait here."""
        run = self._places.pop(run_id, None)
        if run is None:
            return False
        del self._tenants[run.tenant_id].queues[run.priority][run_id]
        return True

    def position(self, run_id: str) -> int | None:
        """How many turns until it begins, 1 when it is next, supposing that all runs take equally long."""
        run = self._places.get(run_id)
        if run is None:
            return None
        own = self._tenants[run.tenant_id].queues
        ahead = sum(len(own[priority]) for priority in Priority if _before(priority, run.priority))
        number = own[run.priority][run_id]
        place = ahead + 1 + sum(1 for other in own[run.priority].values() if other < number)
        others = (tenant.count() for tenant_id, tenant in self._tenants.items() if tenant_id != run.tenant_id)
        return place + sum(min(waiting, place) for waiting in others)


def _before(one: Priority, other: Priority) -> bool:
    order = list(Priority)
    return order.index(one) < order.index(other)
