"""What does the way of a table through the runner cost, beside the least that pandas and pyarrow need?

    python benchmarks/tables.py [--megabytes 10 100 1000] [--kinds floats ...] [--rounds 5]

Everything runs in containers of the sandbox image, without network, on files of the same disk. Each round runs, in
turn, in fresh processes:

floor    a bare process: memory-map an Arrow file, to_pandas, from_pandas, write an Arrow file
runner   the same file through `python -m runner`, with a script that returns its table

Time is measured inside, from the open file to the written one: interpreter start and imports are the same for both,
and benchmarks/runs.py counts them. The least of the rounds counts: whatever else the machine does only adds to it.
CPU time is less at the mercy of a machine that has other work to do; the runner's is that of its whole job. Memory is
the peak of the process's resident set, its mapped input included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

FLOOR = """
import json, time, resource
import pandas, pyarrow, pyarrow.ipc, pyarrow.pandas_compat
begun, used = time.monotonic(), time.process_time()
with pyarrow.memory_map("/in/dataframe1") as source:
    frame = pyarrow.ipc.open_file(source).read_all().to_pandas()
table = pyarrow.Table.from_pandas(frame, preserve_index=False)
with pyarrow.OSFile("/out/result", "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - used
kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "kib": kib}))
"""
RUNNER = """
import json, os, runpy, sys, time
from runner import console
leave, wait = os._exit, console.wait_for_go
used = 0.0
def wait_for_go():
    global used
    gone = wait()
    used = time.process_time()
    return gone
def told(code):
    # The runner ends by os._exit: what it took is written beside its report just before.
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    open("/out/cost", "w").write(json.dumps({"cpu_seconds": time.process_time() - used, "kib": int(peak)}))
    leave(code)
