"""Warm fork: what could be wrong with a runner that was forked instead of started, and that it is not.

One test for each row of docs/security.md, Warm fork; what is a promise of every sandbox has its test elsewhere, and
runs there with both starts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from sandbox import container_of, docker_api, ended, findings, lives, serving, status_of, submit, table, wait_for_log

from controller.config import Settings
from controller.engines import launcher
from controller.engines.base import GO_SIGNAL
from controller.engines.docker_daemon import Daemon
from controller.engines.docker_warm import DockerMaker
from controller.engines.launcher import NoFork
from controller.engines.oci_children import adopt
from controller.engines.oci_host import read_host
from controller.engines.oci_images import Images
from controller.engines.oci_runtime import Runtime
from controller.engines.oci_users import UserNamespaces
from controller.engines.oci_warm import OciMaker
from controller.engines.uids import UidPool
from controller.engines.warm import Kind, Maker, Workshop
from controller.services.tenants import new_id
from tests.containers import ENGINE, inspected, of_server, pids_in
from tests.running import RunningServer, until
from tests.unpacked import unpacked_images

WHICH_PROCESS = "import os, pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'p': [os.getpid()]})"
IDENTITY = """
import os, random, re, secrets, tempfile, uuid
import numpy as np, pandas as pd
from pathlib import Path

def azureml_main(a, b):
    mounts = Path("/proc/self/mountinfo").read_text()
    return pd.DataFrame({
        "container": [re.search("(airlock-warm-[^/]+)/in", mounts).group(1)],
        "uid": [os.getuid()],
        "random": [random.random()],
        "numpy": [np.random.rand()],
        "generator": [np.random.default_rng().random()],
        "sample": [str(pd.Series(range(10**6)).sample(3).tolist())],
        "uuid": [str(uuid.uuid4())],
        "secret": [secrets.token_hex()],
        "name": [tempfile.mktemp()],
        "hash": [hash("a word")],
    })
"""
SHARED = {"hash"}
"""The seed of hashes is a launcher's: said on the page, and the reason for launchers not getting old."""
ALLOWED = {
    # what the parity test may find: plain start, warm fork
    "process 1": (True, False),  # in a warm container that one sleeps
    "status Seccomp_filters": ("1", "2"),  # the launcher's, and one that takes the launcher's two calls away
    "secure bits": (0, 0b11000011),  # no capability comes from being root, nor by way of the ambient set; locked
    "command line": (
        ["/opt/conda/bin/python", "-I", "-B", "-m", "runner"],
        ["/opt/conda/bin/python", "-I", "-B", "-m", "launcher"],
    ),
    "status Threads": ("2", "1"),  # Arrow's allocator has none of its own: a launcher must not have it
    "status SigCgt": ("00000001000004ea", "00000000000004ea"),  # glibc's signal for other threads
}
if ENGINE == "docker":  # it adds the user's own group to the others; a fork has no other, nor has oci's
    ALLOWED |= {"status Groups": ("GROUP", ""), "groups": (["GROUP"], [])}
