"""Runs inside the sandbox image, as root: looks at every file and prints what it found as JSON."""

import ast
import importlib.util
import json
import os
import stat

CHECKED_ROOTS = ("/opt/airlock", "/opt/conda/lib")
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
found: dict[str, list[str]] = {
    "seen": [], "privileged": [], "capable": [], "not_root": [], "writable": [], "not_compiled": [], "devices": [],
}  # fmt: skip


def survey(path: str) -> None:
    """Note what is wrong with one file or folder."""
    status = os.lstat(path)
    found["seen"].append(path)
    if (status.st_uid, status.st_gid) != (0, 0):
        found["not_root"].append(path)
    if stat.S_ISLNK(status.st_mode):
        return
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        found["privileged"].append(path)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        found["writable"].append(path)
    if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        found["devices"].append(path)
    if stat.S_ISREG(status.st_mode) and "security.capability" in os.listxattr(path):
        found["capable"].append(path)
    if path.endswith(".py") and path.startswith(CHECKED_ROOTS) and not is_compiled(path):
        found["not_compiled"].append(path)


def is_compiled(path: str) -> bool:
    """Whether Python will use a .pyc for this module without looking at the module: hash-based, unchecked."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as file:
            header = file.read(8)
        return header == importlib.util.MAGIC_NUMBER + UNCHECKED_HASH
    except FileNotFoundError:
        return is_no_python(path)


def is_no_python(path: str) -> bool:
    """Some packages ship templates, and files for other versions, that no Python here can compile."""
    try:
        with open(path, "rb") as file:
            ast.parse(file.read())
    except (SyntaxError, ValueError):
        return True
    return False


device = os.lstat("/").st_dev
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
    for name in (*folders, *files):
        survey(os.path.join(folder, name))

print(json.dumps({**found, "seen": len(found["seen"])}))
