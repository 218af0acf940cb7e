"""Small images: for scripts to write, and the same bytes to compare with."""

from __future__ import annotations

import struct
import zlib

MAKE_PNG = """
import struct, zlib
def png(path, shade=0):
    def chunk(kind, data):
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
    with open(path, "wb") as file:
        file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", 1, 1, 8, 0, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(bytes([0, shade]))) + chunk(b"IEND", b""))
"""
"""For scripts: `png(path, shade)` writes an image of one pixel."""


def png(shade: int = 0) -> bytes:
    """The bytes that the function of the same name writes in a script."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">LLBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes([0, shade]))) + chunk(b"IEND", b"")


def size_of(image: bytes) -> tuple[int, int]:
    """Width and height of a PNG, whose signature and end mark are there."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert image.endswith(b"IEND" + struct.pack(">L", zlib.crc32(b"IEND")))
    width, height = struct.unpack_from(">II", image, 16)
    return width, height
