"""What an OCI runtime is asked for: pinned, line by line, like Docker's create request; and how hosts differ."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_create_request import spec_and_arguments

from controller.engines.oci_config import launcher_bounds, launcher_config, sandbox_config, seccomp, warm_config
from controller.engines.oci_host import Host, read_host
from controller.engines.uids import FIRST_UID, UIDS, root_uid
from controller.engines.walls import INIT_UID, launcher_profile, seccomp_profile

GOLDEN, GOLDEN_WARM = (Path(__file__).parent / name for name in ("oci_config.json", "oci_warm_configs.json"))
"""After a change that is meant: the test's own message shows the new text. Each line of it is reviewed."""
HOST = Host(cgroup_version="1", cgroup_driver="cgroupfs", swap_limit=True)
ROOTFS = Path("/images/sha256-golden/rootfs")


def arguments(host: Host = HOST) -> dict[str, Any]:
    given = spec_and_arguments()[1]
    return {name: given[name] for name in ("instance", "deadline")} | {"rootfs": ROOTFS, "host": host}


def with_hash_of_filter(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the filter's hash in its place, for a golden file that can be read."""
    copy: dict[str, Any] = json.loads(json.dumps(config))
    text = json.dumps(copy["linux"]["seccomp"], separators=(",", ":"))
    copy["linux"]["seccomp"] = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return copy


def sandbox_on(host: Host, *, user_namespace: bool = True) -> dict[str, Any]:
    given = arguments(host)
    return sandbox_config(spec_and_arguments()[0], uid=212_345, user_namespace=user_namespace, **given)


def warm(*, user_namespace: bool = True) -> dict[str, Any]:
    limits, given = spec_and_arguments()[0].limits, arguments() | {"uid": 212_345, "user_namespace": user_namespace}
    return warm_config("airlock-warm-golden-1", limits, "sha256:golden", Path("/data/slot"), **given)


def test_the_config_is_the_reviewed_one() -> None:
    """The golden file holds the whole config.json: no wall can go, or weaken, without a change of that file."""
    config = with_hash_of_filter(sandbox_on(HOST))

    assert config == json.loads(GOLDEN.read_text()), json.dumps(config, indent=2)


def test_the_configs_for_warm_containers_and_launchers_are_the_reviewed_ones() -> None:
    """Each has a golden file too: what a launcher may do more than a sandbox stands in there, line by line."""
    launcher = launcher_config("airlock-launcher-golden-2", Path("/data/launcher"), **arguments())

    making = launcher_config("airlock-launcher-golden-2", Path("/data/launcher"), **arguments(), makes=True)

    found = {"warm": warm(), "launcher": launcher, "making launcher": making}
    found = {name: with_hash_of_filter(config) for name, config in found.items()}
    assert found == json.loads(GOLDEN_WARM.read_text()), json.dumps(found, indent=2)


@pytest.mark.parametrize("profile", [seccomp_profile, launcher_profile, partial(launcher_profile, makes=True)])
def test_the_filter_is_dockers_rule_by_rule(profile: Any) -> None:
    """Of Docker's form nothing is lost but the map of architectures, which has become a list."""
    docker = json.loads(profile())

    oci = seccomp(profile())

    assert oci == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": docker["syscalls"],
    }
    assert docker.keys() - oci.keys() == {"archMap"}
    assert {name for rule in docker["syscalls"] for name in rule} <= {"names", "action", "args", "errnoRet"}


@pytest.mark.parametrize(
    ("host", "memory", "place"),
    [
        (HOST, {"swap": 1 << 30, "swappiness": 0, "disableOOMKiller": False}, "/airlock-runs/airlock-run_golden-1"),
        (replace(HOST, swap_limit=False), {"swappiness": 0, "disableOOMKiller": False}, None),
        (Host("2", "cgroupfs", True), {"swap": 1 << 30}, "/airlock-runs/airlock-run_golden-1"),
        (Host("2", "systemd", True), {"swap": 1 << 30}, "airlock-runs.slice:airlock:airlock-run_golden-1"),
    ],
)
def test_a_host_is_asked_for_what_it_has(host: Host, memory: dict[str, Any], place: str | None) -> None:
    """A runtime refuses what the kernel cannot do: swap without its accounting, swappiness on cgroup version 2."""
    linux = sandbox_on(host)["linux"]

    assert linux["resources"]["memory"] == {"limit": 1 << 30, **memory}
    assert place is None or linux["cgroupsPath"] == place


