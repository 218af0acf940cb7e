"""The stage: what a runtime finds of the file system while it makes a container with a user namespace.

Root of such a container is nobody on the host, and it is as that root that the runtime mounts the image. It could not
pass a directory that is private to the host's root, as a data directory is. And it may make no devices, so the runtime
would lend the container the host's own: six files that all runs share, whose times they could set, and lock and watch.

Both are laid out in a mount namespace that ends with the runtime: no mount is on the host at any time.
"""

from __future__ import annotations

import ctypes
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from controller.errors import EngineUnavailable

ROOTFS = Path("/dev/rootfs")
"""Where the image is, on the stage."""
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_RDONLY, _NOSUID, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 8, 32, 1 << 12, 1 << 14, 1 << 18
_CLONE_NEWNS = 1 << 17
_libc = ctypes.CDLL(None, use_errno=True)
_Done = TypeVar("_Done")


def on_stage(image: Path, act: Callable[[], _Done]) -> _Done:
    """Do this with the image at ROOTFS and with devices of its own, and have every program that it starts see the same.

    In a thread of its own, which alone has that mount namespace and ends with it. EngineUnavailable without a stage.
    """
    done: Future[_Done] = Future()

    def perform() -> None:
        try:
            try:
                _lay_out(image)
            except OSError as e:
                raise EngineUnavailable(f"a container's mounts cannot be prepared: {e}") from e
            done.set_result(act())
        except BaseException as e:  # noqa: BLE001 - it is the caller's
            done.set_exception(e)

    try:
        threading.Thread(target=perform, name="stage").start()
    except RuntimeError as e:
        raise EngineUnavailable(f"there is no thread to prepare a container's mounts: {e}") from e
    return done.result()


def _lay_out(image: Path) -> None:
    """What is read-only here stays so in the container: its root cannot undo what the host's root has mounted."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", "/dev", "tmpfs", _NOSUID | _NOEXEC, "mode=755,size=4k,nr_inodes=16")
    for name, number in _DEVICES.items():
        device = Path("/dev", name)
        os.mknod(device, stat.S_IFCHR, os.makedev(*number))
        device.chmod(0o666)
    ROOTFS.mkdir()
    _mount("none", "/dev", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NOEXEC)
    _mount(str(image), str(ROOTFS), None, _BIND | _REC)
    _mount("none", str(ROOTFS), None, _REMOUNT | _BIND | _RDONLY)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _check(_libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def _check(failed: int, what: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
