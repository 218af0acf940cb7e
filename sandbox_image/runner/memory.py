"""Bytes that arrive piece by piece, and lie in one piece in the end without having been copied."""

import mmap

import pyarrow as pa

_FIRST_BYTES = 1024 * 1024


class Gathered:
    """A buffer that grows.

    It lies in pages of its own, which the kernel moves rather than copies when there must be more of them, and
    which cost nothing until they are written to: at no time is more memory in use than was written.
    """

    def __init__(self) -> None:
        self._pages = _pages(_FIRST_BYTES)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes at the end.  Raises `MemoryError`."""
        end = self.size + len(data)
        if end > len(self._pages):
            self._resize(max(end, 2 * len(self._pages)))
        self._pages[self.size : end] = data
        self.size = end

    def finish(self) -> pa.Buffer:
        """Give what was written; nothing can be added any more."""
        if not self.size:
            return pa.py_buffer(b"")
        self._resize(self.size)
        return pa.py_buffer(self._pages)

    def _resize(self, size: int) -> None:
        try:
            self._pages.resize(size)
        except OSError as error:
            raise MemoryError(f"there is no room for {size} bytes: {error.strerror}") from error


def _pages(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
