"""This machine's own Debian packages, of which the stand-ins are made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "bookworm"


def prepare(*programs: str) -> None:
    """Refresh the package lists and install what is missing of `programs`, each a package of the same name.

    Without root neither is possible: then the lists are taken as they are, and a missing program is an error.
    """
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    if f"VERSION_CODENAME={SUITE}\n" not in release:
        raise RuntimeError(f"stand-ins are made of this machine's packages: it must run Debian {SUITE}")
    missing = [program for program in programs if not shutil.which(program)]
    if os.geteuid() == 0:
        _apt_get("update")
        if missing:
            print(f"stand-in: installing {', '.join(missing)}", file=sys.stderr, flush=True)
            _apt_get("install", "-y", "--no-install-recommends", *missing)
    elif missing:
        raise RuntimeError(f"missing: {', '.join(missing)}. Install with: apt-get install {' '.join(missing)}")


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(command, check=False, stdout=sys.stderr, env=environment)
    if done.returncode:
        raise RuntimeError(f"apt-get {arguments[0]} ended with status {done.returncode}; its own words are above")
