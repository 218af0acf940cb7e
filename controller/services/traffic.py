"""The calls of endpoints: how many are at work, and how long they took. In memory; upkeep writes the counts down four
times a minute, and what a killed server had not written is not counted."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from controller.errors import AirlockError, Throttled
from controller.store.endpoint_store import Ending, Endpoint, Endpoints, Tally

_FIRST_SECONDS, _FACTOR, _BUCKETS = 0.01, 1.25, 60


class Traffic:
    """For all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: Counter[str] = Counter()
        self._counts: Counter[Tally] = Counter()

    @contextmanager
    def call(self, endpoint: Endpoint) -> Iterator[None]:
        """A place among the endpoint's calls, and the call counted. Throttled when there is none."""
        limit = endpoint.config.concurrency
        with self._lock:
            if self._at_work[endpoint.id] >= limit:
                self._counts[_tally(endpoint, Ending.THROTTLED, 0)] += 1
                raise Throttled(
                    f"the endpoint {endpoint.name} has {limit} calls at work, which is its maximum: try again later",
                    limit=limit,
                )
            self._at_work[endpoint.id] += 1
        began, ending = time.monotonic(), Ending.FAILED
        try:
            yield
            ending = Ending.SUCCEEDED
        finally:
            with self._lock:
                self._at_work[endpoint.id] -= 1
                self._at_work += Counter()  # forgets those at zero
                self._counts[_tally(endpoint, ending, time.monotonic() - began)] += 1

    def at_work(self, endpoint: Endpoint) -> int:
        with self._lock:
            return self._at_work[endpoint.id]

    def write(self, endpoints: Endpoints) -> None:
        """Write down what is not written yet. StoreError: it is kept for the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            if counts:
                endpoints.count(counts)
        except AirlockError:
            with self._lock:
                self._counts += counts
            raise


def _tally(endpoint: Endpoint, ending: Ending, seconds: float) -> Tally:
    return Tally(endpoint.id, datetime.now(UTC).date().isoformat(), ending, bucket_of(seconds))


def bucket_of(seconds: float) -> int:
    """The first bucket whose longest time this is not above."""
    if seconds <= _FIRST_SECONDS:
        return 0
    return min(_BUCKETS, math.ceil(math.log(seconds / _FIRST_SECONDS, _FACTOR)))


def seconds_of(bucket: int) -> float:
    """The longest time in a bucket."""
    return round(_FIRST_SECONDS * _FACTOR**bucket, 4)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Within how many seconds so many of the calls ended; at most a quarter too much. None without calls."""
    wanted, seen = share * sum(counts.values()), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return seconds_of(bucket)
    return None
