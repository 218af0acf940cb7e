"""The sandbox image for the oci engine: unpacked into a folder, and built without a Docker daemon.

`buildah` builds it from the same Dockerfile, and needs no daemon; or it is taken from a Docker that has it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from controller.engines.oci_images import Images, Unpacked
from controller.errors import EngineError, EngineUnavailable, ImageMissing
from controller.image import (
    INPUTS_LABEL,
    INVENTORY,
    MAX_INVENTORY_BYTES,
    Built,
    SandboxImage,
    Sources,
    inputs_digest,
    parse_inventory,
    stand_ins,
)

_BUILD = ("build", "--isolation", "chroot", "--format", "docker")
"""Within the caller's namespaces: a build is the operator's own, and is run as root anyway."""


def build(
    sources: Sources, image: str, directory: Path, *, force: bool = False, say: Callable[[str], None] = print
) -> Built:
    """Build the image and unpack it, unless one of the same inputs is unpacked under this name.

    EngineError with the code `image_build_failed`; what buildah itself says goes to standard error.
    """
    start = time.monotonic()
    if not shutil.which("buildah"):
        raise _failure("the command `buildah` is missing: scripts/set-up oci installs it")
    images, inputs = Images(directory), inputs_digest(sources)
    present = _present(images, image)
    if present is not None and present.inputs == inputs and not force:
        return Built(image, present.digest, False, time.monotonic() - start)
    say(f"{image}: {'out of date' if present else 'not there'}; building from {sources.context}")
    with stand_ins(sources, "buildah") as arguments:
        command = ["buildah", *_BUILD, "-t", image, "--label", f"{INPUTS_LABEL}={inputs}", *arguments]
        done = subprocess.run([*command, str(sources.context)], check=False, stdout=sys.stderr)
    if done.returncode:
        raise _failure(f"buildah ended with status {done.returncode}; the reason is in its output above")
    say(f"{image}: unpacking into {directory}")
    digest = "sha256:" + _output("buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", image)
    _add(images, image, Unpacked(digest, datetime.now(UTC).isoformat(), inputs, 0), _from_buildah)
    return Built(image, digest, True, time.monotonic() - start)


def unpack(image: str, directory: Path, *, say: Callable[[str], None] = print) -> Built:
    """Take the image from Docker, unless it is there already. EngineUnavailable, ImageMissing, EngineError."""
    start = time.monotonic()
    if not shutil.which("docker"):
        raise _failure("the command `docker` is missing: without Docker, `airlock image build` makes the image")
    done = subprocess.run(["docker", "image", "inspect", image], check=False, capture_output=True, text=True)
    if done.returncode:
        if "No such image" in done.stderr:
            raise ImageMissing(f"Docker has no image {image}: run `airlock image build`")
        raise EngineUnavailable(f"docker image inspect: {done.stderr.strip()}")
    (found,) = json.loads(done.stdout)
    images, digest = Images(directory), str(found["Id"])
    present = _present(images, image)
    if present is not None and present.digest == digest:
        return Built(image, digest, False, time.monotonic() - start)
    say(f"{image}: unpacking into {directory}")
    inputs = (found["Config"]["Labels"] or {}).get(INPUTS_LABEL, "")
    _add(images, image, Unpacked(digest, found["Created"], inputs, 0), _from_docker)
    return Built(image, digest, True, time.monotonic() - start)


def inventory(directory: Path) -> list[SandboxImage]:
    """Every image in the folder, newest first. EngineError."""
    images = Images(directory)
    found = []
    for one, names in images.all():
        content = parse_inventory(images.file(one.digest, INVENTORY, MAX_INVENTORY_BYTES))
        made = datetime.fromisoformat(one.created)
        found.append(
            SandboxImage(names, one.digest, one.size_bytes, made, one.inputs, content.channels, content.packages)
        )
    return sorted(found, key=lambda image: image.created, reverse=True)


def _present(images: Images, image: str) -> Unpacked | None:
    try:
        return images.describe(images.digest(image))
    except ImageMissing:
        return None


def _add(images: Images, image: str, one: Unpacked, fill: Callable[[str, Path], None]) -> None:
    try:
        images.add(image, one.digest, one.created, one.inputs, lambda rootfs: fill(one.digest, rootfs))
    except OSError as e:
        raise _failure(f"{images.directory} cannot be written: {e}") from e


def _from_docker(digest: str, rootfs: Path) -> None:
    with _container("docker", "create", digest, "true") as container:
        export = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
        tar = ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory", str(rootfs)]
        done = subprocess.run(tar, stdin=export.stdout, check=False)
        if export.stdout:
            export.stdout.close()
        if export.wait() or done.returncode:
            raise _failure(f"unpacking {digest} ended with status {export.returncode or done.returncode}")


def _from_buildah(digest: str, rootfs: Path) -> None:
    with _container("buildah", "from", "--pull-never", digest) as container:
        source = _output("buildah", "mount", container)
        done = subprocess.run(["cp", "--archive", "--reflink=auto", f"{source}/.", str(rootfs)], check=False)
        if done.returncode:
            raise _failure(f"copying {digest} ended with status {done.returncode}")


@contextmanager
def _container(tool: str, *words: str) -> Iterator[str]:
    """One that is only looked into. buildah unmounts it as it removes it."""
    container = _output(tool, *words)
    try:
        yield container
    finally:
        subprocess.run([tool, "rm", container], check=False, stdout=subprocess.DEVNULL)


def _output(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise _failure(f"{' '.join(command[:2])} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def _failure(detail: str) -> EngineError:
    return EngineError(detail, code="image_build_failed")
