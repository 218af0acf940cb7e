"""People who log in elsewhere: the bearer tokens of one OpenID Connect issuer, which say whose tenant they are and what
they may do. Off unless the operator names the issuer.

A token is believed for its signature, by a key that the issuer publishes; its issuer, audience and times; and nothing
else in it. Keys are fetched from the issuer when they are first needed, every ten minutes, and for a key that is not
known at most once a minute: strangers cannot make this server call the issuer as often as they like.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import jwt
import requests

from controller.config import Settings
from controller.errors import LoginUnavailable, Unauthorized
from controller.model import SCOPES, Word

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Signatures only: no token is proved by a secret that this server shares with anybody."""
LEEWAY_SECONDS = 30.0
"""Between two clocks."""
KEEP_SECONDS = 600.0
AGAIN_SECONDS = 60.0
FETCH_SECONDS = 5.0
_FETCH_BYTES = 256 * 1024
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]


class Person(Word):
    """Who a token says that it is: `tenant` is the name of one, which may not be here."""

    subject: str
    tenant: str
    scopes: frozenset[str]

    @property
    def key_id(self) -> str:
        """What the audit log has in the place of an API key's id."""
        return f"oidc:{self.subject}"[:40]


class People:
    """One issuer, its audience, and the claims that say who somebody is here. Threads share it."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer or ""
        self._allowed = frozenset(settings.oidc_scopes.split()) & frozenset(SCOPES)
        self._keys = _Keys(self._issuer, clock)

    def takes(self, presented: str) -> bool:
        """Whether this looks like a token, and tokens are taken at all."""
        return bool(self._issuer) and presented.count(".") == 2

    def known(self, token: str) -> Person:
        """Who presents this token. Unauthorized, LoginUnavailable."""
        try:
            key = self._keys.of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.oidc_audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as e:
            raise Unauthorized(f"the login's token is not valid: {type(e).__name__}") from e
        subject, tenant = claims["sub"], claims.get(self._settings.oidc_tenant_claim)
        if not (isinstance(subject, str) and isinstance(tenant, str) and tenant):
            raise Unauthorized(f"the login's token names no tenant: the claim {self._settings.oidc_tenant_claim!r}")
        return Person(subject=subject, tenant=tenant, scopes=self._scopes(claims))

    def _scopes(self, claims: dict[str, Any]) -> frozenset[str]:
        """Those that the token names, as far as people may have them here."""
        named = claims.get(self._settings.oidc_scopes_claim, [])
        found = named.split() if isinstance(named, str) else named if isinstance(named, list) else []
        return self._allowed & {scope for scope in found if isinstance(scope, str)}


class _Keys:
    """The issuer's public keys, by their ids."""

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: dict[str | None, Any] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")

    def of(self, header: dict[str, Any]) -> Any:
        """The key that a token's header names. Unauthorized, LoginUnavailable."""
        key_id = header.get("kid")
        # One asks the issuer, however slow that is; whoever has a key that is known does not wait for it.
        if self._due(key_id) and self._fetching.acquire(blocking=key_id not in self._keys):
            try:
                if self._due(key_id):  # nobody else did meanwhile
                    self._fetch()
            finally:
                self._fetching.release()
        keys = self._keys
        if not keys:
            raise LoginUnavailable("the issuer of logins did not give its keys: try again in a minute")
        if key_id not in keys:
            raise Unauthorized("the login's token is signed by a key that its issuer does not publish")
        return keys[key_id]

    def _due(self, key_id: str | None) -> bool:
        moment = self._clock()
        stale = moment - self._fetched > KEEP_SECONDS
        return (stale or key_id not in self._keys) and moment - self._tried > AGAIN_SECONDS

    def _fetch(self) -> None:
        """Take the issuer's keys; those that there are stay when that fails."""
        moment = self._clock()
        try:
            about = _document(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if about.get("issuer") != self._issuer:
                raise ValueError("it calls itself something else")
            keys = _usable(_document(str(about["jwks_uri"]))["keys"])
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return
        finally:
            self._tried = moment
        if keys:
            self._keys, self._fetched = keys, moment


def _usable(published: Iterable[Any]) -> dict[str | None, Any]:
    """The keys that signatures can be checked with, by their ids: an issuer may publish others beside them, of kinds
    that are not known here."""
    keys: dict[str | None, Any] = {}
    for one in published:
        try:
            if one.get("use", "sig") == "sig":
                keys[one.get("kid")] = jwt.PyJWK(one).key
        except (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return keys


def _document(url: str) -> dict[str, Any]:
    """A small JSON object from the issuer. RequestException, ValueError."""
    with requests.get(url, timeout=FETCH_SECONDS, stream=True, allow_redirects=False) as answer:
        answer.raise_for_status()
        data = answer.raw.read(_FETCH_BYTES + 1, decode_content=True)
    if answer.status_code != 200 or len(data) > _FETCH_BYTES:
        raise ValueError("this is no small document")
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("this is no object")
    return document
