"""What the engine says of itself is asked for once a minute, not once a run."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.engines.base import EngineInfo
from controller.engines.docker import DockerEngine
from controller.services import notary
from controller.services.notary import Notary
from controller.signing import SigningKey

KEY = SigningKey(Ed25519PrivateKey.generate())


class CountingEngine:
    """Says of itself how often it was asked."""

    asked = 0

    def check(self, image: str) -> EngineInfo:
        self.asked += 1
        return EngineInfo("counting", str(self.asked), "none", "2", "none", None, {})


def test_the_engine_is_asked_once_for_many_receipts() -> None:
    """A hundred runs in a second cost one question."""
    engine = CountingEngine()
    made = Notary(KEY, engine, "image", 1)

    said = {made.engine_info().version for _ in range(100)}

    assert (said, engine.asked) == ({"1"}, 1)


def test_what_the_engine_said_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that was restarted with other walls is asked again."""
    monkeypatch.setattr(notary, "FRESH_SECONDS", -1.0)
    engine = CountingEngine()
    made = Notary(KEY, engine, "image", 1)

    assert [made.engine_info().version for _ in range(3)] == ["1", "2", "3"]


def test_an_engine_that_does_not_answer_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """None, which a receipt shows as null; and it is asked again the next time."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    engine = DockerEngine("srv_test")
    made = Notary(KEY, engine, "image", 1)

    nothing = made.engine_info()
    monkeypatch.delenv("DOCKER_HOST")

    assert nothing is None
    assert made.engine_info().name == "docker"
    engine.close()
