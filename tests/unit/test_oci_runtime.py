"""What is kept of a container that no runtime makes: a file below /run, there at once and whole, gone last."""

import json
import os
import time

import pytest

from controller.engines.oci_host import Host
from controller.engines.oci_runtime import Runtime
from controller.errors import EngineUnavailable

NAME = "airlock-warm-0123456789ab-1"
CONFIG = {"annotations": {"airlock.instance": "srv_1"}, "linux": {"cgroupsPath": f"/airlock-runs/{NAME}"}}


@pytest.fixture
def bundles(tmp_path):
    folder = tmp_path / "runc" / "bundles"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def runtime(tmp_path, bundles):
    return Runtime("runc", Host("1", "cgroupfs", swap_limit=True), tmp_path)


def test_it_is_found_with_its_labels_and_its_cgroups(runtime, bundles):
    """As one that a runtime has made; nothing else is written."""
    runtime.add_made(NAME, CONFIG)

    assert list(runtime.found()) == [(NAME, CONFIG["annotations"])]
    assert (runtime.there(NAME), runtime.place(NAME)) == (True, f"airlock-runs/{NAME}")
    assert runtime.document(NAME) == CONFIG
    assert os.listdir(bundles) == [NAME]


def test_what_is_live_is_not_read(runtime, bundles):
    """A sweep has nothing to do with it; and who is live is asked after the look."""
    runtime.add_made(NAME, CONFIG)
    (bundles / "airlock-warm-damaged").write_text("{")

    assert list(runtime.found(lambda: {NAME})) == []


def test_it_goes_without_a_runtime(runtime, bundles):
    """By whoever comes first; who comes second finds it done."""
    runtime.add_made(NAME, CONFIG)

    assert runtime.remove(NAME)
    assert os.listdir(bundles) == []
    assert runtime.remove_made(NAME, f"airlock-runs/{NAME}")
    assert not runtime.there(NAME)


def test_what_cannot_be_kept_is_not_made(runtime, bundles):
    """Where the directory has gone, and where an attempt of the same name is in the way."""
    (bundles / f".new-{NAME}").mkdir()
    with pytest.raises(EngineUnavailable, match="cannot be written"):
        runtime.add_made(NAME, CONFIG)
    (bundles / f".new-{NAME}").rmdir()
    bundles.rmdir()
    with pytest.raises(EngineUnavailable, match="cannot be written"):
        runtime.add_made(NAME, CONFIG)


@pytest.mark.parametrize("made", [True, False])
def test_what_was_cut_off_is_forgotten_when_it_is_old(runtime, bundles, made):
    """A kill between two steps leaves a file or a directory that nothing was made with."""
    left = bundles / f".new-{NAME}"
    if made:
        left.write_text(json.dumps(CONFIG))
    else:
        left.mkdir()

    assert list(runtime.found()) == []
    assert left.exists()
    os.utime(left, (time.time() - 3600,) * 2)
    assert list(runtime.found()) == []
    assert not left.exists()
