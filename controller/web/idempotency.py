"""The header Idempotency-Key: a client's own name for a request, so that sending it twice does it once."""

from __future__ import annotations

from flask import Request

from controller.errors import InvalidRequest

HEADER = "Idempotency-Key"
MAX_CHARACTERS = 255


def idempotency_key(request: Request) -> str | None:
    """The request's key. InvalidRequest when it is empty, too long, or not plain ASCII."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    fault = ""
    if not 0 < len(key) <= MAX_CHARACTERS:
        fault = f"has {len(key)} characters, it may have 1 to {MAX_CHARACTERS}"
    elif not (key.isascii() and key.isprintable()):
        fault = "may hold printable ASCII characters only"
    if fault:
        raise InvalidRequest(f"{HEADER} {fault}", errors=[{"where": HEADER, "message": fault}])
    return key