DOCUMENTS = (b"{", b"[1]", b'{"mounts": 1}', b'{"mounts": [], "linux": 2}', b"x" * 400)
"""That are none."""
CANARY_HUNT = """
import re
from pathlib import Path
import pandas as pd

def azureml_main(dataframe1, b):
    needle = bytes.fromhex(dataframe1["needle"][0])[::-1]
    found = 0
    memory = open("/proc/self/mem", "rb", 0)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span = re.match("([0-9a-f]+)-([0-9a-f]+) r", line)
        if span and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
            start, end = (int(part, 16) for part in span.groups())
            for place in range(start, end, 1 << 24):
                memory.seek(place)
                try:
                    found += memory.read(min(end - place, (1 << 24) + len(needle))).count(needle)
                except OSError:
                    break
    return pd.DataFrame({"found": [found]})
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("warm") / "data", "warm", {})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("plain") / "data", "plain", {})


def identities(server: RunningServer, count: int) -> dict[str, list[Any]]:
    tables = [table(server, server.submit(IDENTITY)) for _ in range(count)]
    return {name: [one[name][0] for one in tables] for name in tables[0]}


def launchers(server: RunningServer) -> list[str]:
    """The launchers of this server, by name."""
    return [name for name in server.all_containers() if name.startswith("/airlock-launcher-")]


def launcher_pid(server: RunningServer) -> int:
    """Of the one that there is, when the one before it has gone."""
    assert until(lambda: len(launchers(server)) == 1, 20)
    (name,) = launchers(server)
    container = next(one for one in of_server(server.engine, server.instance) if one["Names"] == [name])
    found = inspected(container["Id"])
    assert found is not None
    return int(found["State"]["Pid"])


def test_a_warm_container_is_used_once(warm: RunningServer) -> None:
    """Thirty runs had thirty containers, by name, and thirty users."""
    found = identities(warm, 30)

    assert warm.plain_starts(excused=("no launcher is ready",)) == set()
    assert [len(set(found[name])) for name in ("container", "uid")] == [30, 30]


def test_forks_of_one_launcher_share_no_random_numbers(warm: RunningServer) -> None:
    """Neither Python's nor numpy's generators, nor names and secrets, repeat from run to run."""
    found = identities(warm, 5)

    assert {name for name, values in found.items() if len(set(values)) < 5} == SHARED


def test_warm_and_plain_runs_live_in_the_same_world(warm: RunningServer, plain: RunningServer) -> None:
    """Status, limits, mounts, cgroups, descriptors, environment, signals, modules: equal but for a reviewed list."""
    of_warm, of_plain = (findings(server, "world") for server in (warm, plain))
    for world in (of_warm, of_plain):
        if world["groups"]:
            world["groups"], world["status Groups"] = ["GROUP"], "GROUP"

    names = of_warm.keys() | of_plain.keys()
    differences = {
        name: (of_plain.get(name), of_warm.get(name)) for name in names if of_plain.get(name) != of_warm.get(name)
    }

    assert differences == ALLOWED


def test_nothing_of_an_earlier_run_is_in_the_memory_of_a_fork(warm: RunningServer) -> None:
    """Neither a script's text nor its data: a later fork of the same launcher searches all of its memory."""
    canary = secrets.token_bytes(16)
    text = f"""
import pandas as pd
KEPT = [bytes.fromhex("{canary.hex()}") * 1000]
def azureml_main(dataframe1, b):
    return dataframe1
"""
    before = launcher_pid(warm)
    assert warm.submit(text, files=_needle(canary[::-1]))["status"] == "succeeded"

    found = table(warm, warm.submit(CANARY_HUNT, files=_needle(canary[::-1])))["found"][0]
    control = CANARY_HUNT.replace("found = 0", 'found = 0; kept = bytes.fromhex(dataframe1["needle"][0])[::-1] * 3')
    able = table(warm, warm.submit(control, files=_needle(canary[::-1])))["found"][0]

    assert launcher_pid(warm) == before
    assert able - found >= 3
    assert found <= 2, "its own copies of what it looks for, and no more"


def _needle(data: bytes) -> dict[str, Any]:
    return {"dataframe1": ("needle.csv", f"needle\n{data.hex()}\n".encode(), "text/csv")}


def test_a_native_crash_ends_a_generation(warm: RunningServer) -> None:
    """The launcher whose fork crashed forks no more; the next runs' hashes and addresses are another's."""
    before, pid = identities(warm, 1)["hash"], launcher_pid(warm)

    crashed = warm.submit("import ctypes\ndef azureml_main(a, b):\n    ctypes.string_at(0)")

    assert (crashed["reason"], crashed["id"] in warm.plain_starts()) == ("crashed", False)
    assert until(lambda: not lives(pid) and len(launchers(warm)) == 1, 20)
    warm.warm_up()
    assert identities(warm, 1)["hash"] != before