def test_without_a_user_namespace_nothing_else_is_asked_for_less() -> None:
    """On a host that has none: the image at its own place, the sleeper a user of the host; the rest is the same."""
    remapped = {"namespaces": ..., "uidMappings": ..., "gidMappings": ...}
    for with_one, without, first in (
        (sandbox_on(HOST), sandbox_on(HOST, user_namespace=False), 212_345),
        (warm(), warm(user_namespace=False), INIT_UID),
    ):
        assert without["root"] == {"path": str(ROOTFS), "readonly": True}
        assert without["process"] == with_one["process"] | {"user": {"uid": first, "gid": first}}
        assert with_one["linux"]["namespaces"] == [*without["linux"]["namespaces"], {"type": "user"}]
        assert with_one["linux"] | remapped == without["linux"] | remapped
        assert {name for name in with_one if with_one[name] != without[name]} <= {"root", "process", "linux"}
        assert "uidMappings" not in without["linux"]


def test_root_of_a_container_is_nobody_on_the_host() -> None:
    """Two users are mapped, the run to itself and root to one that is no run's: neither host's root nor another's."""
    linux = sandbox_on(HOST)["linux"]
    roots = {root_uid(uid) for uid in (FIRST_UID, FIRST_UID + UIDS - 1)}

    assert linux["uidMappings"] == linux["gidMappings"]
    assert [(one["containerID"], one["hostID"], one["size"]) for one in linux["uidMappings"]] == [
        (0, root_uid(212_345), 1), (212_345, 212_345, 1),
    ]  # fmt: skip
    assert not any(FIRST_UID - 1 <= root < FIRST_UID + UIDS for root in roots)
    assert len(roots) == 2


def test_a_profile_of_apparmor_is_used_where_it_is_loaded() -> None:
    """And nothing is said of it elsewhere: a runtime would refuse."""
    confined = sandbox_on(replace(HOST, apparmor_profile="docker-default"))["process"]

    assert confined["apparmorProfile"] == "docker-default"
    assert confined == sandbox_on(HOST)["process"] | {"apparmorProfile": "docker-default"}


def test_a_launcher_whose_forks_mount_is_given_no_profile_that_forbids_it() -> None:
    """Its forks take the profile on when they have; the document that they get names it, and the server looks."""
    host = arguments() | {"host": replace(HOST, apparmor_profile="docker-default")}
    able, other = (launcher_config("name", Path("/data"), **host, makes=makes)["process"] for makes in (True, False))

    assert ("apparmorProfile" in able, other["apparmorProfile"]) == (False, "docker-default")


def test_on_cgroup_version_2_a_launcher_whose_forks_make_containers_holds_them_all() -> None:
    """So its own bounds are not on the cgroup that the runtime makes, but on one in it."""
    host = arguments() | {"host": replace(HOST, cgroup_version="2")}
    able, other = (launcher_config("name", Path("/data"), **host, makes=makes)["linux"] for makes in (True, False))

    assert able["resources"].keys() == {"devices", "cpu", "pids"}
    assert able["resources"]["pids"] == {"limit": -1}, "systemd has a limit of its own for all else"
    assert other["resources"]["memory"]["limit"] == launcher_bounds(host["host"])["memory"]["limit"] == 1 << 30


def test_the_host_is_read_from_its_own_files(tmp_path: Path) -> None:
    """Version 1 and 2, with systemd and without, with swap's accounting and without, with AppArmor and without."""
    hybrid, unified, systemd = (tmp_path / name for name in ("hybrid", "unified", "systemd"))
    for path in (
        hybrid / "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
        hybrid / "run/systemd/system/",
        unified / "sys/fs/cgroup/cgroup.controllers",
        unified / "sys/fs/cgroup/own/memory.max",
        systemd / "sys/fs/cgroup/cgroup.controllers",
        systemd / "sys/fs/cgroup/own/memory.max",
        systemd / "sys/fs/cgroup/own/memory.swap.max",
        systemd / "run/systemd/system/unit",
        systemd / "sys/kernel/security/apparmor/profiles",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for root in (unified, systemd):
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/own\n")
    (systemd / "sys/kernel/security/apparmor/profiles").write_text("other (enforce)\ndocker-default (enforce)\n")

    assert read_host(hybrid) == Host("1", "cgroupfs", swap_limit=True)
    assert read_host(unified) == Host("2", "cgroupfs", swap_limit=False)
    assert read_host(systemd) == Host("2", "systemd", swap_limit=True, apparmor_profile="docker-default")
