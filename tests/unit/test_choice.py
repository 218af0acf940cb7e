"""Which engine a server has: as it is told, else Docker where it answers, else oci where that can work."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config import Settings
from controller.engines import choice
from controller.engines.choice import choose
from controller.engines.oci_images import Images


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A host with an OCI runtime, but for the image; nobody answers at Docker's address."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    runtime = tmp_path / "runc"
    runtime.write_text("#!/bin/sh\n")
    runtime.chmod(0o755)
    return Settings(engine="auto", runtime=str(runtime), oci_image_dir=tmp_path / "images")


def unpack_nothing(settings: Settings) -> None:
    images = Images(settings.oci_image_dir)
    images.add(settings.image, "sha256:" + "0" * 64, "2026-01-01T00:00:00+00:00", "", lambda rootfs: None)


@pytest.mark.parametrize("engine", ["docker", "oci"])
def test_what_the_setting_says_is_done(settings: Settings, engine: str) -> None:
    """Whether it can work or not: a server that silently did something else would surprise."""
    chosen = choose(settings.model_copy(update={"engine": engine}))

    assert (chosen.engine, chosen.why) == (engine, f"AIRLOCK_ENGINE is {engine}")


def test_docker_is_used_where_it_answers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the oci engine could work: who has Docker expects to see the containers there."""
    unpack_nothing(settings)
    monkeypatch.setattr(choice, "docker_answers", lambda: True)

    assert choose(settings).engine == "docker"


def test_oci_takes_its_place_where_it_can_work(settings: Settings) -> None:
    """A runtime, an unpacked image of the right name, and root."""
    unpack_nothing(settings)

    chosen = choose(settings)

    assert chosen.engine == "oci"
    assert "Docker does not answer" in chosen.why


@pytest.mark.parametrize("lack", ["root", "runtime", "image"])
def test_what_is_missing_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    """Then it is Docker, which may come back; and the reason says what the oci engine would need."""
    if lack == "root":
        monkeypatch.setattr("os.geteuid", lambda: 1000)
    elif lack == "runtime":
        Path(settings.runtime).unlink()
    if lack != "image":
        unpack_nothing(settings)

    chosen = choose(settings)

    words = {"root": "must be root", "runtime": "is not installed", "image": "is not unpacked in"}
    assert chosen.engine == "docker"
    assert words[lack] in chosen.why


def test_no_other_engine_can_be_asked_for() -> None:
    """A misspelt name is refused at the start."""
    with pytest.raises(ValueError, match="engine"):
        Settings(engine="podman")
