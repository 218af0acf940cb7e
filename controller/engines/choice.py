"""Which engine makes the containers, and why: as the setting says, or for `auto` by what this host has."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from controller.config import Settings
from controller.engines.docker_address import docker_answers
from controller.engines.oci_images import Images
from controller.errors import ImageMissing


@dataclass(frozen=True)
class Choice:
    """`engine` is "docker" or "oci"; `why` completes the sentence "... is used, because ..."."""

    engine: str
    why: str


def choose(settings: Settings) -> Choice:
    """Docker where it answers, else the oci engine where it can work, else Docker: it may come back."""
    if settings.engine != "auto":
        return Choice(settings.engine, f"AIRLOCK_ENGINE is {settings.engine}")
    if docker_answers():
        return Choice("docker", "Docker answers (AIRLOCK_ENGINE is auto)")
    lack = _lack_of_oci(settings)
    if lack is None:
        return Choice("oci", f"Docker does not answer; {settings.runtime} and an unpacked image are here")
    return Choice("docker", f"nothing else can work: Docker does not answer, and for the oci engine {lack}")


def _lack_of_oci(settings: Settings) -> str | None:
    if os.geteuid() != 0:
        return "the server must be root"
    if shutil.which(settings.runtime) is None:
        return f"{settings.runtime} is not installed"
    try:
        Images(settings.oci_image_dir).digest(settings.image)
    except ImageMissing:
        return f"{settings.image} is not unpacked in {settings.oci_image_dir}"
    return None