def test_an_exit_code_is_no_native_crash(warm: RunningServer) -> None:
    """A script that leaves with 139 says so of itself; the launcher that all others use stays."""
    warm.warm_up()
    pid = launcher_pid(warm)

    run = warm.submit("import os\ndef azureml_main(a, b):\n    os._exit(139)")

    assert (run["reason"], run["id"] in warm.plain_starts()) == ("crashed", False)
    assert not until(lambda: not lives(pid), 3)


def test_a_launcher_that_dies_loses_no_run(warm: RunningServer) -> None:
    """A run at work is begun again, since nobody can say how it ended; the next ones have a new launcher."""
    warm.warm_up()
    script = "import time\ndef azureml_main(a, b):\n    print('ready', flush=True)\n    time.sleep(2)\n"
    run_id = submit(warm, script)
    wait_for_log(warm, run_id, "ready")
    runner = container_of(run_id)["Runner"]["Pid"]

    os.kill(launcher_pid(warm), signal.SIGKILL)
    run = ended(warm, run_id)

    assert (run["status"], run["attempt"]) == ("succeeded", 2)
    assert not lives(runner)
    warm.warm_up()


def test_a_launcher_has_one_thread_and_only_what_entering_takes(warm: RunningServer) -> None:
    """Five capabilities, a seccomp filter, no new privileges, no network; and nothing in its environment."""
    pid = launcher_pid(warm)

    status = status_of(pid)
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    wanted = sum(1 << number for number in (6, 7, 8, 18, 21))  # SETGID SETUID SETPCAP SYS_CHROOT SYS_ADMIN
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert (status["Threads"], status["Seccomp"], status["NoNewPrivs"]) == ("1", "2", "1")
    assert not any(warm.key.encode() in one or b"AIRLOCK" in one for one in environment)
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")


def test_no_fork_keeps_a_launchers_descriptors(warm: RunningServer) -> None:
    """Seen from the host, a waiting or working fork holds pipes and what a sandbox holds; no socket, no cgroup."""
    run_id = submit(warm, "import time\ndef azureml_main(a, b):\n    print('ready', flush=True)\n    time.sleep(600)")
    wait_for_log(warm, run_id, "ready")
    pid = container_of(run_id)["Runner"]["Pid"]

    held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    warm.post(f"/v1/runs/{run_id}/cancel")

    assert {one for one in held if not one.startswith(("pipe:", "/dev/null", "/in/", "/out/", "/work/"))} == set()


def test_numeric_libraries_work_in_forks(warm: RunningServer) -> None:
    """BLAS, Arrow's threads, scikit-learn, matplotlib and processes of the script: none hangs after the fork."""
    script = """
import multiprocessing
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc
from sklearn.ensemble import RandomForestClassifier
import matplotlib.pyplot as plt

def square(x):
    return x * x

def azureml_main(a, b):
    m = np.random.rand(300, 300)
    norm = float(np.linalg.norm(m @ np.linalg.inv(m)))
    table = pa.table({"x": list(range(200000)), "y": ["t"] * 200000})
    back = table.to_pandas(use_threads=True)
    forest = RandomForestClassifier(5, n_jobs=2).fit(m[:, :3], (m[:, 4] > 0.5).astype(int))
    plt.plot([1, 2]); plt.savefig("p.png")
    with multiprocessing.Pool(2) as pool:
        squares = pool.map(square, range(5))
    return pd.DataFrame({"norm": [norm], "sum": [pc.sum(table["x"]).as_py()], "rows": [len(back)], "last": squares[-1]})
"""
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: warm.submit(script, cpus=2), range(8)))

    assert {run["status"] for run in runs} == {"succeeded"}, [run["error"] for run in runs]
    assert {tuple(table(warm, run)["last"]) for run in runs} == {(16,)}


