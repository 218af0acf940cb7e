"""A run's files: what can only be shown with a fault that no test can cause."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from controller import workspace
from controller.workspace import Workspaces


def test_a_file_with_all_its_links_goes_on_as_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 allows 65,000 links to a file: those that there are keep it, and the next ones share a copy in its place."""
    source = tmp_path / "result.arrow"
    source.write_bytes(b"table")
    before, link, full = source.stat().st_ino, os.link, [source.stat().st_ino]

    def limited(target: Path, name: Path) -> None:
        if os.stat(target).st_ino in full:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(target, name)

    link(source, tmp_path / "held")
    monkeypatch.setattr(workspace.os, "link", limited)
    with Workspaces(tmp_path / "data").stage() as staging:
        staging.link("dataframe1", source)
        staging.link("dataframe2", source)
        inodes = {staging.path(name).stat().st_ino for name in staging.names()}
        content = staging.read("dataframe1", 100)

    assert (tmp_path / "held").stat().st_ino == before
    assert inodes == {source.stat().st_ino} != {before}
    assert content == b"table"
    assert source.stat().st_mode & 0o777 == 0o644


def test_a_file_that_was_deleted_cannot_be_linked(tmp_path: Path) -> None:
    """It is missing, and nothing else is wrong."""
    with Workspaces(tmp_path / "data").stage() as staging, pytest.raises(FileNotFoundError):
        staging.link("dataframe1", tmp_path / "gone")
