"""People who log in elsewhere: tokens of an issuer that the test is itself."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hosting import call, holder, new_tenant
from wire import refused

from controller.config import Settings
from controller.errors import Unauthorized
from controller.people import KEEP_SECONDS, People
from tests.running import start_server, until

if TYPE_CHECKING:
    from tests.running import RunningServer

AUDIENCE = "airlock"
UNUSABLE = [
    {"kid": "new", "kty": "AKP", "alg": "ML-DSA-44", "use": "sig", "pub": "AA"},
    {"kid": "half", "kty": "RSA", "use": "sig"},
    {"kid": "curve", "kty": "EC", "crv": "P-192", "x": "AA", "y": "AA"},
    {"kid": ["no", "id"], "kty": "oct", "k": "AA"},
    "no object",
    None,
]
"""What an issuer may publish beside its key: none of it may cost the key that can be used."""


class Issuer:
    """A small OpenID Connect issuer on this machine: its document, its keys, and tokens signed with them."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.fetched = 0
        self.answers = threading.Event()
        self.answers.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetched += 1
                issuer.answers.wait(30)
                documents = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                    "/keys": {"keys": [*UNUSABLE, issuer.public(), *UNUSABLE]},
                }
                body = json.dumps(documents[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def public(self) -> dict[str, Any]:
        return json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key())) | {"kid": "one", "use": "sig"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        moment = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "anna", "iat": moment, "exp": moment + 300}
        claims |= {"airlock_tenant": "people", "airlock_scopes": ["run", "admin"]} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: Any = None, algorithm: str = "RS256", kid: str = "one", **changes: Any) -> str:
        return jwt.encode(self.claims(**changes), key or self.key, algorithm, {"kid": kid})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def open_house(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes this issuer's tokens, with a tenant named `people`."""
    settings = {
        "AIRLOCK_OIDC_ISSUER": issuer.url,
        "AIRLOCK_OIDC_AUDIENCE": AUDIENCE,
        "AIRLOCK_WARM_CONTAINERS": "0",
    }
    running = start_server(tmp_path_factory.mktemp("people") / "data", settings)
    new_tenant(running, "people")
    yield running
    running.stop()


def test_a_person_works_in_its_tenant(open_house: RunningServer, issuer: Issuer) -> None:
    """As with an API key, which works beside it; and the log knows who it was."""
    anna = holder(open_house, issuer.token())

    assert anna.submit("def azureml_main(): pass")["status"] == "succeeded"
    refused(anna.get("/v1/keys"), 403, "forbidden", "tenant_admin")

    rows = call(open_house, "GET", "/v1/admin/audit?action=request.refused")["items"]
    assert rows[0]["key_id"] == "oidc:anna"
    assert call(open_house, "GET", "/v1/runs")["items"] == []


def test_people_never_get_more_than_the_operator_allows(open_house: RunningServer, issuer: Issuer) -> None:
    """Whatever a token says; scopes in a list or in one text."""
    token = issuer.token(airlock_scopes="run tenant_admin admin root")
    anna = holder(open_house, token)

    assert anna.get("/v1/keys").status_code == 200
    refused(anna.get("/v1/admin/tenants"), 403, "forbidden", "admin")
    refused(anna.post("/v1/keys", json={"name": "a", "scopes": ["admin"]}), 403, "scope_not_held")
    for scopes in (None, 7, [7, None], {"run": 1}):
        refused(holder(open_house, issuer.token(airlock_scopes=scopes)).get("/v1/runs"), 403, "forbidden", "run")


def unsigned(issuer: Issuer) -> str:
    return jwt.encode(issuer.claims(), None, "none", {"kid": "one"})


def shared(issuer: Issuer) -> str:
    """Signed with the issuer's public key, as if that were a shared secret: the classic confusion."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = issuer.key.public_key().public_bytes(serialization.Encoding.PEM, form)
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "one"}, issuer.claims()]
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    proof = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + proof).decode()


FAULTY: dict[str, Callable[[Issuer], str]] = {
    "unsigned": unsigned,
    "a shared secret": shared,
    "another's key": lambda issuer: issuer.token(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "an unknown key": lambda issuer: issuer.token(kid="two"),
    "another issuer": lambda issuer: issuer.token(iss="https://elsewhere.example"),
    "another audience": lambda issuer: issuer.token(aud="somebody else"),
    "no audience": lambda issuer: issuer.token(aud=None),
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "for ever": lambda issuer: issuer.token(exp=None),
    "not yet": lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    "nobody": lambda issuer: issuer.token(sub=None),
    "no tenant": lambda issuer: issuer.token(airlock_tenant=None),
    "no such tenant": lambda issuer: issuer.token(airlock_tenant="strangers"),
    "a tenant that is no name": lambda issuer: issuer.token(airlock_tenant=["people"]),
    "changed": lambda issuer: issuer.token()[:-4] + "AAAA",
    "dots": lambda issuer: "a.b.c",
    "only dots": lambda issuer: "..",
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_token_that_is_not_whole_is_refused(open_house: RunningServer, issuer: Issuer, case: str) -> None:
    """401; and nobody can make the server ask the issuer again and again."""
    token = FAULTY[case](issuer)

    refused(holder(open_house, token).get("/v1/runs"), 401, "unauthorized", "login's token")
    assert issuer.fetched <= 4


def test_a_suspended_tenants_people_are_refused_at_once(open_house: RunningServer, issuer: Issuer) -> None:
    """Their tokens are good, and their tenant is not."""
    anna = holder(open_house, issuer.token())
    tenant = next(one for one in call(open_house, "GET", "/v1/admin/tenants")["items"] if one["name"] == "people")

    call(open_house, "POST", f"/v1/admin/tenants/{tenant['id']}/suspend")
    refused(anna.get("/v1/runs"), 403, "tenant_suspended")
    call(open_house, "POST", f"/v1/admin/tenants/{tenant['id']}/resume")

    assert anna.get("/v1/runs").status_code == 200


def test_no_token_is_taken_where_no_issuer_is_set(server: RunningServer, issuer: Issuer) -> None:
    """Off by default: it is no API key, and nothing else."""
    refused(holder(server, issuer.token()).get("/v1/runs"), 401, "unauthorized", "copied whole")


def test_an_issuer_that_is_away_stops_people_and_no_program(make_server: Callable[..., RunningServer]) -> None:
    """503 for tokens; API keys work."""
    away = Issuer()
    away.close()
    server = make_server(
        "away", AIRLOCK_OIDC_ISSUER=away.url, AIRLOCK_OIDC_AUDIENCE=AUDIENCE, AIRLOCK_WARM_CONTAINERS="0"
    )

    refused(holder(server, away.token()).get("/v1/runs"), 503, "login_unavailable")
    assert server.get("/v1/runs").status_code == 200


def test_whoever_has_a_known_key_does_not_wait_for_the_issuer(issuer: Issuer) -> None:
    """When keys are fetched anew, one asks, and waits; another whose key is known goes on with it."""
    moment = [0.0]
    people = People(Settings(oidc_issuer=issuer.url, oidc_audience=AUDIENCE), lambda: moment[0])
    token, unknown = issuer.token(), issuer.token(kid="two")
    assert people.known(token).subject == "anna"
    moment[0] += KEEP_SECONDS + 1

    issuer.answers.clear()
    fetched = issuer.fetched
    try:
        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(people.known, unknown) for _ in range(4)]
            assert until(lambda: issuer.fetched == fetched + 1, 10)
            names = [pool.submit(people.known, token).result(2).subject for _ in range(4)]
            issuer.answers.set()
            refusals = [one.exception(20) for one in asking]
    finally:
        issuer.answers.set()

    assert names == ["anna"] * 4
    assert [type(one) for one in refusals] == [Unauthorized] * 4
    assert issuer.fetched == fetched + 2, "the document and the keys, once"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AIRLOCK_OIDC_ISSUER": "https://login.example"}, "go together"),
        ({"AIRLOCK_OIDC_AUDIENCE": "a"}, "go together"),
        ({"AIRLOCK_OIDC_ISSUER": "http://login.example", "AIRLOCK_OIDC_AUDIENCE": "a"}, "https"),
        ({"AIRLOCK_OIDC_SCOPES": "run everything"}, "everything"),
    ],
    ids=str,
)
def test_half_a_login_is_refused_at_the_start(
    settings: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose keys could be changed on their way."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match=words):
        Settings()
