"""Whose CPU does a small call cost, and is it less than in another checkout?

    python benchmarks/cpu.py [--rounds 100] [--beside DIRECTORY] [--pause 0.1]

Ten rows, as a run whose output is fetched and as a call of an endpoint, one after the other with a pause after each:
what the server makes ahead and removes behind is counted with the call. `own` is the server's process, `children` what
it waited for (the oci engine's runtime and containers' first processes; those of the docker engine are Docker's),
`forks` the launcher and the runs that it forked.

`--beside` names another checkout, whose server is asked in turn with this one's: on a machine with other work, only
such figures can be compared. Both use the same virtual environment, and the same sandbox image.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import requests
from runs import SMALL, arrow_file, script

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.containers import ENGINE, of_server, pids_in
from tests.running import start_server

ROOT = Path(__file__).parents[1]
ROWS = [{"a": n} for n in range(10)]
WHOSE = ("own", "children", "forks")


class Candidate:
    """A checkout's server, and a client of it."""

    def __init__(self, checkout: Path, directory: Path) -> None:
        self.name = checkout.name
        here = os.getcwd()
        os.chdir(checkout)
        env = {"PYTHONPATH": f"{checkout}:{checkout / 'sandbox_image'}", "AIRLOCK_WARM_CONTAINERS": "8"}
        self.server = start_server(directory / checkout.name, env)
        os.chdir(here)
        self.server.warm_up()
        self._pid = int(Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children").read_text())
        launchers = [
            one["Id"]
            for one in of_server(ENGINE, self.server.instance)
            if one["Names"][0].startswith("/airlock-launcher-")
        ]
        self._launcher = min(pids_in(launchers[0]))
        self.server.request("PUT", "/v1/scripts/double", json={"script": script(SMALL[0])})
        made = self.server.request("PUT", "/v1/endpoints/double", json={"script": "double"}).json()
        self._caller = requests.Session()
        self._caller.trust_env = False
        self._caller.headers["Authorization"] = f"Bearer {made['keys']['primary']}"

    def run(self) -> None:
        files = {"script": ("script.py", script(SMALL[0])), "dataframe1": ("table.arrow", arrow_file(SMALL[1]))}
        run = self.server.post("/v1/runs?wait=60", files=files).json()
        assert run["status"] == "succeeded", run
        assert self.server.get(f"/v1/runs/{run['id']}/output").content.startswith(b"ARROW1")

    def call(self) -> None:
        answer = self._caller.post(f"{self.server.url}/v1/endpoints/double/call", json=ROWS, timeout=90)
        assert len(answer.json()) == len(ROWS), answer.text

    def cpu_seconds(self) -> tuple[float, float, float]:
        """As WHOSE; the first to the microsecond, the others to the kernel's tick."""
        threads = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        own = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
        return own, sum(_ticks(self._pid)[2:]) / 100, sum(_ticks(self._launcher)) / 100


def _ticks(pid: int) -> list[int]:
    """In user and kernel mode; then the same of the children that it has waited for."""
    return [int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]


def measure(candidates: list[Candidate], kind: str, rounds: int, pause: float) -> None:
    seconds: dict[str, list[float]] = {one.name: [] for one in candidates}
    used = {one.name: [0.0] * len(WHOSE) for one in candidates}
    for turn in range(-5, rounds):
        for one in candidates if turn % 2 else reversed(candidates):
            before, began = one.cpu_seconds(), time.perf_counter()
            getattr(one, kind)()
            took = time.perf_counter() - began
            time.sleep(pause)
            if turn >= 0:
                seconds[one.name].append(took)
                more = [after - at_first for after, at_first in zip(one.cpu_seconds(), before, strict=True)]
                used[one.name] = [sum(both) for both in zip(used[one.name], more, strict=True)]
    for one in candidates:
        shares = zip(WHOSE, used[one.name], strict=True)
        cpu = "".join(f"{whose:>11} {total / rounds * 1000:5.1f}" for whose, total in shares)
        print(f"{kind:5}{one.name:16}{cpu}    ms of CPU; p50 {statistics.median(seconds[one.name]) * 1000:.1f} ms")


def main() -> None:
    arguments = argparse.ArgumentParser(description="whose CPU a small call costs")
    arguments.add_argument("--rounds", type=int, default=100)
    arguments.add_argument("--beside", type=Path)
    arguments.add_argument("--pause", type=float, default=0.1)
    given = arguments.parse_args()
    checkouts = [ROOT, *([given.beside.resolve()] if given.beside else [])]
    with tempfile.TemporaryDirectory() as name:
        candidates: list[Candidate] = []
        try:
            candidates += (Candidate(checkout, Path(name)) for checkout in checkouts)
            print(f"engine: {ENGINE}")
            for kind in ("run", "call"):
                measure(candidates, kind, given.rounds, given.pause)
        finally:
            for one in candidates:
                one.server.stop()


if __name__ == "__main__":
    main()
