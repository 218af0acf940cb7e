"""The embedded dispatcher executes what it is told, in a fair order, and stops when it is asked to."""

import threading

import pytest

from controller.dispatch import inprocess
from controller.dispatch.inprocess import InProcessDispatcher
from controller.errors import StoreError
from controller.model import Priority, Waiting
from tests.running import until


def a_run(run_id, tenant_id="ten_a", priority=Priority.NORMAL):
    return Waiting(run_id=run_id, tenant_id=tenant_id, priority=priority)


class Workshop:
    """Runs that begin, and end when the test says so."""

    def __init__(self, workers):
        self.seen, self.killed = [], []
        self._release = threading.Semaphore(0)
        self.dispatcher = InProcessDispatcher(workers, self._execute, self.killed.append)

    def _execute(self, run_id):
        self.seen.append(run_id)
        assert self._release.acquire(timeout=20)

    def submit(self, *runs):
        for run in runs:
            self.dispatcher.submit(run)

    def end(self, count=1):
        self._release.release(count)

    def has_begun(self, count):
        return until(lambda: len(self.seen) >= count)


@pytest.fixture
def workshop():
    made = []

    def make(workers):
        made.append(Workshop(workers))
        return made[-1]

    yield make
    for one in made:
        one.end(1000)
        assert one.dispatcher.drain(10)


def test_runs_are_executed_in_order_and_a_failure_stops_nobody(monkeypatch):
    """A run that could not be begun is tried again later; the others do not wait for its success."""
    monkeypatch.setattr(inprocess, "RETRY_SECONDS", 0.3)
    seen, done = [], threading.Event()

    def execute(run_id):
        seen.append(run_id)
        if seen == ["a", "b"]:
            raise StoreError("the database is away")
        if len(seen) == 4:
            done.set()

    dispatcher = InProcessDispatcher(1, execute, lambda run_id: False)
    for run_id in "abc":
        dispatcher.submit(a_run(run_id))

    assert done.wait(5)
    assert seen == ["a", "b", "c", "b"]
    assert dispatcher.drain(5)


def test_a_run_is_looked_at_again_when_it_says_so():
    """Not before its time, and once."""
    seen = []

    def execute(run_id):
        seen.append(run_id)
        return 0.2 if seen.count("a") < 3 and run_id == "a" else None

    dispatcher = InProcessDispatcher(1, execute, lambda run_id: False)
    dispatcher.submit(a_run("a"))
    dispatcher.submit(a_run("b"))

    assert until(lambda: seen.count("a") == 3)
    assert dispatcher.drain(5)
    assert sorted(seen) == ["a", "a", "a", "b"]
    assert seen[:2] == ["a", "b"]


def test_capacity_counts_idle_workers_and_what_waits(workshop):
    """Two workers: two free, then one, then none."""
    shop = workshop(2)
    capacities = [shop.dispatcher.capacity()]

    for count, run_id in enumerate("ab", start=1):
        shop.submit(a_run(run_id))
        assert shop.has_begun(count)
        capacities.append(shop.dispatcher.capacity())

    assert capacities == [2, 1, 0]


def test_draining_begins_nothing_new(workshop):
    """What waits stays for the next start; what runs is given its time."""
    shop = workshop(1)
    shop.submit(a_run("a"), a_run("b"))
    assert shop.has_begun(1)

    in_time = shop.dispatcher.drain(0.05)
    shop.end()
    at_last = shop.dispatcher.drain(5)

    assert (in_time, at_last, shop.seen) == (False, True, ["a"])


def test_a_run_that_waits_can_be_taken_back(workshop):
    """It never begins; one that runs is killed."""
    shop = workshop(1)
    shop.submit(a_run("a"), a_run("b"), a_run("c"))
    assert shop.has_begun(1)

    shop.dispatcher.cancel("b")
    shop.dispatcher.cancel("a")
    shop.end(3)

    assert shop.has_begun(2)
    assert (shop.seen, shop.killed) == (["a", "c"], ["b", "a"])


def test_told_twice_it_executes_once(workshop):
    """While it waits."""
    shop = workshop(1)
    shop.submit(a_run("a"), a_run("b"), a_run("b"))
    assert shop.has_begun(1)

    shop.end(3)

    assert until(lambda: shop.dispatcher.capacity() == 1)
    assert shop.seen == ["a", "b"]


def test_batches_leave_a_place_for_others(workshop):
    """Two workers and ten batch items: one is at work, and a run of anybody's begins at once."""
    shop = workshop(2)
    shop.submit(*(a_run(f"item-{n}", priority=Priority.BATCH) for n in range(10)))
    assert shop.has_begun(1)

    shop.submit(a_run("sync", priority=Priority.INTERACTIVE))

    assert shop.has_begun(2)
    assert shop.seen == ["item-0", "sync"]


def test_a_waiting_run_knows_its_position(workshop):
    """None when it is at work."""
    shop = workshop(1)
    shop.submit(a_run("a"))
    assert shop.has_begun(1)
    shop.submit(a_run("b"), a_run("c"))

    assert [shop.dispatcher.position(run_id) for run_id in "abc"] == [None, 1, 2]
