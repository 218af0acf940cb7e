"""What every store of scripts promises (controller/store/script_store.py); a test module inherits this and provides
`store` and `scripts`, on the same database."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from store_contract import NOW
from tenant_store_contract import an_entry, two_tenants

from controller.model import Format, Input, Profile
from controller.store.audit import SqlAudit
from controller.store.script_store import Defaults, Named, Parameter, ParameterType, ScriptVersion


def a_script(name: str = "s", content: str = "c", tenant_id: str = "ten_a", **more) -> ScriptVersion:
    """A version as it is handed in: its number is not known yet."""
    a_script.count += 1
    return ScriptVersion(
        id=f"scv_{a_script.count:06}",
        tenant_id=tenant_id,
        name=name,
        version=0,
        script_sha256="5" * 64,
        script_bytes=10,
        defaults=Defaults(environment="default"),
        content_sha256=content,
        created_at=NOW + timedelta(seconds=a_script.count),
        **more,
    )


a_script.count = 0


class ScriptStoreContract:
    @pytest.fixture(autouse=True)
    def _tenants(self, tenants):
        two_tenants(tenants)

    def test_a_version_comes_back_as_it_was_stored(self, scripts):
        """Every field, and the number that the store gave it."""
        whole = a_script(
            description="what it does",
            bundle_sha256="6" * 64,
            bundle_bytes=7,
            parameters={
                "n": Parameter(type=ParameterType.INTEGER, default=3, description="how many"),
                "x": Parameter(type=ParameterType.NUMBER, default=0.5),
                "s": Parameter(type=ParameterType.STRING),
                "b": Parameter(type=ParameterType.BOOLEAN, default=False),
            },
            samples=(Input(port=1, format=Format.CSV),),
            digest="sha256:1",
        ).model_copy(
            update={"defaults": Defaults(profile=Profile.DESIGNER, environment="e", cpus=0.5, memory_bytes=2**40)}
        )

        stored = scripts.add(whole, 10)

        assert stored == whole.model_copy(update={"version": 1})
        assert scripts.find("ten_a", Named(name="s")) == stored
        assert isinstance(stored.parameters["b"].default, bool)

    def test_a_changed_content_makes_the_next_version_and_an_unchanged_one_none(self, scripts):
        """Compared with the newest: to go back to an earlier text is a version, too."""
        first = scripts.add(a_script(content="one"), 10)
        same = scripts.add(a_script(content="one"), 10)
        second = scripts.add(a_script(content="two"), 10)
        back = scripts.add(a_script(content="one"), 10)

        assert same == first
        assert [one.version for one in (first, second, back)] == [1, 2, 3]

    def test_a_tenant_has_so_many_versions_and_no_more(self, scripts):
        """Of all names together; another tenant's do not count, nor do deleted ones."""
        scripts.add(a_script(name="a"), 2)
        scripts.add(a_script(name="b"), 2)

        assert scripts.add(a_script(name="c"), 2) is None
        assert scripts.add(a_script(name="b"), 2).version == 1
        assert scripts.add(a_script(tenant_id="ten_b"), 2).version == 1
        scripts.delete("ten_a", "a", None, NOW)
        assert scripts.add(a_script(name="c"), 2).version == 1

    def test_another_tenants_script_is_missing(self, scripts):
        """Reading, listing, tagging, deleting."""
        scripts.add(a_script(), 10)

        assert scripts.find("ten_b", Named(name="s")) is None
        assert scripts.versions("ten_b", "s", 10).scripts == ()
        assert scripts.page("ten_b", 10).scripts == ()
        assert not scripts.tag("ten_b", "s", "t", 1)
        assert scripts.delete("ten_b", "s", None, NOW).gone == ()
        assert scripts.find("ten_a", Named(name="s")) is not None

    def test_lists_go_on_where_they_ended(self, scripts):
        """The newest of each name; the versions of one."""
        for name in ("a", "b", "ab"):
            scripts.add(a_script(name=name, content="1"), 99)
        for content in "234":
            scripts.add(a_script(name="a", content=content), 99)

        first = scripts.page("ten_a", 2)
        rest = scripts.page("ten_a", 2, "", first.before)
        versions = scripts.versions("ten_a", "a", 3)

        assert [(one.name, one.version) for one in (*first.scripts, *rest.scripts)] == [("a", 4), ("ab", 1), ("b", 1)]
        assert rest.before is None
        assert [one.name for one in scripts.page("ten_a", 9, "a").scripts] == ["a", "ab"]
        assert [one.version for one in versions.scripts] == [4, 3, 2]
        assert [one.version for one in scripts.versions("ten_a", "a", 3, versions.below).scripts] == [1]

    def test_a_deleted_version_is_gone_and_its_number_with_it(self, scripts):
        """With its tags; the newest is then the one before."""
        ids = [scripts.add(a_script(content=content), 99).id for content in "123"]
        scripts.tag("ten_a", "s", "good", 3)

        assert scripts.delete("ten_a", "s", 3, NOW).gone == (ids[2],)

        assert scripts.find("ten_a", Named(name="s")).version == 2
        assert scripts.find("ten_a", Named(name="s", version=3)) is None
        assert scripts.find("ten_a", Named(name="s", tag="good")) is None
        assert scripts.tags("ten_a", "s") == {}
        assert scripts.delete("ten_a", "s", 3, NOW).gone == ()
        assert scripts.known(ids) == set(ids[:2])
        assert scripts.add(a_script(content="4"), 99).version == 4
        assert len(scripts.delete("ten_a", "s", None, NOW).gone) == 3

    def test_a_tag_is_on_one_version_and_can_be_moved(self, scripts):
        """A tag of a version that is not there is none."""
        for content in "12":
            scripts.add(a_script(content=content), 99)
        scripts.add(a_script(name="t"), 99)

        assert scripts.tag("ten_a", "s", "good", 1)
        assert scripts.tag("ten_a", "t", "good", 1)
        assert scripts.tag("ten_a", "s", "good", 2)
        assert not scripts.tag("ten_a", "s", "good", 3)

        assert scripts.find("ten_a", Named(name="s", tag="good")).version == 2
        assert scripts.tags("ten_a", "s") == {"good": 2}
        assert scripts.untag("ten_a", "s", "good").gone == ("good",)
        assert scripts.untag("ten_a", "s", "good").gone == ()
        assert scripts.tags("ten_a", "t") == {"good": 1}

    def test_a_tag_that_is_there_already_is_not_written_down_again(self, scripts, database):
        """What changes nothing is no row of the audit log, so that nobody fills it so."""
        for content in "12":
            scripts.add(a_script(content=content), 99)
        for n, version in enumerate((1, 1, 2, 2, 1)):
            assert scripts.tag("ten_a", "s", "good", version, an_entry(f"tag.{n}"))

        actions = [row.action for row in SqlAudit(database).rows()]

        assert [action for action in actions if action.startswith("tag.")] == ["tag.0", "tag.2", "tag.4"]
        assert scripts.tags("ten_a", "s") == {"good": 1}

    def test_two_puts_at_once_make_two_versions(self, scripts):
        """Each has a number of its own, and none is lost."""
        found = []

        def add(content: str) -> None:
            found.append(scripts.add(a_script(content=content), 99))

        threads = [threading.Thread(target=add, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(one.version for one in found) == list(range(1, 9))
