"""A database, a disk or a clock that fails: each request gets a clear answer, and what was accepted still ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from shutil import disk_usage
from typing import Any

import pytest
import requests

from tests.running import RunningServer, until

QUICK = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"
SLEEPER = "import time\nprint('asleep', flush=True)\ntime.sleep(%s)\n" + QUICK
YEAR_SECONDS = 365 * 86_400
Maker = Callable[..., RunningServer]


def accepted(server: RunningServer, script: str, **headers: str) -> str:
    answer = server.post("/v1/runs", files={"script": ("s.py", script)}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def run_of(server: RunningServer, run_id: str, wait: int = 60) -> dict[str, Any]:
    return dict(server.get(f"/v1/runs/{run_id}?wait={wait}").json())


def asleep(server: RunningServer, run_id: str) -> bool:
    return until(lambda: "asleep" in server.get(f"/v1/runs/{run_id}/log").text, 60)


def refused(answer: requests.Response, code: str, *words: str) -> None:
    """503 with this code, words in its detail, and the time to come back."""
    assert (answer.status_code, answer.json().get("code")) == (503, code), answer.text
    assert all(word in answer.json()["detail"] for word in words), answer.text
    assert answer.headers["Retry-After"] == "5"


# -- the database ----------------------------------------------------------------------------------------------------


def test_a_locked_database_costs_no_accepted_run(make_server: Maker) -> None:
    """Longer locked than anybody waits for it: 503 for what would write, and the runs end once it is free."""
    server = make_server(AIRLOCK_WORKERS="1")
    running, queued = accepted(server, SLEEPER % 1), accepted(server, QUICK)
    assert asleep(server, running)

    with closing(sqlite3.connect(server.data_dir / "airlock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refusal = server.post("/v1/runs", files={"script": ("s.py", QUICK)})
        during = run_of(server, running, wait=0)["status"]
        assert until(lambda: "outcome_not_stored" in server.log_path.read_text(), 60)
        kept = {path.name for path in (server.data_dir / "runs").iterdir()}
        other.execute("ROLLBACK")
    runs = [run_of(server, run_id) for run_id in (running, queued)]

    refused(refusal, "store_error", "locked")
    assert during == "running"
    assert kept == {running, queued}, "nothing of the refused run is kept"
    assert [(run["status"], run["attempt"]) for run in runs] == [("succeeded", 1)] * 2
    assert server.submit(QUICK)["status"] == "succeeded"


def test_a_database_that_was_moved_away_is_never_made_anew(make_server: Maker) -> None:
    """Many requests at once, each with a connection of its own: none makes a new file in the old one's place."""
    server = make_server()
    first = server.submit(QUICK)
    running = accepted(server, SLEEPER % 2)
    assert asleep(server, running)
    database, away = server.data_dir / "airlock.db", server.data_dir / "airlock.away"

    database.rename(away)
    headers = {"Authorization": f"Bearer {server.key}"}
    with ThreadPoolExecutor(40) as pool:
        url = f"{server.url}/v1/runs/{first['id']}"
        answers = list(pool.map(lambda _: requests.get(url, headers=headers, timeout=60), range(200)))
    ready = server.get("/readyz").json()["checks"]["store"]
    assert until(lambda: "outcome_not_stored" in server.log_path.read_text(), 60)
    made = database.exists()
    away.rename(database)
    run = run_of(server, running)

    for answer in answers:
        refused(answer, "store_error", "the database file is gone", "restore a backup")
    assert ready == "store_error"
    assert not made
    assert (run["status"], run["attempt"]) == ("succeeded", 1)
    assert run_of(server, first["id"])["status"] == "succeeded"
    with closing(sqlite3.connect(database)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_database_that_was_replaced_needs_a_restart(make_server: Maker) -> None:
    """The old one is written no more, nor the new one; after a restart the new one holds."""
    server = make_server()
    first = server.submit(QUICK)
    database, copy = server.data_dir / "airlock.db", server.data_dir / "copy"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    later = server.submit(QUICK)
    before = copy.read_bytes()

    os.replace(copy, database)
    answer = server.post("/v1/runs", files={"script": ("s.py", QUICK)})
    untouched = database.read_bytes() == before
    server.stop(signal.SIGKILL)
    for name in ("airlock.db-wal", "airlock.db-shm"):  # as docs/operations.md says
        (server.data_dir / name).unlink(missing_ok=True)
    again = make_server(key=server.key)

    refused(answer, "store_error", "replaced", "restart the server")
    assert untouched
    assert again.get(f"/v1/runs/{first['id']}").json()["status"] == "succeeded"
    assert again.get(f"/v1/runs/{later['id']}").status_code == 404, "the backup is from before it"
    assert again.submit(QUICK)["status"] == "succeeded"


def test_without_its_database_a_server_does_not_start(make_server: Maker) -> None:
    """To begin with an empty one would remove every run's files."""
    server = make_server()
    run = server.submit(QUICK)
    server.stop()
    database = server.data_dir / "airlock.db"
    database.rename(server.data_dir / "airlock.away")

    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "serve"],
        env={**os.environ, "AIRLOCK_DATA_DIR": str(server.data_dir), "AIRLOCK_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    made = database.exists()
    (server.data_dir / "airlock.away").rename(database)
    again = make_server(key=server.key)

    assert done.returncode == 3, done.stderr
    assert "store_error" in done.stderr
    assert "restore the database" in done.stderr
    assert not made
    assert again.get(f"/v1/runs/{run['id']}/output").status_code == 200


# -- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], Callable[[], None]]]:
    """Makes a folder read-only for whatever is opened from now on; gives the way back."""
    mounted: list[Path] = []

    def back() -> None:
        while mounted:
            subprocess.run(["umount", "--lazy", str(mounted.pop())], check=True)

    def mount(folder: Path) -> Callable[[], None]:
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        return back

    yield mount
    back()


def test_a_disk_that_turns_read_only_has_a_name(
    make_server: Maker, read_only: Callable[[Path], Callable[[], None]]
) -> None:
    """503 for uploads; what was accepted waits, and ends when the disk can be written again."""
    server = make_server(AIRLOCK_WORKERS="1")
    running, queued = accepted(server, SLEEPER % 3), accepted(server, QUICK)
    assert asleep(server, running)

    back = read_only(server.data_dir)
    refusal = server.post("/v1/runs", files={"script": ("s.py", QUICK)})
    shown = server.get(f"/v1/runs/{running}")
    assert until(lambda: "disk_away" in server.log_path.read_text(), 60)
    during = [run_of(server, run_id, wait=0)["status"] for run_id in (running, queued)]
    back()
    runs = [run_of(server, run_id) for run_id in (running, queued)]

    refused(refusal, "storage_failed", "Read-only file system")
    assert shown.status_code == 200
    assert not {"succeeded", "failed"} & set(during)
    assert [run["status"] for run in runs] == ["succeeded", "succeeded"], runs
    assert "unforeseen_error" not in server.log_path.read_text()
    assert server.submit(QUICK)["status"] == "succeeded"
    assert until(lambda: list((server.data_dir / "uploads").iterdir()) == [])


@pytest.fixture
def tiny_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 24 MiB, or as many as the test says: the place of a data directory."""
    place, size = tmp_path / "data", getattr(request, "param", 24)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all the room there is; the file that has it."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast


def test_runs_wait_for_room_on_the_disk(tiny_disk: Path, make_server: Maker) -> None:
    """A queue that meets a full disk is not failed run by run: each waits, and is begun when there is room."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES="0", AIRLOCK_WORKERS="1")
    running = accepted(server, SLEEPER % 3)
    assert asleep(server, running)
    queued = [accepted(server, QUICK) for _ in range(3)]

    ballast = fill(tiny_disk)
    assert until(lambda: "outcome_not_stored" in server.log_path.read_text(), 60)
    time.sleep(2)
    during = [run_of(server, run_id, wait=0)["status"] for run_id in queued]
    ballast.unlink()
    runs = [run_of(server, run_id) for run_id in (running, *queued)]

    assert during == ["queued"] * 3
    assert [run["status"] for run in runs] == ["succeeded"] * 4, runs


def test_a_result_that_finds_no_room_fails_by_name(tiny_disk: Path, make_server: Maker) -> None:
    """The run's own result is too large for the disk: it fails, says so, and takes no room afterwards."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES="0")
    large = "import numpy, pandas\ndef azureml_main(): return pandas.DataFrame({'a': numpy.zeros(4 << 20)})"

    run = server.submit(large)

    assert run["status"] == "failed"
    assert run["reason"] in ("engine_error", "output_limit"), run
    assert "space" in run["error"]["message"] or "disk" in run["error"]["message"], run
    assert server.submit(QUICK)["status"] == "succeeded"


@pytest.mark.parametrize("tiny_disk", [300], indirect=True)
def test_an_upload_leaves_the_room_that_is_kept_free(tiny_disk: Path, make_server: Maker) -> None:
    """There was room when it began: it is refused on its way, and nothing of it stays."""
    server = make_server(AIRLOCK_MIN_FREE_BYTES=str(150 << 20))
    least = [300 << 20]

    def body() -> Iterator[bytes]:
        for _ in range(280):
            least.append(disk_usage(tiny_disk).free)
            yield bytes(1 << 20)

    answer = server.request("PUT", "/v1/datasets/zeros", data=body(), headers={"Content-Type": "text/csv"})

    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (507, "storage_full", 150 << 20)
    assert min(least) > 70 << 20
    assert until(lambda: not any((server.data_dir / "uploads").iterdir()))
    assert server.submit(QUICK)["status"] == "succeeded"


# -- its own log -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["on a full disk", "in a pipe that nobody reads any more"])
def test_a_log_that_cannot_be_written_stops_nothing(make_server: Maker, lost: str) -> None:
    """Requests are answered, runs end, and upkeep goes on: every one of them has something to say."""
    reading, writing = os.pipe()
    settings = {"AIRLOCK_WORKERS": "1", "AIRLOCK_SWEEP_SECONDS": "0.3", "AIRLOCK_KEEP_OUTPUTS_SECONDS": "0.2"}
    with open("/dev/full", "wb") as full, open(writing, "wb") as pipe:
        server = make_server(output=full if "disk" in lost else pipe, **settings)
        os.close(reading)
        runs = [server.submit(QUICK) for _ in range(3)]
        batch = {"script": QUICK, "batch": {"datasets": ["none"]}}
        refusals = [server.get("/nowhere"), server.post("/v1/batches", json=batch)]
        removed = until(lambda: server.get(f"/v1/runs/{runs[-1]['id']}").json()["removed"] == ["outputs"], 20)

    assert [run["status"] for run in runs] == ["succeeded"] * 3
    assert [answer.status_code for answer in refusals] == [404, 404]
    assert removed
    assert server.log_path.read_bytes() == b""


# -- the clock -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def movable_clock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose wall clock can be moved; the monotonic one cannot."""
    folder = tmp_path_factory.mktemp("clock")
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    (folder / "moved").write_text("0")
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(folder / "moved")}


