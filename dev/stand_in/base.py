"""The stand-in for debian:bookworm-slim: the same distribution, from Debian's own packages."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from dev.stand_in.apt import SUITE

INSPECT = {"docker": ("docker", "image", "inspect"), "buildah": ("buildah", "inspect", "--type", "image")}
_REMOVE = {"docker": ("docker", "image", "rm"), "buildah": ("buildah", "rmi")}
_BY_BUILDAH = """
set -eu
container=$(buildah from scratch)
trap 'buildah rm "$container"' EXIT
tar --extract --preserve-permissions --numeric-owner --directory "$(buildah mount "$container")"
buildah commit --quiet "$container" "$0"
"""
"""buildah has no import."""
_IMPORT = {"docker": ("docker", "import", "-"), "buildah": ("sh", "-c", _BY_BUILDAH)}
"""Of an archive on standard input."""


def name() -> str:
    """The image's name; it changes with the recipe, so that an older one is not taken for it."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return f"airlock-base:{SUITE}-{recipe}"


def is_here(builder: str) -> bool:
    """Whether the builder, docker or buildah, has it."""
    return subprocess.run([*INSPECT[builder], name()], check=False, capture_output=True).returncode == 0


def make(builder: str) -> None:
    """Bootstrap the distribution straight into an image."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--skip=output/dev"]
    for folder in ("doc", "info", "locale", "man"):  # what the slim image leaves out too
        command.append(f"--dpkgopt=path-exclude=/usr/share/{folder}/*")
    with subprocess.Popen([*command, SUITE, "-"], stdout=subprocess.PIPE) as bootstrap:
        imported = subprocess.run(
            [*_IMPORT[builder], name()], check=False, stdin=bootstrap.stdout, stdout=subprocess.DEVNULL
        )
    if bootstrap.returncode or imported.returncode:
        # A part of a file system may have been imported: it must not be taken for the whole next time.
        subprocess.run([*_REMOVE[builder], name()], check=False, capture_output=True)
        print(f"stand-in: mmdebstrap ended with status {bootstrap.returncode}", file=sys.stderr)
        raise RuntimeError(f"no base image: its import ended with status {imported.returncode}")
