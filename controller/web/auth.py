"""Who is asking, and may they: the API key in the Authorization header."""

from __future__ import annotations

from collections.abc import Callable

from flask import g, request

from controller.errors import Forbidden, TenantSuspended, Unauthorized
from controller.model import Caller
from controller.services import tenants
from controller.services.backend import Backend, now

SECURITY: list[dict[str, list[str]]] = [{"api_key": []}]


def requires(backend: Backend, pepper: bytes, scope: str, *, changing: str | None = None) -> Callable[[], None]:
    """A before_request function for a blueprint: every one of its routes needs a key with this scope; those that
    change something with `changing`, if that is another."""

    def check() -> None:
        found = identified(backend, pepper, presented())
        needed = changing if changing and request.method not in ("GET", "HEAD") else scope
        if needed not in found.scopes:
            raise Forbidden(f"this API key lacks the scope {needed!r}")

    return check


def presented() -> str:
    """The key in the Authorization header. Unauthorized when there is none."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key:
        raise Unauthorized("send your API key in the header `Authorization: Bearer alk_...`")
    return key.strip()


def identified(backend: Backend, pepper: bytes, key: str) -> Caller:
    """Whose API key this is, or whose login; from now on `caller` of this request. Unauthorized, TenantSuspended,
    TooManyRequests, LoginUnavailable."""
    if backend.people.takes(key):
        return _logged_in(backend, key)
    found = tenants.authenticate(backend.tenants, pepper, key, now(), backend.settings.quotas)
    _let_in(backend, found)
    backend.uses.note(found.key_id)
    return caller()


def _logged_in(backend: Backend, token: str) -> Caller:
    person = backend.people.known(token)
    tenant = backend.tenants.named(person.tenant)
    if tenant is None:
        raise Unauthorized("the login's token names a tenant that there is not")
    found = Caller(tenant_id=tenant.id, key_id=person.key_id, scopes=person.scopes)
    _let_in(backend, tenants.standing(found, tenant, backend.settings.quotas))
    return caller()


def known_as(backend: Backend, found: Caller) -> Caller:
    """Who was known by another key, an endpoint's; else as `identified`."""
    tenant = backend.tenants.tenant(found.tenant_id)
    _let_in(backend, tenants.standing(found, tenant, backend.settings.quotas))
    return caller()


def _let_in(backend: Backend, found: Caller) -> None:
    origin = {"address": request.remote_addr or "", "request_id": g.request_id}
    g.caller = found.model_copy(update=origin)
    if found.suspended:
        raise TenantSuspended("the tenant of this API key is suspended: ask the operator of this server")
    rate = found.quotas.requests_per_second if found.quotas is not None else None
    if rate is not None:
        g.rate = rate, backend.buckets.take(found.tenant_id, rate)


def caller() -> Caller:
    """The caller of the present request."""
    found: Caller = g.caller
    return found
