"""What does a small JSON call of an endpoint cost, beside a run that is submitted, and beside a plain container?

    python benchmarks/endpoints.py [--rounds 30] [--seconds 30]

The three answer the same question in turn, on the same machine, in the same minute: ten rows doubled. The baseline is
that of runs.py. `run` is POST /v1/runs?wait= and then GET of the output as JSON; `call` is POST of the rows to the
endpoint, whose answer is the rows. Latency is that of one client that pauses, the rate that of four that do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from runs import PAUSE_SECONDS, SMALL, Airlock, PlainContainers, arrow_file, percentile, rate, script

ROWS = [{name: values[row] for name, values in SMALL[1].items()} for row in range(10)]
JSON = {"Content-Type": "application/json"}
ANSWER = [row | {"b": row["a"] * 2} for row in ROWS]


class Submitted:
    name = "run"

    def __init__(self, server: Airlock) -> None:
        self._server = server

    def call(self, work: str, table: bytes) -> bytes:
        body = {"script": script(work), "dataframe1": {"records": ROWS}, "options": {"output_format": "json"}}
        run = json.loads(self._server.ask("POST", "/v1/runs?wait=60", json.dumps(body).encode(), JSON))
        assert run["status"] == "succeeded", run
        answer = self._server.ask("GET", f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"})
        assert json.loads(answer) == ANSWER
        return answer


class Called:
    name = "call"

    def __init__(self, server: Airlock, key: str) -> None:
        self._server, self._headers = server, JSON | {"Authorization": f"Bearer {key}"}

    def call(self, work: str, table: bytes) -> bytes:
        answer = self._server.ask("POST", "/v1/endpoints/double/call", json.dumps(ROWS).encode(), self._headers)
        assert json.loads(answer) == ANSWER, answer
        return answer


def main() -> None:
    arguments = argparse.ArgumentParser(description="a small JSON call of an endpoint")
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--seconds", type=float, default=30)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        baseline, server = PlainContainers(), Airlock(Path(name), "warm", AIRLOCK_WARM_CONTAINERS="8")
        try:
            server.server.warm_up()
            server.server.request("PUT", "/v1/scripts/double", json={"script": script(SMALL[0])})
            made = server.server.request("PUT", "/v1/endpoints/double", json={"script": "double"}).json()
            systems = [baseline, Submitted(server), Called(server, made["keys"]["primary"])]
            measure(systems, given.rounds, given.seconds)
        finally:
            server.close()
            baseline.close()


def measure(systems: list, rounds: int, seconds: float) -> None:
    table = arrow_file(SMALL[1])
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    for turn in range(rounds + 1):
        for system in systems:
            began = time.perf_counter()
            system.call(SMALL[0], table)
            if turn:
                times[system.name].append(time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)
    base = statistics.median(times["baseline"])
    print(f"{'':10}{'p50, ms':>10}{'p99, ms':>10}{'calls/s':>10}{'CPU, ms':>10}{'p50 : baseline':>16}")
    for system in systems:
        found, many = times[system.name], rate(system, SMALL[0], table, seconds)
        p50, p99 = statistics.median(found), percentile(found, 0.99)
        print(
            f"{system.name:10}{p50 * 1000:10.1f}{p99 * 1000:10.1f}{many['per_second']:10.1f}"
            f"{many['cpu_seconds'] * 1000:10.1f}{p50 / base:16.3f}"
        )


if __name__ == "__main__":
    main()
