"""What every store of endpoints promises (controller/store/endpoint_store.py); a test module inherits this and provides
`store`, `scripts` and `endpoints`, on the same database."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from script_store_contract import a_script
from store_contract import NOW
from tenant_store_contract import an_entry, two_tenants

from controller.model import Column
from controller.store.audit import SqlAudit
from controller.store.endpoint_store import Changed, Config, Ending, Endpoint, EndpointKey, Job, Signature, Tally
from controller.store.script_store import Named


def an_endpoint(name: str = "e", tenant_id: str = "ten_a", script: Named | None = None, **more) -> Endpoint:
    an_endpoint.count += 1
    number = an_endpoint.count
    fields = {
        "primary_id": f"p{number}",
        "primary_mac": "1" * 64,
        "secondary_id": f"s{number}",
        "secondary_mac": "2" * 64,
        "created_at": NOW,
        "updated_at": NOW,
        "config": Config(),
    }
    return Endpoint(
        id=f"ept_{number:032x}", tenant_id=tenant_id, name=name, script=script or Named(name="s"), **fields | more
    )


an_endpoint.count = 0


class EndpointStoreContract:
    @pytest.fixture(autouse=True)
    def _scripts(self, tenants, scripts):
        two_tenants(tenants)
        for tenant_id in ("ten_a", "ten_b"):
            scripts.add(a_script(tenant_id=tenant_id, content="1"), 99)
            scripts.add(a_script(tenant_id=tenant_id, content="2"), 99)

    def test_an_endpoint_comes_back_as_it_was_stored(self, endpoints):
        """By name, by each of its keys."""
        whole = an_endpoint(config=Config(concurrency=7, strict=True, inputs=("left",)))

        assert endpoints.put(whole, None, 9) is Changed.DONE

        assert endpoints.find("ten_a", "e") == whole
        assert endpoints.by_key(whole.primary_id) == (whole, whole.primary_mac)
        assert endpoints.by_key(whole.secondary_id) == (whole, whole.secondary_mac)
        assert endpoints.by_key("other") is None
        assert endpoints.find("ten_b", "e") is None

    def test_a_change_keeps_id_and_keys_and_remembers_what_was_served(self, endpoints):
        """The script before the last change of it; another change leaves that alone."""
        first = an_endpoint()
        endpoints.put(first, None, 9)
        signature = Signature(version=2, run_id="run_1", inputs={1: (Column(name="n", type="int64"),)})
        endpoints.sign(first.id, signature)

        endpoints.put(an_endpoint(script=Named(name="s", version=1)), 1, 9)
        endpoints.put(an_endpoint(script=Named(name="s", version=1), config=Config(concurrency=3)), 2, 9)

        found = endpoints.find("ten_a", "e")
        assert (found.id, found.primary_id, found.signature) == (first.id, first.primary_id, signature)
        assert (found.script.version, found.previous, found.revision) == (1, Named(name="s"), 3)
        assert found.config.concurrency == 3

    def test_what_changes_nothing_is_not_written_down(self, endpoints, database):
        """Nor has it another revision; what is expected must hold all the same."""
        wanted = [an_endpoint(), an_endpoint(), an_endpoint(config=Config(strict=True)), an_endpoint()]
        for n, endpoint in enumerate(wanted):
            assert endpoints.put(endpoint, None, 9, an_entry(f"put.{n}")) is Changed.DONE
        assert endpoints.put(an_endpoint(), 9, 9, an_entry("put.9")) is Changed.UNEXPECTED

        actions = [row.action for row in SqlAudit(database).rows()]

        assert [action for action in actions if action.startswith("put.")] == ["put.0", "put.2", "put.3"]
        assert endpoints.find("ten_a", "e").revision == 3

    def test_what_is_expected_must_hold(self, endpoints):
        """A revision; that it is not there; a script that is; a place for one more."""
        endpoints.put(an_endpoint(), 0, 9)

        assert endpoints.put(an_endpoint(), 0, 9) is Changed.UNEXPECTED
        assert endpoints.put(an_endpoint(), 2, 9) is Changed.UNEXPECTED
        assert endpoints.put(an_endpoint("f"), 1, 9) is Changed.UNEXPECTED
        for script in (Named(name="x"), Named(name="s", version=3), Named(name="s", tag="t")):
            assert endpoints.put(an_endpoint("f", script=script), None, 9) is Changed.NO_SCRIPT
        assert endpoints.put(an_endpoint("f"), None, 1) is Changed.FULL
        assert endpoints.put(an_endpoint(), 1, 1) is Changed.DONE

    def test_a_script_that_is_served_stays(self, endpoints, scripts):
        """The version, by number, by tag and as the newest; the tag; the other version may go."""
        scripts.tag("ten_a", "s", "good", 1)
        endpoints.put(an_endpoint("tagged", script=Named(name="s", tag="good")), None, 9)
        endpoints.put(an_endpoint("newest"), None, 9)

        assert scripts.delete("ten_a", "s", None, NOW).users == ("newest", "tagged")
        assert scripts.delete("ten_a", "s", 1, NOW).users == ("tagged",)
        assert scripts.delete("ten_a", "s", 2, NOW).users == ("newest",)
        assert scripts.untag("ten_a", "s", "good").users == ("tagged",)
        assert len(scripts.delete("ten_b", "s", None, NOW).gone) == 2
        endpoints.delete("ten_a", "newest")
        assert len(scripts.delete("ten_a", "s", 2, NOW).gone) == 1

    def test_a_key_is_replaced(self, endpoints):
        """The old one is of nobody from now on."""
        one = an_endpoint()
        endpoints.put(one, None, 9)

        endpoints.set_key(one.id, "secondary", EndpointKey("new", "3" * 64))

        assert endpoints.by_key(one.secondary_id) is None
        assert endpoints.by_key("new")[1] == "3" * 64
        assert endpoints.by_key(one.primary_id)[0].id == one.id

    def test_calls_are_counted_and_go_with_their_endpoint(self, endpoints):
        """Added to what was counted; of an endpoint that is gone nothing is written."""
        one, gone = an_endpoint(), an_endpoint("gone")
        endpoints.put(one, None, 9)
        tally = Tally(one.id, "2026-01-02", Ending.SUCCEEDED, 5)

        endpoints.count({tally: 2, tally._replace(bucket=6): 1, tally._replace(endpoint_id=gone.id): 4})
        endpoints.count({tally: 3})

        assert endpoints.calls(one.id, "2026-01-01") == {tally: 5, tally._replace(bucket=6): 1}
        assert endpoints.calls(one.id, "2026-01-03") == {}
        assert endpoints.calls(gone.id, "") == {}
        assert endpoints.delete("ten_a", "e") == one.id
        assert endpoints.calls(one.id, "") == {}
        assert endpoints.delete("ten_a", "e") is None

    def test_a_job_is_started_once(self, endpoints):
        """By one of several; not after it was cancelled; of its own endpoint only."""
        one = an_endpoint()
        endpoints.put(one, None, 9)
        job = Job(id="j1", endpoint_id=one.id, tenant_id="ten_a", request={"inputs": []}, created_at=NOW)
        endpoints.add_job(job, 9)
        endpoints.add_job(job.model_copy(update={"id": "j2", "created_at": NOW + timedelta(days=1)}), 9)
        started = []

        threads = [
            threading.Thread(target=lambda n=n: started.append(endpoints.start_job("j1", f"run_{n}"))) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        endpoints.cancel_job("j2")

        assert sorted(started) == [False, False, False, True]
        assert endpoints.job(one.id, "j1").run_id is not None
        assert endpoints.job("ept_other", "j1") is None
        assert not endpoints.start_job("j2", "run_9")
        assert endpoints.forget_unstarted(NOW + timedelta(hours=1)) == 0
        assert endpoints.forget_unstarted(NOW + timedelta(hours=25)) == 1
        assert (endpoints.job(one.id, "j1") is None, endpoints.job(one.id, "j2")) == (False, None)
        assert endpoints.forget_jobs(NOW + timedelta(hours=1)) == 1
        assert endpoints.job(one.id, "j1") is None

    def test_jobs_that_were_not_started_are_bounded(self, endpoints):
        """Of each endpoint for itself; of one that was cancelled its request is forgotten, of a started one it is not.
        """
        one, other = an_endpoint(), an_endpoint("f")
        for endpoint in (one, other):
            endpoints.put(endpoint, None, 9)

        def add(id: str, endpoint: Endpoint = one) -> bool:
            request = {"parameters": {"a": 1}}
            job = Job(id=id, endpoint_id=endpoint.id, tenant_id="ten_a", request=request, created_at=NOW)
            return endpoints.add_job(job, 2)

        assert [add(id) for id in ("j1", "j2", "j3")] == [True, True, False]
        assert endpoints.job(one.id, "j3") is None
        assert add("j4", other)
        endpoints.start_job("j1", "run_1")
        endpoints.cancel_job("j1")
        endpoints.cancel_job("j2")
        assert [add(id) for id in ("j5", "j6", "j7")] == [True, True, False]
        assert [endpoints.job(one.id, id).request for id in ("j1", "j2")] == [{"parameters": {"a": 1}}, {}]

    def test_lists_go_on_where_they_ended(self, endpoints):
        """By name."""
        for name in ("b", "a", "c"):
            endpoints.put(an_endpoint(name), None, 9)
        endpoints.put(an_endpoint("d", "ten_b"), None, 9)

        first, rest = endpoints.page("ten_a", 2), endpoints.page("ten_a", 2, "b")

        assert [one.name for one in first.endpoints] == ["a", "b"]
        assert [one.name for one in rest.endpoints] == ["c"]
        assert (first.after, rest.after) == ("b", None)

    def test_a_page_of_large_ones_ends_early(self, endpoints):
        """By the names of their tables' columns: what is read at once is bounded by bytes."""
        columns = tuple(Column(name="c" * 1000, type="int64") for _ in range(900))
        for name in ("a", "b", "c"):
            one = an_endpoint(name)
            endpoints.put(one, None, 9)
            endpoints.sign(one.id, Signature(version=1, run_id="run_1", inputs={1: columns}))

        page = endpoints.page("ten_a", 9)

        assert [one.name for one in page.endpoints] == ["a", "b"]
        assert [one.name for one in endpoints.page("ten_a", 9, page.after).endpoints] == ["c"]
