"""What is refused before anybody looks closer: bodies over their route's limit, and pages of other sites."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.http import parse_date

from controller.config import KIB, Settings
from controller.errors import Forbidden, TooLarge
from controller.web.body import BODY_ADVICE, JSON_ADVICE

NO_BODY_BYTES = 64 * KIB
"""Of a request whose method has no use for a body: some clients send one all the same."""
_DATES = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE")
_NO_DATE = "none"
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")
_TABLES_AS_JSON = frozenset(("datasets.put",))
"""Where a body of JSON is a table: as long as any other file."""


def install(app: Flask, settings: Settings) -> None:
    @app.before_request
    def _no_preflight() -> None:
        """A browser asks whether a page of another site may send this: it may not. The key is in the hands of programs,
        and no page of ours is on another address.
        """
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            raise Forbidden("pages of other sites may not use this server", code="cross_origin")

    @app.before_request
    def _readable_dates() -> None:
        """A date beyond the calendar is a text that is none: If-Range matches nothing then, and the others are ignored.
        Werkzeug knows this of all texts but those whose numbers are too large for a date.
        """
        for name in _DATES:
            try:
                parse_date(request.environ.get(name))
            except OverflowError:
                request.environ[name] = _NO_DATE

    @app.before_request
    def _bounded() -> None:
        """By what the request says of itself: nothing is read. A view that reads counts, and may allow less."""
        limit, advice = limit_bytes(settings)
        request.max_content_length = limit  # for whoever reads without `body.Body`, which has its own
        length = request.content_length
        if length is not None and length > limit:
            raise TooLarge(f"the body has {length} bytes, the limit is {limit}: {advice}", limit=limit, value=length)


def limit_bytes(settings: Settings) -> tuple[int, str]:
    """For the body of the present request; and what to do about it."""
    if request.method in _WITHOUT_BODY:
        return NO_BODY_BYTES, f"a {request.method} has no use for one"
    if request.mimetype == "application/json" and request.endpoint not in _TABLES_AS_JSON:
        return settings.max_json_bytes, JSON_ADVICE
    return settings.max_body_bytes, BODY_ADVICE
