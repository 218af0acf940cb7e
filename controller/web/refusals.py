"""How the OpenAPI document describes what every route may refuse."""

from __future__ import annotations

from typing import Any

from controller.web.documents import Problem

_PROBLEM = {
    "description": "refused: docs/errors.md says what each `code` means",
    "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
}


OF_EVERY_REQUEST = (400, 413, 414, 431)
"""The edge refuses so, whatever the address: what is no HTTP, a body, an address or a head over its limit."""


def answers(*statuses: int) -> dict[str | int, Any]:
    """The refusals of a route that needs a key: those of every such route, and these."""
    return problems(401, 403, 422, 429, 503, *statuses)


def problems(*statuses: int) -> dict[str | int, Any]:
    """These refusals, and no others."""
    return {str(status): _PROBLEM for status in sorted(statuses)}
