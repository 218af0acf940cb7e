"""The packages of the image that a script would meet on a server: asked of the server, else of this host's Docker."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from controller.client.api import Client
from controller.client.errors import ClientError

SECONDS = 3.0
"""For each of the two to answer: it is a remark at the end of a run, and nobody should wait for it."""


@dataclass(frozen=True)
class ImagePackages:
    """Conda's names and versions, and where they were asked for."""

    source: str
    packages: tuple[tuple[str, str], ...]


def image_packages(url: str | None, key: str | None, image: str) -> ImagePackages | None:
    """None when neither answers. The server is asked when both its address and a key are given."""
    return (_of_server(url, key) if url and key else None) or _of_docker(image)


def _of_server(url: str, key: str) -> ImagePackages | None:
    with contextlib.suppress(ClientError, LookupError, TypeError), Client(url, key) as client:
        default = next((one for one in client.environments(SECONDS) if one["default"]), {})
        packages = tuple((str(package["name"]), str(package["version"])) for package in default["packages"])
        return ImagePackages(client.url, packages)
    return None


def _of_docker(image: str) -> ImagePackages | None:
    import docker
    from docker.errors import DockerException

    from controller.errors import EngineError
    from controller.image import read_inventory

    with (
        contextlib.suppress(DockerException, EngineError, OSError),
        contextlib.closing(docker.from_env(timeout=round(SECONDS))) as client,
    ):
        packages = read_inventory(client, image).packages
        return ImagePackages(image, tuple((package.name, package.version) for package in packages))
    return None
