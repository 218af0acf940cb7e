"""Fill a prefix with the packages of environment.yml: solve, install, trim, compile, take stock.

    python install_env.py environment.yml --prefix /opt/conda --about /opt/airlock [--channel URL]

Runs during the build of the sandbox image (Dockerfile). Needs py-rattler and PyYAML; neither conda nor
micromamba is involved. Ends with a one-line message and status 1 where the environment cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from rattler import Gateway, RepoDataRecord, Subdir, VirtualPackage, install, solve
from rattler.exceptions import GatewayError, SolverError

TESTS_OF = (
    "matplotlib", "networkx", "numba", "numpy", "pandas", "pyarrow", "scipy",
    "seaborn", "sklearn", "statsmodels", "sympy", "xarray",
)  # fmt: skip
"""Packages whose `tests` folders nothing imports. A list, because some do: tables imports tables.tests."""

STDLIB_TRIMMED = ("idlelib", "test", "turtledemo")
PREFIX_TRIMMED = ("include", "lib/cmake", "lib/pkgconfig", "share/doc", "share/info", "share/man")


@dataclass(frozen=True)
class Environment:
    """What environment.yml asks for."""

    channels: tuple[str, ...]
    specs: tuple[str, ...]


def read_environment(path: Path, channel: str) -> Environment:
    """Parse `path`; `channel`, when not empty, takes the place of the channels named there."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    specs = document.get("dependencies") or []
    for spec in specs:
        if not isinstance(spec, str):
            sys.exit(f"{path}: {spec!r}: only conda packages can be installed, no 'pip:' section")
    channels = [channel] if channel else document.get("channels") or ["conda-forge"]
    return Environment(tuple(channels), tuple(specs))


async def fill(environment: Environment, prefix: Path) -> list[RepoDataRecord]:
    """Solve and install into `prefix`; return what was installed, in order of name."""
    # Below the prefix's parent, so that packages are linked rather than copied into their place.
    with tempfile.TemporaryDirectory(dir=prefix.parent) as cache:
        records: list[RepoDataRecord] = await solve(
            environment.channels,
            environment.specs,
            gateway=Gateway(cache_dir=Path(cache, "repodata")),
            platforms=[Subdir.current(), "noarch"],
            virtual_packages=VirtualPackage.detect(),
        )
        await install(records, target_prefix=prefix, cache_dir=Path(cache, "packages"), show_progress=False)
    return sorted(records, key=lambda record: record.name.normalized)


def trim(prefix: Path) -> None:
    """Remove what no script can use: headers, manuals, static libraries, test suites."""
    doomed = [prefix / name for name in PREFIX_TRIMMED]
    for stdlib in prefix.glob("lib/python3.*"):
        doomed += [stdlib / name for name in STDLIB_TRIMMED]
        for package in TESTS_OF:
            doomed += (stdlib / "site-packages" / package).rglob("tests")
    for folder in doomed:
        if folder.is_dir():
            shutil.rmtree(folder)
    for library in (prefix / "lib").rglob("*.a"):
        library.unlink()


def python_of(prefix: Path, *arguments: str, **environment: str) -> str:
    """What the new environment's interpreter prints; it is given no other variables than these and a PATH."""
    command = [str(prefix / "bin/python"), "-I", *arguments]
    variables = {"PATH": f"{prefix}/bin:/usr/bin:/bin", **environment}
    return subprocess.check_output(command, text=True, env=variables).strip()


def compile_modules(prefix: Path) -> None:
    """Write a .pyc for every module: the image is read-only, so what is not compiled now never is.

    By hash and unchecked, because exporting and unpacking an image may change the files' times. The status is
    not looked at: a few packages ship templates, named .py, that do not compile.
    """
    command = [str(prefix / "bin/python"), "-I", "-m", "compileall", "-qq", "-f", "-j0"]
    subprocess.run([*command, "--invalidation-mode", "unchecked-hash", str(prefix / "lib")], check=False)


def list_fonts(prefix: Path, about: Path) -> None:
    """Let matplotlib write the list of fonts that it would make at each first import on an empty /work."""
    folder = about / "matplotlib"
    folder.mkdir(parents=True)
    python_of(prefix, "-c", "import matplotlib.font_manager", MPLCONFIGDIR=str(folder), HOME="/nonexistent")
    if not list(folder.glob("fontlist-*.json")):
        sys.exit(f"matplotlib wrote no font list into {folder}")


def channel_name(channel: str) -> str:
    """`conda-forge` for the name as for a mirror's URL: the URL itself may hold a password."""
    return urlsplit(channel).path.rstrip("/").rpartition("/")[2] or channel


def take_stock(prefix: Path, about: Path, channels: Iterable[str], records: list[RepoDataRecord]) -> None:
    """Write inventory.json, for `airlock image list`, and conda-meta/explicit.txt, URLs and hashes."""
    packages = [{"name": r.name.normalized, "version": str(r.version), "build": str(r.build)} for r in records]
    inventory = {"version": 1, "channels": [channel_name(c) for c in channels], "packages": packages}
    (about / "inventory.json").write_text(json.dumps(inventory, indent=1) + "\n", encoding="utf-8")
    exact = [f"{r.url}#{r.sha256.hex()}" for r in records if r.sha256]
    (prefix / "conda-meta/explicit.txt").write_text("\n".join(["@EXPLICIT", *exact]) + "\n", encoding="utf-8")


def make_readable(prefix: Path) -> None:
    """Let every user read it all: py-rattler gives conda-meta mode 0600, and scripts do not run as root."""
    subprocess.run(["chmod", "-R", "a+rX", prefix], check=True)


def build(environment: Environment, prefix: Path, about: Path) -> dict[str, float]:
    """Do all of it; return how many seconds each step took."""
    seconds: dict[str, float] = {}
    start = time.monotonic()

    def done(step: str) -> None:
        seconds[step] = round(time.monotonic() - start - sum(seconds.values()), 1)

    records = asyncio.run(fill(environment, prefix))
    done("install")
    trim(prefix)
    site_packages = Path(python_of(prefix, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site_packages / "airlock.pth").write_text(f"{about}\n", encoding="utf-8")
    done("trim")
    compile_modules(prefix)
    done("compile")
    if any(record.name.normalized == "matplotlib-base" for record in records):
        list_fonts(prefix, about)
    take_stock(prefix, about, environment.channels, records)
    make_readable(prefix)
    done("finish")
    print(f"{len(records)} packages from {', '.join(map(channel_name, environment.channels))}")
    return seconds


def main() -> None:
    """Read the command line and build; what can be expected to go wrong ends in one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("--prefix", type=Path, required=True, help="where to install")
    parser.add_argument("--about", type=Path, required=True, help="for the inventory and the font list")
    parser.add_argument("--channel", default="", help="unless empty: instead of environment.yml's")
    arguments = parser.parse_args()
    environment = read_environment(arguments.environment, arguments.channel)
    try:
        seconds = build(environment, arguments.prefix, arguments.about)
    except (GatewayError, SolverError) as error:
        names = ", ".join(map(channel_name, environment.channels))
        sys.exit(f"{arguments.environment.name} cannot be had from {names}: {error}")
    print(", ".join(f"{step} {value} s" for step, value in seconds.items()))


if __name__ == "__main__":
    main()
