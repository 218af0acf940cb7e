"""What is counted and timed of this server, for Prometheus. docs/operations.md has the table of all of it.

The registry is the server's own, not the library's global one: two servers in one process count apart, and nothing
that a library registers behind our back is shown. Labels take their values from short lists of ours; what a client
sends (a path, an id, a method of its own) never becomes one, or anybody could make the server remember without bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.errors import EngineError
from controller.model import Priority, Reason, Status, Timings

_START_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RUN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER_METHOD, NO_ROUTE = "other", "none"

MEASURED: dict[str, tuple[type[Metric], str, tuple[str, ...]]] = {
    "airlock_queue_depth": (GaugeMetricFamily, "Runs that wait for their turn.", ("class",)),
    "airlock_queue_oldest_seconds": (GaugeMetricFamily, "Since the oldest of them was accepted.", ("class",)),
    "airlock_runs_at_work": (GaugeMetricFamily, "Runs that are being executed.", ()),
    "airlock_warm_containers": (GaugeMetricFamily, "Warm containers, ready or in use.", ("state",)),
    "airlock_warm_launchers": (GaugeMetricFamily, "Launchers that fork, or are about to.", ()),
    "airlock_starts": (CounterMetricFamily, "Runs by how they got their container.", ("kind",)),
}


class Measurement(NamedTuple):
    """A value that is looked up when somebody asks for the metrics; `labels` in the order of the metric's."""

    name: str
    labels: tuple[str, ...]
    value: float


class Metrics:
    """Thread-safe. Every method costs microseconds, and none raises."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Gauge("airlock_build_info", "1, with the version of this server.", ["version"], registry=self.registry)
        info.labels(version).set(1)
        self._runs = self._counter("airlock_runs", "Runs that have ended.", "class", "status", "reason")
        self._queue = self._histogram("airlock_run_queue_seconds", "From accepted to begun.", _RUN_BUCKETS, "class")
        self._start = self._histogram("airlock_run_start_seconds", "To have a sandbox ready.", _START_BUCKETS)
        self._script = self._histogram("airlock_run_script_seconds", "In the sandbox.", _RUN_BUCKETS)
        self._collect = self._histogram("airlock_run_collect_seconds", "To keep what it wrote.", _START_BUCKETS)
        self._engine_errors = self._counter("airlock_engine_errors", "Times that the engine failed.", "code")
        self._leaks = self._counter("airlock_leaks", "Leftovers that a sweep found and removed.", "kind")
        self._requests = self._counter("airlock_http_requests", "Answered requests.", "method", "route", "status")
        self._answered = self._histogram(
            "airlock_http_request_seconds", "From its head to its answer's head.", _HTTP_BUCKETS, "method", "route"
        )
        for priority in Priority:  # a rate needs its zero
            self._runs.labels(priority, Status.SUCCEEDED, "")
        for kind in ("container", "files"):
            self._leaks.labels(kind)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)

    def measure(self, source: Callable[[], Iterable[Measurement]]) -> None:
        """Ask this source whenever somebody asks for the metrics."""
        self.registry.register(_Measured(source))

    def run_ended(self, priority: Priority, status: Status, reason: Reason | None) -> None:
        self._runs.labels(priority, status, reason or "").inc()

    def run_timed(self, priority: Priority, timings: Timings) -> None:
        """Of a run that was executed."""
        if timings.queue_seconds is not None:
            self._queue.labels(priority).observe(timings.queue_seconds)
        for histogram, seconds in (
            (self._start, timings.start_seconds),
            (self._script, timings.script_seconds),
            (self._collect, timings.collect_seconds),
        ):
            if seconds is not None:
                histogram.observe(seconds)

    @contextmanager
    def engine_errors(self) -> Iterator[None]:
        """Count an EngineError that leaves this block."""
        try:
            yield
        except EngineError as e:
            self._engine_errors.labels(e.code).inc()
            raise

    def leaks(self, kind: str, count: int) -> None:
        """`kind`: container or files."""
        self._leaks.labels(kind).inc(count)

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """`route` is the template of the address, as it is in the API's document; None when no route was found."""
        method, route = counted_method(method), route or NO_ROUTE
        self._requests.labels(method, route, str(status)).inc()
        self._answered.labels(method, route).observe(seconds)


def counted_method(method: str) -> str:
    """A client may make up as many methods as it likes."""
    return method if method in _METHODS else OTHER_METHOD


class _Measured(Collector):
    def __init__(self, source: Callable[[], Iterable[Measurement]]) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        families = _families()
        for name, labels, value in self._source():
            families[name].add_metric(labels, value)  # type: ignore[attr-defined]
        return [family for family in families.values() if family.samples]


def _families() -> dict[str, Metric]:
    return {name: kind(name, help, labels=labels) for name, (kind, help, labels) in MEASURED.items()}  # type: ignore[call-arg]
