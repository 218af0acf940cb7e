"""Who is asking, and may they: the API key in the Authorization header."""

from __future__ import annotations

from collections.abc import Callable

from flask import g, request

from controller.errors import Forbidden, Unauthorized
from controller.model import Caller
from controller.services import tenants
from controller.services.backend import now
from controller.store.base import Store

SECURITY: list[dict[str, list[str]]] = [{"api_key": []}]


def requires(store: Store, pepper: bytes, scope: str) -> Callable[[], None]:
    """A before_request function for a blueprint: every one of its routes needs a key with this scope."""

    def check() -> None:
        kind, _, presented = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented:
            raise Unauthorized("send your API key in the header `Authorization: Bearer alk_...`")
        caller = tenants.authenticate(store, pepper, presented.strip(), now())
        if scope not in caller.scopes:
            raise Forbidden(f"this API key lacks the scope {scope!r}")
        g.caller = caller

    return check


def caller() -> Caller:
    """The caller of the present request."""
    found: Caller = g.caller
    return found
