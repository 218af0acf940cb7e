"""Takes of each resource until it is refused: how much came, and which error ended it."""

import ctypes
import errno
import json
import mmap
import os
import signal
import threading

import pandas as pd

libc = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20
FALLOCATE = {"plain": 0, "keep size": 1, "punch": 3, "zero": 16, "collapse": 8, "insert": 32}


def until_refused(action):
    """Call again and again: (number of successes, the error)."""
    count = 0
    try:
        while count < 100_000:
            action()
            count += 1
    except OSError as e:
        return count, errno.errorcode[e.errno]
    except RuntimeError as e:
        return count, type(e).__name__
    return count, "never"


def error_of(action, *arguments):
    try:
        action(*arguments)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "done"


def forks():
    children = []

    def fork():
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)

    answer = until_refused(fork)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answer


def threads():
    leave, started = threading.Event(), []

    def start():
        thread = threading.Thread(target=leave.wait)
        thread.start()
        started.append(thread)

    answer = until_refused(start)
    leave.set()
    for thread in started:
        thread.join()
    return answer


def fill(path):
    """Write one file until it is refused: (bytes, the error)."""
    data = b"x" * (1 << 16)
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    _, error = until_refused(lambda: os.write(file, data))
    size = os.fstat(file).st_size
    os.close(file)
    return size, error


def fill_tree(directory):
    """Write files of 4 MiB until it is refused: (bytes, the error)."""
    os.mkdir(directory)
    names = iter(range(1000))

    def write():
        with open(f"{directory}/{next(names)}", "wb", buffering=0) as file:
            for _ in range(64):
                file.write(b"x" * (1 << 16))

    _, error = until_refused(write)
    size = sum(entry.stat().st_size for entry in os.scandir(directory))
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
    return size, error


def fill_with_files():
    os.mkdir("/work/many")
    names = iter(range(1_000_000))
    answer = until_refused(lambda: os.close(os.open(f"/work/many/{next(names)}", os.O_CREAT | os.O_WRONLY)))
    for name in os.listdir("/work/many"):
        os.unlink(f"/work/many/{name}")
    return answer


def overfill(path, limit):
    file = os.open(path, os.O_WRONLY)
    found = {
        "written": fill(path)[0],
        "write": error_of(os.pwrite, file, b"x", limit),
        "truncate": error_of(os.ftruncate, file, 2 << 30),
        "behind": error_of(os.pwrite, file, b"x", 1 << 40),
    }
    os.ftruncate(file, 0)
    os.close(file)
    return found


def allocate(mode):
    file = os.open("/out/result", os.O_RDWR)
    ctypes.set_errno(0)
    libc.fallocate(file, mode, ctypes.c_long(0), ctypes.c_long(2 << 30))
    error = errno.errorcode.get(ctypes.get_errno(), "done")
    allocated = os.fstat(file).st_blocks * 512
    os.ftruncate(file, 0)
    os.close(file)
    return error, allocated


def descriptors():
    opened = []
    answer = until_refused(lambda: opened.append(os.open("/dev/null", os.O_RDONLY)))
    for descriptor in opened:
        os.close(descriptor)
    return answer


def lock_memory():
    page = mmap.mmap(-1, 4 * MIB)
    ctypes.set_errno(0)
    libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page))), ctypes.c_size_t(4 * MIB))
    return errno.errorcode.get(ctypes.get_errno(), "done")


def azureml_main(dataframe1, dataframe2):
    limit = 8 * MIB
    found = {"forks": forks(), "threads": threads(), "work bytes": fill_tree("/work/big")}
    found["work files"] = fill_with_files()
    found["shm"] = fill_tree("/dev/shm/big")
    for name in ("result", "report.json", "images"):
        found[f"out {name}"] = overfill(f"/out/{name}", limit)
    for name, mode in FALLOCATE.items():
        found[f"fallocate {name}"] = allocate(mode)
    found["descriptors"] = descriptors()
    found["mlock"] = lock_memory()
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
