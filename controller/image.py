"""The sandbox image: built when its inputs have changed, and what is in it.

Builds with the `docker` command, which knows BuildKit, contexts and progress; reads inventories through the
client that the caller has. Where neither option says otherwise, an image is made of what the Dockerfile and
environment.yml name; a source checkout has stand-ins for where those do not answer (dev/stand_in).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from docker.client import DockerClient
from docker.errors import DockerException

from controller.engines.docker_files import read_image_file
from controller.errors import EngineError, EngineUnavailable
from controller.sandbox_source import sandbox_source

TAG = "airlock-sandbox:latest"
KIND_LABEL = "airlock.image"
"""In the Dockerfile: every sandbox image has it, with the value `sandbox`."""
INPUTS_LABEL = "airlock.inputs"
"""Digest of all that an image was built from; an image that has the present one is up to date."""
INVENTORY = "/opt/airlock/inventory.json"
MAX_INVENTORY_BYTES = 16 << 20

_NOT_INPUTS = ("__pycache__", ".pyc")
_ENGINE_SILENT = ("Cannot connect to the Docker daemon", "error during connect", "permission denied")


@dataclass(frozen=True)
class Sources:
    """What to build from. An empty option: what Dockerfile and environment.yml say."""

    context: Path
    """The folder sandbox_image/."""
    base_image: str = ""
    channel: str = ""
    """A conda channel's name or URL. Without credentials: they would show in the image's history."""
    pip_index_url: str = ""
    """For the one tool that the build installs with pip."""
    stand_in: Path | None = None
    """The folder dev/stand_in of a checkout, whose stand-ins may be used; None: they may not."""
    always_stand_in: bool = False
    """Use the stand-ins without trying the real ones first."""


@dataclass(frozen=True)
class Built:
    """What `build` did. `digest` is the engine's id of the image; `fresh` is False when it was up to date."""

    tag: str
    digest: str
    fresh: bool
    seconds: float


@dataclass(frozen=True)
class Package:
    """One conda package of an image."""

    name: str
    version: str
    build: str


@dataclass(frozen=True)
class Inventory:
    """What an image holds, as it says itself."""

    channels: tuple[str, ...]
    """Names of the conda channels it came from; `stand-in` for the stand-in channel."""
    packages: tuple[Package, ...]


@dataclass(frozen=True)
class SandboxImage:
    """One sandbox image that the engine has. `inputs` is empty when it was built by hand."""

    tags: tuple[str, ...]
    digest: str
    size_bytes: int
    created: datetime
    inputs: str
    channels: tuple[str, ...]
    packages: tuple[Package, ...]


def installed_sources(
    base_image: str = "", channel: str = "", pip_index_url: str = "", *, always_stand_in: bool = False
) -> Sources:
    """The sources that this installation has: its checkout's, else the package's. Raises EngineError."""
    context = sandbox_source()
    if not (context / "Dockerfile").is_file():
        raise _failure(f"{context} has no Dockerfile: this installation came without the sources of the image")
    stand_in = context.parent / "dev/stand_in"
    # Without py-rattler (the extra `stand-in`) there is no stand-in; the ordinary build needs it only inside.
    usable = stand_in.is_dir() and importlib.util.find_spec("rattler") is not None
    if always_stand_in and not usable:
        raise _failure("the stand-ins need a checkout and its extra: pip install -e '.[stand-in]'")
    return Sources(context, base_image, channel, pip_index_url, stand_in if usable else None, always_stand_in)


def inputs_digest(sources: Sources) -> str:
    """SHA-256 over every file and option that decides what the image holds."""
    total = hashlib.sha256()
    for root in (sources.context, *([sources.stand_in] if sources.stand_in else [])):
        for path in _input_files(root):
            content = hashlib.sha256(path.read_bytes()).digest()
            total.update(f"{root.name}/{path.relative_to(root)}\0".encode() + content)
    options = (sources.base_image, sources.channel, sources.pip_index_url, sources.always_stand_in)
    total.update(json.dumps(options).encode())
    return total.hexdigest()


def _input_files(root: Path) -> Iterable[Path]:
    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.endswith(_NOT_INPUTS) for part in path.parts))


def build(sources: Sources, tag: str = TAG, *, force: bool = False, say: Callable[[str], None] = print) -> Built:
    """Build the image, unless the engine has one of the same inputs under this tag.

    `force` builds in any case; the engine's cached layers are used all the same. Raises EngineUnavailable, or
    EngineError with the code `image_build_failed`; what docker itself says goes to standard error.
    """
    start = time.monotonic()
    if not shutil.which("docker"):
        raise _failure("the command `docker` is missing: scripts/set-up installs it")
    inputs = inputs_digest(sources)
    digest, found = _present(tag)
    if found == inputs and not force:
        return Built(tag, digest, False, time.monotonic() - start)
    say(f"{tag}: {'out of date' if digest else 'not there'}; building from {sources.context}")
    with stand_ins(sources, "docker") as arguments:
        command = ["docker", "build", "-t", tag, "--label", f"{INPUTS_LABEL}={inputs}", *arguments]
        done = subprocess.run(
            [*command, str(sources.context)], check=False, stdout=sys.stderr, env=_build_environment()
        )
    if done.returncode:
        raise _failure(f"docker build ended with status {done.returncode}; the reason is in its output above")
    return Built(tag, _present(tag)[0], True, time.monotonic() - start)


