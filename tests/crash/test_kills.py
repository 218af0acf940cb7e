"""Nothing accepted is lost, whatever is killed: the server at each step of a run and at any moment, Docker, containers.

AIRLOCK_CRASH_KILLS says how many kills (20; `make test-crash` asks for 200), AIRLOCK_CRASH_SEED which ones: a failure
prints its seed, and keeps the server's log. The same seed gives the same kills and the same load, though never quite
the same moments.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from controller.failpoints import NAMES
from tests.crash.clients import Client, Ledger, Load, Promise, ending
from tests.crash.daemon import PrivateDocker
from tests.crash.leftovers import leftovers, sandboxes, shims
from tests.crash.supervisor import Supervisor
from tests.running import until

KILLS = int(os.environ.get("AIRLOCK_CRASH_KILLS", "20"))
SEED = os.environ.get("AIRLOCK_CRASH_SEED") or str(random.SystemRandom().randrange(1 << 32))
CLIENTS = 3
BETWEEN_SECONDS = 20.0
"""At most, for something to end between two kills, after every other: else nothing but starting would be tested."""
QUIET_SECONDS = 60
STARTS = {"plain": {"AIRLOCK_WARM_CONTAINERS": "0"}, "warm": {"AIRLOCK_WARM_CONTAINERS": "3"}}
SETTINGS = {
    "AIRLOCK_MAX_ATTEMPTS": "1000",  # interrupted ever so often, a run must come to its end
    "AIRLOCK_RETRY_SECONDS": "0.000001",  # it grows fourfold with each
    "AIRLOCK_WORKERS": "2",
    "AIRLOCK_DRAIN_SECONDS": "2",
}


class Chaos:
    """Kills, one after the other, while the load goes on."""

    def __init__(self, server: Supervisor, daemon: PrivateDocker, seed: str, names: list[str]) -> None:
        self._names = names
        self.warm = "container_created" not in names
        self._server = server
        self._daemon = daemon
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.crashed: set[str] = set()
        """Runs whose container was killed: they may end as crashed."""
        self._ways = {
            "server": (server.kill_all, 2),
            "worker": (server.kill_worker, 4),
            "parent": (server.kill_parent, 1),
            "drain": (server.drain, 1),
            "dockerd -9": (self._kill_docker, 3),
            "dockerd stop": (self._stop_docker, 1),
            "container": (self._kill_container, 3),
        }

    def arm(self) -> None:
        """At its next start the server has every failpoint armed that was come to least often."""
        gone = self.gone()
        names = [name for name in self._names if gone[name] == min(gone[name] for name in self._names)]
        # Deletions are few: the very next.
        counts = {name: self._random.randrange(1, 4) for name in names} | {"row_deleted": 1}
        self._server.failpoints = ",".join(f"{name}:{counts[name]}" for name in names)

    def gone(self) -> Counter[str]:
        """How often each failpoint killed."""
        return Counter(event["name"] for event in self._server.events("failpoint"))

    def once(self) -> None:
        """Kill something, and see that all of it comes back. A little later there is new work to be disturbed."""
        names, weights = zip(*((name, weight) for name, (_, weight) in self._ways.items()), strict=True)
        way = self._random.choices(names, weights)[0]
        ended = len(self._server.events("run_finished"))
        self.arm()
        self._ways[way][0]()
        self.done[way] += 1
        assert self._server.answers(120), f"the server did not come back after: {way}"
        if self._random.random() < 0.5:
            until(lambda: len(self._server.events("run_finished")) > ended, BETWEEN_SECONDS)
        time.sleep(self._random.uniform(0, 3))

    def failpoints_left(self, rounds: int) -> int:
        """How many kills are to come by failpoints, when each is to kill so often."""
        gone = self.gone()
        return sum(max(0, rounds - gone[name]) for name in self._names)

    def finish(self, rounds: int) -> None:
        """Wait for the failpoints that were not come to, arming them again when they are spent."""
        deadline = time.monotonic() + 200 * rounds + 200
        while self.failpoints_left(rounds) and time.monotonic() < deadline:
            before = self.failpoints_left(rounds)
            spent = len({self.gone()[name] for name in self._names}) == 1
            if spent or not until(lambda: self.failpoints_left(rounds) < before, 90):  # noqa: B023
                self.arm()
                self._server.kill_all()
                self.done["server"] += 1
                assert self._server.answers(120)
        assert not self.failpoints_left(rounds), f"never come to: {set(self._names) - set(self.gone())}"

    def _kill_docker(self) -> None:
        self._daemon.kill()
        time.sleep(self._random.uniform(0, 3))
        self._daemon.start()

    def _stop_docker(self) -> None:
        self._daemon.stop()
        self._daemon.start()

    def _kill_container(self) -> None:
        """kill -9 of the process in a sandbox; waits a little for one that runs."""
        found: dict[int, str] = {}
        until(lambda: bool(found.update(sandboxes(self._server.data_dir)) or found), 10)
        for pid, run_id in found.items():
            self.crashed.add(run_id)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.timeout(600 + 30 * KILLS)
def test_whatever_is_killed_nothing_accepted_is_lost(private_docker: PrivateDocker, start: str) -> None:
    """Each accepted run ends once, rightly, and nothing is left a minute after the last; with either start."""
    folder = Path(tempfile.mkdtemp(prefix="airlock-crash-server-"))
    print(f"AIRLOCK_CRASH_SEED={SEED} AIRLOCK_CRASH_KILLS={KILLS}; the server's log: {folder}/server.log")
    before = private_docker.mounts()
    names = [name for name in NAMES if start == "plain" or name != "container_created"]
    first = ",".join(f"{name}:{number % 3 + 1}" for number, name in enumerate(reversed(names)))
    server = Supervisor(folder, SETTINGS | private_docker.environment | STARTS[start], first)
    try:
        faults = _kill_and_check(server, Chaos(server, private_docker, SEED, names), private_docker, before)
    finally:
        server.close()
    assert not faults, f"seed {SEED}, log {folder}/server.log:\n" + "\n".join(faults)
    shutil.rmtree(folder)


def _kill_and_check(server: Supervisor, chaos: Chaos, daemon: PrivateDocker, mounts: list[str]) -> list[str]:
    ledger, stop = Ledger(), threading.Event()
    began = time.monotonic()
    loads = [Load(server.url, server.key, ledger, f"{SEED}-{n}", stop) for n in range(CLIENTS)]
    for load in loads:
        load.start()
    rounds = max(1, KILLS // (2 * len(NAMES)))
    while sum(chaos.done.values()) + rounds * len(NAMES) < KILLS:
        chaos.once()
    chaos.finish(rounds)
    server.failpoints = ""
    stop.set()
    for load in loads:
        load.join(200)
    server.kill_all()  # the last one: what starts now is not armed
    kills, busy = sum(chaos.done.values()) + sum(chaos.gone().values()) + 1, time.monotonic() - began
    assert server.answers(120)
    with closing(Client(server.url, server.key, ledger)) as client:
        faults = _faults(client, server, daemon, chaos, ledger, mounts)
    print(
        f"{kills} kills in {busy:.0f} s, {server.starts} starts of the server; {len(ledger.accepted())} accepted runs "
        f"of {len(ledger.promises)} submissions\n{dict(chaos.done)}\n{dict(chaos.gone())}\n"
        f"{dict(Counter(p.end[:2] for p in ledger.accepted() if p.end))}"
    )
    return ledger.faults + faults


def _faults(
    client: Client, server: Supervisor, daemon: PrivateDocker, chaos: Chaos, ledger: Ledger, mounts: list[str]
) -> list[str]:
    """What is not as it should be, when everything has ended."""
    quiet = time.monotonic()
    faults = [f"still {run['status']}: {run}" for run in _waited_for(client, ledger)]
    faults += _wrong_endings(client, ledger, chaos, daemon)
    if chaos.warm:
        server.close()  # some containers are kept ready for as long as it is there
    until(lambda: not leftovers(daemon, server.data_dir, mounts), QUIET_SECONDS)
    faults += [f"left: {what}" for what in leftovers(daemon, server.data_dir, mounts)]
    faults += _log_faults(server)
    print(f"quiet after {time.monotonic() - quiet:.1f} s; {len(shims(daemon))} shims without a container")
    return faults


def _waited_for(client: Client, ledger: Ledger) -> list[dict[str, object]]:
    """What has not ended when nothing has for a while: how long all of it takes is a matter of the machine."""
    left, deadline = _unfinished(client, ledger), time.monotonic() + QUIET_SECONDS
    while left and time.monotonic() < deadline:
        before = len(left)
        time.sleep(0.2)
        left = _unfinished(client, ledger)
        deadline = time.monotonic() + QUIET_SECONDS if len(left) < before else deadline
    return left


def _unfinished(client: Client, ledger: Ledger) -> list[dict[str, object]]:
    left = []
    for promise in ledger.accepted():
        if promise.end is None and not promise.deleted:
            run = client.insist("GET", f"/v1/runs/{promise.run_id}", 200).json()
            promise.end = ending(run)
            if promise.end is None:
                left.append(run)
    return left


def _wrong_endings(client: Client, ledger: Ledger, chaos: Chaos, daemon: PrivateDocker) -> list[str]:
    """Runs that are not as they were first seen ended, or ended as they should not have, or ran too often."""
    faults: list[str] = []
    for promise in ledger.accepted():
        if promise.deleted:
            client.insist("GET", f"/v1/runs/{promise.run_id}", 404)
        elif promise.end is not None:
            run = client.insist("GET", f"/v1/runs/{promise.run_id}", 200).json()
            if ending(run) != promise.end:
                faults.append(f"ended twice: {promise.end}, then {ending(run)}: {run}")
            elif (fault := _fault_of(client, promise, run, chaos)) is not None:
                faults.append(f"{fault}: {run}")
        if chaos.warm:
            continue  # Docker does not know for which run a container was used
        begun = daemon.starts.count[str(promise.run_id)]
        if promise.at_most_once and begun > 1:
            faults.append(f"at most once, and begun {begun} times: {promise}")
        if promise.end is not None and promise.end[0] == "succeeded" and begun == 0:
            faults.append(f"succeeded, and was never begun: {promise}")
    faults += [f"two containers of one run at once: {run_id}" for run_id in daemon.starts.together]
    made: Counter[str] = Counter()
    page = client.insist("GET", "/v1/runs?limit=100", 200).json()
    while True:
        made.update(run["script_sha256"] for run in page["items"] if run["rerun_of"] is None)
        if not page["next_cursor"]:
            break
        page = client.insist("GET", f"/v1/runs?limit=100&cursor={page['next_cursor']}", 200).json()
    faults += [f"{count} runs of one submission: {sha256}" for sha256, count in made.items() if count > 1]
    return faults


def _fault_of(client: Client, promise: Promise, run: dict[str, object], chaos: Chaos) -> str | None:
    """What is wrong with how this run ended."""
    if run["status"] == "cancelled":
        return None if promise.cancel else "nobody cancelled it"
    if run["status"] == "failed":
        if run["reason"] == "engine_error":
            return None if promise.at_most_once else "it should have been begun again"
        if run["reason"] == "crashed":
            return None if run["id"] in chaos.crashed else "nobody killed its container"
        return "the script does not fail"
    headers = {"Accept": "application/vnd.apache.arrow.file"}
    answer = client.insist("GET", f"/v1/runs/{run['id']}/output", 200, headers=headers)
    table = pa.ipc.open_file(io.BytesIO(answer.content)).read_all().to_pydict()
    right = {"token": [promise.token], "total": [promise.total]}
    return None if table == right else f"its result is {table}, and should be {right}"


def _log_faults(server: Supervisor) -> list[str]:
    ends = Counter(event["run_id"] for event in server.events("run_finished"))
    faults = [f"run_finished {count} times: {run_id}" for run_id, count in ends.items() if count > 1]
    return faults + [f"unforeseen_error: {event}" for event in server.events("unforeseen_error")]