def move(clock: dict[str, str], seconds: int) -> None:
    file = Path(clock["CLOCK_FILE"])
    file.with_suffix(".new").write_text(str(seconds))
    file.with_suffix(".new").rename(file)


@pytest.mark.parametrize("years", [1, -1])
def test_a_clock_that_jumps_costs_nothing(make_server: Maker, movable_clock: dict[str, str], years: int) -> None:
    """A year ahead or back: what runs is not taken for abandoned, nothing is removed for its age, keys hold."""
    move(movable_clock, 0)
    server = make_server(AIRLOCK_WORKERS="1", AIRLOCK_SWEEP_SECONDS="1", **movable_clock)
    done = run_of(server, accepted(server, QUICK, **{"Idempotency-Key": "before"}))
    running = accepted(server, SLEEPER % 20)  # the leases are looked at every 15 seconds
    queued = accepted(server, QUICK)
    assert asleep(server, running)

    move(movable_clock, years * YEAR_SECONDS)
    assert until(lambda: "clock_jumped" in server.log_path.read_text(), 30)
    again = server.post("/v1/runs", files={"script": ("s.py", QUICK)}, headers={"Idempotency-Key": "before"})
    later = accepted(server, QUICK)
    runs = [run_of(server, run_id) for run_id in (running, queued, later)]

    assert [(run["status"], run["attempt"]) for run in runs] == [("succeeded", 1)] * 3, runs
    assert all(run["timings"]["queue_seconds"] >= 0 for run in runs)
    assert runs[2]["created_at"][:4] == str(time.gmtime(time.time() + years * YEAR_SECONDS).tm_year)
    assert again.json()["id"] == done["id"]
    assert server.get(f"/v1/runs/{done['id']}/output").status_code == 200
    assert run_of(server, done["id"])["removed"] == []
    assert "lease_ended" not in server.log_path.read_text()
    move(movable_clock, 0)