def test_a_run_that_may_use_two_cpus_has_two_threads_for_its_libraries(warm: RunningServer) -> None:
    """As in a plain start: what the launcher had one of, the fork is given as many of as its limits say."""
    script = """
import os, pandas as pd, pyarrow as pa
from threadpoolctl import threadpool_info
def azureml_main(a, b):
    blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    return pd.DataFrame({"blas": [max(blas)], "arrow": [pa.cpu_count()], "said": [os.environ["OMP_NUM_THREADS"]]})
"""

    runs = [warm.submit(script, cpus=cpus) for cpus in (1, 2)]
    assert [run["error"] for run in runs] == [None, None]
    found = [table(warm, run) for run in runs]

    assert found == [
        {"blas": [1], "arrow": [1], "said": ["1"]},
        {"blas": [2], "arrow": [2], "said": ["2"]},
    ]


def test_a_run_with_other_limits_is_held_to_them(warm: RunningServer) -> None:
    """A container made for the usual limits is not given to it."""
    memory = 200 << 20
    run_id = submit(
        warm,
        "import time\ndef azureml_main(a, b):\n    print('ready', flush=True)\n    time.sleep(600)",
        memory_bytes=memory,
    )
    wait_for_log(warm, run_id, "ready")
    container = container_of(run_id)
    warm.post(f"/v1/runs/{run_id}/cancel")

    assert run_id not in warm.plain_starts()
    assert container["HostConfig"]["Memory"] == memory


def test_idle_warm_containers_hold_little_memory(warm: RunningServer) -> None:
    """What a waiting container holds beyond pages that it shares: its two processes, by the kernel's account."""
    warm.warm_up()
    private: list[int] = []

    def little() -> bool:
        """One that has lost its launcher holds alone what they shared: it goes, and the next one is looked at."""
        with suppress(OSError):  # it may go just then: a container that nobody asked for
            private.extend([sum(map(_private_bytes, pids)) for pids in [_waiting_pids(warm)] if pids])
        return bool(private) and private[-1] < 5 << 20

    assert until(little, 20), private


def _waiting_pids(server: RunningServer) -> list[int]:
    """The processes of one container that is kept ready, if there is one: the one that sleeps, and the runner."""
    for one in of_server(server.engine, server.instance):
        (name,) = one["Names"]
        if name.startswith("/airlock-warm-") and name not in server.containers():
            pids = pids_in(one["Id"])
            # While it is being made, there are two as well: runc's own.
            if len(pids) == 2 and not any("runc" in Path(f"/proc/{pid}/comm").read_text() for pid in pids):
                return pids
    return []


def _private_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) << 10 for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


@pytest.fixture
def maker() -> Iterator[Maker]:
    instance = new_id("srv")
    if ENGINE == "oci":
        adopt()
        runtime = Runtime("runc", read_host())
        users = UserNamespaces("on", runtime, UidPool(), instance)
        yield OciMaker(runtime, Images(unpacked_images()), users, instance, time.time, 60)
        assert of_server("oci", instance) == []
        return
    daemon = Daemon(8)
    yield DockerMaker(daemon, instance, "runc", time.time, 60)
    for found in daemon.api.containers(all=True, filters={"label": f"airlock.instance={instance}"}):
        daemon.remove(found["Id"])
    daemon.close()


@pytest.fixture
def workshop(maker: Maker, tmp_path: Path) -> Workshop:
    return Workshop(maker, tmp_path / "warm", UidPool())


@pytest.fixture
def kind() -> Kind:
    if ENGINE == "oci":
        return Kind.of(Images(unpacked_images()).digest(Settings().image), Settings().limits())
    with docker_api() as api:
        return Kind.of(api.inspect_image(Settings().image)["Id"], Settings().limits())


