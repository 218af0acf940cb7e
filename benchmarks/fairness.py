"""How long does a light tenant wait while a heavy one floods the server?

    python benchmarks/fairness.py [--calls 20] [--flood 400] [--seconds 1.0]

Starts a server of its own with two tenants. `light` makes synchronous calls of a small script, one after the other:
first alone (idle), then while `heavy` has hundreds of runs of `--seconds` waiting, then while it has as many of batch
priority. The promise (docs/runs.md): at most twice the idle latency, and the length of one run of the other's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/web")]

from callers import add_tenant  # noqa: E402

from tests.running import RunningServer, start_server  # noqa: E402

QUICK = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"
SLEEPER = "import time\ndef azureml_main(): time.sleep(%s)"


def latencies(tenant: RunningServer, calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        run = tenant.submit(QUICK, wait=120)
        seconds.append(time.perf_counter() - began)
        assert run["status"] == "succeeded", run
    return seconds


def flood(tenant: RunningServer, count: int, seconds: float, priority: str) -> list[str]:
    options = {"options": (None, json.dumps({"priority": priority}))}
    parts = {"script": ("s.py", SLEEPER % seconds), **options}
    return [tenant.post("/v1/runs", files=parts).json()["id"] for _ in range(count)]


def run_length(tenant: RunningServer, ids: list[str]) -> float:
    """The seconds that one of the heavy tenant's runs holds a place, container and all."""
    ended = (tenant.get(f"/v1/runs/{run_id}").json() for run_id in ids)
    return statistics.median(
        sum(run["timings"][f"{part}_seconds"] for part in ("start", "script", "collect"))
        for run in ended
        if run["status"] == "succeeded"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description="a light tenant's latency while a heavy one floods")
    arguments.add_argument("--calls", type=int, default=20)
    arguments.add_argument("--flood", type=int, default=400)
    arguments.add_argument("--seconds", type=float, default=1.0, help="length of the heavy tenant's scripts")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    chosen = arguments.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(Path(folder) / "data")
        try:
            light, heavy = add_tenant(server, "light"), add_tenant(server, "heavy")
            latencies(light, 3)
            figures["idle"] = latencies(light, chosen.calls)
            for priority in ("normal", "batch"):
                ids = flood(heavy, chosen.flood, chosen.seconds, priority)
                figures[priority] = latencies(light, chosen.calls)
                waiting = heavy.get("/v1/runs?status=queued&limit=1").json()["items"]
                assert waiting, "the flood was over before the calls were: give it more runs"
                figures[f"{priority}_run"] = [run_length(heavy, ids)]
                for run_id in reversed(ids):
                    heavy.post(f"/v1/runs/{run_id}/cancel")
        finally:
            server.stop()
    idle = statistics.median(figures["idle"])
    print(f"{'':8}{'p50 s':>8}{'worst s':>9}{'promised s':>12}")
    for name in ("idle", "normal", "batch"):
        promised = 2 * idle + figures.get(f"{name}_run", [0.0])[0]
        print(f"{name:8}{statistics.median(figures[name]):8.2f}{max(figures[name]):9.2f}{promised:12.2f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
