"""When the sandbox image is built, from what, and how its inventory is read; with a `docker` that records."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controller import image
from controller.errors import EngineError, EngineUnavailable

FAKE_DOCKER = f"""#!{sys.executable}
import json, os, pathlib, sys
home = pathlib.Path(os.environ["FAKE_DOCKER"])
arguments = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([arguments, os.environ.get("DOCKER_BUILDKIT")]) + "\\n")
if arguments == ["--version"]:
    print((home / "version").read_text())
elif arguments[:2] == ["image", "inspect"]:
    if (home / "silent").exists():
        sys.exit("Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?")
    label = home / "label"
    sys.exit("no such image") if not label.exists() else print("sha256:1234", label.read_text())
elif arguments[0] == "build":
    if (home / "broken").exists():
        sys.exit("the build is broken")
    option = arguments[arguments.index("--label") + 1]
    (home / "label").write_text(option.partition("=")[2])
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that steers, and is written by, the only `docker` on the PATH."""
    home = tmp_path / "fake"
    home.mkdir()
    (home / "docker").write_text(FAKE_DOCKER)
    (home / "docker").chmod(0o755)
    (home / "version").write_text("Docker version 28.2.2, build e6534b4")
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setenv("FAKE_DOCKER", str(home))
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    return home


@pytest.fixture
def sources(tmp_path: Path) -> image.Sources:
    """A small context without stand-ins."""
    context = tmp_path / "sandbox_image"
    (context / "runner").mkdir(parents=True)
    (context / "Dockerfile").write_text("ARG BASE_IMAGE=debian:bookworm-slim\nFROM ${BASE_IMAGE}\n")
    (context / "environment.yml").write_text("channels: [conda-forge]\ndependencies: [python]\n")
    (context / "runner/__init__.py").write_text("")
    return image.Sources(context)


def builds(docker: Path) -> list[tuple[list[str], str | None]]:
    """Arguments and DOCKER_BUILDKIT of each `docker build`."""
    calls = [json.loads(line) for line in (docker / "calls").read_text().splitlines()]
    return [(arguments, buildkit) for arguments, buildkit in calls if arguments[0] == "build"]


def change_file(path: Path) -> Callable[[image.Sources], image.Sources]:
    """A change of one file of the context."""

    def change(sources: image.Sources) -> image.Sources:
        (sources.context / path).write_text("changed")
        return sources

    return change


@pytest.mark.parametrize(
    "change",
    [
        change_file(Path("Dockerfile")),
        change_file(Path("environment.yml")),
        change_file(Path("runner/__init__.py")),
        change_file(Path("runner/added.py")),
        change_file(Path("launcher.py")),
        lambda sources: replace(sources, base_image="debian:trixie-slim"),
        lambda sources: replace(sources, channel="https://conda.example/main"),
        lambda sources: replace(sources, pip_index_url="https://pypi.example/simple"),
        lambda sources: replace(sources, always_stand_in=True),
    ],
)
def test_the_digest_changes_with_every_input(
    sources: image.Sources, change: Callable[[image.Sources], image.Sources]
) -> None:
    """A file or option that decides what the image holds decides the digest too."""
    before = image.inputs_digest(sources)

    after = image.inputs_digest(change(sources))

    assert after != before


def test_the_digest_changes_with_the_stand_ins(sources: image.Sources, tmp_path: Path) -> None:
    """The code that makes the stand-ins is an input where they may be used."""
    stand_in = tmp_path / "dev/stand_in"
    stand_in.mkdir(parents=True)
    (stand_in / "base.py").write_text("SUITE = 1")
    sources = replace(sources, stand_in=stand_in)
    before = image.inputs_digest(sources)

    (stand_in / "base.py").write_text("SUITE = 2")

    assert image.inputs_digest(sources) != before


def test_the_digest_ignores_compiled_modules(sources: image.Sources) -> None:
    """Having imported the runner does not make the image out of date."""
    before = image.inputs_digest(sources)

    cache = sources.context / "runner/__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"compiled")

    assert image.inputs_digest(sources) == before


def test_the_digest_does_not_depend_on_the_place(sources: image.Sources, tmp_path: Path) -> None:
    """Two checkouts of the same files have one digest."""
    moved = sources.context.rename(tmp_path / "elsewhere").rename(tmp_path / "sandbox_image")

    assert image.inputs_digest(image.Sources(moved)) == image.inputs_digest(sources)


def test_a_missing_image_is_built_once(docker: Path, sources: image.Sources) -> None:
    """The first call builds and labels; the second finds nothing to do."""
    said: list[str] = []

    first = image.build(sources, "box:1", say=said.append)
    second = image.build(sources, "box:1", say=said.append)

    assert (first.fresh, second.fresh) == (True, False)
    assert first.digest == second.digest == "sha256:1234"
    label = f"{image.INPUTS_LABEL}={image.inputs_digest(sources)}"
    assert builds(docker) == [(["build", "-t", "box:1", "--label", label, str(sources.context)], None)]
    assert len(said) == 1


def test_a_changed_input_builds_again(docker: Path, sources: image.Sources) -> None:
    """An image of other inputs under the same tag is out of date."""
    image.build(sources, say=lambda _: None)
    (sources.context / "environment.yml").write_text("dependencies: [python, numpy]")

    again = image.build(sources, say=lambda _: None)

    assert again.fresh
    assert len(builds(docker)) == 2


def test_force_builds_an_up_to_date_image(docker: Path, sources: image.Sources) -> None:
    """`force` asks the engine in any case."""
    image.build(sources, say=lambda _: None)

    again = image.build(sources, force=True, say=lambda _: None)

    assert again.fresh
    assert len(builds(docker)) == 2


def test_options_become_build_arguments(docker: Path, sources: image.Sources) -> None:
    """A mirror's addresses reach the Dockerfile; what is not given is not passed."""
    mirrors = replace(sources, base_image="mirror.example/debian", channel="https://conda.example/main")

    image.build(mirrors, say=lambda _: None)

    arguments = builds(docker)[0][0]
    assert "BASE_IMAGE=mirror.example/debian" in arguments
    assert "CHANNEL=https://conda.example/main" in arguments
    assert not [argument for argument in arguments if argument.startswith("PIP_")]


