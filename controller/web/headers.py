"""What every answer carries, whatever it says: also those that are given before there is a request."""

from __future__ import annotations

import secrets

REQUEST_ID = "X-Request-Id"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nothing is kept by anybody on the way; what may be asked for again by its ETag says so itself.
    "Cache-Control": "no-store",
}


def new_request_id() -> str:
    return f"req_{secrets.token_hex(16)}"
