"""How the oci engine's image is built and unpacked; with a `buildah` and a `docker` that record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from controller import image, oci_image
from controller.errors import EngineError, EngineUnavailable, ImageMissing

BUILT, OTHER = ("sha256:" + digit * 64 for digit in "12")
TOOL = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
home = pathlib.Path(os.environ["FAKE_TOOLS"])
tool, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([tool, *arguments]) + "\\n")
if (home / "broken").exists():
    sys.exit((home / "broken").read_text())
match arguments[0]:
    case "build" | "rm":
        pass
    case "inspect":
        print("{BUILT[7:]}")
    case "image":
        labels = {{"airlock.inputs": "of docker"}}
        print(json.dumps([{{"Id": "{OTHER}", "Created": "2026-01-01T00:00:00Z", "Config": {{"Labels": labels}}}}]))
    case "from" | "create":
        print("a-container")
    case "mount":
        print(home / "image")
    case "export":
        sys.exit(subprocess.run(["tar", "-C", home / "image", "-c", "."]).returncode)
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the only buildah and docker on the PATH, and with what an image of theirs holds."""
    home = tmp_path / "tools"
    (home / "image/opt/airlock").mkdir(parents=True)
    package = {"name": "python", "version": "3.11", "build": "0"}
    document = {"version": 1, "channels": ["conda-forge"], "packages": [package]}
    (home / "image/opt/airlock/inventory.json").write_text(json.dumps(document))
    for name in ("buildah", "docker"):
        (home / name).write_text(TOOL)
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_TOOLS", str(home))
    return home


@pytest.fixture
def sources(tmp_path: Path) -> image.Sources:
    context = tmp_path / "sandbox_image"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM debian:bookworm-slim\n")
    return image.Sources(context)


def calls(tools: Path) -> list[list[str]]:
    return [json.loads(line) for line in (tools / "calls").read_text().splitlines()]


def test_the_image_is_built_and_unpacked_once(tools: Path, sources: image.Sources, tmp_path: Path) -> None:
    """The second time its inputs are those of the unpacked one; a change of them, or force, builds it anew."""
    folder = tmp_path / "images"
    said: list[str] = []

    first = oci_image.build(sources, "sandbox:1", folder, say=said.append)
    second = oci_image.build(sources, "sandbox:1", folder, say=said.append)
    (sources.context / "Dockerfile").write_text("FROM debian:bookworm\n")
    third = oci_image.build(sources, "sandbox:1", folder, say=said.append)

    assert (first.digest, first.fresh, second.fresh, third.fresh) == (BUILT, True, False, True)
    builds = [call for call in calls(tools) if call[1] == "build"]
    assert len(builds) == 2
    assert builds[0][:6] == ["buildah", "build", "--isolation", "chroot", "--format", "docker"]
    assert builds[0][-1] == str(sources.context)
    assert [call[1:] for call in calls(tools) if call[1] == "rm"] == [["rm", "a-container"]]
    assert any("unpacking" in line for line in said)


def test_the_unpacked_image_is_listed_with_its_inventory(tools: Path, sources: image.Sources, tmp_path: Path) -> None:
    """As Docker's are."""
    oci_image.build(sources, "sandbox:1", tmp_path / "images", say=lambda line: None)

    (found,) = oci_image.inventory(tmp_path / "images")

    assert (found.tags, found.digest, found.channels) == (("sandbox:1",), BUILT, ("conda-forge",))
    assert found.inputs == image.inputs_digest(sources)
    assert [package.name for package in found.packages] == ["python"]


def test_an_image_is_taken_from_docker_once(tools: Path, tmp_path: Path) -> None:
    """With Docker's id for it and the inputs that it was built from; the container that it is read from goes."""
    first = oci_image.unpack("sandbox:1", tmp_path / "images", say=lambda line: None)
    second = oci_image.unpack("sandbox:1", tmp_path / "images", say=lambda line: None)

    assert (first.digest, first.fresh, second.fresh) == (OTHER, True, False)
    (found,) = oci_image.inventory(tmp_path / "images")
    assert (found.inputs, found.created.year) == ("of docker", 2026)
    assert [call for call in calls(tools) if call[1] == "rm"] == [["docker", "rm", "a-container"]]


@pytest.mark.parametrize(
    ("said", "error"),
    [("Error: No such image: sandbox:1", ImageMissing), ("Cannot connect to the Docker daemon", EngineUnavailable)],
)
def test_a_docker_that_has_none_has_a_name(tools: Path, tmp_path: Path, said: str, error: type[Exception]) -> None:
    """No image, or no daemon: two different things to do."""
    (tools / "broken").write_text(said)

    with pytest.raises(error):
        oci_image.unpack("sandbox:1", tmp_path / "images")


def test_a_build_that_fails_leaves_nothing(tools: Path, sources: image.Sources, tmp_path: Path) -> None:
    """buildah's own words went to standard error; the code says what it was."""
    (tools / "broken").write_text("no space left on device")

    with pytest.raises(EngineError, match="buildah ended with status 1") as caught:
        oci_image.build(sources, "sandbox:1", tmp_path / "images", say=lambda line: None)

    assert caught.value.code == "image_build_failed"
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("tool", ["buildah", "docker"])
def test_a_missing_tool_is_named(
    tools: Path, sources: image.Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """And the message says what installs it, or does without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    steps = {
        "buildah": lambda: oci_image.build(sources, "sandbox:1", tmp_path / "images"),
        "docker": lambda: oci_image.unpack("sandbox:1", tmp_path / "images"),
    }

    with pytest.raises(EngineError, match=f"`{tool}` is missing"):
        steps[tool]()
