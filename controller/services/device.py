"""The device port: what a run printed and drew, as the one-row table that the module has on its second output.

The bytes are put together, never looked into: text becomes a data URI, each PNG another one (spec of the module:
module contract 6.2 to 6.4).
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator

from controller.model import Run, Status
from controller.runlog import read_text
from controller.services.backend import Backend

TEXT, GRAPHICS = "Standard Output", "Graphics"
_OK = "Execution OK"
_PNG = "image/png"


def records(backend: Backend, run: Run) -> Iterator[bytes]:
    """The table as JSON records: one object."""
    return _document(f'[{{"{TEXT}": ', f', "{GRAPHICS}": ', "}]", backend, run)


def azure_table(backend: Backend, run: Run) -> Iterator[bytes]:
    """The table as Azure wrote tables down: it says the type of a column also when the only cell is missing."""
    names = json.dumps({"ColumnNames": [TEXT, GRAPHICS], "ColumnTypes": ["String", "String"]})
    return _document(f'{names[:-1]}, "Values": [[', ", ", "]]}", backend, run)


def _document(head: str, between: str, tail: str, backend: Backend, run: Run) -> Iterator[bytes]:
    """JSON around the two cells, in pieces: the pictures of a run may be large. FileNotFoundError, at once.

    The text is a data URI with CRLF line ends; the pictures are text again: a JSON list of data URIs in their order,
    or null when there is none.
    """
    text = _console(backend, run).replace("\n", "\r\n")
    uri = json.dumps("data:text/plain," + text, ensure_ascii=False)
    pictures = [pieces for _, pieces in _pictures(backend, run)]
    yield (head + uri + between).encode()
    for number, pieces in enumerate(pictures):
        yield b', \\"' if number else b'"[\\"'
        yield from pieces
        yield b'\\"'
    yield ((']"' if pictures else "null") + tail).encode()


def page(backend: Backend, run: Run) -> Iterator[bytes]:
    """The port as a page: the text, then each picture under its name. Nothing in it is active."""
    text = html.escape(_console(backend, run))
    yield f"<!doctype html>\n<meta charset=utf-8>\n<title>{html.escape(run.id)}</title>\n<pre>{text}</pre>\n".encode()
    for name, pieces in _pictures(backend, run):
        yield b'<img src="'
        yield from pieces
        yield f'" alt="{html.escape(name)}">\n'.encode()


def _console(backend: Backend, run: Run) -> str:
    """Everything that was printed, in the order in which it came; the last line says that a run was a good one."""
    text = "".join(read_text(backend.workspaces.of(run.id).log)).replace("\r\n", "\n")
    if run.status is not Status.SUCCEEDED:
        return text
    return text + ("" if not text or text.endswith("\n") else "\n") + _OK + "\n"


def _pictures(backend: Backend, run: Run) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each PNG's name, and its data URI in pieces. FileNotFoundError, at once, when the run was removed."""
    workspace = backend.workspaces.of(run.id)
    for image in run.outcome.images if run.outcome else ():
        if image.type == _PNG:
            yield image.name, _data_uri(workspace.open_image(image.offset, image.bytes))


def _data_uri(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield f"data:{_PNG};base64,".encode()
    rest = b""
    for piece in pieces:
        whole = len(rest + piece) // 3 * 3  # base64 knows groups of three bytes
        data, rest = (rest + piece)[:whole], (rest + piece)[whole:]
        yield base64.b64encode(data)
    yield base64.b64encode(rest)