def _failure(detail: str) -> EngineError:
    return EngineError(detail, code="image_build_failed")


def _present(tag: str) -> tuple[str, str]:
    """Id and inputs digest of the image with this tag; empty where there is none."""
    form = f'{{{{.Id}}}} {{{{index .Config.Labels "{INPUTS_LABEL}"}}}}'
    done = subprocess.run(["docker", "image", "inspect", "-f", form, tag], check=False, capture_output=True, text=True)
    if done.returncode == 0:
        digest, _, inputs = done.stdout.strip().partition(" ")
        return digest, inputs
    if any(words in done.stderr for words in _ENGINE_SILENT):
        raise EngineUnavailable(f"{done.stderr.strip()} Start one with: scripts/dockerd start")
    return "", ""


def _build_environment() -> dict[str, str]:
    """Ours, with BuildKit asked for where the `docker` command has it built in but does not use it by itself.

    That is before version 23. Later ones have it in a plug-in, and use it when that is installed.
    """
    version = subprocess.run(["docker", "--version"], check=False, capture_output=True, text=True).stdout
    major = re.search(r"(\d+)\.", version)
    wanted = {"DOCKER_BUILDKIT": "1"} if major and int(major[1]) < 23 else {}
    return {**wanted, **os.environ}


@contextmanager
def stand_ins(sources: Sources, builder: str) -> Iterator[list[str]]:
    """The arguments of a build that say where things come from, as long as the stand-ins are served.

    `builder`: the command that builds, docker or buildah; a base image is made where it will look for one.
    """
    given = {
        "BASE_IMAGE": sources.base_image,
        "CHANNEL": sources.channel,
        "PIP_INDEX_URL": sources.pip_index_url,
    }
    wanted = [kind for kind, named in (("base", sources.base_image), ("channel", sources.channel)) if not named]
    if not sources.stand_in or not wanted:
        yield _build_arguments(given)
        return
    command = [sys.executable, "-m", "dev.stand_in", str(sources.context.resolve()), f"--builder={builder}"]
    command += [f"--wanted={kind}" for kind in wanted]
    command += ["--always"] if sources.always_stand_in else []
    root = sources.stand_in.resolve().parent.parent
    with subprocess.Popen(
        command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as offer:  # leaving closes its standard input: it ends
        line = offer.stdout.readline() if offer.stdout else ""
        if not line:
            raise _failure("the stand-ins could not be made; the reason is above")
        answer: dict[str, str | None] = json.loads(line)
        if base := answer["base_image"]:
            given["BASE_IMAGE"] = base
        network: list[str] = []
        if (channel := answer["channel"]) and (links := answer["find_links"]):
            given |= {"CHANNEL": channel, "PIP_FIND_LINKS": links, "PIP_NO_INDEX": "1"}
            network = ["--network", "host"]  # they are served on this host's loopback
        yield network + _build_arguments(given)


def _build_arguments(given: dict[str, str]) -> list[str]:
    return [word for name, value in given.items() if value for word in ("--build-arg", f"{name}={value}")]


def inventory(client: DockerClient) -> list[SandboxImage]:
    """Every sandbox image that the engine has, newest first. Raises EngineError, and starts no container."""
    try:
        images = client.images.list(filters={"label": f"{KIND_LABEL}=sandbox"})
        found = [_describe(client, image.attrs) for image in images]
    except DockerException as error:
        raise EngineError(f"the images cannot be listed: {error}") from error
    return sorted(found, key=lambda image: image.created, reverse=True)


def _describe(client: DockerClient, attributes: dict[str, Any]) -> SandboxImage:
    content = read_inventory(client, attributes["Id"])
    return SandboxImage(
        tags=tuple(attributes["RepoTags"] or ()),
        digest=attributes["Id"],
        size_bytes=attributes["Size"],
        created=datetime.fromisoformat(attributes["Created"]),
        inputs=attributes["Config"]["Labels"].get(INPUTS_LABEL, ""),
        channels=content.channels,
        packages=content.packages,
    )


def read_inventory(client: DockerClient, image: str) -> Inventory:
    """What the image of this name or digest says it holds. Raises EngineError, and starts no container."""
    return parse_inventory(read_image_file(client.api, image, INVENTORY, MAX_INVENTORY_BYTES))


def parse_inventory(content: bytes) -> Inventory:
    """The inventory in an image's inventory.json. Raises EngineError when it is not one of version 1."""
    try:
        document = json.loads(content)
        if document["version"] != 1:
            raise EngineError(f"{INVENTORY} is of version {document['version']}, not 1: rebuild this image")
        packages = tuple(Package(p["name"], p["version"], p["build"]) for p in document["packages"])
        return Inventory(tuple(document["channels"]), packages)
    except (ValueError, LookupError, TypeError) as error:
        raise EngineError(f"{INVENTORY} cannot be read: {error!r}") from error
