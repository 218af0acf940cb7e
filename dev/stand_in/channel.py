"""Make the stand-in channel: every package of environment.yml, from PyPI and Debian."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import yaml
from rattler.index import index_fs

from dev.stand_in import debian, wheels
from dev.stand_in.names import pypi_name

CHANNEL = "stand-in"
"""The channel's folder; its name is what the image's inventory shows."""
TOOLS = "tools"
"""Folder of the wheels with which the image build installs its installer."""
KEPT = 2
"""Channels kept in the cache, 0.5 GB each: the present one and the one before."""

_MAKERS = ("channel.py", "conda_package.py", "debian.py", "names.py", "wheels.py")
_FROM_DEBIAN = ("python", "r-base")
_GLIBC_MINORS = range(36, 4, -1)
_PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC_MINORS), "manylinux2014_x86_64",
              "manylinux2010_x86_64", "manylinux1_x86_64")  # fmt: skip


def digest(environment: Path, installer: Path) -> str:
    """Of all that decides what the channel holds, save what PyPI and Debian serve on the day it is made."""
    total = hashlib.sha256()
    makers = (Path(__file__).with_name(name) for name in _MAKERS)
    for path in (environment, installer, *makers):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def cache_folder() -> Path:
    """Where finished channels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airlock/stand-in"


def folder_of(environment: Path, installer: Path) -> Path:
    """Where the finished channel is, or will be."""
    return cache_folder() / digest(environment, installer)


def find_or_make(environment: Path, installer: Path) -> None:
    """See that the folder is there, holding CHANNEL and TOOLS; forget all but the newest KEPT."""
    cache, finished = cache_folder(), folder_of(environment, installer)
    with _only_one(cache):
        if not finished.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="unfinished-") as work:
                folder = Path(work, "channel")
                make(environment, installer, folder, Path(work))
                folder.rename(finished)
        finished.touch()
        newest_first = sorted(cache.glob("[0-9a-f]*/"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest_first[KEPT:]:
            shutil.rmtree(old)


def make(environment: Path, installer: Path, folder: Path, work: Path) -> None:
    """Download, convert and index everything into `folder`; `work` is for what is thrown away."""
    if platform.machine() != "x86_64":
        raise RuntimeError(f"the stand-in channel exists for x86_64 only, not for {platform.machine()}")
    names = [spec.split()[0] for spec in yaml.safe_load(environment.read_text())["dependencies"]]
    python = debian.python_version()
    channel, pool = folder / CHANNEL, work / "wheels"
    with ProcessPoolExecutor() as executor:
        debs: list[Future[None]] = []
        if "r-base" in names:
            debs.append(executor.submit(debian.package_r, channel, work / "r"))
        debs.append(executor.submit(debian.package_python, channel, work / "python", python))
        _download(pool, python, *(pypi_name(name) for name in names if name not in _FROM_DEBIAN))
        _download(folder / TOOLS, python, "--require-hashes", "-r", str(installer))
        # The largest first, so that no core is left alone with it at the end.
        largest_first = sorted(pool.glob("*.whl"), key=lambda wheel: wheel.stat().st_size, reverse=True)
        made = [executor.submit(wheels.convert, wheel, channel, python) for wheel in largest_first]
        for future in as_completed([*debs, *made]):
            future.result()
    asyncio.run(index_fs(channel, write_zst=True, write_shards=False, force=True))


def _download(folder: Path, python: str, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "-qq", "-d", str(folder), "--only-binary=:all:"]
    command += ["--implementation=cp", f"--python-version={python}"]
    command += [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
    command += [f"--platform={name}" for name in _PLATFORMS]
    done = subprocess.run([*command, *what], check=False, stdout=sys.stderr)
    if done.returncode:
        raise RuntimeError(f"pip download ended with status {done.returncode}; its own words are above")


@contextmanager
def _only_one(cache: Path) -> Iterator[None]:
    """One maker at a time; the second then finds what the first made."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
