"""What every store of tenants promises (controller/store/tenant_store.py). A test module inherits this and provides
`tenants`, `audit` and `store` on one database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import Conflict
from controller.model import Outcome, Quotas, Status, Stored, Usage
from controller.store.audit_store import AuditFilter, Entry
from controller.store.base import Added, Claim
from controller.store.tenant_store import Key, Rotated, Tenant

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CLAIM = Claim(owner="own_1", lease_until=NOW + timedelta(seconds=60))


def an_entry(action="test", at=NOW, **more) -> Entry:
    return Entry(action=action, at=at, **more)


def two_tenants(tenants) -> None:
    for name in "ab":
        tenants.add(Tenant(id=f"ten_{name}", name=name, created_at=NOW), an_entry("tenant.create"))


def a_key(key_id: str, tenant_id="ten_a", scopes=("run",), **more) -> Key:
    return Key(id=key_id, tenant_id=tenant_id, name="n", mac="m", scopes=scopes, **{"created_at": NOW} | more)


def used(seconds: float, cpu_seconds: float | None = None) -> Outcome:
    return Outcome(status=Status.SUCCEEDED, usage=Usage(wall_seconds=seconds, cpu_seconds=cpu_seconds))


class TenantStoreContract:
    @pytest.fixture(autouse=True)
    def _tenants(self, tenants):
        two_tenants(tenants)

    @pytest.fixture
    def actions(self, audit):
        """The audit log's actions, the first first."""
        return lambda: [row.action for row in audit.rows()]

    def test_a_tenant_comes_back_as_it_was_stored(self, tenants):
        """With the quotas that were set, and no others."""
        quotas = Quotas(cpus=1.5, queued_runs=None)
        tenant = Tenant(id="ten_c", name="c", created_at=LATER, quotas=quotas)

        tenants.add(tenant, an_entry())

        assert tenants.tenant("ten_c") == tenants.named("c") == tenant
        assert tenants.tenant("ten_c").quotas.model_fields_set == {"cpus", "queued_runs"}
        assert tenants.tenant("ten_d") is None

    def test_names_are_unique_and_a_refused_change_is_not_written_down(self, tenants, actions):
        """Adding and renaming."""
        with pytest.raises(Conflict, match="'a'"):
            tenants.add(Tenant(id="ten_c", name="a", created_at=NOW), an_entry("no"))
        with pytest.raises(Conflict, match="'a'"):
            tenants.change("ten_b", "a", None, an_entry("no"))

        assert tenants.change("ten_x", "y", None, an_entry("no")) is None
        assert actions() == ["tenant.create"] * 2

    def test_pages_of_tenants_cover_all_newest_first(self, tenants):
        """And those of keys."""
        for n in range(3):
            tenants.add(Tenant(id=f"ten_{n}", name=str(n), created_at=LATER), an_entry())
            tenants.add_key(a_key(f"key_{n}"), 10, an_entry())
        page, keys = tenants.page(3), tenants.keys("ten_a", 2)

        ids = [tenant.id for tenant in (*page.tenants, *tenants.page(3, page.before).tenants)]
        key_ids = [key.id for key in (*keys.keys, *tenants.keys("ten_a", 2, keys.before).keys)]

        assert ids == ["ten_2", "ten_1", "ten_0", "ten_b", "ten_a"]
        assert key_ids == ["key_2", "key_1", "key_0"]
        assert tenants.keys("ten_b", 10).keys == ()

    def test_suspending_is_written_down_once(self, tenants, actions):
        """What is so already is no change."""
        for at in (NOW, LATER):
            assert tenants.suspend("ten_a", at, an_entry("suspend")).suspended_at == NOW
        for _ in range(2):
            assert tenants.suspend("ten_a", None, an_entry("resume")).suspended_at is None

        assert actions()[2:] == ["suspend", "resume"]
        assert tenants.suspend("ten_x", NOW, an_entry("suspend")) is None

    def test_keys_come_back_as_they_were_stored(self, tenants):
        """With their tenant for whoever presents them, and for their tenant alone in the list."""
        key = a_key("k", expires_at=LATER)
        assert not tenants.has_keys()

        assert tenants.add_key(key, 1, an_entry())

        assert tenants.has_keys()
        assert tenants.presented("k") == (key, tenants.tenant("ten_a"))
        assert (tenants.key("ten_a", "k"), tenants.key("ten_b", "k")) == (key, None)
        assert tenants.presented("other") is None

    def test_a_key_is_presented_as_it_and_its_tenant_are_now(self, tenants):
        """However often it was before: a suspension, a quota, a revocation hold from the next request on."""
        tenants.add_key(a_key("k"), 1, an_entry())
        first, before, again = tenants.tenant("ten_a"), tenants.presented("k"), tenants.presented("k")
        suspended = tenants.suspend("ten_a", NOW, an_entry())
        then = tenants.presented("k")
        changed = tenants.change("ten_a", None, Quotas(cpus=1), an_entry())
        last = tenants.presented("k")
        revoked = tenants.revoke("ten_a", "k", an_entry())

        assert before == again == (a_key("k"), first)
        assert (then[1], last[1]) == (suspended, changed)
        assert tenants.presented("k") == (revoked, changed)

    def test_the_number_of_live_keys_is_bounded(self, tenants, actions):
        """Those that have ended do not count."""
        tenants.add_key(a_key("old", expires_at=NOW), 1, an_entry())
        first = tenants.add_key(a_key("one"), 1, an_entry())
        second = tenants.add_key(a_key("two"), 1, an_entry("no"))
        tenants.revoke("ten_a", "one", an_entry())
        third = tenants.add_key(a_key("three"), 1, an_entry())

        assert (first, second, third) == (True, False, True)
        assert "no" not in actions()

    def test_a_key_is_revoked_once_and_by_its_tenant(self, tenants, actions):
        """The first moment counts."""
        tenants.add_key(a_key("k"), 9, an_entry())

        assert tenants.revoke("ten_b", "k", an_entry("no")) is None
        assert tenants.revoke("ten_a", "k", an_entry("revoke")).revoked_at == NOW
        assert tenants.revoke("ten_a", "k", an_entry("no", LATER)).revoked_at == NOW
        assert actions()[3:] == ["revoke"]

    def test_the_last_key_of_an_operator_is_not_revoked(self, tenants):
        """Neither expired ones nor a suspended tenant's would let anybody in."""
        tenants.add_key(a_key("mine", scopes=("admin",)), 9, an_entry())
        tenants.add_key(a_key("old", scopes=("admin",), expires_at=NOW), 9, an_entry())
        tenants.add_key(a_key("theirs", "ten_b", scopes=("admin",)), 9, an_entry())
        tenants.suspend("ten_b", NOW, an_entry())

        with pytest.raises(Conflict, match="last key"):
            tenants.revoke("ten_a", "mine", an_entry())
        tenants.suspend("ten_b", None, an_entry())
        assert tenants.revoke("ten_a", "mine", an_entry()).revoked_at == NOW

    def test_a_key_that_is_about_to_end_is_no_operators_last(self, tenants):
        """One that was rotated lives on for its grace only, and one that ends within a day no longer than that."""
        tenants.add_key(old := a_key("old", scopes=("admin",)), 9, an_entry())
        tenants.add_key(a_key("ends", scopes=("admin",), expires_at=NOW + timedelta(hours=23)), 9, an_entry())
        tenants.rotate(old, a_key("new", scopes=("admin",)), NOW + timedelta(days=30), 9, an_entry())

        with pytest.raises(Conflict, match="last key"):
            tenants.revoke("ten_a", "new", an_entry())
        assert tenants.revoke("ten_a", "old", an_entry()).revoked_at == NOW
        tenants.add_key(a_key("stays", scopes=("admin",), expires_at=NOW + timedelta(hours=25)), 9, an_entry())
        assert tenants.revoke("ten_a", "new", an_entry()).revoked_at == NOW

    def test_of_many_rotations_of_a_key_exactly_one_succeeds(self, tenants):
        """Eight threads at once."""
        tenants.add_key(a_key("k"), 9, an_entry())
        barrier, won = threading.Barrier(8), []

        def race(n):
            barrier.wait()
            if tenants.rotate(a_key("k"), a_key(f"k{n}"), LATER, 9, an_entry("rotate")) is Rotated.DONE:
                won.append(f"k{n}")

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [key.id for key in tenants.keys("ten_a", 9).keys] == [*won, "k"] or len(won) == 1
        assert len(tenants.keys("ten_a", 9).keys) == 2
        assert tenants.key("ten_a", "k").replaced_by == won[0]
        assert tenants.key("ten_a", "k").expires_at == LATER

    def test_rotations_pass_the_limit_by_one_key(self, tenants, actions):
        """All of a tenant's keys can be rotated, one after the other; but not without end."""
        for name in "ab":
            tenants.add_key(a_key(name), 2, an_entry())

        first = tenants.rotate(a_key("a"), a_key("a2"), LATER, 2, an_entry("rotate"))
        full = tenants.rotate(a_key("b"), a_key("b2"), LATER, 2, an_entry("no"))
        at_once = tenants.rotate(a_key("b"), a_key("b2"), NOW, 2, an_entry("rotate"))
        again = tenants.rotate(a_key("a2"), a_key("a3"), LATER + timedelta(hours=1), 2, an_entry("rotate", LATER))

        assert (first, full, at_once, again) == (Rotated.DONE, Rotated.FULL, Rotated.DONE, Rotated.DONE)
        assert "no" not in actions()
        assert tenants.key("ten_a", "b").expires_at == NOW

    def test_a_rotated_key_never_lives_longer_than_it_would_have(self, tenants):
        """The earlier end counts; a revoked one is not rotated."""
        soon = NOW + timedelta(seconds=1)
        tenants.add_key(key := a_key("k", expires_at=soon), 9, an_entry())
        tenants.add_key(dead := a_key("dead"), 9, an_entry())
        tenants.revoke("ten_a", "dead", an_entry())

        assert tenants.rotate(key, a_key("new"), LATER, 9, an_entry()) is Rotated.DONE
        assert tenants.rotate(dead, a_key("newer"), LATER, 9, an_entry()) is Rotated.ENDED
        assert tenants.key("ten_a", "k").expires_at == soon

    def test_uses_are_kept(self, tenants):
        """For each key the last one."""
        tenants.add_key(a_key("k"), 9, an_entry())

        tenants.used({"k": LATER, "gone": LATER})

        assert tenants.key("ten_a", "k").last_used_at == LATER

    def test_what_ends_is_on_the_account_of_the_day(self, tenants, store, a_run):
        """Runs, seconds and CPU seconds, in the transaction that ends the run; once, whoever says so again."""
        for n, outcome in enumerate((used(2.0, 1.5), used(3.0))):
            store.add_run(a_run(f"run_{n}"), 10)
            store.claim(f"run_{n}", CLAIM, NOW)
            assert store.finish(f"run_{n}", 1, outcome, NOW, Stored(output_bytes=7))
            assert not store.finish(f"run_{n}", 1, outcome, NOW, Stored())
        store.add_run(a_run("run_2"), 10)
        store.claim("run_2", CLAIM, NOW)

        days = tenants.usage(10, "ten_a").days
        in_use = tenants.in_use("ten_a", NOW + timedelta(seconds=4))

        assert [(day.day, day.runs, day.run_seconds, day.cpu_seconds) for day in days] == [(NOW.date(), 2, 5.0, 1.5)]
        assert (in_use.running_runs, in_use.queued_runs, in_use.run_seconds, in_use.stored_bytes) == (1, 0, 9.0, 14)
        assert tenants.usage(10, "ten_b").days == ()

    def test_pages_of_usage_cover_all_days_of_all_tenants(self, tenants, store, a_run):
        """Newest day first, since some day."""
        for n in range(4):
            moment, run_id = NOW + timedelta(days=n // 2), f"run_{n}"
            store.add_run(a_run(run_id, "ten_ab"[:4] + "ab"[n % 2]), 10)
            store.claim(run_id, CLAIM, moment)
            store.finish(run_id, 1, used(1), moment, Stored())
        page = tenants.usage(3)

        found = [(day.day.day, day.tenant_id) for day in (*page.days, *tenants.usage(3, before=page.before).days)]

        assert found == [(3, "ten_b"), (3, "ten_a"), (2, "ten_b"), (2, "ten_a")]
        assert len(tenants.usage(9, since=(NOW + timedelta(days=1)).date()).days) == 2

    def test_a_queue_quota_holds(self, store, a_run):
        """The smaller of the two bounds."""
        quotas = Quotas(queued_runs=1)

        taken = [store.add_run(a_run(f"run_{n}"), 10, None, quotas) for n in range(2)]

        assert taken == [Added.ADDED, Added.QUEUE_FULL]

    def test_a_quota_of_seconds_counts_what_ended_and_what_runs(self, store, a_run):
        """Today's, of this tenant."""
        quotas = Quotas(run_seconds_per_day=5)
        store.add_run(a_run("run_1"), 10)
        store.claim("run_1", CLAIM, NOW - timedelta(seconds=3))
        added = [store.add_run(a_run("run_2"), 10, None, quotas)]
        store.finish("run_1", 1, used(5), NOW, Stored())
        added += [store.add_run(a_run(run_id, tenant), 10, None, quotas) for run_id, tenant in _MORE]
        tomorrow = a_run("run_5").model_copy(update={"created_at": NOW + timedelta(days=1)})
        added.append(store.add_run(tomorrow, 10, None, quotas))

        assert added == [Added.ADDED, Added.SECONDS_SPENT, Added.ADDED, Added.ADDED]
        assert store.claim("run_2", CLAIM, NOW, quotas) is None
        assert store.claim("run_2", CLAIM, NOW + timedelta(days=1), quotas) is not None

    def test_a_quota_of_bytes_holds_under_a_race(self, store, a_run):
        """Eight threads submit at once; never more than the quota is stored."""
        barrier, taken, quotas = threading.Barrier(8), [], Quotas(stored_bytes=35)

        def race(n):
            run = a_run(f"run_{n}").model_copy(update={"input_bytes": 10})
            barrier.wait()
            taken.append(store.add_run(run, 100, None, quotas))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(taken) == [Added.ADDED] * 3 + [Added.STORAGE_SPENT] * 5

    def test_no_more_runs_are_claimed_than_a_tenant_has_places(self, tenants, store, a_run):
        """Its own quota, else the default's; none while it is suspended."""
        for n in range(3):
            store.add_run(a_run(f"run_{n}"), 10)
        tenants.suspend("ten_a", NOW, an_entry())
        suspended = store.claim("run_0", CLAIM, NOW)
        tenants.suspend("ten_a", None, an_entry())
        claimed = [store.claim(f"run_{n}", CLAIM, NOW, Quotas(concurrent_runs=1)) for n in range(2)]
        tenants.change("ten_a", None, Quotas(concurrent_runs=2), an_entry())
        claimed += [store.claim(f"run_{n}", CLAIM, NOW, Quotas(concurrent_runs=1)) for n in (1, 2)]

        assert suspended is None
        assert [run is not None for run in claimed] == [True, False, True, False]

    def test_shares_tell_who_is_special(self, tenants, store, a_run):
        """Quotas of its own, suspended, or with seconds of today; nobody else."""
        assert tenants.shares() == []
        tenants.change("ten_a", None, Quotas(cpus=1), an_entry())
        tenants.suspend("ten_b", NOW, an_entry())

        assert {tenant.id for tenant, _ in tenants.shares()} == {"ten_a", "ten_b"}

    def test_a_deleted_tenant_takes_everything_along(self, tenants, store, actions, a_run):
        """Some rows at a time, and not before nothing is live; nothing is accepted meanwhile. Another's stays."""
        for n, tenant_id in enumerate(("ten_a", "ten_a", "ten_b")):
            store.add_run(a_run(f"run_{n}", tenant_id), 10)
            store.claim(f"run_{n}", CLAIM, NOW)
        store.finish("run_0", 1, used(1), NOW, Stored())
        tenants.add_key(a_key("k"), 9, an_entry())
        assert not tenants.forget("ten_a", an_entry("no"))
        assert not any(tenants.erase("ten_a", 10))

        for _ in range(2):
            assert tenants.begin_deletion("ten_a", an_entry("delete", LATER)).deleting_at == LATER
        refused = store.add_run(a_run("run_9"), 10)
        first = tenants.erase("ten_a", 10)
        second = tenants.erase("ten_a", 10)
        early = tenants.forget("ten_a", an_entry("no"))
        store.finish("run_1", 1, used(1), NOW, Stored())
        third = tenants.erase("ten_a", 10)

        assert (refused, early, tenants.deleting()) == (Added.NO_TENANT, False, ["ten_a"])
        assert (first.run_ids, second.run_ids, third.run_ids) == (["run_0"], [], ["run_1"])
        assert tenants.forget("ten_a", an_entry("deleted"))
        assert (tenants.tenant("ten_a"), tenants.presented("k")) == (None, None)
        assert store.run("ten_b", "run_2") is not None
        assert actions()[-2:] == ["delete", "deleted"]
        assert tenants.begin_deletion("ten_a", an_entry("no")) is None

    def test_a_change_that_cannot_be_written_down_is_not_made(self, tenants, audit, refuse_audit):
        """The two are one transaction: of every method that changes something."""
        tenants.add_key(a_key("k"), 9, an_entry())
        before = len(list(audit.rows()))
        changes = [
            lambda: tenants.add(Tenant(id="ten_c", name="c", created_at=NOW), an_entry()),
            lambda: tenants.change("ten_a", "other", Quotas(cpus=1), an_entry()),
            lambda: tenants.suspend("ten_a", NOW, an_entry()),
            lambda: tenants.add_key(a_key("k2"), 9, an_entry()),
            lambda: tenants.rotate(a_key("k"), a_key("k3"), LATER, 9, an_entry()),
            lambda: tenants.revoke("ten_a", "k", an_entry()),
            lambda: tenants.begin_deletion("ten_a", an_entry()),
        ]

        with refuse_audit():
            for change in changes:
                with pytest.raises(Exception, match="no room in the log"):
                    change()

        assert tenants.tenant("ten_a") == Tenant(id="ten_a", name="a", created_at=NOW)
        assert tenants.tenant("ten_c") is None
        assert tenants.keys("ten_a", 9).keys == (a_key("k"),)
        assert len(audit.page(AuditFilter(), 99)) == before


_MORE = [("run_3", "ten_a"), ("run_4", "ten_b")]
