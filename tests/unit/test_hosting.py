"""What keeps tenants to their share, piece by piece: places, buckets, the brake, uses of keys, refusals, limits."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from controller.config import Settings
from controller.dispatch.fair import FairQueue
from controller.dispatch.inprocess import InProcessDispatcher
from controller.errors import InvalidRequest, StorageFull, TooManyRequests
from controller.model import Limits, Quotas, Waiting
from controller.services import quotas
from controller.services.audit import REFUSALS_PER_SECOND, Refusals
from controller.services.keys import Uses
from controller.services.places import Places
from controller.services.quotas import Buckets
from controller.store.audit_store import Entry
from controller.store.tenant_store import Tenant
from tests.running import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class Log:
    """An audit log in memory, that may be full."""

    def __init__(self):
        self.entries, self.full = [], False

    def append(self, entry):
        if self.full:
            raise StorageFull("full")
        self.entries.append(entry)


def waiting(run_id, tenant_id="a"):
    return Waiting(run_id=run_id, tenant_id=tenant_id, priority="normal")


def test_a_tenant_without_a_place_is_passed_over_and_keeps_its_turn():
    """Others go on; when a place is free, it is the tenant's."""
    queue, places = FairQueue(), {"a": 1}
    for run in (waiting("a1"), waiting("a2"), waiting("b1", "b"), waiting("b2", "b")):
        queue.add(run)

    taken = [queue.take(places=places.get).run_id for _ in range(3)]
    nothing = queue.take(places=places.get)
    queue.done("a", 1.0)

    assert sorted(taken) == ["a1", "b1", "b2"]
    assert nothing is None
    assert queue.take(places=places.get).run_id == "a2"


def test_a_tenant_that_may_begin_nothing_begins_nothing():
    """As one that is suspended; position and queue stay."""
    queue = FairQueue()
    queue.add(waiting("a1"))

    assert queue.take(places=lambda _: 0) is None
    assert "a1" in queue


def test_a_dispatcher_that_is_held_begins_nothing():
    """What is at work goes on, what waits begins when it is let go."""
    begun, release = [], threading.Event()

    def execute(run_id):
        begun.append(run_id)
        release.wait(20)

    dispatcher = InProcessDispatcher(2, execute, lambda _: True)
    try:
        dispatcher.submit(waiting("1"))
        assert until(lambda: begun == ["1"])
        dispatcher.hold(True)
        dispatcher.submit(waiting("2"))
        release.set()
        assert until(lambda: dispatcher.at_work() == [])
        assert (begun, dispatcher.position("2")) == (["1"], 1)
        dispatcher.hold(False)
        assert until(lambda: begun == ["1", "2"])
    finally:
        release.set()
        dispatcher.drain(5)


def test_a_place_that_comes_is_noticed():
    """By those who wait for it, when they are told to look again."""
    begun, places = [], {"a": 0}
    dispatcher = InProcessDispatcher(1, begun.append, lambda _: True, places.get)
    try:
        dispatcher.submit(waiting("1"))
        assert not until(lambda: begun, 0.2)
        places["a"] = 1
        dispatcher.look_again()
        assert until(lambda: begun == ["1"])
    finally:
        dispatcher.drain(5)


def test_places_follow_the_rows():
    """The tenant's quota, else the default; none when it is suspended, or its seconds of the day are spent."""

    class Rows:
        def shares(self):
            share = Quotas(concurrent_runs=3)
            names = ("own", "suspended", "spent", "unbounded")
            tenants = [Tenant(id=name, name=name, created_at=NOW, quotas=share) for name in names]
            tenants[1] = tenants[1].model_copy(update={"suspended_at": NOW})
            tenants[3] = tenants[3].model_copy(update={"quotas": Quotas(concurrent_runs=None)})
            return list(zip(tenants, (1.0, 0.0, 100.0, 0.0), strict=True))

    places = Places(Rows(), Quotas(concurrent_runs=2, run_seconds_per_day=100))

    assert (places.refresh(), places.refresh()) == (True, False)
    found = {name: places.of(name) for name in ("own", "suspended", "spent", "unbounded", "other")}
    assert found == {"own": 3, "suspended": 0, "spent": 0, "unbounded": None, "other": 2}