@pytest.mark.parametrize(
    ("version", "buildkit"),
    [("Docker version 20.10.24+dfsg1, build 297e128", "1"), ("Docker version 28.2.2, build e6534b4", None)],
)
def test_buildkit_is_asked_for_where_it_is_built_in(
    docker: Path, sources: image.Sources, version: str, buildkit: str | None
) -> None:
    """Before version 23 BuildKit is part of `docker` but off; later it is a plug-in that may be missing."""
    (docker / "version").write_text(version)

    image.build(sources, say=lambda _: None)

    assert builds(docker)[0][1] == buildkit


def test_a_failing_build_has_a_name(docker: Path, sources: image.Sources) -> None:
    """What docker says is on standard error; the error has a code."""
    (docker / "broken").touch()

    with pytest.raises(EngineError) as caught:
        image.build(sources, say=lambda _: None)

    assert caught.value.code == "image_build_failed"


def test_a_silent_engine_has_a_name(docker: Path, sources: image.Sources) -> None:
    """No build is tried where no engine answers, and the error says what to do."""
    (docker / "silent").touch()

    with pytest.raises(EngineUnavailable, match="scripts/dockerd start"):
        image.build(sources, say=lambda _: None)

    assert builds(docker) == []


def test_a_missing_docker_command_has_a_name(
    sources: image.Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the docker command the error says where to get it."""
    monkeypatch.setenv("PATH", os.fspath(tmp_path))

    with pytest.raises(EngineError, match="scripts/set-up"):
        image.build(sources, say=lambda _: None)


def test_an_inventory_is_parsed() -> None:
    """Channels and packages come out as they went in."""
    package = {"name": "numpy", "version": "2.4", "build": "py311_0"}
    content = {"version": 1, "channels": ["conda-forge"], "packages": [package]}

    inventory = image.parse_inventory(json.dumps(content).encode())

    assert inventory == image.Inventory(("conda-forge",), (image.Package("numpy", "2.4", "py311_0"),))


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2}', b"[1]", b'{"version": 1}', b"\xff\xfe"])
def test_a_bad_inventory_has_a_name(content: bytes) -> None:
    """Anything that is not an inventory of version 1 is an engine error, never another exception."""
    with pytest.raises(EngineError, match="inventory"):
        image.parse_inventory(content)
