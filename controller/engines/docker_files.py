"""A file of an image, read by the Docker engine without anything of the image being run."""

from __future__ import annotations

import io
import tarfile
import time

from docker import APIClient
from docker.errors import NotFound

from controller.engines.walls import DEADLINE_LABEL, OWNER_LABEL
from controller.errors import EngineError

_TAR_BYTES = 64 << 10
"""What a tar archive of one file has beyond the file: headers and padding."""


def read_image_file(api: APIClient, image: str, path: str, limit_bytes: int) -> bytes:
    """The content of a plain file, out of a container that is made for it and never started.

    EngineError when it is not there, is no plain file, or has more than `limit_bytes` bytes.
    """
    # A container that a crash leaves behind is nobody's, and past its deadline: any server's sweep removes it.
    labels = {OWNER_LABEL: "none", DEADLINE_LABEL: str(int(time.time()))}
    container = api.create_container(image, command=["true"], network_disabled=True, labels=labels)["Id"]
    try:
        stream, _ = api.get_archive(container, path)
        archive = bytearray()
        for chunk in stream:
            archive += chunk
            if len(archive) > limit_bytes + _TAR_BYTES:
                break
    except NotFound as error:
        raise EngineError(f"the image {image} has no {path}: rebuild it") from error
    finally:
        api.remove_container(container, force=True, v=True)
    return _only_file(bytes(archive), limit_bytes, f"{image}: {path}")


def _only_file(archive: bytes, limit_bytes: int, what: str) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            member = tar.next()
            if member is None or not member.isfile():
                raise EngineError(f"{what} is no plain file")
            if member.size > limit_bytes:
                raise EngineError(f"{what} has {member.size} bytes, the limit is {limit_bytes}")
            file = tar.extractfile(member)
            return file.read() if file else b""
    except tarfile.TarError as error:
        raise EngineError(f"{what} cannot be read: {error}") from error
