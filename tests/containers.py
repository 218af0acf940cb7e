"""The containers that there are, whichever engine made them, in the shape in which Docker tells of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import docker
from docker.errors import APIError, NotFound

from controller.engines import cgroup
from controller.engines.launcher import status_of
from controller.engines.oci_host import read_host
from controller.engines.oci_runtime import STATE, Runtime

ENGINE = os.environ.get("AIRLOCK_ENGINE", "docker")
"""That the tests' servers have unless they are given another."""


def listed(engine: str) -> list[dict[str, Any]]:
    """All of Airlock's, of every server of this host, whatever their state: Id, Names, Labels, Mounts."""
    if engine == "oci":
        return list(_of_runtimes())
    with closing(docker.from_env()) as client:
        return list(client.api.containers(all=True, filters={"label": "airlock.instance"}))


def of_server(engine: str, instance: str) -> list[dict[str, Any]]:
    return [found for found in listed(engine) if found["Labels"].get("airlock.instance") == instance]


def inspected(container_id: str) -> dict[str, Any] | None:
    """One that runs: Id, Name, State.Pid, Config.Labels, Mounts, and HostConfig as far as tests ask for it."""
    if _is_oci(container_id):
        return next((_as_inspected(one) for one in _of_runtimes() if one["Id"] == container_id), None)
    with closing(docker.from_env()) as client, suppress(NotFound):
        found = dict(client.api.inspect_container(container_id))
        return found if found["State"]["Running"] else None
    return None


def exists(container_id: str) -> bool:
    if _is_oci(container_id):
        return any(one["Id"] == container_id for one in _of_runtimes())
    with closing(docker.from_env()) as client:
        return any(found["Id"] == container_id for found in client.api.containers(all=True))


def pids_in(container_id: str) -> list[int]:
    """The host's ids of all its processes; none when it has gone."""
    if _is_oci(container_id):
        return sorted(cgroup._members(cgroups_at(_runtime_of(container_id).place(container_id))))
    with closing(docker.from_env()) as client, suppress(APIError):
        return [int(row[0]) for row in client.api.top(container_id, ps_args="-eo pid")["Processes"]]
    return []


def cgroups_at(place: str) -> list[str]:
    """The directories of one cgroup, in all hierarchies."""
    return [path for path in cgroup._paths(place) if os.path.isdir(path)]


def _first_in(container_id: str) -> int:
    """The process that is number one to the others; of a launcher, which is in the host's namespace, the eldest.

    OSError, ValueError when there is none.
    """
    pids = pids_in(container_id)
    firsts = [pid for pid in pids if status_of(pid)["NSpid"] == f"{pid}\t1"]
    return min(firsts or pids)


def _runtime_of(name: str) -> Runtime:
    """That has such a container; any, when none has."""
    found = [Runtime(folder.name, read_host()) for folder in STATE.glob("*")]
    return next((one for one in found if one.there(name)), found[0])


def _is_oci(container_id: str) -> bool:
    """The oci engine's have their name for an id; Docker's ids are numbers."""
    return container_id.startswith("airlock-")


def _of_runtimes() -> Iterator[dict[str, Any]]:
    for folder in STATE.glob("*"):
        runtime = Runtime(folder.name, read_host())
        for name, labels in runtime.found():
            with suppress(OSError, ValueError):
                mounts = [
                    {"Source": one["source"], "Destination": one["destination"]}
                    for one in runtime.document(name)["mounts"]
                    if one["type"] == "bind"
                ]
                yield {"Id": name, "Names": [f"/{name}"], "Labels": labels, "Mounts": mounts}


def _as_inspected(found: dict[str, Any]) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        resources = _runtime_of(found["Id"]).document(found["Id"])["linux"]["resources"]
        return {
            "Id": found["Id"],
            "Name": found["Names"][0],
            "State": {"Pid": _first_in(found["Id"]), "Running": True},
            "Config": {"Labels": found["Labels"]},
            "Mounts": found["Mounts"],
            "HostConfig": {"PidsLimit": resources["pids"]["limit"], "Memory": resources["memory"]["limit"]},
        }
    return None
