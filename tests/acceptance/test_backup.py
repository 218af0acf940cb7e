"""A backup that is made while the server works is a whole server when it is restored."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_admin_commands import run_airlock

from controller.store.audit_store import Head, row_of, verify

if TYPE_CHECKING:
    from tests.running import RunningServer

OK = "def azureml_main(a=None, b=None):\n    print('said')\n    return a\n"
SLEEPER = "import time\ndef azureml_main(a=None, b=None):\n    time.sleep(60)\n"


def ended(server: RunningServer) -> list[Any]:
    runs = server.get("/v1/runs?limit=100").json()["items"]
    return [run for run in runs if run["status"] == "succeeded"]


def test_a_backup_under_load_is_restored_whole(make_server: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Runs come, end and are deleted while it is made. Afterwards: keys, results, logs, receipts, datasets and the
    audit log are there; what was at work is begun again; nothing is there that no row knows."""
    settings = {"AIRLOCK_WARM_CONTAINERS": "0", "AIRLOCK_WORKERS": "2"}
    server = make_server("first", **settings)
    table = {"dataframe1": ("a.csv", b"a\n1\n2\n")}
    for _ in range(3):
        server.submit(OK, files=table)
    put = server.request("PUT", "/v1/datasets/d?wait=60", data=b"a\n1\n", headers={"Content-Type": "text/csv"})
    assert put.json()["status"] == "ready"
    sleeper = server.submit(SLEEPER, wait=0)
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            run = server.submit(OK, files=table)
            server.submit(OK, files=table)
            server.request("DELETE", f"/v1/runs/{run['id']}")

    worker = threading.Thread(target=load)
    worker.start()
    folder = tmp_path / "backup"
    said = run_airlock(server.url, "", "admin", "backup", folder, "--data-dir", server.data_dir)
    stop.set()
    worker.join()
    server.stop()
    shutil.rmtree(server.data_dir)
    assert "secrets" in said

    restored = tmp_path / "second"
    run_airlock("", "", "admin", "restore", folder, "--data-dir", restored)
    again = make_server("second", key=server.key, **settings)

    assert len(ended(again)) >= 3
    for run in ended(again):
        assert again.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "text/csv"}).text == '"a"\n1\n2\n'
        assert again.log(run) == "said\n"
        assert again.get(f"/v1/runs/{run['id']}/receipt").status_code == 200
    assert again.get("/v1/datasets/d/data").status_code == 200
    assert again.get(f"/v1/runs/{sleeper['id']}").json()["status"] in ("queued", "running")
    rows = [row_of(json.loads(line)) for line in again.get("/v1/admin/audit/export").text.splitlines()]
    assert isinstance(verify(rows), Head)
    assert {"backup.make", "backup.restore"} <= {row.action for row in rows}
    with sqlite3.connect(folder / "airlock.db") as db:
        known = {row[0] for row in db.execute("SELECT id FROM runs")}
    db.close()
    assert {path.name for path in (folder / "runs").iterdir()} <= known
    assert (folder / "pepper").stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0


def test_a_backup_is_whole_or_none(server: RunningServer, tmp_path: Path) -> None:
    """Refused by name: a folder that is not empty, one that is no backup, one that lacks a part or is damaged, a data
    directory that is in use."""
    folder, target = tmp_path / "backup", tmp_path / "restored"
    nowhere = tmp_path / "nothing"
    nowhere.mkdir()

    def airlock(*arguments: str | Path, code: int = 3) -> str:
        return run_airlock("", "", "admin", *arguments, code=code)

    assert "backup_unusable" in airlock("backup", folder, "--data-dir", nowhere)
    assert not folder.exists()
    airlock("backup", folder, "--data-dir", server.data_dir, code=0)
    assert "not empty" in airlock("backup", folder, "--data-dir", server.data_dir)
    assert "data_in_use" in airlock("restore", folder, "--data-dir", server.data_dir)
    assert "no backup" in airlock("restore", nowhere, "--data-dir", target)
    damaged = bytearray((folder / "airlock.db").read_bytes())
    damaged[4096:8192] = b"\xff" * 4096
    (folder / "airlock.db").write_bytes(damaged)
    assert "backup_unusable" in airlock("restore", folder, "--data-dir", target)
    (folder / "pepper").unlink()
    assert "pepper is missing" in airlock("restore", folder, "--data-dir", target)
    (folder / "backup.json").write_text('{"form": 2}')
    assert "another form" in airlock("restore", folder, "--data-dir", target)
    assert not target.exists()


def test_files_that_do_not_change_cost_no_room(make_server: Callable[..., RunningServer], tmp_path: Path) -> None:
    """On the same file system results are links; what a run still writes on is a copy. Deleting here leaves the backup
    as it is."""
    server = make_server("linked", AIRLOCK_WARM_CONTAINERS="0")
    run = server.submit(OK, files={"dataframe1": ("a.csv", b"a\n1\n")})
    folder = tmp_path / "backup"

    run_airlock("", "", "admin", "backup", folder, "--data-dir", server.data_dir)

    here, there = (one / "runs" / run["id"] for one in (server.data_dir, folder))
    assert (here / "result.arrow").samefile(there / "result.arrow")
    assert (here / "in" / "script.py").samefile(there / "in" / "script.py")
    assert not (here / "log").samefile(there / "log")
    assert server.request("DELETE", f"/v1/runs/{run['id']}").status_code == 204
    assert not here.exists()
    assert (there / "result.arrow").stat().st_size > 0


def test_what_is_deleted_meanwhile_is_in_neither(
    make_server: Callable[..., RunningServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is deleted after the snapshot was made: the backup has neither its row nor half of its files."""
    from controller import backup

    server = make_server("meanwhile", AIRLOCK_WARM_CONTAINERS="0")
    kept, deleted = server.submit(OK), server.submit(OK)
    copy_database = backup._copy_database

    def delete_then(source: Path, target: Path) -> None:
        copy_database(source, target)
        assert server.request("DELETE", f"/v1/runs/{deleted['id']}").status_code == 204

    monkeypatch.setattr(backup, "_copy_database", delete_then)
    summary = backup.back_up(server.data_dir, tmp_path / "backup")

    with sqlite3.connect(tmp_path / "backup" / "airlock.db") as db:
        assert [row[0] for row in db.execute("SELECT id FROM runs")] == [kept["id"]]
    db.close()
    assert [path.name for path in (tmp_path / "backup" / "runs").iterdir()] == [kept["id"]]
    assert summary.runs == 1


@pytest.mark.parametrize("name", ["result.arrow.part", "log.new"])
def test_half_a_file_is_left_out(tmp_path: Path, name: str) -> None:
    """What gets its name when it is whole is taken when it has it."""
    from controller.backup import _copy_folder

    (tmp_path / "runs" / "run_1").mkdir(parents=True)
    (tmp_path / "runs" / "run_1" / name).write_bytes(b"half")
    (tmp_path / "runs" / "run_1" / "result.csv").write_bytes(b"whole")

    _copy_folder(tmp_path / "runs", tmp_path / "copy")

    assert [path.name for path in (tmp_path / "copy" / "run_1").iterdir()] == ["result.csv"]
