"""Text in any encoding becomes UTF-8; what is UTF-8 already is not copied."""

import codecs
import struct
from collections.abc import Iterator

import pyarrow as pa

from runner.failure import BadInput
from runner.job import Warn
from runner.memory import Gathered

_CHUNK_BYTES = 1024 * 1024
_MARK = "\ufeff"
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins like the mark of UTF-16, so it comes first
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_GUESS = "cp1252"
_NO_ENCODINGS = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "charmap", "mbcs", "oem")


def as_utf8(raw: pa.Buffer, encoding: str | None, guess: bool, warn: Warn) -> pa.Buffer:
    """Give text as UTF-8 without a byte order mark.

    The encoding is the one stated; else the one of the byte order mark; else UTF-8; else, with `guess`,
    Windows-1252, with a warning.  Raises `BadInput` naming the first byte that cannot be decoded.
    """
    name = _codec(encoding) if encoding else _marked(raw)
    if name in (None, "utf-8", "utf-8-sig"):
        place = _first_bad_byte(raw)
        if place is None:
            return _without_mark(raw)
        if name or not guess:
            raise BadInput(f"byte {place} (counted from 0) is not UTF-8 text")
        text = _decoded(raw, _GUESS, f"byte {place} is not UTF-8, and the guess was Windows-1252: ")
        warn(
            "encoding_guessed",
            f"byte {place} (counted from 0) is not UTF-8, so the text was read as Windows-1252; state the encoding"
            " if it is another one",
        )
        return text
    return _decoded(raw, str(name), "")


def _codec(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding)
    except (LookupError, ValueError, UnicodeError):
        raise BadInput(f"the encoding {encoding!r} is unknown; examples: utf-8, utf-16, cp1252, latin-1") from None
    if not getattr(found, "_is_text_encoding", True) or found.name.replace("_", "-") in _NO_ENCODINGS:
        raise BadInput(f"{encoding!r} is not an encoding of text; examples: utf-8, utf-16, cp1252, latin-1")
    return found.name


def _marked(raw: pa.Buffer) -> str | None:
    head = raw.slice(0, min(4, raw.size)).to_pybytes()
    found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if found is None and b"\0" in head[:2]:  # valid UTF-8, but no text that anybody wrote in it
        raise BadInput("it begins like UTF-16 or UTF-32 without a byte order mark; state the encoding")
    return found


def _without_mark(text: pa.Buffer) -> pa.Buffer:
    marked = text.slice(0, min(3, text.size)).to_pybytes() == codecs.BOM_UTF8
    return text.slice(3) if marked else text


def _first_bad_byte(raw: pa.Buffer) -> int | None:
    """Find the first byte that is not UTF-8; Arrow tells quickly whether there is one, Python where."""
    offsets = pa.py_buffer(struct.pack("<qq", 0, raw.size))
    try:
        pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, raw]).cast(pa.large_string())
    except pa.ArrowInvalid:
        try:
            for _ in _pieces(raw, "utf-8"):
                pass
        except _Undecodable as error:
            return error.place
    return None


class _Undecodable(Exception):
    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def _decoded(raw: pa.Buffer, name: str, prefix: str) -> pa.Buffer:
    text = Gathered()
    try:
        for piece in _pieces(raw, name):
            text.write(piece.encode("utf-8"))
    except _Undecodable as error:
        raise BadInput(f"{prefix}byte {error.place} (counted from 0) is not {name} text: {error}") from error
    except UnicodeEncodeError as error:
        raise BadInput(f"{prefix}decoded as {name}, it holds lone surrogates, which are no text") from error
    return _without_mark(text.finish())


def _pieces(raw: pa.Buffer, name: str) -> Iterator[str]:
    """Decode piece by piece; raises `_Undecodable`."""
    decoder = codecs.getincrementaldecoder(name)()
    for start in range(0, raw.size + 1, _CHUNK_BYTES):
        chunk = raw.slice(start, min(_CHUNK_BYTES, raw.size - start)).to_pybytes()
        try:
            yield decoder.decode(chunk, final=start + len(chunk) >= raw.size)
        except UnicodeDecodeError as error:
            # What the decoder complains of ends where the chunk ends, and may begin in an earlier one.
            raise _Undecodable(start + len(chunk) - len(error.object) + error.start, error.reason) from error
        except UnicodeError as error:
            raise _Undecodable(start, str(error)) from error
