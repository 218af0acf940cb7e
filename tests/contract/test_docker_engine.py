"""The docker engine keeps the engines' contract, and a few promises of its own."""

import gc
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import docker
import pytest
import requests
from engine_contract import GOOD, LIMITS, EngineContract, Sink, always

from controller.engines import docker_witness, warm_pool
from controller.engines.docker import DockerEngine
from controller.engines.docker_witness import Witnesses
from controller.engines.uids import FIRST_UID, UIDS, UidPool
from controller.engines.walls import DEADLINE_LABEL, ORPHAN_SECONDS, OWNER_LABEL, RUN_LABEL
from controller.engines.warm_start import WarmPolicy
from controller.errors import EngineUnavailable
from controller.services.tenants import new_id
from tests.running import until


@pytest.fixture
def image():
    return os.environ.get("AIRLOCK_IMAGE", "airlock-sandbox:latest")


@pytest.fixture
def instance():
    return new_id("srv")


@pytest.fixture
def engine(instance):
    made = DockerEngine(instance)
    yield made
    made.close()


@pytest.fixture
def client():
    made = docker.from_env()
    yield made
    made.close()


@pytest.fixture
def left_behind(client, instance):
    return lambda: len(client.api.containers(all=True, filters={"label": f"{OWNER_LABEL}={instance}"}))


@pytest.fixture
def stray(client, image):
    """Containers as a crash leaves them; whatever the test does, they are removed at the end."""
    made = []

    def make(labels):
        made.append(client.api.create_container(image, ["true"], labels=labels)["Id"])
        return made[-1]

    yield make
    for container in made:
        with suppress(docker.errors.NotFound):
            client.api.remove_container(container, force=True)


class TestDockerEngine(EngineContract):
    def test_a_sweep_removes_what_a_crash_left(self, engine, instance, stray, left_behind):
        """A container with this server's label that nobody is working on."""
        stray({OWNER_LABEL: instance})

        removed = engine.sweep()

        assert (removed, left_behind()) == (1, 0)

    def test_a_sweep_touches_neither_other_servers_nor_other_programs(self, engine, stray, client):
        """Another live server's container, and one without our label, stay; one long past its deadline goes."""
        now = time.time()
        other = stray({OWNER_LABEL: "srv_other", DEADLINE_LABEL: str(int(now))})
        foreign = stray({"somebody": "else"})
        orphan = stray({OWNER_LABEL: "srv_gone", DEADLINE_LABEL: str(int(now - ORPHAN_SECONDS - 5))})

        engine.sweep()

        left = {container["Id"] for container in client.api.containers(all=True)}
        assert {other, foreign} <= left
        assert orphan not in left

    # docker-py leaves the socket of a refused connection to the garbage collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_docker_that_does_not_answer_has_a_name(self, monkeypatch, tmp_path, image):
        """EngineUnavailable, for every verb that needs it."""
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        engine = DockerEngine("srv_none")

        with pytest.raises(EngineUnavailable):
            engine.check(image)
        with pytest.raises(EngineUnavailable):
            engine.sweep()
        gc.collect()


def test_runs_that_begin_and_end_at_once_ask_one_witness(client):
    """A shared poll object refuses two threads at once: that ended a run in six thousand as a fault of ours."""
    with closing(Witnesses()) as witnesses, ThreadPoolExecutor(4) as runs:
        witness = witnesses.now(client.api)

        answers = list(runs.map(lambda _: [witness.stands() for _ in range(20_000)], range(4)))

    assert all(all(of_thread) for of_thread in answers)


def test_a_docker_that_takes_a_connection_and_says_nothing_holds_nobody_up(monkeypatch, tmp_path):
    """Its witness is waited for no longer than any other answer."""
    monkeypatch.setattr(docker_witness, "_PING_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent, closing(Witnesses()) as witnesses:
        silent.bind(f"{tmp_path}/docker.sock")
        silent.listen(5)
        api = docker.APIClient(f"unix://{tmp_path}/docker.sock", version="1.41")
        with closing(api), pytest.raises(requests.Timeout):
            witnesses.now(api)


class TestWarmDocker(EngineContract):
    """The same promises with warm containers: every run of the contract must have had one."""

    @pytest.fixture
    def engine(self, instance, image, tmp_path):
        made = DockerEngine(instance, warm=WarmPolicy(2, tmp_path / "warm", image, LIMITS, 3600))
        deadline = time.monotonic() + 30
        while not made.check(image).warm.ready and time.monotonic() < deadline:
            time.sleep(0.05)
        yield made
        plain = made.check(image).warm.plain
        made.close()
        assert plain == 0

    @pytest.fixture
    def left_behind(self, engine, client, image, instance):
        """What is neither ready nor made for later: it goes behind the run's back, within moments."""

        def count():
            deadline = time.monotonic() + 10
            while (in_use := engine.check(image).warm.in_use) and time.monotonic() < deadline:
                time.sleep(0.05)
            plain = client.api.containers(all=True, filters={"label": [f"{OWNER_LABEL}={instance}", RUN_LABEL]})
            return in_use + len(plain)

        return count

    def test_runs_with_limits_of_their_own_leave_the_usual_ones_their_place(self, engine, make_spec, monkeypatch):
        """However many of another kind are expected, a container of the kind that is always kept is made again."""
        monkeypatch.setattr(warm_pool, "AHEAD_SECONDS", warm_pool.LATELY_SECONDS)  # each run is one more of its kind
        for _ in range(4):
            engine.run(make_spec(GOOD, LIMITS.model_copy(update={"memory_bytes": 300 << 20}))[0], Sink(), always)
        engine.run(make_spec(GOOD)[0], Sink(), always)
        assert until(lambda: engine.warm().ready == 2, 30)
        before = engine.warm().taken

        engine.run(make_spec(GOOD)[0], Sink(), always)

        assert engine.warm().taken == before + 1


def test_no_uid_is_used_again_before_all_others():
    """65,536 runs, 65,536 different uids; one that is in use is passed over."""
    pool, seen = UidPool(), []

    with pool.take() as held:
        for _ in range(UIDS - 1):
            with pool.take() as uid:
                seen.append(uid)
        with pool.take() as again:
            pass

    assert len({held, *seen}) == UIDS
    assert min([held, *seen]) == FIRST_UID
    assert again != held