@pytest.mark.parametrize("days", [100, -1])
def test_a_clock_that_is_wrong_at_a_start_costs_nothing(
    make_server: Maker, movable_clock: dict[str, str], days: int
) -> None:
    """Months ahead or a day back: nothing is removed for its age, nor after another restart, when the jump is old."""
    settings = {"AIRLOCK_SWEEP_SECONDS": "0.2", "AIRLOCK_WARM_CONTAINERS": "0", **movable_clock}
    move(movable_clock, 0)
    server = make_server(**settings)
    done = run_of(server, accepted(server, QUICK))
    assert until(lambda: seen_clock(server) is not None, 20)
    server.stop()
    assert "clock_jumped" not in server.log_path.read_text()

    move(movable_clock, days * 86_400)
    # Without Docker: by such a clock the containers of other servers of this host, which tests use, look abandoned.
    settings["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    for _ in range(2):
        server = make_server(key=server.key, **settings)
        time.sleep(2)  # retention would have been at work ten times
        assert run_of(server, done["id"])["removed"] == []
        assert server.get(f"/v1/runs/{done['id']}/output").status_code == 200
        server.stop()

    assert server.log_path.read_text().count("clock_jumped") == 1
    assert seen_clock(server)["pause_seconds"] > 80_000
    move(movable_clock, 0)


def seen_clock(server: RunningServer) -> Any:
    """What the server keeps of the wall clock; None before it has looked."""
    with closing(sqlite3.connect(server.data_dir / "airlock.db")) as other:
        row = other.execute("SELECT value FROM server_state WHERE name = 'clock'").fetchone()
    return json.loads(row[0]) if row else None
