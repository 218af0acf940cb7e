"""The interpreter's memory in large pages, where the kernel has them.

A request is some thousands of lines of Python that run once, over objects that lie scattered over a hundred megabytes.
In pages of 4 KiB, finding the pages is a part of that work: most of all in a virtual machine, where each is looked up
twice.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_PAGE_BYTES = 2 << 20
_MADV_COLLAPSE = 25


def collapse() -> int:
    """Have the kernel put together what this process' memory is made of now; how many large pages came of it. None
    where it cannot (before Linux 6.1): the memory stays as it is.
    """
    madvise, made = ctypes.CDLL(None).madvise, 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if fields[1] == "rw-p" and fields[5:] in ([], ["[heap]"]):
            first, end = (int(place, 16) for place in fields[0].split("-"))
            for place in range(-(-first // _PAGE_BYTES) * _PAGE_BYTES, end - _PAGE_BYTES + 1, _PAGE_BYTES):
                made += madvise(ctypes.c_void_p(place), ctypes.c_size_t(_PAGE_BYTES), _MADV_COLLAPSE) == 0
    return made
