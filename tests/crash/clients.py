"""The load: clients that never give up, and remember everything that the server has promised them."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

SCRIPT = """
import time
import pandas as pd

def azureml_main(dataframe1=None):
    print("token {token}", flush=True)
    time.sleep({seconds})
    total = 0 if dataframe1 is None else int(dataframe1["n"].sum())
    return pd.DataFrame({{"token": ["{token}"], "total": [total]}})
"""
FINAL = ("succeeded", "failed", "cancelled")
AGAIN = (429, 503, 507)
"""Answers that mean: not now."""


@dataclass
class Promise:
    """What a client knows of one submission."""

    token: str
    total: int = 0
    at_most_once: bool = False
    keyed: bool = False
    """Repeated under one Idempotency-Key until it was answered: exactly one run."""
    run_id: str | None = None
    """Answered: accepted."""
    cancel: bool = False
    deleted: bool = False
    """Answered 204, or 404 after a lost answer."""
    end: tuple[Any, ...] | None = None
    """As it was first seen ended."""


@dataclass
class Ledger:
    """All promises, and every answer that may never be."""

    promises: list[Promise] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, promise: Promise) -> None:
        with self._lock:
            self.promises.append(promise)

    def fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)

    def accepted(self) -> list[Promise]:
        with self._lock:
            return [promise for promise in self.promises if promise.run_id is not None]


def ending(run: dict[str, Any]) -> tuple[Any, ...] | None:
    """What of a run may never change once it has ended."""
    if run["status"] not in FINAL:
        return None
    return run["status"], run["reason"], run["finished_at"], run["attempt"]


class Client:
    """One client's hands. An answer that was lost counts as none."""

    def __init__(self, url: str, key: str, ledger: Ledger) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._ledger = ledger

    def ask(self, method: str, path: str, *allowed: int, **kwargs: Any) -> requests.Response | None:
        """The answer; None when there was none, or one that says to come again. Any other is a fault."""
        try:
            answer = self._session.request(method, self._url + path, timeout=60, **kwargs)
        except requests.RequestException:
            return None
        if answer.status_code in AGAIN:
            return None
        if answer.status_code not in allowed:
            self._ledger.fault(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer

    def insist(self, method: str, path: str, *allowed: int, **kwargs: Any) -> requests.Response:
        """Ask until there is an answer."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if (answer := self.ask(method, path, *allowed, **kwargs)) is not None:
                return answer
            time.sleep(0.2)
        raise AssertionError(f"{method} {path}: no answer within 180 s")

    def close(self) -> None:
        self._session.close()

    def run(self, run_id: str, wait: float = 0) -> dict[str, Any] | None:
        answer = self.ask("GET", f"/v1/runs/{run_id}?wait={wait}", 200)
        return answer.json() if answer is not None and answer.status_code == 200 else None


class Load(threading.Thread):
    """A client that works until it is told to stop. `seed` decides what it does."""

    def __init__(self, url: str, key: str, ledger: Ledger, seed: str, stop: threading.Event) -> None:
        super().__init__(daemon=True, name=f"load-{seed}")
        self._client = Client(url, key, ledger)
        self._ledger = ledger
        self._random = random.Random(seed)
        self._stop_asked = stop

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._act()
        except Exception as e:
            self._ledger.fault(f"{self.name}: {e!r}")
        finally:
            self._client.close()

    def _act(self) -> None:
        act: Callable[[], None] = self._random.choices(
            [self._plain, self._with_inputs, self._once, self._keyed, self._cancelled, self._again, self._removed],
            [2, 2, 2, 3, 2, 2, 2],
        )[0]
        act()

    # -- what clients do -----------------------------------------------------------------------------------------

    def _plain(self) -> None:
        self._follow(self._submit(self._promise()))

    def _with_inputs(self) -> None:
        numbers = [self._random.randrange(1000) for _ in range(self._random.randrange(1, 20_000))]
        table = "n\n" + "\n".join(map(str, numbers)) + "\n"
        self._follow(self._submit(self._promise(total=sum(numbers)), table=table))

    def _once(self) -> None:
        self._follow(self._submit(self._promise(at_most_once=True)))

    def _keyed(self) -> None:
        promise = self._submit(self._promise(keyed=True))
        self._follow(promise)

    def _cancelled(self) -> None:
        promise = self._submit(self._promise(), seconds=2.0)
        if promise.run_id is not None:
            time.sleep(self._random.uniform(0, 3))
            promise.cancel = True
            self._client.insist("POST", f"/v1/runs/{promise.run_id}/cancel", 202, 409)
            self._follow(promise)

    def _again(self) -> None:
        """A rerun of one that has ended, under a key, until it is answered."""
        ended = [p for p in self._ledger.accepted() if p.end is not None and not p.deleted]
        if not ended:
            return self._plain()
        first = self._random.choice(ended)
        promise = Promise(token=first.token, total=first.total, at_most_once=first.at_most_once)
        headers = {"Idempotency-Key": str(uuid.UUID(int=self._random.getrandbits(128)))}
        answer = self._client.insist("POST", f"/v1/runs/{first.run_id}/rerun", 200, 202, 404, headers=headers)
        if answer.status_code in (200, 202):  # 200: it had ended before it was answered; 404: somebody deleted it
            promise.run_id = answer.json()["id"]
            self._ledger.add(promise)
            self._follow(promise)
        return None

    def _removed(self) -> None:
        promise = self._submit(self._promise())
        if promise.run_id is None:
            return
        self._follow(promise, seconds=120)
        if promise.end is not None:
            answer = self._client.insist("DELETE", f"/v1/runs/{promise.run_id}", 204, 404)
            promise.deleted = answer.status_code in (204, 404)

    # -- and how -------------------------------------------------------------------------------------------------

    def _promise(self, **what: Any) -> Promise:
        promise = Promise(token=uuid.UUID(int=self._random.getrandbits(128)).hex, **what)
        self._ledger.add(promise)
        return promise

    def _submit(self, promise: Promise, seconds: float | None = None, table: str | None = None) -> Promise:
        """Once; or, with a key, until it is answered, and then once more: the same run."""
        seconds = self._random.choice((0, 0, 0.3, 1.0)) if seconds is None else seconds
        script = SCRIPT.format(token=promise.token, seconds=seconds)
        parts: dict[str, Any] = {"script": ("s.py", script)}
        options = {"at_most_once": True} if promise.at_most_once else {}
        parts["options"] = (None, json.dumps(options), "application/json")
        if table is not None:
            parts["dataframe1"] = ("t.csv", table, "text/csv")
        if not promise.keyed:
            answer = self._client.ask("POST", "/v1/runs", 202, files=parts)
        else:
            headers = {"Idempotency-Key": promise.token}
            answer = self._client.insist("POST", "/v1/runs", 200, 202, files=parts, headers=headers)
            again = self._client.insist("POST", "/v1/runs", 200, 202, files=parts, headers=headers)
            if again.json().get("id") != answer.json().get("id"):
                self._ledger.fault(f"one key, two runs: {answer.text} {again.text}")
        if answer is None:
            time.sleep(0.2)
        elif answer.status_code in (200, 202):
            promise.run_id = answer.json()["id"]
        return promise

    def _follow(self, promise: Promise, seconds: float = 3) -> None:
        """Wait for the run's end for a while, and remember how it was."""
        deadline = time.monotonic() + seconds
        while promise.run_id is not None and promise.end is None and time.monotonic() < deadline:
            run = self._client.run(promise.run_id, wait=1)
            if run is not None:
                promise.end = ending(run)
            if self._stop_asked.is_set():
                return
