"""The sandbox image unpacked, for tests of the oci engine: once for each image that Docker has."""

from __future__ import annotations

import fcntl
from pathlib import Path

from controller.config import Settings
from controller.engines.oci_images import Images
from controller.errors import EngineError
from controller.oci_image import unpack


def unpacked_images() -> Path:
    """The folder, where an operator's server would have it. Without Docker it must have been filled before."""
    settings = Settings()
    folder = settings.oci_image_dir
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock-of-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        try:
            unpack(settings.image, folder)
        except EngineError:
            Images(folder).digest(settings.image)
    return folder
