"""Wheels in the script bundle: unpacked, so that what is in them can be imported."""

import re
from collections.abc import Sequence
from pathlib import Path

from runner.archive import Allowance, extract
from runner.job import Paths, Warn

_DATA = re.compile(r"[^/]+\.data/([^/]+)(?:/(.*))?")


def unpack_wheels(wheels: Sequence[Path], paths: Paths, allowance: Allowance, warn: Warn) -> list[Path]:
    """Unpack the wheels that fit this Python, each into a folder of its own; gives those folders.

    One that does not fit is left alone, with a warning.  Raises `BadBundle` as for the bundle itself: they
    share what may be unpacked.
    """
    if not wheels:
        return []
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    supported = list(sys_tags())
    folders = []
    for wheel in sorted(wheels):
        shown = str(wheel.relative_to(paths.bundle))
        try:
            tags = parse_wheel_filename(wheel.name)[3]
        except InvalidWheelFilename:
            warn("wheel_skipped", f"{shown!r} in the script bundle is not used: its name is not that of a wheel")
            continue
        if tags.isdisjoint(supported):
            made_for = ", ".join(sorted(map(str, tags)))
            newest = next((tag for tag in supported if "manylinux" in tag.platform), supported[0])
            warn(
                "wheel_skipped",
                f"{shown!r} in the script bundle is not used: it is made for {made_for}; this Python takes"
                f" {newest}, older ones, and py3-none-any",
            )
            continue
        folder = paths.own / "wheels" / wheel.stem
        if folder in folders:  # the same wheel in two places
            continue
        folder.mkdir(parents=True)
        extract(wheel, folder, f"the wheel {shown!r} in the script bundle", allowance, _place)
        folders.append(folder)
    return folders


def _place(name: str) -> str | None:
    """Say where an entry of a wheel goes: modules to the root; scripts, headers and data files nowhere."""
    data = _DATA.fullmatch(name)
    if not data:
        return name
    return data[2] if data[1] in ("purelib", "platlib") else None
