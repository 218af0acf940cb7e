"""All that a process is to the kernel and to Python, as far as it can be read from within. For the parity test."""

import atexit
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path

import pandas as pd

MODULES = sorted(name for name in sys.modules if "." not in name)


def mounts():
    """Mount point: file system and options; without what is a number of this mount alone."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        options = [o for o in after.split()[2].split(",") if not o.startswith(("lowerdir", "upperdir", "workdir",
                   "uid=", "gid=", "size=", "nr_inodes="))]  # fmt: skip
        found[before.split()[4]] = [before.split()[5], after.split()[0], options]
    return found


def descriptors():
    kinds = {}
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
        if os.path.lexists(f"/proc/self/fd/{fd}"):
            kinds[fd] = os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
    return kinds


def users(kind):
    """Those of the user namespace, without this run's own number."""
    own = {str(os.getuid() + more): f"RUN + {more}" for more in (0, 65536)}
    return [own.get(number, number) for number in Path(f"/proc/self/{kind}_map").read_text().split()]


def how_it_opens(path):
    try:
        open(path, "wb", buffering=0).close()
        return "opens"
    except OSError as error:
        return error.strerror


def how_it_is_touched(path):
    try:
        os.utime(path)
        return "touched"
    except OSError as error:
        return error.strerror


def azureml_main(dataframe1, dataframe2):
    libc = ctypes.CDLL(None)
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    unsteady = ("Pid", "Tgid", "Ngid", "Vm", "Rss", "Huge", "Hugetlb", "voluntary", "nonvoluntary", "State", "SigQ",
                "Cpus", "Mems", "FDSize", "NS", "PPid", "Uid", "Gid")  # fmt: skip
    world = {f"status {name}": value.strip() for name, value in status.items() if not name.startswith(unsteady)}
    world |= {f"limit {line[:26].strip()}": line[26:].split()[:2]
              for line in Path("/proc/self/limits").read_text().splitlines()[1:]}  # fmt: skip
    world |= {f"environment {name}": value for name, value in os.environ.items()}
    world |= {f"mount {place}": what for place, what in mounts().items()}
    world |= {f"handler {n}": str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()}
    world |= {f"module {name}": True for name in MODULES}
    world |= {
        "cgroup": sorted(line.split(":", 1)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()),
        "descriptors": descriptors(),
        "command line": Path("/proc/self/cmdline").read_bytes().decode().split("\0")[:-1],
        "name": Path("/proc/self/comm").read_text(),
        "executable": os.readlink("/proc/self/exe"),
        "root": os.readlink("/proc/self/root"),
        "directory": os.getcwd(),
        "session is its own": os.getsid(0) == os.getpid(),
        "process 1": os.getpid() == 1,
        "umask": os.umask(0o022),
        "nice": os.nice(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "scheduler": os.sched_getscheduler(0),
        "timer slack": libc.prctl(30, 0, 0, 0, 0),
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "secure bits": libc.prctl(27, 0, 0, 0, 0),
        "parent death signal": libc.prctl(2, ctypes.byref(ctypes.c_int()), 0, 0, 0),
        "personality": libc.personality(ctypes.c_ulong(0xFFFFFFFF)),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "oom score": Path("/proc/self/oom_score_adj").read_text().strip(),
        "groups": os.getgroups(),
        "largest file": resource.getrlimit(resource.RLIMIT_FSIZE),
        "arguments": sys.argv,
        "flags": str(sys.flags),
        "path": sys.path,
        "recursion limit": sys.getrecursionlimit(),
        "log by its path": [how_it_opens(path) for path in ("/dev/stdout", "/dev/stderr", "/proc/self/fd/1")],
        "devices": {name: how_it_opens(f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom")},
        "device's time": how_it_is_touched("/dev/null"),
        "users": [users(kind) for kind in ("uid", "gid")],
        "groups may be set": Path("/proc/self/setgroups").read_text().strip(),
        "standard streams": [s.encoding + s.errors for s in (sys.stdin, sys.stdout, sys.stderr)],
        "warnings": [str(one) for one in warnings.filters],
        "log handlers": [str(one) for one in logging.getLogger().handlers],
        "exit handlers": atexit._ncallbacks(),
        "threads": threading.active_count(),
        "main module": sorted(vars(sys.modules["__main__"])),
        "wakeup": signal.set_wakeup_fd(-1),
        "working directory": sorted(os.listdir("/work")),
        "shared memory": os.listdir("/dev/shm"),
    }
    return pd.DataFrame({"probe": list(world), "finding": [json.dumps(value) for value in world.values()]})
