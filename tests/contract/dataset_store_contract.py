"""What every store of datasets promises (controller/store/dataset_store.py); a test module inherits this and provides
`store` and `datasets`, on the same database."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from store_contract import CLAIM, LOST, NOTHING, NOW, a_run, idempotent
from tenant_store_contract import two_tenants

from controller.model import (
    DatasetStatus,
    DatasetVersion,
    Format,
    Job,
    Outcome,
    Part,
    Status,
    TaskKind,
)
from controller.store.dataset_store import Expected, Put

DONE = Outcome(status=Status.SUCCEEDED)


def a_version(
    name: str = "d", content: str = "c", tenant_id: str = "ten_a", number: int = 0, run_id: str = "", id: str = ""
) -> DatasetVersion:
    """A version as it is handed in: its number is not known yet."""
    a_version.count += 1
    return DatasetVersion(
        id=id or f"dsv_{a_version.count:06}",
        tenant_id=tenant_id,
        name=name,
        version=number,
        run_id=run_id or f"run_{a_version.count:06}",
        format=Format.CSV,
        compression=None,
        source_bytes=10,
        source_sha256="5" * 64,
        content_sha256=content,
        created_at=NOW + timedelta(seconds=a_version.count),
    )


a_version.count = 0


def an_ingest(version: DatasetVersion, **changes):
    job = Job(task=TaskKind.INGEST)
    return a_run(version.run_id, version.tenant_id).model_copy(update={"job": job, "input_bytes": 10, **changes})


class DatasetStoreContract:
    @pytest.fixture(autouse=True)
    def _tenants(self, tenants):
        two_tenants(tenants)

    @pytest.fixture
    def put(self, store, datasets):
        """Add a version, and have its run end so (None: not yet); the version as it was stored."""

        def put(name="d", content=None, end=DONE, tenant_id="ten_a", **changes):
            version = a_version(name, content or f"c{a_version.count}", tenant_id)
            said, stored = datasets.add(version, an_ingest(version, **changes), 1000, Expected(), None)
            assert said is Put.ADDED
            if end is not None:
                store.claim(version.run_id, CLAIM, NOW)
                store.finish(version.run_id, 1, end, NOW, NOTHING)
            return stored

        return put

    def test_a_version_comes_back_as_it_was_stored(self, store, datasets):
        """With its run, whose end is its state; numbers count from 1."""
        version = a_version()
        run = an_ingest(version)

        said, stored = datasets.add(version, run, 10, Expected(), None)

        assert (said, stored) == (Put.ADDED, version.model_copy(update={"version": 1}))
        found = datasets.version("ten_a", "d", 1)
        assert (found.version, found.run, found.status) == (stored, run, DatasetStatus.INGESTING)
        assert datasets.by_id("ten_a", version.id) == found == datasets.newest("ten_a", "d")
        assert datasets.newest("ten_a", "d", ready=True) is None

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (DONE, DatasetStatus.READY),
            (LOST, DatasetStatus.FAILED),
            (Outcome(status=Status.CANCELLED), DatasetStatus.FAILED),
        ],
    )
    def test_its_state_is_its_runs(self, datasets, put, end, status):
        """Nothing is written twice."""
        put(end=end)

        assert datasets.newest("ten_a", "d").status is status

    def test_what_is_anothers_is_missing(self, datasets, put):
        """In every question, and in a deletion."""
        version = put()

        assert datasets.by_id("ten_b", version.id) is None
        assert datasets.version("ten_b", "d", 1) is None
        assert datasets.newest("ten_b", "d") is None
        assert datasets.versions("ten_b", "d", 10).datasets == ()
        assert datasets.page("ten_b", 10).datasets == ()
        assert datasets.delete("ten_b", "d", None, NOW) is None
        assert datasets.version("ten_a", "d", 1) is not None

    def test_the_newest_is_the_last_that_did_not_fail(self, datasets, put):
        """What is ready before what failed after it; and of failures the last."""
        put(end=LOST)
        put(end=LOST)
        assert datasets.newest("ten_a", "d").version.version == 2
        put()
        put(end=LOST)
        assert datasets.newest("ten_a", "d").version.version == 3
        put(end=None)
        assert datasets.newest("ten_a", "d").version.version == 5
        assert datasets.newest("ten_a", "d", ready=True).version.version == 3

    def test_the_same_again_adds_nothing(self, store, datasets, put):
        """The newest version is given; an older one's content, or a failed one's, makes a new version."""
        first = put(content="same")
        again = a_version(content="same")

        assert datasets.add(again, an_ingest(again), 10, Expected(), None) == (Put.SAME, first)
        assert store.run("ten_a", again.run_id) is None
        put(content="other")
        assert put(content="same", end=LOST).version == 3
        assert put(content="same").version == 4

    def test_a_full_queue_takes_no_more(self, store, datasets):
        """Neither the version nor its run."""
        first, second = a_version(content="1"), a_version(content="2")
        datasets.add(first, an_ingest(first), 1, Expected(), None)

        assert datasets.add(second, an_ingest(second), 1, Expected(), None) == (Put.QUEUE_FULL, None)

        assert len(datasets.versions("ten_a", "d", 10).datasets) == 1
        assert store.run("ten_a", second.run_id) is None

    def test_a_key_is_taken_once(self, store, datasets):
        """The second request adds nothing, whatever it expects; the key names the version."""
        first, second = a_version(content="1"), a_version(content="2")
        datasets.add(first, an_ingest(first), 9, Expected(), idempotent("k", first.id))

        said = datasets.add(second, an_ingest(second), 9, Expected(absent=True), idempotent("k", second.id))

        assert said == (Put.KEY_TAKEN, None)
        assert store.idempotent("ten_a", "k").resource_id == first.id
        assert len(datasets.versions("ten_a", "d", 10).datasets) == 1

    def test_an_expectation_is_kept(self, datasets, put):
        """absent: unless there is one that did not fail; versions: only while the newest is one of them."""

        def said(**expected):
            version = a_version(content=f"new{a_version.count}")
            return datasets.add(version, an_ingest(version), 99, Expected(**expected), None)[0]

        assert said(versions=("*",)) is Put.UNEXPECTED
        put(end=LOST)
        assert said(absent=True) is Put.ADDED
        assert said(absent=True) is Put.UNEXPECTED
        first = datasets.newest("ten_a", "d").version.id
        assert said(versions=("dsv_other",)) is Put.UNEXPECTED
        assert said(versions=("dsv_other", first)) is Put.ADDED
        assert said(versions=(first,)) is Put.UNEXPECTED
        assert said(versions=("*",)) is Put.ADDED

    def test_numbers_are_unique_under_a_race(self, datasets):
        """Eight threads add to one name: eight versions, numbered 1 to 8."""
        barrier, numbers = threading.Barrier(8), []
        versions = [a_version(content=f"race{n}") for n in range(8)]

        def race(version):
            barrier.wait()
            numbers.append(datasets.add(version, an_ingest(version), 99, Expected(), None)[1].version)

        threads = [threading.Thread(target=race, args=(version,)) for version in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(numbers) == list(range(1, 9))

    def test_one_of_many_that_expect_nothing_there_is_added(self, datasets):
        """If-None-Match: * under a race: one, and no second."""
        barrier, said = threading.Barrier(8), []
        versions = [a_version(content=f"race{n}") for n in range(8)]

        def race(version):
            barrier.wait()
            said.append(datasets.add(version, an_ingest(version), 99, Expected(absent=True), None)[0])

        threads = [threading.Thread(target=race, args=(version,)) for version in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(said) == [Put.ADDED] + [Put.UNEXPECTED] * 7

    def test_lists_come_in_pages(self, datasets, put):
        """Of each name its newest version, newest first, by prefix; of a name its versions; whole at any page size."""
        for name in ("a", "b", "a", "A", "ab", "a_", "c"):
            put(name)

        def names(limit, prefix=""):
            found, before = [], None
            while True:
                page = datasets.page("ten_a", limit, prefix, before)
                found += [(one.version.name, one.version.version) for one in page.datasets]
                if (before := page.before) is None:
                    return found

        whole = [("c", 1), ("a_", 1), ("ab", 1), ("A", 1), ("a", 2), ("b", 1)]
        assert names(100) == names(6) == names(5) == names(1) == whole
        assert names(2, "a") == [("a_", 1), ("ab", 1), ("a", 2)]
        assert names(2, "a_") == [("a_", 1)]
        assert names(2, "x") == []

    def test_a_thousand_versions_are_listed_in_pages(self, datasets, put):
        """All of them, once each; a page is as long as was asked for."""
        for _ in range(1000):
            put(end=None)

        numbers, below = [], None
        while True:
            page = datasets.versions("ten_a", "d", 99, below)
            assert len(page.datasets) == 99 or page.below is None
            numbers += [one.version.version for one in page.datasets]
            if (below := page.below) is None:
                break

        assert numbers == list(range(1000, 0, -1))
        assert [one.version.version for one in datasets.page("ten_a", 10).datasets] == [1000]

    def test_pages_of_large_versions_end_early(self, datasets, put):
        """Each carries a mebibyte of words: a page holds a few, and the list goes on where it ended."""
        from controller.model import ScriptError

        large = ScriptError(code="0018", type="BadInput", message="x" * (1 << 20))
        for name in "abcde":
            put(name, end=Outcome(status=Status.FAILED, error=large))

        first = datasets.page("ten_a", 5)
        second = datasets.page("ten_a", 5, before=first.before)

        assert 0 < len(first.datasets) < 5
        shown = [one.version.name for one in (*first.datasets, *second.datasets)]
        assert shown == list("edcba")[: len(shown)]

    def test_what_is_deleted_is_gone_but_for_its_number(self, store, datasets, put):
        """The version, its run and its key; the next version goes on counting."""
        first, second = put(), put()

        removed = datasets.delete("ten_a", "d", 1, NOW)

        assert (removed.forgotten, removed.stopping) == ((first.run_id,), ())
        assert datasets.version("ten_a", "d", 1) is None
        assert datasets.by_id("ten_a", first.id) is None
        assert store.run("ten_a", first.run_id) is None
        assert [one.version for one in datasets.versions("ten_a", "d", 9).datasets] == [second]
        assert datasets.delete("ten_a", "d", 1, NOW) is None
        assert datasets.delete("ten_a", "d", None, NOW).forgotten == (second.run_id,)
        assert datasets.page("ten_a", 9).datasets == ()
        assert put().version == 3

    def test_a_deletion_forgets_the_key_of_its_request(self, store, datasets):
        """Forgotten is forgotten: the key makes a new version."""
        first = a_version()
        datasets.add(first, an_ingest(first), 9, Expected(), idempotent("k", first.id))

        datasets.delete("ten_a", "d", None, NOW)

        assert store.idempotent("ten_a", "k") is None

    def test_an_ingest_at_work_is_stopped_before_it_is_forgotten(self, store, datasets, put):
        """What waits goes at once; what is executed is marked as cancelled, and is forgotten after its end."""
        waiting, running = put(end=None), put(end=None)
        store.claim(running.run_id, CLAIM, NOW)

        removed = datasets.delete("ten_a", "d", None, NOW)

        assert (removed.forgotten, removed.stopping) == ((waiting.run_id,), (running.run_id,))
        assert store.cancel_requested(running.run_id)
        assert datasets.forgettable(9) == []
        datasets.forget(running.run_id)
        assert store.run("ten_a", running.run_id) is not None
        store.finish(running.run_id, 1, DONE, NOW, NOTHING)
        assert datasets.forgettable(9) == datasets.forgettable(9, running.run_id) == [running.run_id]
        assert datasets.forgettable(9, "run_other") == []
        datasets.forget(running.run_id)
        assert store.run("ten_a", running.run_id) is None
        assert datasets.forgettable(9) == []

    def test_sources_to_be_removed_are_found(self, store, datasets, put):
        """Of versions whose ingest has ended, well or not, until it is said that they are removed."""
        ready, failed, waiting = put(), put(end=LOST), put(end=None)

        found = {one.version.id for one in datasets.untidy(9)}

        assert found == {ready.id, failed.id}
        assert datasets.untidy(9, waiting.run_id) == []
        store.mark_removed(ready.run_id, [Part.INPUTS])
        assert [one.version.id for one in datasets.untidy(9)] == [failed.id]
        assert len(datasets.untidy(9, failed.run_id)) == 1

    def test_nothing_uses_a_version_that_nobody_named(self, datasets, put):
        """The question that whoever works on a dataset in steps has an answer to."""
        assert datasets.in_use(put().id) == []
