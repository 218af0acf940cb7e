"""What does a run cost, beside a plain container of the same image that does the same?

    python benchmarks/runs.py [--rounds 20] [--seconds 60] [--large-megabytes 1000] [--json FILE]

The baseline is what a program would do that knows Docker and nothing of Airlock: create, start, wait for and remove a
container with bind mounts, in which Python imports pandas and pyarrow, reads an Arrow file, works, and writes one.
Airlock is asked over HTTP: POST /v1/runs?wait= with the same table and work, then GET of the output. Both are systems
(see `System`); to add another one as a candidate, write one more and add it to `main`.

Latency is measured in turn, system by system, call by call, with a pause after each; rates with four clients and no
pause. CPU seconds are the whole machine's, so nothing that a system has others do for it is free; on a machine with
other work read the medians, and read the ratios.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol

import docker
import pyarrow as pa
from urllib3 import encode_multipart_formdata

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.containers import ENGINE, of_server, pids_in
from tests.running import RunningServer, start_server

IMAGE = "airlock-sandbox:latest"
CLIENTS = 4
PAUSE_SECONDS = 0.25
"""After each call of which the latency counts: nobody asks for the next thing the moment an answer is there."""
SMALL = ("frame['b'] = frame['a'] * 2", {"a": list(range(10))})
GROUPED = (
    "frame = frame.groupby('c0', as_index=False).sum()",
    {f"c{n}": [(row * (n + 7)) % 100 for row in range(100_000)] for n in range(10)},
)
IDLE_SECONDS = 1.0
"""After which a connection is not used again: the server may have closed it."""
ARROW = "application/vnd.apache.arrow.file"


class System(Protocol):
    """Something that can do a piece of work on a table in a container of its own."""

    name: str

    def call(self, work: str, table: bytes) -> bytes:
        """`work` are lines about the DataFrame `frame`; table and answer are Arrow files."""


class PlainContainers:
    """The baseline. Threads may share it."""

    name = "baseline"

    def __init__(self) -> None:
        self._client = docker.from_env()
        self._root = Path(tempfile.mkdtemp())

    def call(self, work: str, table: bytes) -> bytes:
        files = Path(tempfile.mkdtemp(dir=self._root))
        for place, mode in (("in", 0o755), ("out", 0o777)):
            (files / place).mkdir()
            (files / place).chmod(mode)
        files.chmod(0o755)
        self._root.chmod(0o755)
        (files / "in/table.arrow").write_bytes(table)
        self.run(bare(work), files / "in", files / "out")
        result = (files / "out/result").read_bytes()
        shutil.rmtree(files)
        return result

    def run(self, program: str, inputs: Path, outputs: Path) -> None:
        container = self._client.containers.create(
            IMAGE,
            ["/opt/conda/bin/python", "-I", "-B", "-c", program],
            network_mode="none",
            read_only=True,
            volumes={str(inputs): {"bind": "/in", "mode": "ro"}, str(outputs): {"bind": "/out"}},
        )
        try:
            container.start()
            if status := container.wait()["StatusCode"]:
                raise RuntimeError(f"the baseline's container ended with {status}: {container.logs()[-500:]}")
        finally:
            container.remove(force=True)

    def close(self) -> None:
        self._client.close()
        shutil.rmtree(self._root)


class Airlock:
    """A server of its own, with the default settings but for how many containers it keeps ready."""

    def __init__(self, directory: Path, name: str, **env: str) -> None:
        self.name = name
        self.server: RunningServer = start_server(directory / name, env)
        self._local = threading.local()

    def call(self, work: str, table: bytes) -> bytes:
        files = {"script": ("script.py", script(work)), "dataframe1": ("table.arrow", table)}
        body, kind = encode_multipart_formdata(files)
        run = json.loads(self.ask("POST", "/v1/runs?wait=60", body, {"Content-Type": kind}))
        assert run["status"] == "succeeded", run
        return self.ask("GET", f"/v1/runs/{run['id']}/output")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """With the least of clients: its CPU is counted with the server's."""
        now = time.monotonic()
        if now - getattr(self._local, "used", 0.0) > IDLE_SECONDS:
            self._local.connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=90)
        self._local.used = now
        connection: HTTPConnection = self._local.connection
        connection.request(method, path, body, {"Authorization": f"Bearer {self.server.key}", **(headers or {})})
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        return answer.read()

    def cpu_seconds(self) -> float:
        """Of the server's own processes."""
        children = subprocess.run(["pgrep", "-P", str(self.server.process.pid)], capture_output=True, text=True).stdout
        return sum(_cpu_seconds_of(int(pid)) for pid in [self.server.process.pid, *children.split()])

    def close(self) -> None:
        self.server.stop()


