"""Tables on the wire: how one that is sent tells its format, and how one that is asked for is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Response, request, send_file
from werkzeug.exceptions import PreconditionFailed

from controller.errors import NotAcceptable, NotFound, UnsupportedFormat
from controller.model import Compression, Format
from controller.web.refusals import answers

BINARY = {"type": "string", "format": "binary"}
TABLES = {format.media_type: {"schema": BINARY} for format in Format}
_RECORDS = {"type": "array", "items": {"type": "object"}}
_AZURE_TABLE = {"type": "object", "required": ["ColumnNames", "ColumnTypes", "Values"]}
ANSWERED: dict[str, Any] = TABLES | {
    Format.JSON.media_type: {"schema": _RECORDS},
    Format.AZURE_JSON.media_type: {"schema": _AZURE_TABLE},
}
"""Tables as they are given; those that are sent may be JSON of other forms too."""
BY_MEDIA_TYPE = {format.media_type: format for format in Format}
TABLE_ANSWERS: dict[str | int, Any] = {
    200: {"description": "the table", "content": ANSWERED},
    206: {"description": "the part of it that `Range` asks for", "content": TABLES},
    304: {"description": "it is the one that `If-None-Match` names"},
    **answers(404, 406, 409, 410, 412, 416, 507),
}
_MEDIA_TYPES = BY_MEDIA_TYPE | {
    "application/vnd.apache.arrow": Format.ARROW,
    "application/x-parquet": Format.PARQUET,
    "application/parquet": Format.PARQUET,
    "application/csv": Format.CSV,
}
_SUFFIXES = {format.suffix: format for format in Format} | {".feather": Format.ARROW, ".ipc": Format.ARROW}
_PACKED_SUFFIXES = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}
_PACKED_MEDIA_TYPES = {
    "application/gzip": Compression.GZIP,
    "application/x-gzip": Compression.GZIP,
    "application/zstd": Compression.ZSTD,
}
_UNTOLD = ("", "application/octet-stream", "text/plain", *_PACKED_MEDIA_TYPES)
"""Content types that say nothing of the format, which the file name then tells."""


def described(
    where: str,
    media_type: str,
    file_name: str,
    format: Format | None = None,
    compression: Compression | None = None,
) -> tuple[Format, Compression | None]:
    """What is known of a table that is sent: its format by its Content-Type, else by its file name; its packing by
    both. What is given says it before them. UnsupportedFormat."""
    name = file_name.lower()
    suffix = next((suffix for suffix in _PACKED_SUFFIXES if name.endswith(suffix)), "")
    packed = compression or _PACKED_SUFFIXES.get(suffix) or _PACKED_MEDIA_TYPES.get(media_type)
    return format or _format(where, media_type, name.removesuffix(suffix)), packed


def _format(where: str, media_type: str, name: str) -> Format:
    if media_type in _MEDIA_TYPES:
        return _MEDIA_TYPES[media_type]
    if media_type in _UNTOLD:
        # The longest suffix first: .azureml.json is not any .json.
        for suffix in sorted(_SUFFIXES, key=len, reverse=True):
            if name.endswith(suffix):
                return _SUFFIXES[suffix]
    message = (
        "neither its content type nor its file name tells a format that is read; "
        f"send one of {', '.join(format.media_type for format in Format)}"
    )
    raise UnsupportedFormat(f"{where}: {message}")


def table(file: Path, name: str, format: Format, download_name: str | None = None) -> Response:
    """A table's file, as a download; `name` and the format are its ETag. NotFound when it was deleted meanwhile."""
    called = f"{download_name or name}{format.suffix}"
    return download(file, f"{name}{format.suffix}", format.media_type, called)


def download(file: Path, etag: str, media_type: str, name: str | None = None) -> Response:
    """A file, in ranges and on conditions; shown by a browser unless it has a name. NotFound."""
    try:
        response = send_file(
            file,
            mimetype=media_type,
            as_attachment=name is not None,
            download_name=name,
            etag=etag,
            conditional=True,
        )
    except FileNotFoundError as e:
        raise NotFound("it was deleted meanwhile") from e
    if response.status_code == PreconditionFailed.code:
        response.close()
        raise PreconditionFailed("the output is not the one that `If-Match` names")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept"
    return response


def negotiated(default: Format) -> Format:
    """The format that the Accept header asks for; `default` when it accepts anything."""
    if not request.headers.get("Accept"):
        return default
    best = request.accept_mimetypes.best_match([default.media_type, *BY_MEDIA_TYPE])
    if best is None:
        raise NotAcceptable(f"the output can be had as {', '.join(BY_MEDIA_TYPE)}")
    return BY_MEDIA_TYPE[str(best)]
