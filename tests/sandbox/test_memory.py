"""Running out of memory is told from the cgroup's own counter: it is never missed, and never made up."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import SCRIPTS, check_clean, ended, submit, table

from controller.engines.cgroup import ROOT, CgroupReader
from tests.running import RunningServer, until

MIB = 1 << 20
MEMORY_BYTES = 128 * MIB
REPEATS = 4
HEAD = "import mmap, os, sys, time\nimport numpy as np\nimport pandas as pd\n\ndef azureml_main(a, b):\n"
FRAME = "    return pd.DataFrame({'x': [1]})\n"
CHILD = "    if os.fork() == 0:\n        keep = []\n        while True: keep.append(b'x' * (1 << 20))\n    os.wait()\n"

TOO_MUCH = {
    "objects": "    keep = []\n    while True: keep.append(bytearray(b'x' * (1 << 20)))\n",
    "an array": "    return pd.DataFrame({'x': np.ones(64 << 20)})\n",
    "an array after a word": "    print('so', flush=True)\n    return pd.DataFrame({'x': np.ones(64 << 20)})\n",
    "files in the working directory": (
        "    with open('big', 'wb') as f:\n        for _ in range(200): f.write(b'x' * (1 << 20))\n    time.sleep(20)\n"
    ),
    "shared memory": (
        "    for n in range(4):\n        with open(f'/dev/shm/{n}', 'wb') as f: f.write(b'x' * (15 << 20))\n"
        "    keep = b'x' * (60 << 20)\n    time.sleep(20)\n"
    ),
    "a file without a name": ("    fd = os.memfd_create('hidden')\n    while True: os.write(fd, b'x' * (1 << 20))\n"),
    "memory behind closed output": (
        "    os.closerange(0, 100)\n    keep = []\n    while True: keep.append(bytearray(b'x' * (1 << 20)))\n"
    ),
}
NOT_TOO_MUCH = {
    "a child dies of it and the script goes on": (CHILD + FRAME, ("succeeded", None)),
    "the script says that it died of it": ("    os._exit(137)\n", ("failed", "crashed")),
    "the script raises MemoryError": ("    raise MemoryError('so I say')\n", ("failed", "script_error")),
    "the kernel refuses it at once": ("    np.empty(1 << 50, dtype='u1')\n", ("failed", "script_error")),
    "the script kills its children": (
        "    if os.fork() == 0: time.sleep(600)\n    os.kill(-1, 9)\n    os._exit(137)\n",
        ("failed", "crashed"),
    ),
}


@pytest.fixture(scope="module")
def runs(server: RunningServer) -> Iterator[dict[str, list[Any]]]:
    """Each variant's runs, REPEATS of each that takes too much."""
    bodies = {name: [body] * REPEATS for name, body in TOO_MUCH.items()}
    bodies |= {name: [body] for name, (body, _) in NOT_TOO_MUCH.items()}
    ids = {
        name: [submit(server, HEAD + body, memory_bytes=MEMORY_BYTES, timeout_seconds=30) for body in list_of_bodies]
        for name, list_of_bodies in bodies.items()
    }
    yield {name: [ended(server, run_id) for run_id in run_ids] for name, run_ids in ids.items()}
    check_clean(server)


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_run_that_takes_too_much_memory_is_told_so(runs: dict[str, list[Any]], name: str) -> None:
    """Each of the runs ends as out_of_memory, with the limit in its error, whatever way the memory went."""

    assert [(run["status"], run["reason"]) for run in runs[name]] == [("failed", "out_of_memory")] * REPEATS
    assert "128 MiB" in runs[name][0]["error"]["message"]


@pytest.mark.parametrize("name", NOT_TOO_MUCH)
def test_a_run_that_does_not_is_not(runs: dict[str, list[Any]], name: str) -> None:
    """Neither an exit code nor an exception nor the death of a child makes a run out_of_memory."""
    (run,) = runs[name]

    assert (run["status"], run["reason"]) == NOT_TOO_MUCH[name][1], run["error"]


@pytest.mark.parametrize("name", [name for name in TOO_MUCH if not name.startswith("an array")])
def test_no_run_exceeds_its_memory(runs: dict[str, list[Any]], name: str) -> None:
    """The cgroup's highest reading stays at the limit: nothing that a script does is charged to somebody else."""
    peaks = [run["usage"]["peak_memory_bytes"] for run in runs[name]]

    assert MEMORY_BYTES // 2 < max(peaks) <= MEMORY_BYTES, peaks


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup of this host with a limit of 8 MiB, and where its counters are; for one process that takes more."""
    unified = (ROOT / "cgroup.controllers").exists()
    place = (ROOT if unified else ROOT / "memory") / "airlock-alarm-test"
    place.mkdir()
    limit, swap = ("memory.max", "memory.swap.max") if unified else ("memory.limit_in_bytes", "memory.swappiness")
    try:
        (place / limit).write_text(str(8 * MIB))
        (place / swap).write_text("0")
        yield place
    finally:
        assert until(lambda: (place / "cgroup.procs").read_text() == "", 10)
        place.rmdir()


def test_the_alarm_rings_when_the_kernel_kills_and_not_before(small_cgroup: Path) -> None:
    """So a kill is known although Docker removes the cgroup, and with it the count, within milliseconds of it."""
    counters = CgroupReader(small_cgroup, small_cgroup, unified=(ROOT / "cgroup.controllers").exists())
    code = "import sys; sys.stdin.read(); x = bytearray(b'x' * (64 << 20))"
    with counters.watched() as alarm, subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert alarm is not None
        (small_cgroup / "cgroup.procs").write_text(str(process.pid))
        calm = alarm.wait(0.2)
        process.communicate()
        counters.rest(10)
        kills = counters.sample().oom_kills

        assert (calm, process.returncode, kills) == (False, -signal.SIGKILL, 1)
        assert until(lambda: counters.sample().oom_kills == 1 and not alarm.wait(0), 1)


def test_buffers_of_sockets_are_bounded(server: RunningServer) -> None:
    """What the kernel keeps for loopback sockets is the run's memory, or small: 400 MB of it cannot be had beside."""

    run = server.submit((SCRIPTS / "sockets.py").read_text(), memory_bytes=MEMORY_BYTES)

    if run["status"] == "succeeded":
        assert int(table(server, run)["finding"][0]) < 64 * MIB
    else:
        assert run["reason"] == "out_of_memory"
