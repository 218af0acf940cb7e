"""The counts of calls: none is lost to a database that does not answer, and times are told to a quarter."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import StoreError, Throttled
from controller.services.traffic import Traffic, bucket_of, quantile, seconds_of
from controller.store.endpoint_store import Config, Endpoint
from controller.store.script_store import Named

AT = datetime(2026, 1, 2, tzinfo=UTC)
ENDPOINT = Endpoint(
    id="ept_1",
    tenant_id="ten_a",
    name="e",
    script=Named(name="s"),
    config=Config(concurrency=1),
    primary_id="p",
    primary_mac="1",
    secondary_id="s",
    secondary_mac="2",
    created_at=AT,
    updated_at=AT,
)


class Rows:
    """A store of counts that may be away."""

    def __init__(self) -> None:
        self.away, self.written, self.asked = False, Counter[str](), 0

    def count(self, calls: Any) -> None:
        self.asked += 1
        if self.away:
            raise StoreError("away")
        self.written += Counter({str(tally.ending): more for tally, more in calls.items()})


def test_counts_outlive_a_database_that_does_not_answer() -> None:
    """They are written with the next ones; without any, nothing is asked of it."""
    traffic, rows = Traffic(), Rows()
    traffic.write(rows)
    with traffic.call(ENDPOINT):
        pass
    rows.away = True
    with pytest.raises(StoreError):
        traffic.write(rows)
    with traffic.call(ENDPOINT), pytest.raises(Throttled), traffic.call(ENDPOINT):
        pass
    with pytest.raises(ZeroDivisionError), traffic.call(ENDPOINT):
        _ = 1 / 0
    rows.away = False

    traffic.write(rows)

    assert rows.written["succeeded"] == 2
    assert rows.written["failed"] == 1
    assert rows.written["throttled"] == 1
    assert traffic.at_work(ENDPOINT) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.01, 0.0101, 0.7, 3.0, 59.0])
def test_a_time_is_told_at_most_a_quarter_too_long(seconds: float) -> None:
    """And never too short."""
    told = seconds_of(bucket_of(seconds))

    assert seconds <= told + 0.001
    assert told <= max(0.01, seconds * 1.251)


def test_quantiles_are_of_the_calls() -> None:
    """None without any."""
    assert quantile({}, 0.5) is None
    assert quantile({0: 99, 10: 1}, 0.5) == 0.01
    assert quantile({0: 98, 10: 2}, 0.99) == seconds_of(10)
