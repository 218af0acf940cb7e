"""The kernel's calls that no script needs are refused, and refused with an error rather than a kill."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sandbox import findings

from controller.engines.walls import seccomp_profile
from tests.running import RunningServer

REFUSED = {"EPERM", "ENOSYS"}
CALLS = {
    # system-wide quotas, and doors with a history of holes
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "io_setup": 206, "io_destroy": 207,
    "io_submit": 209, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249,
    "keyctl": 250, "inotify_init": 253, "inotify_init1": 294, "fanotify_init": 300, "mq_open": 240, "mq_unlink": 241,
    "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "msgget": 68, "msgsnd": 69, "memfd_secret": 447,
    # other processes
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "kcmp": 312,
    "process_madvise": 440, "process_mrelease": 448, "move_pages": 279, "migrate_pages": 256,
    # mounts and roots
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "quotactl": 179, "quotactl_fd": 443, "swapon": 167, "swapoff": 168, "statmount": 457,
    "listmount": 458, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "sync": 162,
    "syncfs": 306,
    # namespaces
    "unshare": 272, "setns": 308, "clone3": 435,
    # the machine
    "reboot": 169, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313,
    "delete_module": 176, "iopl": 172, "ioperm": 173, "modify_ldt": 154, "acct": 163, "syslog": 103, "sethostname": 170,
    "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305,
    "vhangup": 153, "sysfs": 139, "uselib": 134, "_sysctl": 156, "lookup_dcookie": 212, "nfsservctl": 180,
    # scheduling and memory policy
    "sched_setscheduler": 144, "sched_setparam": 142, "sched_setattr": 314, "ioprio_set": 251, "mbind": 237,
    "set_mempolicy": 238, "mlockall": 151, "remap_file_pages": 216, "map_shadow_stack": 453, "mseal": 462,
    # pipes into the page cache, filters of one's own, unused ways
    "splice": 275, "tee": 276, "vmsplice": 278, "seccomp": 317, "landlock_create_ruleset": 444, "cachestat": 451,
    "number 470": 470, "number 999": 999,
}  # fmt: skip
"""x86-64 numbers of calls that are outside our profile; the last ones do not exist yet."""


@pytest.fixture(scope="module")
def answers(server: RunningServer) -> dict[str, Any]:
    return findings(server, "syscalls", CALLS)


def allowed() -> set[str]:
    """The calls that the profile allows, always or with certain arguments."""
    rules = json.loads(seccomp_profile())["syscalls"]
    return {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def test_the_profile_refuses_what_it_does_not_name() -> None:
    """The profile is a list of what is allowed, for 64-bit calls only, and refuses with EPERM instead of a kill."""
    profile = json.loads(seccomp_profile())

    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["defaultErrnoRet"] == 1
    assert profile["archMap"] == [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]
    assert allowed() & CALLS.keys() == set()
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_is_refused(answers: dict[str, Any], name: str) -> None:
    """A call outside the profile fails with EPERM or ENOSYS, whatever its arguments."""

    assert answers[name] in REFUSED


@pytest.mark.parametrize("kind", ["user", "mount", "pid", "net", "uts", "ipc", "cgroup"])
def test_the_script_cannot_make_a_namespace(answers: dict[str, Any], kind: str) -> None:
    """Neither clone nor unshare gives a new namespace, a user namespace above all."""

    assert answers[f"clone new {kind}"] in REFUSED
    assert answers[f"unshare new {kind}"] in REFUSED


def test_a_thread_and_a_program_are_held_as_well(answers: dict[str, Any]) -> None:
    """The filter holds in the script's threads, and in programs that it executes."""

    assert answers["unshare in a thread"] in REFUSED
    assert "uid=0" not in answers["unshare after exec"]
    assert "Operation not permitted" in answers["unshare after exec"]


def test_the_script_cannot_trace(answers: dict[str, Any]) -> None:
    """ptrace is refused, even where the kernel would grant it: on itself and on a relative."""

    assert answers["ptrace a child"] in REFUSED
    assert answers["ptrace traceme"] in REFUSED


def test_the_script_cannot_make_its_addresses_predictable(answers: dict[str, Any]) -> None:
    """personality(ADDR_NO_RANDOMIZE) is refused."""

    assert answers["personality without randomisation"] in REFUSED


def test_calls_of_other_architectures_are_refused(answers: dict[str, Any]) -> None:
    """The x32 and the 32-bit ways into the kernel, which a filter for 64-bit calls might not see, are closed."""

    assert answers["x32 getpid"] in {*REFUSED, "SIGSYS"}
    assert answers["32-bit getpid"] in {"SIGSYS", "SIGSEGV", 1}


def test_disk_cannot_be_reserved_past_the_limit_of_a_file(answers: dict[str, Any]) -> None:
    """RLIMIT_FSIZE does not count blocks beyond a file's end: the calls that reserve such blocks are refused."""

    assert answers["fallocate beyond the file's size"] == "ENOTSUP"
    assert answers["reserve space by ioctl"] == "EPERM"


def test_the_script_cannot_watch_what_others_read(answers: dict[str, Any]) -> None:
    """F_NOTIFY tells whoever asks when a directory of the image, which all runs share, is used: it is refused."""

    assert answers["watch a directory"] == "EPERM"
    assert answers["watch a directory with a high bit"] == "EPERM"


def test_the_script_cannot_type_into_a_terminal(answers: dict[str, Any]) -> None:
    """TIOCSTI, with which a process puts words into its parent's terminal, is refused."""

    assert answers["type into a terminal"] == "EPERM"


def test_the_script_cannot_make_a_device(answers: dict[str, Any]) -> None:
    """mknod of a device fails, though /work is writable."""

    assert answers["device node"] == "EPERM"


def test_the_probe_can_tell_a_call_that_works(answers: dict[str, Any]) -> None:
    """The same probe reports getpid as done: a refusal above is a refusal, and no fault of the probe."""

    assert answers["own allowance"] == "done"
