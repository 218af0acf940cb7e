"""What is wrong with this host, and what to do about it: `airlock doctor`.

Looking (here) and judging (doctor_engine, doctor_host) are kept apart: a judgement is a pure function of
what was seen, so each can be tried with the words of any daemon and any host. Nothing is changed on the host,
but for one container that is started with the flags of every run and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from controller.config import Settings

_CALL_SECONDS = 10
_PROBE_SECONDS = 30


class Level(StrEnum):
    """`ERROR`: runs will not work, or are not safe; `WARNING`: they work, but know this first."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and what to do if it is not well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that runs depend on, the host first, then the engine, then a real container."""
    from controller.doctor.host import host_findings, read_host
    from controller.engines.choice import choose

    choice = choose(settings)
    findings = host_findings(read_host(settings.data_dir), settings)
    findings.append(Finding("engine", Level.OK, f"{choice.engine}, because {choice.why}"))
    if choice.engine == "docker":
        return [*findings, *_examine_docker(settings)]
    from controller.doctor.oci import oci_findings

    return [*findings, *oci_findings(settings)]


def _examine_docker(settings: Settings) -> Iterator[Finding]:
    import docker
    import requests
    from docker.errors import DockerException

    from controller.doctor.engine import clock_finding, engine_findings
    from controller.engines.docker_address import docker_address, knock

    address = docker_address()
    try:
        knock(address, _CALL_SECONDS)
        with contextlib.closing(docker.from_env(timeout=_CALL_SECONDS)) as client:
            before = time.time()
            info, version = client.info(), client.version()
            yield Finding("docker", Level.OK, f"version {version['Version']} answers at {address}")
            yield from _address_findings(address)
            yield clock_finding(info, before, time.time())
            yield from engine_findings(info, version, settings)
            yield from _examine_image(client.api, settings, info)
    except (DockerException, requests.RequestException, OSError) as error:
        yield Finding(
            "docker",
            Level.ERROR,
            f"no answer at {address}: {_first_line(error)}",
            "start it (systemctl start docker, or scripts/dockerd start); another daemon is named by DOCKER_HOST; "
            "who may not use it must be in its socket's group",
        )


def _address_findings(address: str) -> Iterator[Finding]:
    from docker.context.config import get_current_context_name

    from controller.engines.docker_address import UNIX

    if not address.startswith(UNIX):
        yield Finding(
            "docker address",
            Level.ERROR,
            f"the daemon is on another host ({address})",
            "run Airlock on the daemon's host: inputs and results are bind mounts of local folders",
        )
    context = get_current_context_name()
    if context != "default":
        yield Finding(
            "docker context",
            Level.WARNING,
            f"the docker command uses the context {context!r}, Airlock uses {address}",
            "if that is another daemon, set DOCKER_HOST to the context's address",
        )


def _examine_image(api: Any, settings: Settings, info: dict[str, Any]) -> Iterator[Finding]:
    """`api`: docker.APIClient, most of whose methods carry no types."""
    from docker.errors import ImageNotFound

    name = settings.image
    try:
        image = api.inspect_image(name)
    except ImageNotFound:
        yield Finding("image", Level.ERROR, f"{name} is not on this host", "run `airlock image build`")
        return
    yield Finding("image", Level.OK, f"{name} is {image['Id']}, made {str(image.get('Created', ''))[:10]}")
    yield _probe(api, settings, info)


def _probe(api: Any, settings: Settings, info: dict[str, Any]) -> Finding:
    """Start one container exactly as for a run, but for its command, which does nothing."""
    from docker.errors import DockerException
    from requests import RequestException

    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="airlock-doctor-") as folder:
            code = _run_nothing(api, settings, info, Path(folder))
    except (DockerException, RequestException) as error:
        return Finding(
            "sandbox",
            Level.ERROR,
            f"a container with the flags of a run does not start: {_first_line(error)}",
            "the message is Docker's own; usual causes: a runtime that is not installed, a full disk",
        )
    spent = time.monotonic() - began
    if code != 0:
        return Finding(
            "sandbox",
            Level.ERROR,
            f"Python in a container with the flags of a run ended with exit code {code}",
            "rebuild the image: `airlock image build`",
        )
    return Finding("sandbox", Level.OK, f"a container with a run's flags came and went in {spent:.2f} s")


def _run_nothing(api: Any, settings: Settings, info: dict[str, Any], folder: Path) -> int:
    from docker.errors import NotFound

    from controller.engines import cgroup
    from controller.engines.base import RUNNER_COMMAND, SandboxSpec
    from controller.engines.docker_request import create_request
    from controller.engines.uids import UidPool

    run_id = f"doctor-{os.getpid()}-{time.time_ns()}"
    spec = SandboxSpec(run_id, 1, settings.image, folder, folder, settings.limits())
    with UidPool().take() as uid:
        request = create_request(
            spec,
            uid=uid,
            instance=f"doctor on {socket.gethostname()}",
            deadline=int(time.time() + _PROBE_SECONDS),  # any server's sweep removes it if this process dies
            runtime=settings.runtime,
            cgroup_parent=cgroup.parent_name(info.get("CgroupDriver", "cgroupfs")),
        )
        request["Cmd"] = [*RUNNER_COMMAND[:-2], "-c", "pass"]
        container = api.create_container_from_config(request, name=spec.name)["Id"]
        try:
            api.start(container)
            return int(api.wait(container, timeout=_PROBE_SECONDS)["StatusCode"])
        finally:
            with contextlib.suppress(NotFound):
                api.remove_container(container, force=True, v=True)


def _first_line(error: BaseException) -> str:
    """The reason without the layers of wrapping around it."""
    text = getattr(error, "explanation", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0][:300]


def as_json(findings: Iterable[Finding]) -> str:
    """The findings for machines, with what this process runs on."""
    items = [{"name": f.name, "level": f.level, "found": f.found, "advice": f.advice} for f in findings]
    return json.dumps({"python": platform.python_version(), "findings": items}, indent=2)