console.wait_for_go, os._exit = wait_for_go, told
sys.argv = ["runner"]
runpy.run_module("runner", run_name="__main__")
"""
SCRIPT = "def azureml_main(df):\n    return df,\n"
OUTPUT_BYTES = 8 << 30


def columns(kind: str, size: int) -> dict[str, Any]:
    """Arrow columns of one kind that take about `size` bytes together; the same in every run."""
    import numpy as np

    numbers = np.random.default_rng(7)
    if kind == "mixed":
        parts = [columns(part, size // 4) for part in ("floats", "integers", "strings", "categories")]
        rows = min(len(next(iter(part.values()))) for part in parts)
        return {f"{n}{name}": column[:rows] for n, part in enumerate(parts) for name, column in part.items()}
    if kind in ("floats", "integers"):
        rows = size // 80
        made = (
            numbers.normal(size=rows) if kind == "floats" else numbers.integers(0, 1 << 40, rows) for _ in range(10)
        )
        return {f"c{n}": pa.array(values) for n, values in enumerate(made)}
    if kind == "gaps":
        rows = size // 80
        masks = (numbers.random(rows) < 0.1 for _ in range(10))
        return {f"c{n}": pa.array(numbers.normal(size=rows), mask=mask) for n, mask in enumerate(masks)}
    if kind == "strings":
        words = pa.array([f"word-{n:x}-{'x' * (n % 16)}" for n in range(10_000)])
        rows = size // 4 // 20
        return {f"c{n}": words.take(pa.array(numbers.integers(0, 10_000, rows))) for n in range(4)}
    rows = size // 10
    levels = pa.array([f"level {n}" for n in range(100)])
    codes = (pa.array(numbers.integers(0, 100, rows).astype(np.int8)) for _ in range(10))
    return {f"c{n}": pa.DictionaryArray.from_arrays(code, levels) for n, code in enumerate(codes)}


KINDS = ("floats", "integers", "gaps", "strings", "categories", "mixed")


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    mebibytes: float


def container(image: str, folder: Path, program: str, go: bytes = b"") -> str:
    """Run a Python program in a fresh container of the image; what it printed."""
    command = [
        "docker", "run", "--rm", "-i", "--network", "none", "--read-only", "--user", "0:0",
        "--tmpfs", "/work:exec,size=256m", "-v", f"{folder / 'in'}:/in:ro", "-v", f"{folder / 'out'}:/out",
        "-e", "OMP_NUM_THREADS=2", "-e", "TZ=UTC", image, "python", "-I", "-B", "-c", program,
    ]  # fmt: skip
    done = subprocess.run(command, input=go, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a container ended with {done.returncode}: {done.stdout!r} {done.stderr!r}")
    return done.stdout.decode()


def prepare(folder: Path, kind: str, size: int) -> int:
    """Write the table and the job; the bytes of the table's file."""
    (folder / "in").mkdir()
    table = pa.table(columns(kind, size))
    with pa.OSFile(str(folder / "in/dataframe1"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "in/script.py").write_text(SCRIPT)
    reading = {"delimiter": None, "encoding": None, "missing": [], "dates": {}, "types": {}, "columns": None}
    entry = {"port": 1, "file": "dataframe1", "format": "arrow", "compression": None, "reading": reading, "slice": None}
    job = {
        "version": 3, "task": "run", "profile": "classic", "dtypes": "numpy", "inputs": [entry], "bundle": None,
        "outputs": [{"port": 1, "file": "result", "format": "arrow"}], "parameters": {},
        "group_by": None,
        "limits": {"output_bytes": OUTPUT_BYTES, "images": 0, "images_bytes": 0, "inflated_bytes": 1},
    }  # fmt: skip
    (folder / "in/job.json").write_text(json.dumps(job))
    return (folder / "in/dataframe1").stat().st_size


def empty_outputs(folder: Path) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    for name in ("result", "report.json", "images"):
        (folder / "out" / name).touch()


def check(folder: Path) -> None:
    """What came out is what went in."""
    with pa.memory_map(str(folder / "in/dataframe1")) as given, pa.memory_map(str(folder / "out/result")) as got:
        before, after = pa.ipc.open_file(given).read_all(), pa.ipc.open_file(got).read_all()
        for name in before.column_names:
            column, result = before[name], after[name]
            if not pa.types.is_dictionary(column.type):
                result = result.cast(column.type)
            assert result.equals(column) or result.to_pylist() == column.to_pylist(), name


def floor(image: str, folder: Path) -> Cost:
    empty_outputs(folder)
    told = json.loads(container(image, folder, FLOOR))
    return Cost(told["seconds"], told["cpu_seconds"], told["kib"] / 1024)


def runner(image: str, folder: Path) -> Cost:
    empty_outputs(folder)
    container(image, folder, RUNNER, b'{"go": 1}\n')
    report = json.loads((folder / "out/report.json").read_text())
    assert report["outcome"] == "succeeded", report
    seconds = sum(report["timings"][f"{part}_seconds"] for part in ("read", "script", "write"))
    told = json.loads((folder / "out/cost").read_text())
    return Cost(seconds, told["cpu_seconds"], told["kib"] / 1024)


def measure(image: str, kind: str, megabytes: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = prepare(folder, kind, megabytes * 10**6)
        pairs = []
        for turn in range(rounds + 1):
            pair = floor(image, folder), runner(image, folder)
            if turn:
                pairs.append(pair)
            else:
                check(folder)
    floors, runners = zip(*pairs, strict=True)
    figures = {"megabytes": size / 1e6}
    for name, least in (("seconds", min), ("cpu_seconds", min), ("mebibytes", statistics.median)):
        below, above = (least(getattr(cost, name) for cost in costs) for costs in (floors, runners))
        figures |= {f"floor_{name}": below, f"runner_{name}": above, f"{name}_ratio": above / below}
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description="the cost of a table's way, beside pandas and pyarrow alone")
    arguments.add_argument("--megabytes", type=int, nargs="+", default=[10, 100, 1000])
    arguments.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--image", default="airlock-sandbox:latest")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    chosen = arguments.parse_args()
    figures = {}
    print(f"{'':18}{'floor s':>9}{'runner s':>10}{'ratio':>7}{'CPU ratio':>11}", end="")
    print(f"{'floor MiB':>11}{'runner MiB':>12}{'ratio':>7}")
    for megabytes in chosen.megabytes:
        for kind in chosen.kinds:
            found = measure(chosen.image, kind, megabytes, chosen.rounds)
            figures[f"{kind} {megabytes} MB"] = found
            print(
                f"{f'{kind} {megabytes} MB':18}{found['floor_seconds']:9.3f}{found['runner_seconds']:10.3f}"
                f"{found['seconds_ratio']:7.2f}{found['cpu_seconds_ratio']:11.2f}{found['floor_mebibytes']:11.0f}"
                f"{found['runner_mebibytes']:12.0f}{found['mebibytes_ratio']:7.2f}",
                flush=True,
            )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
