"""The embedded dispatcher executes what it is told, and stops when it is asked to."""

import threading

from controller.dispatch import inprocess
from controller.dispatch.inprocess import InProcessDispatcher
from controller.errors import StoreError


def test_runs_are_executed_in_order_and_a_failure_stops_nobody(monkeypatch):
    """A run that could not be begun is tried again later; the others do not wait for its success."""
    monkeypatch.setattr(inprocess, "RETRY_SECONDS", 0.01)
    seen, done = [], threading.Event()

    def execute(run_id):
        seen.append(run_id)
        if seen == ["a", "b"]:
            raise StoreError("the database is away")
        if len(seen) == 4:
            done.set()

    dispatcher = inprocess.InProcessDispatcher(1, execute, lambda run_id: False)
    for run_id in "abc":
        dispatcher.submit(run_id)

    assert done.wait(5)
    assert seen == ["a", "b", "c", "b"]
    assert dispatcher.drain(5)


def test_capacity_counts_idle_workers_and_what_waits():
    """Two workers: two free, then one, then none."""
    started, release = threading.Semaphore(0), threading.Event()

    def execute(run_id):
        started.release()
        release.wait(10)

    dispatcher = InProcessDispatcher(2, execute, lambda run_id: False)
    capacities = [dispatcher.capacity()]
    for run_id in ("a", "b"):
        dispatcher.submit(run_id)
        assert started.acquire(timeout=5)
        capacities.append(dispatcher.capacity())

    release.set()
    assert dispatcher.drain(5)
    assert capacities == [2, 1, 0]


def test_draining_begins_nothing_new():
    """What waits stays for the next start; what runs is given its time."""
    seen, started, release = [], threading.Event(), threading.Event()

    def execute(run_id):
        seen.append(run_id)
        started.set()
        release.wait(10)

    dispatcher = InProcessDispatcher(1, execute, lambda run_id: False)
    dispatcher.submit("a")
    dispatcher.submit("b")
    assert started.wait(5)

    in_time = dispatcher.drain(0.05)
    release.set()
    at_last = dispatcher.drain(5)

    assert (in_time, at_last, seen) == (False, True, ["a"])
