"""Compressed files: inflated while they are counted, and never further than the limit."""

import re
from typing import Any

import pyarrow as pa

from runner.failure import BadInput
from runner.memory import Gathered

_CHUNK_BYTES = 256 * 1024
_BEGINNINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame of data, or one to be skipped
}


def inflated(source: Any, compression: str, limit: int) -> pa.Buffer:
    """Inflate a gzip or zstd file of one member or several into memory.

    Raises `BadInput` when it is none, is cut or corrupt, has anything after its end, or holds more than
    `limit` bytes: then at most one byte beyond the limit has been inflated.
    """
    if not _BEGINNINGS[compression].match(source.read(4)):
        raise BadInput(f"it is not {compression} data, although it was handed in as such")
    source.seek(0)
    stream = pa.CompressedInputStream(source, compression)
    gathered = Gathered()
    try:
        while data := stream.read(min(_CHUNK_BYTES, limit + 1 - gathered.size)):
            gathered.write(data)
            if gathered.size > limit:
                raise BadInput(
                    f"it inflates to more than {limit} bytes, which is the limit (inflated_bytes);"
                    " hand in less, or Parquet, which is read without being inflated as a whole"
                )
    except OSError as error:
        place = f"after {gathered.size} bytes were inflated"
        if "Truncated" in str(error):
            raise BadInput(f"the {compression} data was cut, or something short follows it, {place}") from error
        raise BadInput(f"the {compression} data is corrupt, or something else follows it, {place}: {error}") from error
    return gathered.finish()
