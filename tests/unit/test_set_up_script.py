"""scripts/set-up: what it installs, and when, in a pretended checkout on a pretended machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *"pip "*) echo "pip $*" >> calls ;;
esac"""
DOCKER = '[ "$1" = context ] && echo unix:///var/run/docker.sock'
APT_GET = 'echo "apt-get $*" >> calls; case "$*" in *docker.io*) cp present/docker present/dockerd bin ;; esac'
USED = ("sh", "cat", "cp", "cut", "dirname", "grep", "mkdir", "mktemp", "rm", "sha256sum", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with `bin`, the only folder of programs, which has all but Docker."""
    for folder in ("scripts", "requirements", "bin", "present"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts/set-up", tmp_path / "scripts")
    for name in ("pyproject.toml", "requirements/set-up.txt", "requirements/dev.txt"):
        (tmp_path / name).write_text("locked==1.0\n")
    for name in USED:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    programs = {"python3": PYTHON, "apt-get": APT_GET, "id": "echo 0"}
    for name, body in programs.items():
        write_program(tmp_path / "bin" / name, body)
    for name, body in {"docker": DOCKER, "dockerd": "exit 1"}.items():
        write_program(tmp_path / "present" / name, body)
    return tmp_path


def write_program(path: Path, body: str) -> None:
    """A shell script in the place of a program."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def set_up(checkout: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """Run the script: exit status, what it said, and what it made others do since the last time."""
    calls = checkout / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        [checkout / "scripts/set-up", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(checkout / "bin"), "HOME": os.fspath(checkout)},
    )
    return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []


def test_a_fresh_machine_gets_what_is_missing(checkout: Path) -> None:
    """Docker from Debian, then the locked packages with hashes; each is announced."""
    status, said, calls = set_up(checkout)

    assert status == 0, said
    assert [call for call in calls if call.startswith("apt-get") and call.endswith("install-recommends docker.io")]
    assert [call for call in calls if "--require-hashes" in call and "requirements/dev.txt" in call]
    assert [call for call in calls if call.endswith("--editable .")]
    assert "installing Debian packages: docker.io" in said
    assert "installing 1 locked Python packages" in said


def test_a_second_time_does_nothing(checkout: Path) -> None:
    """What is done already is neither done again nor mentioned."""
    set_up(checkout)

    status, said, calls = set_up(checkout)

    assert (status, said, calls) == (0, "", [])


def test_the_oci_engine_needs_no_docker(checkout: Path) -> None:
    """A runtime and the builder of its image are installed in Docker's place; where they are, nothing is."""
    status, said, calls = set_up(checkout, "oci")
    for name in ("crun", "buildah"):
        write_program(checkout / "bin" / name, "exit 0")
    again, _, more = set_up(checkout, "oci")

    assert status == again == 0, said
    installed = [call for call in calls if "install-recommends" in call]
    if shutil.which("runc", path="/usr/sbin:/sbin") is None:
        assert [call for call in installed if call.endswith("runc buildah")]
    assert [call for call in installed if call.endswith("buildah") and "docker.io" not in call]
    assert not [call for call in more if call.startswith("apt-get")]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/dev.txt", "requirements/set-up.txt"])
def test_a_changed_lock_is_installed(checkout: Path, name: str) -> None:
    """The virtual environment follows the lock files; Debian's packages are there already."""
    set_up(checkout)
    (checkout / name).write_text("locked==2.0\n")

    status, _, calls = set_up(checkout)

    assert status == 0
    assert [call for call in calls if "requirements/dev.txt" in call]
    assert not [call for call in calls if call.startswith("apt-get")]


def test_a_docker_that_is_there_is_left_alone(checkout: Path) -> None:
    """No Debian package is installed beside a Docker that came from elsewhere."""
    for program in (checkout / "present").iterdir():
        shutil.copy(program, checkout / "bin")

    status, _, calls = set_up(checkout)

    assert status == 0
    assert not [call for call in calls if call.startswith("apt-get")]


def test_without_root_it_says_what_to_install(checkout: Path) -> None:
    """Packages need root: the message is the command to give, and nothing is begun."""
    write_program(checkout / "bin/id", "echo 1000")

    status, said, calls = set_up(checkout)

    assert status == 1
    assert "As root: apt-get install --no-install-recommends docker.io" in said
    assert calls == []


def test_another_system_is_told_what_is_missing(checkout: Path) -> None:
    """Without apt-get the missing things are named."""
    (checkout / "bin/apt-get").unlink()

    status, said, _ = set_up(checkout)

    assert status == 1
    assert "missing: docker.io" in said


def test_a_failing_apt_shows_its_last_words(checkout: Path) -> None:
    """The end of apt's output is shown, and no virtual environment is made."""
    write_program(checkout / "bin/apt-get", "echo 'E: no network'; exit 100")

    status, said, _ = set_up(checkout)

    assert status == 1
    assert "E: no network" in said
    assert not (checkout / ".venv").exists()


def test_a_failing_pip_is_tried_again_next_time(checkout: Path) -> None:
    """An installation that broke off does not count as done."""
    working = (checkout / "bin/python3").read_text()
    write_program(checkout / "bin/python3", PYTHON.replace("echo", "exit 1; echo"))
    first, _, _ = set_up(checkout)
    shutil.rmtree(checkout / ".venv")
    (checkout / "bin/python3").write_text(working)

    second, _, calls = set_up(checkout)

    assert (first, second) == (1, 0)
    assert [call for call in calls if "requirements/dev.txt" in call]
