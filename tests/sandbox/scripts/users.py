"""What the script can do about users: its own, root's, and those that nobody told it of. For the user namespace."""

import ctypes
import errno
import fcntl
import json
import os
import struct
from pathlib import Path

import pandas as pd

libc = ctypes.CDLL(None, use_errno=True)
REMOUNT, BIND, SET_PROJECT = 32, 4096, 0x401C5820


def answer(action, *arguments):
    """The errno by name, or "done"."""
    try:
        action(*arguments)
        return "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")


def call(name, *arguments):
    ctypes.set_errno(0)
    failed = getattr(libc, name)(*arguments)
    return errno.errorcode.get(ctypes.get_errno(), "?") if failed else "done"


def rewritten(path, text):
    return answer(lambda: os.write(os.open(path, os.O_WRONLY), text))


def azureml_main(dataframe1, dataframe2):
    others = [int(uid) for uid in dataframe1.iloc[0]]
    uid = os.getuid()
    own = Path("/work/own")
    own.write_text("mine")
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = ("/", "/in", "/out", "/sys", "/proc/sys", "/proc/keys", "/dev/null", "/work")
    found = {
        "uid": uid,
        "maps": [Path(f"/proc/self/{kind}_map").read_text().split() for kind in ("uid", "gid")],
        "maps written": {
            f"{who} {name}": rewritten(f"/proc/{who}/{name}", text)
            for who in ("self", "1")
            for name, text in (("uid_map", b"0 0 1"), ("gid_map", b"0 0 1"), ("setgroups", b"allow"))
        },
        "become": {other: [answer(os.setuid, other), answer(os.setgid, other)] for other in (0, *others)},
        "give away": {other: answer(os.chown, own, other, -1) for other in (0, *others)},
        # Anybody may write a user namespace's map of projects, once; so what counts is that no file can change its own.
        "project": answer(fcntl.ioctl, os.open(own, os.O_RDONLY), SET_PROJECT, struct.pack("5I8x", 0, 0, 0, 7, 0)),
        "groups": answer(os.setgroups, [0]),
        "signal root": answer(os.kill, 1, 9) if os.getpid() != 1 else "process 1 is the script",
        "join": call("setns", os.open("/proc/self/ns/user", os.O_RDONLY), 0),
        "remounts": {place: call("mount", None, place.encode(), None, REMOUNT | BIND, None) for place in places},
        "unmounts": {place: call("umount2", place.encode(), 2) for place in mounts},
        "host name": call("sethostname", b"other", 5),
        "image's file": {
            "owner": [os.stat("/opt/conda/bin/python").st_uid, os.stat("/opt/conda/bin/python").st_gid],
            "owner of /dev": os.stat("/dev").st_uid,
            "chmod": answer(os.chmod, "/opt/airlock/launcher.py", 0o777),
            "chown": answer(os.chown, "/opt/airlock/launcher.py", uid, uid),
            "write": answer(os.open, "/opt/airlock/launcher.py", os.O_WRONLY),
        },
        "devices' times": {
            name: answer(os.utime, f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom", "tty")
        },
        "masked file's time": answer(os.utime, "/proc/keys"),
        "sysctl": {
            path: rewritten(path, b"0")
            for path in (
                "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces"
            )
            if os.path.exists(path)
        },
    }  # fmt: skip
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
