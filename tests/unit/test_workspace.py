"""A run's files: what can only be shown with a fault that no test can cause."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from controller import workspace
from controller.errors import StorageFailed
from controller.model import Format
from controller.workspace import Workspace, Workspaces


def test_a_file_with_all_its_links_goes_on_as_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 allows 65,000 links to a file: those that there are keep it, and the next ones share a copy in its place."""
    source = tmp_path / "result.arrow"
    source.write_bytes(b"table")
    before = source.stat().st_ino
    os.link(source, tmp_path / "held")
    no_more_links(monkeypatch, source)

    with Workspaces(tmp_path / "data").stage() as staging:
        staging.link("dataframe1", source)
        staging.link("dataframe2", source)
        inodes = {staging.path(name).stat().st_ino for name in staging.names()}
        content = staging.read("dataframe1", 100)

    assert (tmp_path / "held").stat().st_ino == before
    assert inodes == {source.stat().st_ino} != {before}
    assert content == b"table"
    assert source.stat().st_mode & 0o777 == 0o644


def test_a_moment_beside_a_run_needs_no_link_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion of a table that has all its links works on a copy, as does the next one."""
    run = finished(Workspaces(tmp_path), "run_1")
    table = run.root / "result.arrow"
    no_more_links(monkeypatch, table)

    with run.aside(b"{}", {"dataframe1": table}) as inner:
        content = (inner.input_dir / "dataframe1").read_bytes()

    assert content == table.read_bytes() == b"table"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_results_that_cannot_all_be_linked_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them or none: what was linked goes again, so that another execution finds nothing of them."""
    workspaces = Workspaces(tmp_path)
    first, second = finished(workspaces, "run_1"), workspaces.of("run_2")
    second.root.mkdir()

    missing = first.link_results(second, {"result.arrow", "images"})
    unknown = workspaces.of("run_0").link_results(second, set())
    with monkeypatch.context() as patch:
        no_more_links(patch, first.root / "result.arrow")
        full = first.link_results(second, {"result.arrow"})
    left = list(second.root.iterdir())

    assert (missing, unknown, full, left) == (False, False, False, [])
    assert first.link_results(second, {"result.arrow"})
    assert {path.name for path in second.root.iterdir()} == {"log", "result.arrow"}


def finished(workspaces: Workspaces, run_id: str) -> Workspace:
    """A run with a table and a log."""
    run = workspaces.of(run_id)
    run.root.mkdir()
    for name, data in (("log", b""), ("result.arrow", b"table"), ("receipt.json", b"{}")):
        (run.root / name).write_bytes(data)
    return run


def no_more_links(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    """This file has as many as it may have; a copy of it has not."""
    link, full = os.link, source.stat().st_ino

    def limited(target: Path, name: Path) -> None:
        if os.stat(target).st_ino == full:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(target, name)

    monkeypatch.setattr(workspace.os, "link", limited)


def test_a_file_that_was_deleted_cannot_be_linked(tmp_path: Path) -> None:
    """It is missing, and nothing else is wrong."""
    with Workspaces(tmp_path / "data").stage() as staging, pytest.raises(FileNotFoundError):
        staging.link("dataframe1", tmp_path / "gone")


def test_inputs_that_cannot_be_synced_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are at their place by then, and are no run's: whoever accepts is told, and the files go."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    workspaces = Workspaces(tmp_path)
    monkeypatch.setattr(workspace.os, "fsync", fail)
    with workspaces.stage() as staging:
        staging.write("script.py", b"")
        with pytest.raises(StorageFailed):
            staging.seal(workspaces.of("run_1").root)

    assert list((tmp_path / "runs").iterdir()) == list((tmp_path / "uploads").iterdir()) == []


def test_all_that_is_kept_is_synced_after_its_last_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file, and each directory that has a new name in it: inputs when they are accepted, outputs at the end."""
    done: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace
    monkeypatch.setattr(workspace.os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(workspace.os, "rename", lambda *names: (done.append("moved"), rename(*names)))
    monkeypatch.setattr(workspace.os, "replace", lambda *names: (done.append("moved"), replace(*names)))
    workspaces = Workspaces(tmp_path)
    run = workspaces.of("run_1")

    with workspaces.stage() as staging:
        staging.write("script.py", b"pass")
        staging.seal(run.root)
    accepted, done[:] = done.copy(), []
    with run.outputs([(1, Format.ARROW)]) as outputs:
        outputs.keep_all({"result": run.result(1, Format.ARROW), "images": run.images}, run.root)

    root = str(run.root)
    assert accepted == ["moved", f"{root}/in/script.py", f"{root}/in", root, str(tmp_path / "runs")]
    assert done == ["moved", "moved", f"{root}/result.arrow", f"{root}/images", root]
    assert list((tmp_path / "scratch").iterdir()) == []
