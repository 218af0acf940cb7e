"""Traces of requests and of the runs that they make, for OpenTelemetry; an extra of the package (airlock[tracing]).

Off, nothing of that library is imported, and a call here does nothing. On, spans go to the collector that the standard
OTEL_ variables name. A span carries ids, templates and durations of ours, never what a tenant sent; nor is a trace
taken over from a client, who could have every one of its requests recorded, or mix them with another's.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from controller.model import Timings

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

SERVICE = "airlock"
_REMEMBERED = 10_000
"""Runs whose request's trace is known while they wait; of more, the oldest begin a trace of their own."""
_SECOND = 10**9


class Tracing(Protocol):
    def span(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        """What happens in this block, as a part of what is under way in this thread."""

    def request(self) -> AbstractContextManager[RequestSpan]:
        """What happens in this block is a request, which says in the end what it was."""

    def remember(self, run_id: str) -> None:
        """What is done with this run later belongs to what is under way now."""

    def executed(self, run_id: str, timings: Timings, *, attempt: int, status: str) -> None:
        """A run has just ended, and this is where its time went."""

    def close(self) -> None: ...


class RequestSpan(Protocol):
    def answered(self, method: str, route: str | None, status: int, request_id: str) -> None: ...


class NoTracing:
    """Tracing that is off."""

    def span(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        return _NOTHING

    def request(self) -> AbstractContextManager[RequestSpan]:
        return nullcontext(self)

    def answered(self, method: str, route: str | None, status: int, request_id: str) -> None: ...

    def remember(self, run_id: str) -> None: ...

    def executed(self, run_id: str, timings: Timings, *, attempt: int, status: str) -> None: ...

    def close(self) -> None: ...


_NOTHING: AbstractContextManager[None] = nullcontext()


def make_tracing(on: bool) -> Tracing:
    return OtlpTracing() if on else NoTracing()


class OtlpTracing:
    """Spans by OTLP over HTTP, sent by a thread of their own: a collector that is away costs nobody anything."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource({"service.name": SERVICE}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._trace = trace
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, SpanContext] = OrderedDict()

    @contextmanager
    def span(self, name: str, **attributes: str) -> Iterator[None]:
        with self._tracer.start_as_current_span(name, attributes=attributes, record_exception=False):
            yield

    @contextmanager
    def request(self) -> Iterator[RequestSpan]:
        kind = self._trace.SpanKind.SERVER
        # The message of an exception may quote anything: it is not recorded.
        with self._tracer.start_as_current_span(
            "request", kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            yield _OtlpRequest(span)

    def remember(self, run_id: str) -> None:
        with self._lock:
            self._remembered[run_id] = self._trace.get_current_span().get_span_context()
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)

    def executed(self, run_id: str, timings: Timings, *, attempt: int, status: str) -> None:
        with self._lock:
            parent = self._remembered.pop(run_id, None)
        stages = [
            ("queue", timings.queue_seconds),
            ("start", timings.start_seconds),
            ("script", timings.script_seconds),
            ("collect", timings.collect_seconds),
        ]
        lengths = [(name, int(seconds * _SECOND)) for name, seconds in stages if seconds is not None]
        at = time.time_ns() - sum(length for _, length in lengths)
        context = None
        if parent is not None and parent.is_valid:
            context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(parent))
        about: dict[str, str | int] = {"airlock.run_id": run_id, "airlock.attempt": attempt, "airlock.status": status}
        run = self._tracer.start_span("run", context, start_time=at, attributes=about)
        inside = self._trace.set_span_in_context(run)
        for name, length in lengths:
            self._tracer.start_span(name, inside, start_time=at).end(at + length)
            at += length
        run.end(at)

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()


class _OtlpRequest:
    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, method: str, route: str | None, status: int, request_id: str) -> None:
        self._span.update_name(f"{method} {route}" if route else method)
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("airlock.request_id", request_id)
        if route is not None:
            self._span.set_attribute("http.route", route)
