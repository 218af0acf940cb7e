"""What does a run cost over HTTP, beside a plain container of the same image?

    python benchmarks/latency.py [--rounds 20] [--image airlock-sandbox:latest]

Starts a server of its own. Each round times, in turn, on the same machine and in the same minute:

baseline    docker SDK: create, start, wait, remove a container of the same image with bind mounts, in which Python
            imports pandas and pyarrow, reads a 10-row Arrow file, adds a column and writes an Arrow file
airlock     POST /v1/runs?wait= with the same table and script, then GET the output as an Arrow file
start       the baseline's container running `true`: what Docker alone costs

Read the ratios: machines differ, and this one's load does too.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pyarrow as pa
import requests

SCRIPT = "def azureml_main(dataframe1):\n    dataframe1['b'] = dataframe1['a'] * 2\n    return dataframe1,\n"
BASELINE = """
import pandas, pyarrow, pyarrow.ipc
with pyarrow.memory_map("/in/table.arrow") as source:
    frame = pyarrow.ipc.open_file(source).read_all().to_pandas()
frame["b"] = frame["a"] * 2
table = pyarrow.Table.from_pandas(frame, preserve_index=False)
with pyarrow.OSFile("/out/result", "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
"""


def table_file() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"a": list(range(10))})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def check(result: bytes) -> None:
    assert pa.ipc.open_file(result).read_all()["b"].to_pylist() == [2 * n for n in range(10)]


def plain_container(client: docker.DockerClient, image: str, command: list[str], files: Path) -> None:
    """One container as a program would make it that knows Docker and nothing of Airlock."""
    container = client.containers.create(
        image,
        command,
        network_mode="none",
        read_only=True,
        volumes={str(files / "in"): {"bind": "/in", "mode": "ro"}, str(files / "out"): {"bind": "/out"}},
    )
    try:
        container.start()
        if status := container.wait()["StatusCode"]:
            raise RuntimeError(f"the baseline's container ended with {status}")
    finally:
        container.remove(force=True)


def measure(rounds: int, parts: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of each part, interleaved, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 1):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def serve(directory: Path, image: str) -> tuple[subprocess.Popen[bytes], str, str]:
    """A server on a free port: its process, address and key."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.running import start_server

    running = start_server(directory, {"AIRLOCK_IMAGE": image})
    return running.process, running.url, running.key


def report(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    base = seconds["baseline"]
    figures = {}
    print(f"{'':10}{'p50 ms':>9}{'p95 ms':>9}{'ratio of the round, median':>30}")
    for name, values in seconds.items():
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        ratio = statistics.median(value / of for value, of in zip(values, base, strict=True))
        figures[name] = {"p50_seconds": p50, "p95_seconds": p95, "ratio": ratio}
        print(f"{name:10}{p50 * 1000:9.0f}{p95 * 1000:9.0f}{ratio:30.2f}")
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description="latency of a 10-row run beside a plain container")
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--image", default="airlock-sandbox:latest")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    chosen = arguments.parse_args()
    table = table_file()
    client = docker.from_env()
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        for directory, mode in ((files, 0o755), (files / "in", 0o755), (files / "out", 0o777)):
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        (files / "in/table.arrow").write_bytes(table)
        process, url, key = serve(files / "data", chosen.image)
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {key}"

        def baseline() -> None:
            command = ["/opt/conda/bin/python", "-I", "-B", "-c", BASELINE]
            plain_container(client, chosen.image, command, files)
            check((files / "out/result").read_bytes())

        def airlock() -> None:
            parts = {"script": ("script.py", SCRIPT), "dataframe1": ("table.arrow", table)}
            run = session.post(f"{url}/v1/runs?wait=60", files=parts, timeout=90).json()
            assert run["status"] == "succeeded", run
            check(session.get(f"{url}/v1/runs/{run['id']}/output", timeout=60).content)

        try:
            seconds = measure(
                chosen.rounds,
                {
                    "baseline": baseline,
                    "airlock": airlock,
                    "start": lambda: plain_container(client, chosen.image, ["true"], files),
                },
            )
        finally:
            process.terminate()
            process.wait(60)
            client.close()
    figures = report(seconds)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
