"""What every store of batches promises (controller/store/batch_store.py). Its test module provides `store`, the store
of runs on the same database, and `batches`."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from store_contract import CLAIM, NOTHING, NOW, a_run, idempotent
from tenant_store_contract import an_entry, two_tenants

from controller.config import Settings
from controller.model import (
    DatasetUse,
    Job,
    Outcome,
    Priority,
    Quotas,
    Reason,
    Run,
    ScriptError,
    Slice,
    Status,
    TaskKind,
    Usage,
)
from controller.store.base import Added
from controller.store.batch_store import Batch, BatchStatus, Begun, Counts, Item, ItemStatus, Template

GOOD = Outcome(status=Status.SUCCEEDED)
ERROR = ScriptError(code="0085", type="ValueError", message="m" * 5000, traceback="t")
BAD = Outcome(status=Status.FAILED, reason=Reason.SCRIPT_ERROR, error=ERROR)


def a_batch(batch_id: str = "bat_1", total: int | None = 3, parallel: int = 2, **more) -> Batch:
    template = Template(job=Job(), limits=Settings().limits(), environment="default", script_sha256="0" * 64)
    known = {"begun_at": NOW} if total is not None else {}
    fields = {"id": batch_id, "tenant_id": "ten_a", "template": template, "source": {"dataset": "d", "rows": 2}}
    return Batch(**fields | {"parallel": parallel, "total": total, "created_at": NOW} | known | more)


def some_items(count: int) -> list[Item]:
    return [Item(number=n, label={"n": n}, slice=Slice(offset=2 * n - 2, rows=2)) for n in range(1, count + 1)]


def item_run(run_id: str, number: int, batch_id: str = "bat_1") -> Run:
    return a_run(run_id).model_copy(update={"batch_id": batch_id, "item": number, "priority": Priority.BATCH})


def some(counts: Counts) -> dict[ItemStatus, int]:
    """Those that are not zero."""
    return {status: count for status, count in counts.items.items() if count}


class BatchStoreContract:
    @pytest.fixture(autouse=True)
    def _tenants(self, tenants):
        two_tenants(tenants)

    @pytest.fixture
    def batch(self, batches):
        """One of three items, of which two may be under way."""
        assert batches.add(a_batch(), some_items(3), ["dsv_1"], None, 10) is Added.ADDED
        return a_batch()

    def end(self, store, run_id: str, outcome: Outcome = GOOD, after_seconds: float = 1) -> None:
        assert store.claim(run_id, CLAIM, NOW) is not None
        assert store.finish(run_id, 1, outcome, NOW + timedelta(seconds=after_seconds), NOTHING)

    def present(self, batches) -> Batch:
        found = batches.batch("ten_a", "bat_1")
        assert found is not None
        return found

    def test_a_batch_and_its_items_come_back_as_they_were_stored(self, batches):
        """Every field; labels of every kind that JSON has, among them the missing one."""
        uses = DatasetUse(id="dsv_1", name="d", version=2)
        items = [
            Item(number=n, label=label, dataset=dataset, slice=part)
            for n, (label, dataset, part) in enumerate(
                [(None, None, Slice(offset=0, rows=5)), (1.5, uses, None), ("ä", None, None), ({"a": [1]}, uses, None)],
                start=1,
            )
        ]
        batch = a_batch(total=4, group_run_id="run_g")

        assert batches.add(batch, items, ["dsv_1", "dsv_1"], None, 10) is Added.ADDED

        assert batches.batch("ten_a", "bat_1") == batch
        assert [state.item for state in batches.items(batch, 10).items] == items

    def test_another_tenants_batch_is_missing(self, batches, batch):
        """Reading, listing, cancelling, retrying, deleting."""
        assert batches.batch("ten_b", "bat_1") is None
        assert batches.page("ten_b", 10).batches == ()
        assert not batches.request_cancel("ten_b", "bat_1")
        batches.request_cancel("ten_a", "bat_1")
        batches.finish("bat_1", NOW)
        assert batches.retry("ten_b", "bat_1", NOW) is None
        assert not batches.delete("ten_b", "bat_1").done

    def test_a_key_makes_one_batch(self, batches, batch):
        """The second request adds nothing."""
        assert batches.add(a_batch("bat_2"), some_items(1), [], None, 10, idempotent("k", "bat_2")) is Added.ADDED

        assert batches.add(a_batch("bat_3"), some_items(1), [], None, 10, idempotent("k", "bat_3")) is Added.KEY_TAKEN

        assert batches.known(["bat_1", "bat_2", "bat_3"]) == {"bat_1", "bat_2"}

    def test_a_batch_and_the_run_that_prepares_it_are_added_together(self, batches, store):
        """Or neither, when the queue is full."""
        job = Job(task=TaskKind.GROUP, group_by="c")
        first, second = (a_run(f"run_{n}").model_copy(update={"job": job, "batch_id": f"bat_{n}"}) for n in (1, 2))
        waiting = {"total": None, "group_run_id": "run_1"}

        assert batches.add(a_batch("bat_1", **waiting), [], ["dsv_1"], first, 1) is Added.ADDED
        assert batches.add(a_batch("bat_2", **waiting), [], ["dsv_1"], second, 1) is Added.QUEUE_FULL

        assert store.known_runs(["run_1", "run_2"]) == {"run_1"}
        assert batches.known(["bat_1", "bat_2"]) == {"bat_1"}
        assert self.present(batches).status is BatchStatus.PREPARING
        assert batches.group_run(self.present(batches)).id == "run_1"
        assert batches.under_way("bat_1") == ["run_1"]

    def test_a_tenant_has_only_so_many_batches_at_once(self, batches, batch):
        """The one after the last is refused; another tenant's are its own; one that has ended counts no more."""
        other = a_batch("bat_b").model_copy(update={"tenant_id": "ten_b"})
        assert batches.add(a_batch("bat_2"), [], [], None, 10, None, 2) is Added.ADDED
        assert batches.add(a_batch("bat_3"), [], [], None, 10, None, 2) is Added.QUEUE_FULL
        assert batches.add(other, [], [], None, 10, None, 2) is Added.ADDED

        batches.request_cancel("ten_a", "bat_1")
        batches.finish("bat_1", NOW)

        assert batches.add(a_batch("bat_3"), [], [], None, 10, None, 2) is Added.ADDED

    def test_every_batch_is_asked_for_by_its_tenants_quotas(self, batches, tenants, store):
        """Bytes, its own among them, seconds of the day, and a tenant that there is; a refused one is not kept."""
        bytes_left, seconds_left = Quotas(stored_bytes=100), Quotas(run_seconds_per_day=5)

        def add(batch_id, quotas, **more):
            return batches.add(a_batch(batch_id, **more), some_items(1), [], None, 10, None, None, quotas)

        added = [add("bat_1", bytes_left, own_bytes=60), add("bat_2", bytes_left, own_bytes=41)]
        stored = tenants.in_use("ten_a", NOW).stored_bytes
        store.add_run(a_run("run_1"), 10)
        self.end(store, "run_1", Outcome(status=Status.SUCCEEDED, usage=Usage(wall_seconds=6)))
        added += [add("bat_2", seconds_left), add("bat_3", seconds_left, tenant_id="ten_b")]
        tenants.begin_deletion("ten_b", an_entry())
        added.append(add("bat_4", Quotas(), tenant_id="ten_b"))

        assert added == [Added.ADDED, Added.STORAGE_SPENT, Added.SECONDS_SPENT, Added.ADDED, Added.NO_TENANT]
        assert (stored, batches.batch("ten_a", "bat_1").own_bytes) == (60, 60)
        assert batches.batch("ten_a", "bat_2") is batches.batch("ten_b", "bat_4") is None

    def test_items_become_known_once(self, batches):
        """And not of a batch that is to end."""
        batches.add(a_batch("bat_1", total=None), [], [], None, 10)
        batches.add(a_batch("bat_2", total=None), [], [], None, 10)
        batches.request_cancel("ten_a", "bat_2")

        told = [batches.prepared(batch_id, some_items(2), NOW) for batch_id in ("bat_1", "bat_1", "bat_2")]

        assert told == [True, False, False]
        assert (self.present(batches).total, self.present(batches).status) == (2, BatchStatus.RUNNING)
        assert not batches.failed("bat_1", ERROR, NOW)

    def test_a_batch_that_cannot_be_prepared_has_failed(self, batches):
        """It has ended, and says why."""
        batches.add(a_batch(total=None), [], [], None, 10)

        assert batches.failed("bat_1", ERROR, NOW)

        assert (self.present(batches).status, self.present(batches).error) == (BatchStatus.FAILED, ERROR)
        assert batches.unfinished() == []

    def test_no_more_are_under_way_than_may(self, batches, batch, store):
        """The next items are those that there is room for, in their order."""
        assert [item.number for item in batches.next_items(batch)] == [1, 2]
        assert [batches.begin(item_run(f"run_{n}", n), 2, 10) for n in (1, 2)] == [Begun.BEGUN, Begun.BEGUN]

        assert batches.next_items(batch) == []
        assert batches.begin(item_run("run_3", 3), 2, 10) is Begun.NOT_WANTED
        self.end(store, "run_1")

        assert [item.number for item in batches.next_items(batch)] == [3]
        assert batches.begin(item_run("run_3", 3), 2, 10) is Begun.BEGUN

    def test_an_item_gets_one_run_under_a_race(self, batches, batch, store):
        """Eight threads begin the same item: one run is there, and it is the item's."""
        barrier, begun = threading.Barrier(8), []

        def race(n):
            barrier.wait()
            begun.append(batches.begin(item_run(f"run_{n}", 1), 8, 10))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert begun.count(Begun.BEGUN) == 1
        known = store.known_runs(f"run_{n}" for n in range(8))
        assert {batches.items(batch, 1).items[0].item.run_id} == known

    def test_a_full_queue_leaves_the_item_as_it_was(self, batches, batch):
        """It is begun later."""
        assert batches.begin(item_run("run_1", 1), 2, 1) is Begun.BEGUN
        assert batches.begin(item_run("run_2", 2), 2, 1) is Begun.QUEUE_FULL

        assert [item.number for item in batches.next_items(batch)] == [2]

    def test_counts_and_states_are_those_of_the_runs(self, batches, batch, store):
        """With the reason and a message of bounded length; filtered and page by page; a run that is gone is removed."""
        for number in (1, 2):
            batches.begin(item_run(f"run_{number}", number), 2, 10)
        self.end(store, "run_1", BAD)
        store.claim("run_2", CLAIM, NOW)

        counts = batches.counts(batch)
        assert some(counts) == {ItemStatus.FAILED: 1, ItemStatus.RUNNING: 1, ItemStatus.WAITING: 1}
        assert counts.ended == 1
        failed = batches.items(batch, 10, status=ItemStatus.FAILED).items
        assert [(one.item.number, one.reason, one.error_code) for one in failed] == [(1, Reason.SCRIPT_ERROR, "0085")]
        assert failed[0].error_message == "m" * 1000
        first = batches.items(batch, 2)
        assert [one.item.number for one in first.items] == [1, 2]
        assert [one.item.number for one in batches.items(batch, 2, first.after).items] == [3]
        store.delete_run("ten_a", "run_1")
        assert batches.counts(batch).items[ItemStatus.REMOVED] == 1
        assert batches.items(batch, 1).items[0].status is ItemStatus.REMOVED

    def test_a_batch_ends_when_nothing_is_left(self, batches, batch, store):
        """And only once."""
        for number in (1, 2, 3):
            assert not batches.finish("bat_1", NOW)
            batches.begin(item_run(f"run_{number}", number), 2, 10)
            self.end(store, f"run_{number}")

        assert [batches.finish("bat_1", NOW), batches.finish("bat_1", NOW)] == [True, False]

        assert self.present(batches).status is BatchStatus.FINISHED
        assert batches.results(batch) == [(1, "run_1"), (2, "run_2"), (3, "run_3")]

    def test_a_cancelled_batch_begins_nothing_more(self, batches, batch, store):
        """It ends when what was under way has; items that never began count as cancelled."""
        batches.begin(item_run("run_1", 1), 2, 10)

        assert batches.request_cancel("ten_a", "bat_1")

        assert batches.begin(item_run("run_2", 2), 2, 10) is Begun.NOT_WANTED
        assert not batches.finish("bat_1", NOW)
        assert batches.under_way("bat_1") == ["run_1"]
        store.request_cancel("ten_a", "run_1", NOW)
        assert batches.finish("bat_1", NOW)
        assert self.present(batches).status is BatchStatus.CANCELLED
        assert some(batches.counts(self.present(batches))) == {ItemStatus.CANCELLED: 3}
        assert not batches.request_cancel("ten_a", "bat_1")

    def test_a_retry_begins_again_what_did_not_succeed(self, batches, batch, store):
        """Not what did; not while the batch goes on; and when nothing is left to retry, nothing changes."""
        for number, outcome in ((1, GOOD), (2, BAD), (3, GOOD)):
            batches.begin(item_run(f"run_{number}", number), 3, 10)
            self.end(store, f"run_{number}", outcome)
        assert batches.retry("ten_a", "bat_1", NOW) is None
        batches.finish("bat_1", NOW)
        later = NOW + timedelta(seconds=9)

        assert batches.retry("ten_a", "bat_1", later).items == 1

        assert (self.present(batches).status, self.present(batches).begun_at) == (BatchStatus.RUNNING, later)
        again = batches.next_items(self.present(batches))
        assert [(item.number, item.retries) for item in again] == [(2, 1)]
        assert batches.counts(self.present(batches)).ended == 0
        assert some(batches.counts(self.present(batches))) == {ItemStatus.SUCCEEDED: 2, ItemStatus.WAITING: 1}
        first_try = store.run("ten_a", "run_2")
        assert (first_try.batch_id, first_try.item) == ("bat_1", None)
        batches.begin(item_run("run_4", 2), 2, 10)
        self.end(store, "run_4", after_seconds=10)
        batches.finish("bat_1", later)
        assert batches.retry("ten_a", "bat_1", later).items == 0
        assert self.present(batches).status is BatchStatus.FINISHED
        assert batches.results(batch) == [(1, "run_1"), (2, "run_4"), (3, "run_3")]

    def test_a_cancelled_batch_can_be_taken_up_again(self, batches, batch, store):
        """With what was stopped and what never began."""
        batches.begin(item_run("run_1", 1), 2, 10)
        batches.request_cancel("ten_a", "bat_1")
        store.request_cancel("ten_a", "run_1", NOW)
        batches.finish("bat_1", NOW)

        assert batches.retry("ten_a", "bat_1", NOW).items == 3

        assert [item.number for item in batches.next_items(self.present(batches))] == [1, 2]

    def test_the_output_is_put_together_by_one_run(self, batches, batch, store):
        """Of a batch that has ended; after a retry it is another; a run that failed can be replaced."""
        output = item_run("run_o", 0).model_copy(update={"item": None, "job": Job(task=TaskKind.CONCATENATE)})
        assert batches.begin_output(output, 10) is None
        for number in (1, 2, 3):
            batches.begin(item_run(f"run_{number}", number), 2, 10)
            self.end(store, f"run_{number}", BAD)
        batches.finish("bat_1", NOW)

        assert batches.begin_output(output, 10) == "run_o"
        other = output.model_copy(update={"id": "run_p"})
        assert batches.begin_output(other, 10) == "run_o"
        assert store.known_runs(["run_o", "run_p"]) == {"run_o"}
        assert not batches.delete("ten_a", "bat_1").done
        self.end(store, "run_o")
        batches.forget_output("bat_1", "run_o")
        assert batches.begin_output(other, 10) == "run_p"
        self.end(store, "run_p")
        assert batches.retry("ten_a", "bat_1", NOW).output_run_id == "run_p"
        assert store.known_runs(["run_p"]) == set()
        assert self.present(batches).output_run_id is None

    def test_a_deleted_batch_takes_its_runs_with_it(self, batches, batch, store):
        """Also those of earlier tries; not while it goes on, and not those of others."""
        store.add_run(a_run("run_x"), 10)
        for number in (1, 2, 3):
            batches.begin(item_run(f"run_{number}", number), 2, 10)
            self.end(store, f"run_{number}")
        assert not batches.delete("ten_a", "bat_1").done
        batches.finish("bat_1", NOW)

        deleted = batches.delete("ten_a", "bat_1")

        assert (deleted.done, set(deleted.run_ids)) == (True, {"run_1", "run_2", "run_3"})
        assert store.known_runs(["run_1", "run_2", "run_3", "run_x"]) == {"run_x"}
        assert batches.batch("ten_a", "bat_1") is None
        assert batches.items(batch, 10).items == ()

    def test_a_dataset_is_in_use_until_the_batch_has_ended(self, batches, batch, datasets):
        """Then it may be deleted."""
        assert datasets.in_use("dsv_1") == ["batch bat_1"]
        assert datasets.in_use("dsv_2") == []

        batches.request_cancel("ten_a", "bat_1")
        batches.finish("bat_1", NOW)

        assert datasets.in_use("dsv_1") == []

    def test_pages_and_ages(self, batches):
        """Newest first; of those that ended, the oldest first."""
        for n in range(3):
            batches.add(
                a_batch(f"bat_{n}").model_copy(update={"created_at": NOW + timedelta(seconds=n)}), [], [], None, 10
            )

        page = batches.page("ten_a", 2)
        rest = batches.page("ten_a", 2, page.before)

        assert [one.id for one in (*page.batches, *rest.batches)] == ["bat_2", "bat_1", "bat_0"]
        assert rest.before is None
        assert [one.id for one in batches.unfinished()] == ["bat_0", "bat_1", "bat_2"]
        batches.request_cancel("ten_a", "bat_1")
        batches.finish("bat_1", NOW)
        assert batches.expired(NOW + timedelta(seconds=1), 10) == [("ten_a", "bat_1")]
        assert batches.expired(NOW, 10) == []

    def test_a_page_of_large_ones_ends_early(self, batches):
        """By the tables that were asked for, and the parameters: what is read at once is bounded by bytes."""
        large = a_batch().template.model_copy(update={"job": Job(parameters={"p": "p" * (500 << 10)})})
        source = {"datasets": ["d" * (400 << 10)]}
        for n in range(3):
            batch = a_batch(f"bat_{n}", template=large, source=source, created_at=NOW + timedelta(seconds=n))
            batches.add(batch, [], [], None, 10)

        page = batches.page("ten_a", 10)
        rest = batches.page("ten_a", 10, page.before)

        assert [[one.id for one in some.batches] for some in (page, rest)] == [["bat_2", "bat_1"], ["bat_0"]]
        assert rest.before is None
