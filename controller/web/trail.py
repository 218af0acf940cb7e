"""A refused attempt as the audit log has it: the route and the ids in it, never what else stood in the request."""

from __future__ import annotations

import re

from flask import g, request

from controller.model import Caller
from controller.services.audit import entry
from controller.services.backend import Backend

_ID = re.compile(r"[a-z]{3}_[0-9a-f]{32}|[a-z0-9]{16}")
"""Of runs, batches, tenants, keys: whatever else stands in a path is the caller's own words."""
_PRESENTED = re.compile(r"alk_([a-z0-9]{16})_")
_STRANGER = Caller(tenant_id="", key_id="", scopes=frozenset())


def note_refusal(backend: Backend) -> None:
    """The present request was answered 401 or 403."""
    origin = {"address": request.remote_addr or "", "request_id": g.request_id}
    caller = g.caller if "caller" in g else _STRANGER.model_copy(update=origin)
    details: dict[str, str] = {"method": request.method[:10], "code": g.get("refused", "")}
    if request.url_rule is not None:
        details["route"] = request.url_rule.rule
    subject = ""
    for value in (request.view_args or {}).values():
        if isinstance(value, str) and _ID.fullmatch(value):
            subject = value
    presented = _PRESENTED.match(request.headers.get("Authorization", "").partition(" ")[2].strip())
    if presented is not None and not caller.key_id:
        details["presented"] = presented[1]  # which key was tried: an id proves nothing
    backend.refusals.note(entry(caller, "request.refused", subject, **details))
