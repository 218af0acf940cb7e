"""Where Docker is, and whether anybody listens there."""

from __future__ import annotations

import socket
from contextlib import closing

import docker
import requests
from docker.errors import DockerException
from docker.utils import kwargs_from_env

UNIX = ("unix://", "http+unix://")


def docker_address() -> str:
    """Where the docker SDK will look for the daemon: DOCKER_HOST or the default socket."""
    return str(kwargs_from_env().get("base_url") or "unix:///var/run/docker.sock")


def knock(address: str, seconds: float) -> None:
    """Connect to a daemon's Unix socket, for the system's own reason if that fails. Raises OSError."""
    if not address.startswith(UNIX):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(seconds)
        probe.connect(address.partition("://")[2])


def docker_answers(seconds: float = 5.0) -> bool:
    try:
        knock(docker_address(), seconds)
        with closing(docker.from_env(timeout=round(seconds))) as client:
            return bool(client.ping())
    except (DockerException, requests.RequestException, OSError):
        return False
