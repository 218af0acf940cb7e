"""What a script takes more of than it may have: it meets the limit, and nobody else does.

The limits are the small server's (conftest.py), so that each is met within a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sandbox import check_clean, ended, findings, submit

from tests.running import RunningServer

MIB = 1 << 20
PROCESSES, WORK_BYTES, WORK_INODES, OUTPUT_BYTES = 48, 24 * MIB, 500, 8 * MIB  # as in conftest.SMALL


@pytest.fixture(scope="module")
def met(small_server: RunningServer) -> Iterator[dict[str, Any]]:
    """How far scripts/limits.py came with each resource."""
    yield findings(small_server, "limits", memory_bytes=256 * MIB)
    check_clean(small_server)


def test_a_fork_bomb_meets_the_limit_of_processes(met: dict[str, Any]) -> None:
    """Forking ends with EAGAIN at the run's limit; the script itself goes on."""
    count, error = met["forks"]

    assert error == "EAGAIN"
    assert PROCESSES // 2 < count < PROCESSES


def test_a_thread_bomb_meets_the_same_limit(met: dict[str, Any]) -> None:
    """Threads count as processes: starting them ends at the run's limit."""
    count, error = met["threads"]

    assert error == "RuntimeError"
    assert PROCESSES // 2 < count < PROCESSES


def test_the_working_directory_is_bounded_in_bytes(met: dict[str, Any]) -> None:
    """Files in /work grow to the limit, then writing fails with ENOSPC; the host's disk holds none of it."""
    size, error = met["work bytes"]

    assert error == "ENOSPC"
    assert WORK_BYTES * 0.9 < size <= WORK_BYTES


def test_the_working_directory_is_bounded_in_files(met: dict[str, Any]) -> None:
    """Making files in /work ends with ENOSPC at the limit of inodes."""
    count, error = met["work files"]

    assert error == "ENOSPC"
    assert WORK_INODES * 0.8 < count <= WORK_INODES


@pytest.mark.parametrize("file", ["result", "report.json", "images"])
def test_an_output_file_is_bounded(met: dict[str, Any], file: str) -> None:
    """Writing past the limit of a file in /out fails with EFBIG: written, truncated to size, or written far behind."""

    assert met[f"out {file}"] == {"written": OUTPUT_BYTES, "write": "EFBIG", "truncate": "EFBIG", "behind": "EFBIG"}


@pytest.mark.parametrize("mode", ["plain", "keep size", "punch", "zero", "collapse", "insert"])
def test_no_way_of_allocating_passes_the_limit_of_a_file(met: dict[str, Any], mode: str) -> None:
    """fallocate beyond the limit fails in each of its modes, and leaves no blocks on the host's disk."""
    error, allocated = met[f"fallocate {mode}"]

    assert error in {"EFBIG", "ENOTSUP"}
    assert allocated <= OUTPUT_BYTES


def test_shared_memory_is_bounded(met: dict[str, Any]) -> None:
    """/dev/shm takes 64 MiB, of the run's own memory."""
    size, error = met["shm"]

    assert error == "ENOSPC"
    assert size == 64 * MIB


def test_descriptors_are_bounded(met: dict[str, Any]) -> None:
    """A process opens 4096 files at most."""
    count, error = met["descriptors"]

    assert error == "EMFILE"
    assert 4000 < count < 4096


def test_locked_memory_is_bounded(met: dict[str, Any]) -> None:
    """Pinning memory beyond 64 KiB is refused: pinned memory cannot be taken from anybody."""

    assert met["mlock"] in {"ENOMEM", "EPERM"}


def test_a_script_that_fills_its_disk_is_told_so(small_server: RunningServer) -> None:
    """A script that does not mind the limit fails with its own OSError, and the text names the device's fault."""
    script = "def azureml_main(a, b):\n    for n in range(9): open(str(n), 'wb').write(bytes(4 << 20))"

    run = small_server.submit(script, memory_bytes=256 * MIB)

    assert (run["status"], run["reason"]) == ("failed", "script_error")
    assert "No space left on device" in run["error"]["message"]


def test_a_result_beyond_the_limit_has_its_own_reason(small_server: RunningServer) -> None:
    """A frame that does not fit into the result file ends as output_limit, and says what the limit is."""
    script = (
        "import numpy, pandas\ndef azureml_main(a, b):\n    return pandas.DataFrame({'x': numpy.random.rand(2 << 20)})"
    )

    run = small_server.submit(script)

    assert (run["status"], run["reason"]) == ("failed", "output_limit")
    assert "output_bytes" in run["error"]["message"] or "limit" in run["error"]["message"]


def test_a_neighbour_runs_beside_a_bomb(server: RunningServer) -> None:
    """While one run forks and spins without end, another one on the same server succeeds."""
    bomb = submit(
        server,
        "import os\ndef azureml_main(a, b):\n    while True:\n        try: os.fork()\n        except OSError: pass",
        timeout_seconds=60,
        cpus=0.5,
    )

    neighbour = server.submit("def azureml_main(a, b):\n    print('well')", timeout_seconds=30)
    still_running = server.get(f"/v1/runs/{bomb}").json()["status"]

    assert neighbour["status"] == "succeeded"
    assert still_running == "running"
    server.post(f"/v1/runs/{bomb}/cancel")
    assert ended(server, bomb)["status"] == "cancelled"


def test_the_server_answers_beside_a_bomb(server: RunningServer) -> None:
    """While a run forks and spins, the server's health is told at once."""
    bomb = submit(server, "def azureml_main(a, b):\n    while True: pass", timeout_seconds=3)

    began = time.monotonic()
    answers = [server.get("/healthz").status_code for _ in range(20)]
    seconds = (time.monotonic() - began) / 20

    assert set(answers) == {200}
    assert seconds < 0.2
    assert ended(server, bomb)["reason"] == "timeout"