def bare(work: str) -> str:
    return f"""
import pandas, pyarrow, pyarrow.ipc
with pyarrow.memory_map("/in/table.arrow") as source:
    frame = pyarrow.ipc.open_file(source).read_all().to_pandas()
{work}
table = pyarrow.Table.from_pandas(frame, preserve_index=False)
with pyarrow.OSFile("/out/result", "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
"""


FLOOR = """
import os, time, pandas, pyarrow, pyarrow.ipc
began = time.perf_counter()
with pyarrow.memory_map("/in/table.arrow") as source:
    frame = pyarrow.ipc.open_file(source).read_all().to_pandas()
table = pyarrow.Table.from_pandas(frame, preserve_index=False)
with pyarrow.OSFile("/out/result", "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
os.fsync(os.open("/out/result", os.O_RDONLY))  # a run's output is on the disk when the run is told as ended
open("/out/seconds", "w").write(str(time.perf_counter() - began))
"""


def script(work: str) -> str:
    return f"def azureml_main(frame):\n    {work}\n    return frame,\n"


def arrow_file(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def latencies(systems: list[System], work: str, table: bytes, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, the systems in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    answers = {}
    for turn in range(rounds + 1):
        for system in systems:
            began = time.perf_counter()
            answers[system.name] = system.call(work, table)
            if turn:
                seconds[system.name].append(time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)
    tables = [pa.ipc.open_file(answer).read_all().replace_schema_metadata(None) for answer in answers.values()]
    assert all(one.equals(tables[0]) for one in tables), "the systems gave different answers"
    return seconds


def rate(system: System, work: str, table: bytes, seconds: float) -> dict[str, float]:
    """Calls a second of four clients, and the CPU seconds of the whole machine for each."""
    done, deadline, cpu = [0] * CLIENTS, time.perf_counter() + seconds, machine_cpu_seconds()
    began = time.perf_counter()

    def client(number: int) -> None:
        while time.perf_counter() < deadline:
            system.call(work, table)
            done[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return {"per_second": sum(done) / took, "cpu_seconds": (machine_cpu_seconds() - cpu) / sum(done)}


def own_share(system: Airlock, rounds: int) -> float:
    """CPU seconds of the server's own processes for a small call, with what it does ahead and behind."""
    work, columns = SMALL
    before = system.cpu_seconds()
    for _ in range(rounds):
        system.call(work, arrow_file(columns))
        time.sleep(PAUSE_SECONDS)
    return (system.cpu_seconds() - before) / rounds


def idle_bytes(system: Airlock) -> dict[str, float]:
    """What one container that waits holds for itself alone: in it, and in a shim beside it, if there is one."""
    inside, beside = [], []
    for container in of_server(system.server.engine, system.server.instance):
        if container["Names"][0].startswith("/airlock-warm-"):
            inside.append(sum(map(_private_bytes, pids_in(container["Id"]))))
            beside.append(sum(map(_private_bytes, _shims_of(container["Id"]))))
    return {"inside": statistics.median(inside), "beside": statistics.median(beside)}


def large(system: Airlock, baseline: PlainContainers, megabytes: int) -> dict[str, float]:
    """Seconds of a large dataset by reference, to the run's end; beside reading, converting and writing it bare."""
    rows = megabytes * 1_000_000 // 80
    table = arrow_file({f"c{n}": pa.array(range(n, rows + n), pa.float64()) for n in range(10)})
    server = system.server
    put = server.request("PUT", "/v1/datasets/large?wait=120", data=table, headers={"Content-Type": ARROW})
    assert put.status_code in (200, 201, 202), put.text
    with tempfile.TemporaryDirectory(dir=server.data_dir.parent) as name:
        files = Path(name)
        for place in ("in", "out"):
            (files / place).mkdir()
            (files / place).chmod(0o777)
        files.chmod(0o755)
        (files / "in/table.arrow").write_bytes(table)
        del table
        seconds: dict[str, list[float]] = {"floor": [], "airlock": []}
        for _ in range(3):
            (files / "out/result").unlink(missing_ok=True)
            baseline.run(FLOOR, files / "in", files / "out")
            seconds["floor"].append(float((files / "out/seconds").read_text()))
            began = time.perf_counter()
            reference = (None, json.dumps({"dataset": "large"}), "application/json")
            options = (None, json.dumps({"memory_bytes": 8 << 30}), "application/json")
            parts = {"script": ("script.py", script("pass")), "dataframe1": reference, "options": options}
            run = server.post("/v1/runs?wait=120", files=parts).json()
            assert run["status"] == "succeeded", run
            seconds["airlock"].append(time.perf_counter() - began)
            # Or the next one's pages would have to be taken from this one's first: the kernel's time, and much of it.
            assert server.request("DELETE", f"/v1/runs/{run['id']}").status_code == 204
    return {name: min(values) for name, values in seconds.items()}


def machine_cpu_seconds() -> float:
    values = [int(value) for value in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(values) - values[3] - values[4]) / 100


def _cpu_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _private_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) << 10 for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def _shims_of(container_id: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", f"containerd-shim.* -id {container_id}"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def measure(rounds: int, seconds: float, megabytes: int) -> dict[str, Any]:
    """Every figure, by name."""
    with tempfile.TemporaryDirectory() as name:
        baseline = PlainContainers()
        warm = Airlock(Path(name), "warm", AIRLOCK_WARM_CONTAINERS="8", AIRLOCK_MAX_MEMORY_BYTES=str(8 << 30))
        plain = Airlock(Path(name), "plain", AIRLOCK_WARM_CONTAINERS="0")
        systems: list[Any] = [baseline, warm, plain]
        try:
            warm.server.warm_up()
            small, grouped = ((work, arrow_file(columns)) for work, columns in (SMALL, GROUPED))
            figures: dict[str, Any] = {
                "small": latencies(systems, *small, rounds),
                "grouped": latencies(systems, *grouped, max(5, rounds // 3)),
                "rate": {system.name: rate(system, *small, seconds) for system in systems},
                "own_cpu_seconds": own_share(warm, rounds),
                "idle_bytes": idle_bytes(warm),
            }
            if megabytes:
                figures["large"] = large(warm, baseline, megabytes)
            return figures
        finally:
            for system in systems:
                system.close()


def report(figures: dict[str, Any]) -> None:
    names = ("baseline", "warm", "plain")
    print(f"engine: {ENGINE}; the baseline's containers are Docker's")
    print(f"{'':44}" + "".join(f"{name:>12}" for name in names) + f"{'warm : base':>14}")

    def line(title: str, value: Callable[[str], float], unit: float = 1000) -> None:
        values = {name: value(name) for name in names}
        shown = "".join(f"{values[name] * unit:12.1f}" for name in names)
        print(f"{title:44}{shown}{values['warm'] / values['baseline']:14.3f}")

    for key, title in (("small", "10 rows"), ("grouped", "100,000 x 10, groupby")):
        line(f"{title}: p50, ms", lambda name: statistics.median(figures[key][name]))  # noqa: B023
        line(f"{title}: p90, ms", lambda name: percentile(figures[key][name], 0.9))  # noqa: B023
        line(f"{title}: p99, ms", lambda name: percentile(figures[key][name], 0.99))  # noqa: B023
    line("four clients: runs a second", lambda name: figures["rate"][name]["per_second"], 1)
    line("four clients: CPU of the machine for a run, ms", lambda name: figures["rate"][name]["cpu_seconds"])
    own = figures["own_cpu_seconds"] * 1000
    print(f"the server's own CPU for a small call: {own:.1f} ms, with what it does ahead and behind")
    idle = {name: value / (1 << 20) for name, value in figures["idle_bytes"].items()}
    print(f"a warm container that waits: {idle['inside']:.1f} MiB of its own, {idle['beside']:.1f} beside it")
    if "large" in figures:
        floor, airlock = figures["large"]["floor"], figures["large"]["airlock"]
        print(f"a large dataset by reference: {airlock:.2f} s, floor {floor:.2f} s: {airlock / floor:.2f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description="what a run costs beside a plain container")
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--seconds", type=float, default=20, help="of four clients without a pause")
    arguments.add_argument("--large-megabytes", type=int, default=0, help="1000 for the whole table; 0: leave it out")
    arguments.add_argument("--json", type=Path, help="write every value here")
    chosen = arguments.parse_args()
    figures = measure(chosen.rounds, chosen.seconds, chosen.large_megabytes)
    report(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
