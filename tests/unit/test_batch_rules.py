"""Batches, as far as they are pure: what the sandbox may say of groups, the time that is left, the numbers of items."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config import Settings
from controller.model import Job, ScriptError
from controller.services.batch_output import with_item_numbers
from controller.services.batches import eta_seconds
from controller.services.pump import GROUPS_BYTES, Group, groups_in
from controller.store.batch_store import Batch, Counts, ItemStatus, Template

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def group(offset: object, rows: object, value: object = "a", **more: object) -> dict[str, object]:
    return {"value": value, "offset": offset, "rows": rows, **more}


def test_groups_that_lie_one_after_the_other():
    """Values of every kind that a cell has, the missing one among them."""
    values = ["ä", None, 1, 1.5, True, 2**70]
    data = json.dumps([group(n * 2, 2, value) for n, value in enumerate(values)]).encode()

    found = groups_in(data, 12, "c", 10)

    assert not isinstance(found, ScriptError)
    assert [one.value for one in found] == values
    assert [type(one.value) for one in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        [group(0, 5)],
        [group(0, 11)],
        [group(1, 10)],
        [group(0, 5), group(4, 6)],
        [group(0, 5), group(6, 5)],
        [group(0, 10), group(10, 0)],
        [group(0, -10)],
        [group(0, 2**70)],
        [group(0, "many")],
        [group(0, 10.5)],
        [group(0, 10, [1])],
        [group(0, 10, {"a": 1})],
        [group(0, 10, surplus=1)],
        [{"offset": 0, "rows": 10}],
    ],
)
def test_groups_that_are_not_the_tables_are_refused(document):
    """Of ten rows: overlapping, missing, too many, of the wrong kind. Nothing of it is believed."""
    found = groups_in(json.dumps(document).encode(), 10, "c", 10)

    assert isinstance(found, ScriptError)
    assert found.code == "1000"


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"[" * 100_000, b" " * (GROUPS_BYTES + 1)])
def test_what_is_no_document_is_refused(data):
    """Cut off, not UTF-8, nested without end, too large."""
    assert isinstance(groups_in(data, 10, "c", 10), ScriptError)


def test_more_groups_than_items_may_be():
    """The number and the limit are said."""
    found = groups_in(json.dumps([group(n, 1, n) for n in range(4)]).encode(), 4, "c", 3)

    assert isinstance(found, ScriptError)
    assert (found.code, found.message) == ("0018", "the column 'c' makes 4 items; the limit is 3")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=50))
def test_any_cut_of_a_table_is_taken_as_it_is(sizes):
    """Whatever the sizes of the groups."""
    offsets = [sum(sizes[:n]) for n in range(len(sizes))]
    data = json.dumps([group(offset, rows) for offset, rows in zip(offsets, sizes, strict=True)]).encode()

    found = groups_in(data, sum(sizes), "c", 50)

    assert found == tuple(Group(value="a", offset=o, rows=r) for o, r in zip(offsets, sizes, strict=True))


def batch(**more: object) -> Batch:
    template = Template(job=Job(), limits=Settings().limits(), environment="default", script_sha256="0" * 64)
    fields = {"id": "bat_1", "tenant_id": "ten_1", "template": template, "source": {}, "parallel": 4}
    return Batch.model_validate(fields | {"total": 10, "created_at": NOW, "begun_at": NOW} | more)


@pytest.mark.parametrize(
    ("changes", "counts", "ended", "left"),
    [
        ({}, {ItemStatus.WAITING: 10}, 0, None),
        ({}, {ItemStatus.WAITING: 6, ItemStatus.RUNNING: 2, ItemStatus.SUCCEEDED: 2}, 2, 240.0),
        ({}, {ItemStatus.WAITING: 1, ItemStatus.SUCCEEDED: 8, ItemStatus.FAILED: 1}, 1, 60.0),
        ({"finished_at": NOW}, {ItemStatus.SUCCEEDED: 10}, 10, None),
        ({"total": None, "begun_at": None}, {}, 0, None),
    ],
)
def test_the_time_that_is_left(changes, counts, ended, left):
    """After a minute: of what ended since the batch began, or began again; none before there is a rate."""
    assert eta_seconds(batch(**changes), Counts(items=counts, ended=ended), NOW + timedelta(seconds=60)) == left


def test_a_clock_that_was_set_back_gives_no_time_below_zero():
    """The wall clock may do that."""
    counts = Counts(items={ItemStatus.WAITING: 5}, ended=5)

    assert eta_seconds(batch(), counts, NOW - timedelta(hours=1)) == 0


def test_messages_of_the_sandbox_name_the_items():
    """Of a partial output, whose parts are not numbered as the items are; of a whole one, nothing changes."""
    message = "item 2: column 'x' is int64, in item 1 it is string"

    assert with_item_numbers(message, [1, 2, 3]) == message
    assert with_item_numbers(message, [4, 9]) == "item 9: column 'x' is int64, in item 4 it is string"
    assert with_item_numbers("item 7: odd", [4, 9]) == "item 7: odd"
