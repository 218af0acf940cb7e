"""The script writes into /work, and into the output files that it was given: nowhere else, and nothing beside them."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox import findings

from tests.running import RunningServer

NOT_FOR_YOU = {"EROFS", "EACCES", "EPERM", "ENOENT", "EXDEV", "EBUSY"}


@pytest.fixture(scope="module")
def found(server: RunningServer) -> dict[str, Any]:
    return findings(server, "files", memory_bytes=512 << 20, cpus=2)


def test_the_script_can_make_files_only_in_its_working_directory(found: dict[str, Any]) -> None:
    """A file can be made in no directory of the sandbox but those under /work, and in /dev/shm."""
    walk = found["walk"]

    elsewhere = [directory for directory in walk["created"] if not f"{directory}/".startswith(("/work/", "/dev/shm/"))]

    assert elsewhere == []
    assert {"/work", "/dev/shm"} <= set(walk["created"])
    assert walk["entered"] > 1000


def test_the_script_can_write_no_file_of_the_image(found: dict[str, Any]) -> None:
    """No regular file is writable but those in /work and the output files: not the runner, no library, no .pth."""

    assert [path for path in found["walk"]["writable"] if not path.startswith(("/work/", "/out/"))] == []


def test_nothing_in_the_sandbox_is_setuid(found: dict[str, Any]) -> None:
    """The image holds no setuid or setgid file, and none with file capabilities."""

    assert found["walk"]["setuid"] == []
    assert found["walk"]["capable"] == []


def test_the_only_devices_are_harmless(found: dict[str, Any]) -> None:
    """/dev holds the seven that every program expects; no disk, no kvm, no fuse, no kmsg, no terminal."""

    assert set(found["walk"]["devices"]) <= {
        *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"),
        *(path for path in found["walk"]["devices"] if path.startswith(("/proc/", "/sys/"))),
    }


def test_the_script_can_write_no_file_of_the_kernel(found: dict[str, Any]) -> None:
    """No file of /proc/sys, /proc/irq, /proc/bus, /proc/fs or /sys opens for writing."""

    assert found["kernel"] == []


@pytest.mark.parametrize("what", ["sysrq", "core pattern", "uid map", "oom score", "remount"])
def test_the_script_cannot_turn_the_kernels_knobs(found: dict[str, Any], what: str) -> None:
    """The files by which containers have been left, or limits lifted, refuse to be written."""

    assert found[what] in NOT_FOR_YOU


TAMPERING = [
    *("add", "add unnamed", "mkdir", "fifo", "rename", "move away", "move over", "unlink"),
    *("link beside", "link away", "link by descriptor", "link over", "symlink", "chmod", "chmod the directory"),
    *("chown", "xattr", "remove the directory", "rename the directory"),
]


@pytest.mark.parametrize("way", TAMPERING)
def test_the_output_directory_takes_no_other_file(found: dict[str, Any], way: str) -> None:
    """In /out nothing can be added, renamed, removed, linked or replaced: the names stay the controller's files."""

    assert found["out"][way] in NOT_FOR_YOU


@pytest.mark.parametrize("way", [*TAMPERING, "write"])
def test_the_inputs_cannot_be_changed(found: dict[str, Any], way: str) -> None:
    """In /in nothing can be added, renamed, removed, linked, replaced or written."""

    assert found["in"][way] in NOT_FOR_YOU


def test_the_output_files_are_the_announced_ones(found: dict[str, Any]) -> None:
    """/out holds the result, the report and the images, each writable, and nothing else."""

    assert found["out files"] == {"images": True, "report.json": True, "result": True}


def test_the_script_can_use_no_terminal(found: dict[str, Any]) -> None:
    """Pseudo-terminals come out of one pot of the host's: a run gets none."""

    assert found["terminal"] in NOT_FOR_YOU


def test_the_script_can_make_no_message_queue(found: dict[str, Any]) -> None:
    """POSIX message queues are counted per user, host-wide: a run gets none."""

    assert found["message queue"] in {*NOT_FOR_YOU, "EMFILE", "ENOMEM"}


def test_there_is_no_other_temporary_directory(found: dict[str, Any]) -> None:
    """/tmp, /var/tmp and /run are read-only: what is temporary lies in /work, under its limit."""

    assert set(found["tmp"]) <= NOT_FOR_YOU


def test_the_working_directory_is_an_ordinary_one(found: dict[str, Any]) -> None:
    """/work can be written, holds executable files, and /dev/shm is there for multiprocessing."""

    assert found["work"] == found["work executable"] == found["shm"] == "done"
    assert found["run from work"] == 0
