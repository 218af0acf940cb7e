"""Whose turn it is: equal shares between tenants, urgency within one, and nobody waits for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from controller.dispatch.fair import FairQueue
from controller.model import Priority, Waiting

NORMAL, INTERACTIVE, BATCH = Priority.NORMAL, Priority.INTERACTIVE, Priority.BATCH


def a_run(run_id, tenant_id="a", priority=NORMAL):
    return Waiting(run_id=run_id, tenant_id=tenant_id, priority=priority)


def fill(queue, tenant_id, count, priority=NORMAL):
    for n in range(count):
        queue.add(a_run(f"{tenant_id}{n}", tenant_id, priority))


def turns(queue, count, seconds):
    """Take and finish so many runs, one at a time; whose they were."""
    taken = []
    for _ in range(count):
        run = queue.take()
        taken.append(run.tenant_id)
        queue.done(run.tenant_id, seconds[run.tenant_id])
    return taken


def test_two_tenants_take_turns():
    """A thousand runs of one do not hold up the ten of another."""
    queue = FairQueue()
    fill(queue, "heavy", 1000)
    fill(queue, "light", 10)

    taken = turns(queue, 20, {"heavy": 1, "light": 1})

    assert taken.count("light") in (9, 10)


def test_shares_are_seconds_and_not_runs():
    """Who runs ten times as long gets a tenth of the turns."""
    queue = FairQueue()
    fill(queue, "long", 1000)
    fill(queue, "short", 1000)

    taken = turns(queue, 1000, {"long": 10, "short": 1})

    assert 80 <= taken.count("long") <= 100


def test_a_pause_saves_nothing_up():
    """A tenant that comes late gets its share from then on, not what it did not use before."""
    queue = FairQueue()
    fill(queue, "early", 1000)
    turns(queue, 500, {"early": 1})
    fill(queue, "late", 400)

    taken = turns(queue, 200, {"early": 1, "late": 1})

    assert 95 <= taken.count("late") <= 105


def test_a_long_run_is_no_debt_without_end():
    """A tenant that was alone for an hour is not locked out when another comes."""
    queue = FairQueue()
    fill(queue, "old", 2000)
    turns(queue, 1000, {"old": 3.6})
    fill(queue, "new", 1000)

    taken = turns(queue, 100, {"old": 1, "new": 1})

    assert 40 <= taken.count("old") <= 60


def test_the_urgent_goes_first_within_a_tenant():
    """Interactive, normal, batch; the oldest first."""
    queue = FairQueue()
    fill(queue, "a", 2, BATCH)
    queue.add(a_run("n1"))
    queue.add(a_run("i1", priority=INTERACTIVE))
    queue.add(a_run("n2"))

    order = [queue.take().run_id for _ in range(5)]

    assert order == ["i1", "n1", "n2", "a0", "a1"]


def test_nothing_waits_for_ever():
    """Every tenth turn is the oldest's, whatever its class."""
    queue = FairQueue()
    queue.add(a_run("patient", priority=BATCH))
    fill(queue, "a", 100, INTERACTIVE)

    order = [queue.take().run_id for _ in range(10)]

    assert order[9] == "patient"


def test_batches_can_be_held_back():
    """While batches have all the places that they may have."""
    queue = FairQueue()
    fill(queue, "a", 1, BATCH)

    assert queue.take(batch_too=False) is None
    assert queue.take().run_id == "a0"


def test_a_position_is_the_number_of_turns():
    """With equal runs it comes true."""
    queue = FairQueue()
    fill(queue, "a", 5)
    fill(queue, "b", 2)
    queue.add(a_run("sync", "a", INTERACTIVE))
    last = queue.position("a4")

    order = [queue.take().run_id for _ in range(8)]

    assert queue.position("a4") is None
    assert order.index("a4") + 1 == last == 8
    assert order.index("sync") < 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority))), max_size=60), st.randoms())
def test_everything_comes_out_exactly_once(runs, chance: random.Random):
    """Whatever is added, taken, finished and removed, in whatever order."""
    queue, out, at_work = FairQueue(), [], []
    for n, (tenant_id, priority) in enumerate(runs):
        queue.add(a_run(str(n), tenant_id, priority))
        if chance.random() < 0.4 and (run := queue.take()) is not None:
            out.append(run.run_id)
            at_work.append(run.tenant_id)
        if at_work and chance.random() < 0.5:
            queue.done(at_work.pop(), chance.random() * 100)
        if chance.random() < 0.1 and queue.remove(str(n)):
            out.append(str(n))
    while (run := queue.take()) is not None:
        out.append(run.run_id)

    assert sorted(out, key=int) == [str(n) for n in range(len(runs))]
    assert len(queue) == 0
