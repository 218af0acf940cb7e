"""What may not be there any more when everything has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import requests

from controller.engines.uids import FIRST_UID, UIDS
from controller.store.database import Database
from controller.store.sql import SqlStore
from tests.crash.daemon import PrivateDocker, all_processes, mounts_below

_RUN = re.compile(r"/runs/(run_[^/ ]+)/in ")
_SLOT = re.compile(r"/warm/([^/ ]+/[^/ ]+)/in ")


def sandboxes(data_dir: Path) -> dict[int, str]:
    """The processes in sandboxes of this data directory's server: a run's uid, and its inputs mounted.

    pid: run id, which is empty for a warm container that waits.
    """
    found: dict[int, str] = {}
    for pid in all_processes():
        try:
            uid = Path(f"/proc/{pid}").stat().st_uid
            mounts = Path(f"/proc/{pid}/mountinfo").read_text() if FIRST_UID <= uid < FIRST_UID + UIDS else ""
        except OSError:
            continue
        if str(data_dir) in mounts:
            run, slot = _RUN.search(mounts), _SLOT.search(mounts)
            found[pid] = run.group(1) if run else _run_in(data_dir, slot.group(1)) if slot else ""
    return found


def _run_in(data_dir: Path, slot: str) -> str:
    """The run whose files were laid into a warm container."""
    with suppress(OSError):
        job = (data_dir / "warm" / slot / "in" / "job.json").stat()
        for path in (data_dir / "runs").glob("*/in/job.json"):
            if os.path.samestat(job, path.stat()):
                return path.parts[-3]
    return ""


def shims(daemon: PrivateDocker) -> list[int]:
    """Processes that stand between containerd and a container. A containerd that ends while it makes a container may
    leave one without: nothing of the container is in it, and nobody can reach it through Docker.
    """
    return [pid for pid in daemon.processes() if b"containerd-shim" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def leftovers(daemon: PrivateDocker, data_dir: Path, mounts_before: Iterable[str]) -> list[str]:
    """Everything that was left, in words; nothing is as it should be."""
    found: list[str] = []
    try:
        with closing(daemon.client(10)) as client:
            found += [f"container {c['Names']} {c['State']}" for c in client.api.containers(all=True)]
    except (requests.RequestException, OSError) as e:
        found.append(f"the daemon does not answer: {e}")
    found += [f"process {pid} of {run}" for pid, run in sandboxes(data_dir).items()]
    found += [f"mount {place}" for place in mounts_below(data_dir)]
    found += [f"mount {place}" for place in set(daemon.mounts()) - set(mounts_before) if not _half_made(place)]
    found += [f"cgroup {path}" for id in daemon.starts.containers for path in cgroups(id)]
    found += [f"upload {path.name}" for path in (data_dir / "uploads").iterdir()]
    there = {path.name for path in (data_dir / "runs").iterdir()}
    store = SqlStore(Database(f"sqlite:///{data_dir / 'airlock.db'}"))
    try:
        found += [f"files {name}" for name in there - store.known_runs(there)]
        found += [f"warm {path.name}" for path in (data_dir / "warm").glob("*/*")]
    finally:
        store.close()
    return found


def _half_made(place: str) -> bool:
    """A daemon that is killed while it prepares a container's first layer leaves that mounted; there is no container,
    and nothing of a run is in it.
    """
    return place.endswith("-init/merged")


def cgroups(container: str) -> list[Path]:
    """Control groups of a container that are still there."""
    root = Path("/sys/fs/cgroup")
    return [*root.glob(f"airlock-runs/{container}"), *root.glob(f"*/airlock-runs/{container}")]
