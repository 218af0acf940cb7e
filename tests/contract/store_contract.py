"""What every store promises (controller/store/base.py). A store's test module inherits this and provides `store`."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from controller.config import Settings
from controller.errors import Conflict
from controller.model import Job, Outcome, Run, Status
from controller.store.base import Key

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LOST = Outcome(status=Status.FAILED)


def a_run(run_id: str, tenant_id: str = "ten_a", after_seconds: float = 0) -> Run:
    return Run(
        id=run_id,
        tenant_id=tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=Job(parameters={"n": 2**60}),
        limits=Settings().limits(),
        environment="default",
        script_sha256="0" * 64,
        created_at=NOW + timedelta(seconds=after_seconds),
    )


class StoreContract:
    @pytest.fixture(autouse=True)
    def _tenants(self, store):
        store.add_tenant("ten_a", "a", NOW)
        store.add_tenant("ten_b", "b", NOW)

    def test_a_run_comes_back_as_it_was_stored(self, store):
        """Every field, times with their zone and microseconds."""
        run = a_run("run_1")

        assert store.add_run(run, max_queued=10)

        assert store.run("ten_a", "run_1") == run

    def test_another_tenants_run_is_missing(self, store):
        """One's own, and nobody else's: reading, listing, cancelling, deleting."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", NOW)
        store.finish("run_1", 1, LOST, NOW)

        assert store.run("ten_b", "run_1") is None
        assert store.runs("ten_b", 10).runs == ()
        assert store.request_cancel("ten_b", "run_1", NOW) is None
        assert not store.delete_run("ten_b", "run_1")
        assert store.run("ten_a", "run_1") is not None

    def test_a_full_queue_takes_no_more(self, store):
        """The n-th is taken, the one after it is not; another tenant's queue is its own."""
        taken = [store.add_run(a_run(f"run_{n}"), max_queued=2) for n in range(3)]

        assert taken == [True, True, False]
        assert store.run("ten_a", "run_2") is None
        assert store.add_run(a_run("run_b", "ten_b"), max_queued=2)

    def test_an_equal_run_that_succeeded_is_found(self, store):
        """The tenant's own, the newest, and only one that succeeded; a run may be stored with its end already."""
        done = {"status": Status.SUCCEEDED, "outcome": Outcome(status=Status.SUCCEEDED), "content_sha256": "c"}
        first = a_run("run_1").model_copy(update={**done, "started_at": NOW, "finished_at": NOW})
        second = a_run("run_2", after_seconds=1).model_copy(update=done)
        others = [
            a_run("run_3", after_seconds=2).model_copy(update={"content_sha256": "c"}),
            a_run("run_4", after_seconds=3).model_copy(update={**done, "content_sha256": "d"}),
            a_run("run_5", "ten_b", after_seconds=4).model_copy(update=done),
        ]

        for run in (first, second, *others):
            assert store.add_run(run, max_queued=10)

        assert store.run("ten_a", "run_1") == first
        assert store.reusable("ten_a", "c") == second
        assert store.reusable("ten_a", "e") is None

    def test_of_many_claims_exactly_one_succeeds(self, store):
        """Eight threads race for one run."""
        store.add_run(a_run("run_1"), 10)
        barrier, won = threading.Barrier(8), []

        def race():
            barrier.wait()
            if store.claim("run_1", NOW) is not None:
                won.append(1)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert won == [1]
        assert store.run("ten_a", "run_1").attempt == 1

    def test_a_queue_limit_holds_under_a_race(self, store):
        """Eight threads submit at once; never more than the limit is stored."""
        barrier, taken = threading.Barrier(8), []

        def race(n):
            barrier.wait()
            taken.append(store.add_run(a_run(f"run_{n}"), max_queued=3))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sum(taken) == 3

    def test_a_run_ends_once(self, store):
        """Only the attempt that was claimed ends it, and only the first time."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", NOW)
        good = Outcome(status=Status.SUCCEEDED, log_bytes=7)

        answers = [store.finish("run_1", attempt, good, NOW) for attempt in (0, 2, 1, 1)]

        assert answers == [False, False, True, False]
        run = store.run("ten_a", "run_1")
        assert (run.status, run.outcome, run.finished_at) == (Status.SUCCEEDED, good, NOW)

    def test_cancelling_a_queued_run_ends_it(self, store):
        """Nobody can claim it any more."""
        store.add_run(a_run("run_1"), 10)

        run = store.request_cancel("ten_a", "run_1", NOW)

        assert run.status is Status.CANCELLED
        assert store.claim("run_1", NOW) is None

    def test_cancelling_a_running_run_marks_it(self, store):
        """It is for the worker to end it."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", NOW)

        run = store.request_cancel("ten_a", "run_1", NOW)

        assert run.status is Status.RUNNING
        assert store.cancel_requested("run_1")

    def test_recovery_puts_every_interrupted_run_right(self, store):
        """Queued again, or cancelled as wished, or given up after the last attempt; the oldest first."""
        for n in range(4):
            store.add_run(a_run(f"run_{n}", after_seconds=-n), 10)
        for run_id in ("run_0", "run_1", "run_2"):
            store.claim(run_id, NOW)
        store.request_cancel("ten_a", "run_1", NOW)
        store.recover(9, LOST, NOW)
        store.claim("run_2", NOW)

        queued = store.recover(2, LOST, NOW)

        assert queued == ["run_3", "run_0"]
        states = {run.id: run.status for run in store.runs("ten_a", 10).runs}
        assert states == {
            "run_0": Status.QUEUED,
            "run_1": Status.CANCELLED,
            "run_2": Status.FAILED,
            "run_3": Status.QUEUED,
        }

    def test_pages_cover_everything_once_newest_first(self, store):
        """Runs of the same moment too."""
        for n in range(7):
            store.add_run(a_run(f"run_{n}", after_seconds=n // 3), 10)
        seen, before = [], None

        while True:
            page = store.runs("ten_a", 2, before=before)
            seen += [run.id for run in page.runs]
            if page.before is None:
                break
            before = page.before

        assert seen == ["run_6", "run_5", "run_4", "run_3", "run_2", "run_1", "run_0"]

    def test_lists_filter(self, store):
        """By status and by age."""
        for n in range(3):
            store.add_run(a_run(f"run_{n}", after_seconds=n), 10)
        store.claim("run_0", NOW)

        running = store.runs("ten_a", 10, status=Status.RUNNING).runs
        young = store.runs("ten_a", 10, created_after=NOW + timedelta(seconds=1)).runs

        assert [run.id for run in running] == ["run_0"]
        assert [run.id for run in young] == ["run_2"]

    def test_only_an_ended_run_can_be_deleted(self, store):
        """Queued and running ones stay."""
        store.add_run(a_run("run_1"), 10)
        refused = [store.delete_run("ten_a", "run_1")]
        store.claim("run_1", NOW)
        refused.append(store.delete_run("ten_a", "run_1"))
        store.finish("run_1", 1, LOST, NOW)

        deleted = store.delete_run("ten_a", "run_1")

        assert (refused, deleted, store.run_ids()) == ([False, False], True, [])

    def test_keys_come_back_as_they_were_stored(self, store):
        """And an unknown one is None."""
        key = Key(id="k", tenant_id="ten_a", name="n", mac="m", scopes=("run",), created_at=NOW, expires_at=NOW)
        assert not store.has_keys()

        store.add_key(key)

        assert store.has_keys()
        assert store.key("k") == key
        assert store.key("other") is None

    def test_tenant_names_are_unique(self, store):
        """A second tenant of the same name is refused by name."""
        with pytest.raises(Conflict, match="'a'"):
            store.add_tenant("ten_c", "a", NOW)

        assert store.tenant_named("a") == "ten_a"

    def test_migrating_again_changes_nothing(self, store):
        """Every start migrates."""
        store.add_run(a_run("run_1"), 10)

        store.migrate()

        assert store.run_ids() == ["run_1"]
