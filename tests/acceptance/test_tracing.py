"""Traces: a request and the run that it makes, as a collector gets them; and nothing at all while they are off."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

SECRET = "Zebra7secret"
ATTRIBUTES = {
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "airlock.request_id",
    "airlock.run_id",
    "airlock.attempt",
    "airlock.status",
}


class Collector(ThreadingHTTPServer):
    """An OTLP/HTTP collector: keeps every span that comes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.received = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> list[Any]:
        return [span for span in list(self.spans) if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        sent = ExportTraceServiceRequest.FromString(data)
        self.server.received += data
        for resource in sent.resource_spans:
            self.server.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_run_is_in_the_trace_of_its_request(
    make_server: Callable[..., RunningServer], collector: Collector
) -> None:
    """Request, accept, and the run with its four stages, in their order; ids of ours, and nothing that was sent."""
    server = make_server(
        AIRLOCK_TRACING="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_COMPRESSION="none",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )

    answer = server.post(
        "/v1/runs?wait=60",
        files={"script": f"# {SECRET}\ndef azureml_main(): raise ValueError('{SECRET}')"},
        headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "X-Secret": SECRET},
    )
    server.get(f"/v1/runs/{SECRET}")
    assert until(lambda: len(collector.named("collect")) == 1 and collector.named("GET /v1/runs/<run_id>") != [], 30)

    (request,), (run,) = collector.named("POST /v1/runs"), collector.named("run")
    (accept,) = collector.named("accept")
    assert accept.parent_span_id == run.parent_span_id == request.span_id
    assert request.parent_span_id == b""
    assert request.trace_id == run.trace_id != bytes.fromhex("a" * 32)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/runs",
        "http.response.status_code": 200,
        "airlock.request_id": answer.headers["X-Request-Id"],
    }
    timings = answer.json()["timings"]
    assert attributes(run) == {
        "airlock.run_id": answer.json()["id"], "airlock.attempt": 1, "airlock.status": "failed",
    }
    stages = [collector.named(name)[0] for name in ("queue", "start", "script", "collect")]
    assert {stage.parent_span_id for stage in stages} == {run.span_id}
    for stage in stages:
        seconds = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e9
        assert seconds == pytest.approx(timings[f"{stage.name}_seconds"], abs=1e-6)
    ends = [run.start_time_unix_nano, *(stage.end_time_unix_nano for stage in stages)]
    assert [stage.start_time_unix_nano for stage in stages] == ends[:-1]
    assert ends[-1] == run.end_time_unix_nano
    assert {name for span in collector.spans for name in attributes(span)} <= ATTRIBUTES
    assert collector.services == {"airlock"}
    assert SECRET.encode() not in collector.received


def test_a_collector_that_is_away_costs_nothing(make_server: Callable[..., RunningServer]) -> None:
    """Runs go on, and the server stops in time."""
    server = make_server(
        AIRLOCK_TRACING="1", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="100"
    )

    run = server.submit("def azureml_main(): pass")
    server.stop()

    assert run["status"] == "succeeded"
    assert server.process.returncode == 0
    assert "unforeseen_error" not in server.log_path.read_text()


def test_off_nothing_of_it_is_loaded() -> None:
    """The whole server is imported and put together without that library; so it runs where the extra is not there."""
    code = """
import sys
from controller import app
from controller.tracing import make_tracing
tracing = make_tracing(on=False)
with tracing.request() as request, tracing.span("accept"):
    request.answered("GET", "/", 200, "req_1")
tracing.remember("run_1")
tracing.close()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_without_the_extra_it_cannot_be_switched_on() -> None:
    """The setting says what to install."""
    code = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "opentelemetry" else real(name, *rest)
from controller.cli.host import server_settings
server_settings(tracing=True)
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "setting tracing" in done.stderr
    assert "airlock[tracing]" in done.stderr
