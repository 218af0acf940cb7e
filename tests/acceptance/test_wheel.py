"""The package as it is installed by its users, away from any checkout: a local run, a new script, an image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from controller import image

ROOT = Path(__file__).parents[2]
TAG = "airlock-sandbox-test:from-the-wheel"
DESCRIBE = """
import json
from controller import image
sources = image.installed_sources()
print(json.dumps([str(sources.context), sources.stand_in, image.inputs_digest(sources)]))
"""
BUILD = f"""
import sys
from dataclasses import replace
from pathlib import Path
from controller import image
# This machine may reach neither a registry nor a channel: the stand-ins, which no wheel holds, come from the checkout.
sources = replace(image.installed_sources(), stand_in=Path(sys.argv[1]))
image.build(sources, {TAG!r}, say=lambda text: None)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel; its dependencies are the test's own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("controller", "sandbox_image"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    (wheel,) = folder.glob("airlock-*.whl")
    venv.create(folder / "venv")
    programs = folder / "venv/bin"
    subprocess.run([*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = (folder / "venv/lib").glob("python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """A command away from the checkout, to its end."""
    words = [str(word) for word in command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


def test_a_new_script_runs_locally(installed: Path, tmp_path: Path) -> None:
    """The starter and the runner are in the wheel, and the runner that runs is that one."""
    run(tmp_path, installed / "airlock", "new", "mine.py")

    done = run(tmp_path, installed / "airlock", "run", "--local", "mine.py", "--json", "--images", "plots")

    document = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert document["python"] == str(installed / "python")
    assert document["output"]["rows"] == 5
    assert (tmp_path / "plots/numbers.png").read_bytes().startswith(b"\x89PNG")


def test_the_wheel_holds_what_an_image_is_made_of(installed: Path, tmp_path: Path) -> None:
    """All inputs of the image that it was made of, and no others: the two have one digest."""
    done = run(tmp_path, installed / "python", "-c", DESCRIBE)

    context, stand_in, digest = json.loads(done.stdout)
    assert Path(context).is_relative_to(installed.parent)
    assert stand_in is None
    assert digest == image.inputs_digest(image.Sources(installed.parents[1] / "source/sandbox_image"))


def test_an_image_is_built_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """For real; what a run needs is in it."""
    try:
        built = run(tmp_path, installed / "python", "-c", BUILD, ROOT / "dev/stand_in")
        started = ("docker", "run", "--rm", "--network=none", "--user=0", TAG)
        asked = run(tmp_path, *started, "python", "-I", "-B", "-m", "runner")
    finally:
        run(tmp_path, "docker", "rmi", TAG)

    assert built.returncode == 0, built.stderr
    assert asked.returncode == 70, asked.stderr  # it was there, and got no go signal