@pytest.mark.parametrize("part", ["namespaces", "cgroups", "user"])
def test_a_fork_that_is_somewhere_else_is_refused(
    workshop: Workshop, kind: Kind, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A fork in another container, in not all of the cgroups, or of another user: it is killed, nothing is left."""
    generation = workshop.launcher(kind.digest)
    other = workshop.container(kind, generation)
    names = workshop.names()
    if part == "namespaces":
        monkeypatch.setattr(launcher, "_joined", _all_but_users_of(other.container.init))
    elif part == "cgroups":
        monkeypatch.setattr(launcher, "procs_files", lambda _: [])
    else:
        looked = launcher._look_at
        monkeypatch.setattr(launcher, "_look_at", lambda pid, init, uid: looked(pid, init, uid + 1))

    with pytest.raises(NoFork, match={"namespaces": "namespace", "cgroups": "cgroup", "user": "Uid"}[part]):
        workshop.container(kind, generation)

    assert workshop.names() == names
    assert other.fork.waits()
    other.remove()
    generation.remove()


def _all_but_users_of(other: launcher.Init) -> Callable[[launcher.Init], Any]:
    """In a stranger's user namespace a run could not even become itself: test_users.py."""
    joined, place = launcher._joined, launcher.NAMESPACES.index("user")

    @contextmanager
    def mixed(init: launcher.Init) -> Iterator[list[int]]:
        with joined(other) as theirs, joined(init) as own:
            yield [*theirs[:place], own[place], *theirs[place + 1 :]]

    return mixed


@pytest.mark.parametrize("step", ["cgroups", "user"])
def test_a_fork_that_is_not_sealed_is_refused(
    workshop: Workshop, kind: Kind, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A step that fails ends the fork, which says which one; no runner has come to life."""
    generation = workshop.launcher(kind.digest)
    if step == "cgroups":
        monkeypatch.setattr(launcher, "procs_files", lambda _: ["/dev/full"])
    else:
        asked = launcher.Launcher._ask
        monkeypatch.setattr(launcher.Launcher, "_ask", lambda one, uid, *more: asked(one, 0, *more))

    with pytest.raises(NoFork, match=f"not sealed.*{'No space' if step == 'cgroups' else 'uid 0'}"):
        workshop.container(kind, generation)

    assert [name for name in workshop.names() if "warm" in name] == []
    generation.remove()


@pytest.mark.parametrize("when", ["before it answers", "after it has answered"])
def test_a_launcher_that_is_given_up_tells_how_its_forks_end(
    workshop: Workshop, kind: Kind, when: str
) -> None:
    """Whoever gives it up may do so while it is asked: the runs at work go on, and it ends with the last of them."""
    generation = workshop.launcher(kind.digest)
    at_work = workshop.container(kind, generation)
    one = generation.launcher
    os.kill(one.peer, signal.SIGSTOP)
    one._socket.send(b"nonsense")
    if when.startswith("after"):
        os.kill(one.peer, signal.SIGCONT)
        assert launcher._readable(one._socket.fileno(), 10)

    one.close()
    os.kill(one.peer, signal.SIGCONT)
    stayed = not one.wait(0.5)
    at_work.fork.send(GO_SIGNAL)  # it finds no job, says so where it can, and leaves
    told = until(lambda: at_work.fork.read(0.1) is None, 20)

    assert (stayed, told) == (True, True)
    assert at_work.fork.exit_code in (2, 3)
    assert one.wait(10)
    at_work.remove()
    generation.remove()


def test_a_launcher_that_is_asked_is_given_up_afterwards(workshop: Workshop, kind: Kind) -> None:
    """The fork that it is making is had; another one is not."""
    generation = workshop.launcher(kind.digest)
    one = generation.launcher
    os.kill(one.peer, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(workshop.container, kind, generation)
        assert until(one._lock.locked, 20)

        one.close()
        os.kill(one.peer, signal.SIGCONT)
        made = asked.result(20)

    assert made.fork.waits()
    assert one._socket.fileno() == -1
    with pytest.raises(NoFork, match="no more"):
        workshop.container(kind, generation)
    made.remove()
    generation.remove()


def test_a_launcher_that_does_not_become_ready_leaves_nothing(
    workshop: Workshop, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a container nor a descriptor, however often it is tried."""
    monkeypatch.setattr(launcher, "_READY_SECONDS", 0.05)

    def held() -> int:
        """Processes and pipes; of connections Docker's client keeps some."""
        links = []
        for name in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{name}"))
        return sum(link.startswith(("pipe:", "anon_inode:[pidfd]")) for link in links)

    before = held()
    for _ in range(2):
        with pytest.raises(NoFork, match="did not become ready"):
            workshop.launcher(kind.digest)

    assert held() == before
    assert workshop.names() == set()


def test_a_launcher_survives_nonsense(maker: Maker, kind: Kind, tmp_path: Path) -> None:
    """Two thousand messages of any length, with any descriptors: each is refused by number; then it still forks."""
    random.seed(7)
    with launcher.listen(tmp_path) as listener, open(os.devnull) as nothing:
        container = maker.launcher(f"airlock-launcher-{new_id('x')}", kind.digest, tmp_path)
        one = launcher.Launcher(listener)
        for _ in range(2000):
            message = random.randbytes(random.choice((1, 8, 23, 24, 24, 24)))
            message += random.choice((b"", b"", *DOCUMENTS))
            socket.send_fds(one._socket, [message], [nothing.fileno()] * random.choice((0, 1, 5, 11, 21, 60)))
            number, pid = one._answer()
            assert pid < 0
            assert number == (int.from_bytes(message[:8], "little") if len(message) >= 24 else 0)
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        sandbox = maker.container(f"airlock-warm-{new_id('x')}", kind, 200_001, tmp_path, "airlock-launcher-x")
        fork = one.fork(sandbox.place, 200_001, 1, kind.limits.output_bytes)

    assert fork.waits()
    assert sandbox.remove()
    assert container.remove()
    fork.close()
    sandbox.close()
    one.forget()


def test_plain_starts_can_be_had(make_server: Callable[..., RunningServer]) -> None:
    """With no warm containers there is neither one nor a launcher, and runs have process 1 to themselves."""
    server = make_server(AIRLOCK_WARM_CONTAINERS="0")

    run = server.submit("import os, pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'p': [os.getpid()]})")

    assert table(server, run) == {"p": [1]}
    assert server.gone()
    assert server.all_containers() == []


def test_a_tenant_may_have_plain_starts_only(make_server: Callable[..., RunningServer]) -> None:
    """Its runs are process 1 of their containers; another tenant's are forked, and share their addresses."""
    first = make_server()
    tenant_id = first.get("/v1/keys").json()["items"][0]["tenant_id"]
    first.stop()
    server = make_server(key=first.key, AIRLOCK_PLAIN_START_TENANTS=json.dumps([tenant_id]))
    other = _another_tenant(server)
    other.warm_up()

    own, others = server.submit(WHICH_PROCESS), other.submit(WHICH_PROCESS)

    assert table(server, own) == {"p": [1]}
    assert table(other, others) != {"p": [1]}


def test_a_tenant_that_crashes_again_and_again_has_plain_starts(make_server: Callable[..., RunningServer]) -> None:
    """After more than three native crashes within a minute, so that the launcher is left to the others."""
    server = make_server()
    other = _another_tenant(server)
    server.warm_up()

    found = []
    for _ in range(4):
        found.append(table(server, server.submit(WHICH_PROCESS))["p"][0])
        assert server.submit("import ctypes\ndef azureml_main():\n    ctypes.string_at(0)")["reason"] == "crashed"
        other.warm_up()
    own, others = server.submit(WHICH_PROCESS), other.submit(WHICH_PROCESS)
    before = launcher_pid(other)
    assert server.submit("import ctypes\ndef azureml_main():\n    ctypes.string_at(0)")["reason"] == "crashed"

    assert 1 not in found
    assert table(server, own) == {"p": [1]}
    assert table(other, others) != {"p": [1]}
    assert launcher_pid(other) == before


def _another_tenant(server: RunningServer) -> RunningServer:
    made = server.post("/v1/admin/tenants", json={"name": "other"}).json()
    key = server.post(f"/v1/admin/tenants/{made['id']}/keys", json={"name": "k", "scopes": ["run"]}).json()["key"]
    return dataclasses.replace(server, key=key, session=requests.Session())
