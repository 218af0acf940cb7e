"""What every store promises (controller/store/base.py). A store's test module inherits this and provides `store`."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from tenant_store_contract import NOW, two_tenants

from controller.config import Settings
from controller.model import Job, Outcome, Part, Priority, Run, ScriptError, Status, Stored, TaskKind
from controller.store.base import Added, Claim, Idempotent, RunFilter

LOST = Outcome(status=Status.FAILED)
CLAIM = Claim(owner="own_1", lease_until=NOW + timedelta(seconds=60))
NOTHING = Stored()


def idempotent(key: str, resource_id: str, payload: str = "p", after_seconds: float = 0) -> Idempotent:
    created_at = NOW + timedelta(seconds=after_seconds)
    return Idempotent(
        tenant_id="ten_a", key=key, payload_sha256=payload, resource_id=resource_id, created_at=created_at
    )


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
    def _tenants(self, tenants):
        two_tenants(tenants)

    def test_a_run_comes_back_as_it_was_stored(self, store):
        """Every field, times with their zone and microseconds."""
        run = a_run("run_1")

        assert store.add_run(run, max_queued=10) is Added.ADDED

        assert store.run("ten_a", "run_1") == run

    def test_another_tenants_run_is_missing(self, store):
        """One's own, and nobody else's: reading, listing, cancelling, deleting."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", CLAIM, NOW)
        store.finish("run_1", 1, LOST, NOW, NOTHING)

        assert store.run("ten_b", "run_1") is None
        assert store.runs("ten_b", 10).runs == ()
        assert store.request_cancel("ten_b", "run_1", NOW) is None
        assert not store.delete_run("ten_b", "run_1")
        assert store.run("ten_a", "run_1") is not None

    def test_a_full_queue_takes_no_more(self, store):
        """The n-th is taken, the one after it is not; another tenant's queue is its own."""
        taken = [store.add_run(a_run(f"run_{n}"), max_queued=2) for n in range(3)]

        assert taken == [Added.ADDED, Added.ADDED, Added.QUEUE_FULL]
        assert store.run("ten_a", "run_2") is None
        assert store.add_run(a_run("run_b", "ten_b"), max_queued=2) is Added.ADDED

    def test_an_equal_run_that_succeeded_is_found(self, store):
        """The tenant's own, the newest, and only one that succeeded; a run may be stored with its end already."""
        done = {"status": Status.SUCCEEDED, "outcome": Outcome(status=Status.SUCCEEDED), "content_sha256": "c"}
        done["output_bytes"] = 1
        first = a_run("run_1").model_copy(update={**done, "started_at": NOW, "finished_at": NOW})
        second = a_run("run_2", after_seconds=1).model_copy(update=done)
        others = [
            a_run("run_3", after_seconds=2).model_copy(update={"content_sha256": "c"}),
            a_run("run_4", after_seconds=3).model_copy(update={**done, "content_sha256": "d"}),
            a_run("run_5", "ten_b", after_seconds=4).model_copy(update=done),
        ]

        for run in (first, second, *others):
            assert store.add_run(run, max_queued=10) is Added.ADDED

        assert store.run("ten_a", "run_1") == first
        assert store.reusable("ten_a", "c") == second
        assert store.reusable("ten_a", "e") is None

    def test_of_many_claims_exactly_one_succeeds(self, store):
        """Eight threads race for one run."""
        store.add_run(a_run("run_1"), 10)
        barrier, won = threading.Barrier(8), []

        def race():
            barrier.wait()
            if store.claim("run_1", CLAIM, NOW) is not None:
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

        assert taken.count(Added.ADDED) == 3

    def test_a_run_ends_once(self, store):
        """Only the attempt that was claimed ends it, and only the first time."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", CLAIM, NOW)
        good = Outcome(status=Status.SUCCEEDED, log_bytes=7)

        answers = [store.finish("run_1", attempt, good, NOW, NOTHING) for attempt in (0, 2, 1, 1)]

        assert answers == [False, False, True, False]
        run = store.run("ten_a", "run_1")
        assert (run.status, run.outcome, run.finished_at) == (Status.SUCCEEDED, good, NOW)

    def test_cancelling_a_queued_run_ends_it(self, store):
        """Nobody can claim it any more."""
        store.add_run(a_run("run_1"), 10)

        run = store.request_cancel("ten_a", "run_1", NOW)

        assert run.status is Status.CANCELLED
        assert store.claim("run_1", CLAIM, NOW) is None

    def test_cancelling_a_running_run_marks_it(self, store):
        """It is for the worker to end it."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", CLAIM, NOW)

        run = store.request_cancel("ten_a", "run_1", NOW)

        assert run.status is Status.RUNNING
        assert store.cancel_requested("run_1")

    def test_recovery_puts_every_interrupted_run_right(self, store):
        """Queued again, cancelled as wished, or ended: after its last failure, or because it runs at most once."""
        for n in range(5):
            once = {"at_most_once": n == 4}
            store.add_run(a_run(f"run_{n}", after_seconds=-n).model_copy(update=once), 10)
        for run_id in ("run_0", "run_1", "run_2", "run_4"):
            store.claim(run_id, CLAIM, NOW)
        store.request_cancel("ten_a", "run_1", NOW)
        first = store.recover(9, LOST, NOW, all_owners=True)
        store.claim("run_2", CLAIM, NOW)

        second = store.recover(2, LOST, NOW, all_owners=True)

        assert (set(first), second) == ({"run_1", "run_4"}, ["run_2"])
        states = {run.id: (run.status, run.failures) for run in store.runs("ten_a", 10).runs}
        assert states == {
            "run_0": (Status.QUEUED, 1),
            "run_1": (Status.CANCELLED, 0),
            "run_2": (Status.FAILED, 1),
            "run_3": (Status.QUEUED, 0),
            "run_4": (Status.FAILED, 0),
        }
        assert [run.run_id for run in store.waiting()] == ["run_3", "run_0"]

    def test_the_backlog_is_told_by_class(self, store):
        """How many wait, and since when the first; of all tenants, and only what is queued."""
        urgent = {"priority": Priority.INTERACTIVE}
        store.add_run(a_run("run_0", after_seconds=5).model_copy(update=urgent), 10)
        store.add_run(a_run("run_1", after_seconds=3), 10)
        store.add_run(a_run("run_2", "ten_b", after_seconds=1), 10)
        store.add_run(a_run("run_3", after_seconds=0), 10)
        store.claim("run_3", CLAIM, NOW)

        told = {one.priority: (one.count, one.oldest) for one in store.backlog()}

        assert told == {
            Priority.INTERACTIVE: (1, NOW + timedelta(seconds=5)),
            Priority.NORMAL: (2, NOW + timedelta(seconds=1)),
        }

    def test_runs_are_found_by_their_ids_alone(self, store):
        """Whosever they are; those that are not there are left out."""
        mine, other = a_run("run_0"), a_run("run_1", "ten_b")
        for run in (mine, other, a_run("run_2")):
            store.add_run(run, 10)

        found = store.named(["run_1", "run_0", "run_9"])

        assert sorted(found, key=lambda run: run.id) == [mine, other]
        assert store.named([]) == []

    def test_only_an_ended_lease_is_taken_up(self, store):
        """A run whose owner renews its lease is his; of another owner's run, he renews nothing."""
        for run_id in ("run_1", "run_2"):
            store.add_run(a_run(run_id), 10)
            store.claim(run_id, CLAIM, NOW)
        later = NOW + timedelta(seconds=61)
        store.renew(["run_1"], Claim(owner="own_1", lease_until=later + timedelta(seconds=60)))
        store.renew(["run_2"], Claim(owner="own_2", lease_until=later + timedelta(seconds=60)))

        early = store.recover(9, LOST, NOW + timedelta(seconds=59), all_owners=False)
        store.recover(9, LOST, later, all_owners=False)

        assert early == []
        states = [store.run("ten_a", run_id).status for run_id in ("run_1", "run_2")]
        assert states == [Status.RUNNING, Status.QUEUED]

    def test_a_released_run_waits_again(self, store):
        """Only the attempt that was claimed releases it; a failure counts; a cancelled one is not released."""
        for run_id in ("run_1", "run_2"):
            store.add_run(a_run(run_id), 10)
            store.claim(run_id, CLAIM, NOW)
        store.request_cancel("ten_a", "run_2", NOW)
        moment = NOW + timedelta(seconds=4)

        answers = [store.release("run_1", 2)]
        answers += [store.release("run_1", 1, moment, failed=True), store.release("run_2", 1)]

        assert answers == [False, True, False]
        run = store.run("ten_a", "run_1")
        assert (run.status, run.failures, run.started_at) == (Status.QUEUED, 1, None)
        assert [(waiting.run_id, waiting.not_before) for waiting in store.waiting()] == [("run_1", moment)]

    def test_an_attempt_that_was_not_begun_does_not_count(self, store):
        """The engine did not answer: the next claim is the first attempt again."""
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", CLAIM, NOW)

        store.release("run_1", 1, begun=False)

        assert store.claim("run_1", CLAIM, NOW).attempt == 1

    def test_what_waits_says_whose_it_is_and_how_urgent(self, store):
        """All tenants', the oldest first."""
        urgent = a_run("run_1", "ten_b").model_copy(update={"priority": Priority.INTERACTIVE})
        store.add_run(urgent, 10)
        store.add_run(a_run("run_2", after_seconds=-1), 10)

        found = [(run.run_id, run.tenant_id, run.priority) for run in store.waiting()]

        assert found == [("run_2", "ten_a", "normal"), ("run_1", "ten_b", "interactive")]

    def test_an_idempotency_key_makes_one_run(self, store):
        """The second request stores nothing and finds what the first made; another tenant's key is another key."""
        first = store.add_run(a_run("run_1"), 10, idempotent("k", "run_1"))
        second = store.add_run(a_run("run_2"), 10, idempotent("k", "run_2", "q"))

        assert (first, second) == (Added.ADDED, Added.KEY_TAKEN)
        assert store.run("ten_a", "run_2") is None
        assert store.idempotent("ten_a", "k") == idempotent("k", "run_1")
        assert store.idempotent("ten_b", "k") is None

    def test_of_many_requests_with_one_key_exactly_one_makes_a_run(self, store):
        """Eight threads at once."""
        barrier, answers = threading.Barrier(8), []

        def race(n):
            barrier.wait()
            answers.append(store.add_run(a_run(f"run_{n}"), 10, idempotent("k", f"run_{n}")))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(answers) == [Added.ADDED] + [Added.KEY_TAKEN] * 7
        assert len(store.runs("ten_a", 10).runs) == 1

    def test_a_full_queue_takes_no_key_either(self, store):
        """The request may be sent again with the same key."""
        refused = store.add_run(a_run("run_1"), 0, idempotent("k", "run_1"))

        assert (refused, store.idempotent("ten_a", "k")) == (Added.QUEUE_FULL, None)

    def test_keys_go_with_their_run_and_by_age(self, store):
        """Deleted means forgotten; old keys have done their duty."""
        store.add_run(a_run("run_1"), 10, idempotent("k", "run_1"))
        store.add_run(a_run("run_2"), 10, idempotent("old", "run_2", after_seconds=-9))
        store.request_cancel("ten_a", "run_1", NOW)

        store.delete_run("ten_a", "run_1")
        forgotten = store.forget_keys(NOW - timedelta(seconds=8))

        assert forgotten == 1
        assert (store.idempotent("ten_a", "k"), store.idempotent("ten_a", "old")) == (None, None)

    def test_parts_are_removed_by_age_and_counted(self, store):
        """What was removed is not found again, and not counted; an unfinished run is never old."""
        for n in (1, 2, 3):
            run = a_run(f"run_{n}").model_copy(update={"input_bytes": 5})
            store.add_run(run, 10)
        for n in (1, 2):
            store.claim(f"run_{n}", CLAIM, NOW)
            ended = NOW + timedelta(seconds=n)
            store.finish(f"run_{n}", 1, LOST, ended, Stored(output_bytes=7, log_bytes=9))
        store.grow("run_1", 100)
        moment = NOW + timedelta(seconds=2)

        old = store.expired(Part.OUTPUTS, moment, 10)
        total = store.stored_bytes()
        oldest = [run.id for run in store.oldest_stored("ten_a", 10)]
        store.mark_removed("run_1", [Part.OUTPUTS])
        store.mark_removed("run_1", [Part.LOG])

        assert (old, oldest) == ([("ten_a", "run_1")], ["run_1", "run_2"])
        assert total == {"ten_a": 5 + 107 + 9 + 5 + 7 + 9 + 5}
        assert store.expired(Part.OUTPUTS, moment, 10) == []
        assert [run.id for run in store.expired(None, moment, 10)] == ["run_1"]
        assert store.run("ten_a", "run_1").removed == (Part.OUTPUTS, Part.LOG)
        assert store.stored_bytes() == {"ten_a": 5 + 5 + 7 + 9 + 5}

    def test_a_page_of_large_ones_ends_early(self, store):
        """By what runs were asked for and what came of them: what is read at once is bounded by bytes."""
        large = Job(parameters={"p": "p" * (500 << 10)})
        error = ScriptError(code="0085", type="ValueError", message="m" * (400 << 10))
        for n in range(4):
            store.add_run(a_run(f"run_{n}", after_seconds=n).model_copy(update={"job": large}), 10)
            store.claim(f"run_{n}", CLAIM, NOW)
            store.finish(f"run_{n}", 1, LOST.model_copy(update={"error": error}), NOW, NOTHING)

        page = store.runs("ten_a", 10)
        rest = store.runs("ten_a", 10, before=page.before)
        alone = store.runs("ten_a", 1)

        assert [[run.id for run in one.runs] for one in (page, rest, alone)] == [
            ["run_3", "run_2"], ["run_1", "run_0"], ["run_3"]
        ]
        assert rest.before is None

    def test_known_runs_are_told_from_others(self, store):
        """However many are asked for."""
        store.add_run(a_run("run_1"), 10)

        assert store.known_runs([f"run_{n}" for n in range(2000)]) == {"run_1"}

    def test_what_the_server_runs_for_itself_is_in_no_list(self, store):
        """It is found by its id, by its tenant."""
        job = Job(task=TaskKind.INGEST)
        store.add_run(a_run("run_1").model_copy(update={"job": job}), 10)

        assert store.runs("ten_a", 10).runs == ()
        assert store.run("ten_a", "run_1").job == job

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
        """By status, by age, by batch, by script, and by several of them."""
        for n in range(3):
            store.add_run(a_run(f"run_{n}", after_seconds=n), 10)
        store.claim("run_0", CLAIM, NOW)

        for n in (3, 4):
            part = {"batch_id": "bat_1", "item": n, "script_sha256": str(n) * 64}
            store.add_run(a_run(f"run_{n}", after_seconds=n).model_copy(update=part), 10)

        def found(**wanted):
            return [run.id for run in store.runs("ten_a", 10, RunFilter(**wanted)).runs]

        assert found(status=Status.RUNNING) == ["run_0"]
        assert found(created_after=NOW + timedelta(seconds=3)) == ["run_4"]
        assert found(created_before=NOW + timedelta(seconds=1)) == ["run_0"]
        assert found(batch_id="bat_1") == ["run_4", "run_3"]
        assert found(script_sha256="3" * 64, status=Status.QUEUED) == ["run_3"]

    def test_only_an_ended_run_can_be_deleted(self, store):
        """Queued and running ones stay."""
        store.add_run(a_run("run_1"), 10)
        refused = [store.delete_run("ten_a", "run_1")]
        store.claim("run_1", CLAIM, NOW)
        refused.append(store.delete_run("ten_a", "run_1"))
        store.finish("run_1", 1, LOST, NOW, NOTHING)

        deleted = store.delete_run("ten_a", "run_1")

        assert (refused, deleted, store.run("ten_a", "run_1")) == ([False, False], True, None)

    def test_migrating_again_changes_nothing(self, store, database):
        """Every start migrates."""
        store.add_run(a_run("run_1"), 10)

        database.migrate()

        assert store.run("ten_a", "run_1") is not None
