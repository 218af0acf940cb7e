"""What the server writes into its log: JSON, with ids by which to find things, and nothing that a tenant sent."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import requests
from wire import MULTIPART, Part, Wire, multipart

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

SECRET = "Zebra7secret"
SCRIPT = f"""
import pandas as pd
# {SECRET} in the script
def azureml_main(dataframe1=None, dataframe2=None):
    print("{SECRET} in the log")
    if dataframe1 is None:
        raise ValueError("{SECRET} in an error")
    return dataframe1
"""


def lines(server: RunningServer) -> list[dict[str, Any]]:
    """The log of a server, but for the one line on stdout that says where it listens."""
    text = server.log_path.read_text().splitlines()
    return [json.loads(line) for line in text if not line.startswith("Airlock listens on")]


def speak(server: RunningServer) -> None:
    """Say the secret in every place of a request that there is."""
    table = f"{SECRET}\n{SECRET}\n".encode()
    ok = server.post(
        "/v1/runs?wait=60",
        data=multipart(
            Part("script", SCRIPT.encode(), f"{SECRET}.py"),
            Part("dataframe1", table, f"{SECRET}.csv"),
            Part("bundle", b"PK\x05\x06" + bytes(18), f"{SECRET}.zip"),
            Part("options", json.dumps({"parameters": {SECRET: SECRET}}).encode()),
        ),
        headers={"Content-Type": MULTIPART, "Idempotency-Key": SECRET, "X-Secret": SECRET, "User-Agent": SECRET},
    )
    assert ok.json()["status"] == "succeeded", ok.text
    failed = server.submit(SCRIPT)
    assert SECRET in failed["error"]["message"]
    broken = server.submit(SCRIPT, files={"dataframe1": ("t.parquet", table)})
    assert broken["status"] == "failed"
    run = f"/v1/runs/{ok.json()['id']}"
    put = {"Content-Type": "text/csv"}
    server.request("PUT", f"/v1/datasets/{SECRET}?wait=30", data=table, headers=put)
    server.post("/v1/batches?wait=60", json={"script": SCRIPT, "batch": {"datasets": [SECRET]}})
    for path in (f"/v1/runs?{SECRET}={SECRET}", f"/v1/runs?cursor={SECRET}", f"/{SECRET}", f"/v1/runs/{SECRET}",
                 f"{run}/images/{SECRET}", f"{run}/output?{SECRET}", f"/v1/datasets/{SECRET}/preview"):
        server.get(path)
    server.get(f"{run}/output", headers={"Accept": "text/csv", "Range": SECRET, "If-None-Match": SECRET})
    server.get(f"{run}/log", headers={"Last-Event-ID": SECRET, "Accept": "text/event-stream"})
    for key in (f"Bearer {SECRET}", f"Bearer {server.key}{SECRET}", SECRET, f"Basic {SECRET}"):
        server.get("/v1/runs", headers={"Authorization": key})
    for body in (SECRET, json.dumps({SECRET: SECRET}), json.dumps({"script": SCRIPT, "options": {SECRET: 1}})):
        server.post("/v1/runs", data=body, headers={"Content-Type": "application/json"})
    server.post("/v1/runs", data=SECRET, headers={"Content-Type": SECRET})
    server.request(SECRET, "/v1/runs")
    for said in (f"{SECRET}\r\n\r\n", f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n", f"GET /{SECRET * 1000} HTTP/1.1\r\n\r\n",
                 f"GET / HTTP/1.1\r\nHost: a\r\n{SECRET}: \x00\r\n\r\n"):
        with Wire(server, timeout=20) as wire:
            wire.send_body(said.encode())
            assert wire.answer().status_code >= 400
    with Wire(server, timeout=20) as wire:  # a body that is cut off in the middle of it
        wire.send_head(server, "POST", "/v1/runs", Content_Type=MULTIPART, Content_Length="1000")
        wire.send_body(f"--{SECRET}".encode())


def test_nothing_that_a_tenant_sends_is_in_the_log(make_server: Callable[..., RunningServer]) -> None:
    """Script, tables, parameters, names, keys, queries, headers, bytes that are no HTTP: not plain, not in base64."""
    server = make_server()

    speak(server)
    server.stop()

    text = server.log_path.read_text()
    assert len(lines(server)) > 30
    hidden = [SECRET, server.key, *server.key.split("_")[2:3]]
    hidden += [base64.b64encode(SECRET.encode()).decode().rstrip("="), SECRET.encode().hex()]
    assert [one for one in hidden if one.lower() in text.lower()] == []


def test_the_log_leads_from_a_request_to_its_run(make_server: Callable[..., RunningServer]) -> None:
    """Its id is in the answer; what is said of the run after that has the run's; what machines ask has no line."""
    server = make_server()

    answer = server.post("/v1/runs?wait=60", files={"script": "def azureml_main(): pass"})
    requests.get(f"{server.url}/healthz", timeout=10)
    assert until(lambda: "run_finished" in server.log_path.read_text(), 20)

    said = {line["event"]: line for line in lines(server) if line["event"] != "plain_start"}
    request_id, run_id = answer.headers["X-Request-Id"], answer.json()["id"]
    assert (said["run_accepted"]["request_id"], said["run_accepted"]["run_id"]) == (request_id, run_id)
    assert said["run_finished"]["run_id"] == run_id
    assert said["run_finished"]["status"] == "succeeded"
    answered = said["request_answered"]
    assert (answered["request_id"], answered["route"], answered["method"]) == (request_id, "/v1/runs", "POST")
    assert answered["tenant_id"] == said["run_accepted"]["tenant_id"]
    assert "/healthz" not in server.log_path.read_text()
    assert all({"timestamp", "level", "event"} <= line.keys() for line in lines(server))


def written_by(code: str) -> list[dict[str, Any]]:
    """What a process logs that has set up the log as the server does."""
    source = "import logging, structlog\nfrom controller import serverlog\nserverlog.configure()\n" + dedent(code)
    done = subprocess.run([sys.executable, "-c", source, SECRET], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stderr + done.stdout
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_of_an_exception_its_kind_and_place_are_written() -> None:
    """And never its message, which may quote anything."""
    (written,) = written_by("""
        import sys
        def fail(text):
            try:
                int(text)
            except ValueError as e:
                raise FileNotFoundError(2, "no such file", text) from e
        try:
            fail(sys.argv[1])
        except OSError:
            structlog.get_logger().exception("unforeseen_error", run_id="run_1")
    """)

    assert (written["event"], written["run_id"], written["level"]) == ("unforeseen_error", "run_1", "error")
    assert [one["kind"] for one in written["exception"]] == ["FileNotFoundError 2", "ValueError"]
    assert [one["at"][-1].rpartition(" ")[2] for one in written["exception"]] == ["fail", "fail"]


def test_of_a_librarys_line_the_text_is_written_without_what_was_put_in() -> None:
    """Numbers are kept: a pid is one."""
    (written,) = written_by("""
        import sys
        logging.getLogger("some.library").warning("worker %s said %r", 17, sys.argv[1])
        logging.getLogger("some.library").info("not for the log: %s", sys.argv[1])
    """)

    assert (written["event"], written["library"]) == ("library_said", "some.library")
    assert (written["said"], written["numbers"]) == ("worker %s said %r", [17])