@pytest.mark.parametrize(("rate", "burst"), [(5.0, 5), (0.5, 1), (1.0, 1), (2.5, 2)])
def test_a_bucket_holds_a_second_and_fills_at_its_rate(rate, burst):
    """At least one request; the refusal says when the next one may come, and then it does."""
    clock = Clock()
    buckets = Buckets(clock)

    left = [buckets.take("a", rate) for _ in range(burst)]
    with pytest.raises(TooManyRequests) as refused:
        buckets.take("a", rate)
    buckets.take("b", rate)
    clock.seconds += refused.value.retry_seconds + 1e-6
    buckets.take("a", rate)

    assert left == list(range(burst))[::-1]
    assert (refused.value.limit, refused.value.quota) == (rate, "requests_per_second")


def test_a_key_that_is_used_all_the_time_is_written_once_a_minute():
    """And each key by itself."""
    written, clock = [], Clock()

    class Rows:
        def used(self, moments):
            written.append(sorted(moments))

    uses = Uses(Rows(), clock)

    for _ in range(130):
        uses.note("one")
        if clock.seconds == 1030:
            uses.note("two")
        uses.flush()
        clock.seconds += 1

    assert written == [["one"], ["two"], ["one"], ["one"]]


def test_refusals_are_bounded_and_counted():
    """The rest of a second is one row, of an earlier second's before the next one's first; none is forgotten."""
    log, clock = Log(), Clock()
    refusals = Refusals(log, clock)

    for _ in range(REFUSALS_PER_SECOND + 30):
        refusals.note(Entry(action="request.refused", at=NOW))
    refusals.flush()
    early = len(log.entries)
    clock.seconds += 1
    refusals.note(Entry(action="request.refused", at=NOW + timedelta(seconds=1)))
    refusals.close()

    assert early == REFUSALS_PER_SECOND
    assert [entry.action for entry in log.entries[early:]] == ["request.refused_more", "request.refused"]
    assert log.entries[early].details == {"count": 30, "since": NOW.isoformat()}


def test_a_log_that_is_full_does_not_turn_a_refusal_into_a_fault():
    """It is refused all the same."""
    log = Log()
    log.full = True

    Refusals(log).note(Entry(action="request.refused", at=NOW))

    assert log.entries == []


def test_quotas_stand_above_the_defaults_where_they_are_set():
    """Null is no bound; what is not set is the server's."""
    defaults = Quotas(cpus=1, queued_runs=5, memory_bytes=1 << 30)

    mixed = Quotas(cpus=2, queued_runs=None).over(defaults)

    assert (mixed.cpus, mixed.queued_runs, mixed.memory_bytes) == (2, None, 1 << 30)


def test_limits_are_cut_and_never_raised():
    """By each of the four that a quota has."""
    settings = Settings(max_memory_bytes=1 << 30, max_cpus=4, max_timeout_seconds=100, output_bytes=1000)
    small = Quotas(memory_bytes=512 << 20, cpus=0.5, timeout_seconds=5, output_bytes=10)
    large = Quotas(memory_bytes=1 << 40, cpus=99, timeout_seconds=9999, output_bytes=1 << 40)

    def figures(limits: Limits):
        return limits.memory_bytes, limits.cpus, limits.timeout_seconds, limits.output_bytes

    wanted = {"timeout_seconds": 1e6, "memory_bytes": 1 << 50, "cpus": 1e6}
    whole = settings.limits(**wanted)
    assert figures(settings.limits(**wanted, quotas=small)) == (512 << 20, 0.5, 5, 10)
    assert figures(settings.limits(**wanted, quotas=large)) == figures(whole) == (1 << 30, 4, 100, 1000)
    assert figures(quotas.cut(whole, small)) == (512 << 20, 0.5, 5, 10)
    assert quotas.cut(whole, large) == whole


def test_a_first_key_that_is_none_is_refused_in_words():
    """Before anything is made of it."""
    from controller.services.tenants import first_key

    class Nothing:
        def has_keys(self):
            return False

    with pytest.raises(InvalidRequest, match="alk_<id>_<secret>_<checksum>"):
        first_key(Nothing(), b"p", NOW, "hunter2")
