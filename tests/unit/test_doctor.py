"""The doctor's judgements, on recorded words of daemons and on hosts made up of files; then on this host."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.cli.main import cli
from controller.config import Settings
from controller.doctor.engine import clock_finding, engine_findings, is_fixed, parse_version
from controller.doctor.examination import Finding, Level, examine
from controller.doctor.host import Host, host_findings, read_host
from controller.doctor.oci import host_findings as oci_host_findings
from controller.doctor.oci import user_namespaces_finding
from controller.engines.oci_host import Host as Kernel
from tests.unpacked import unpacked_images

DEBIAN_12: dict[str, Any] = {
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "KernelVersion": "6.1.0-40-amd64",
    "NCPU": 4,
    "MemTotal": 16 << 30,
    "SystemTime": "2026-11-24T00:05:07.545794411Z",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
}
DEBIAN_12_VERSION: dict[str, Any] = {
    "Version": "20.10.24+dfsg1",
    "ApiVersion": "1.41",
    "Components": [
        {"Name": "Engine", "Version": "20.10.24+dfsg1", "Details": {"GitCommit": "5d6db84"}},
        {"Name": "containerd", "Version": "1.6.20~ds1", "Details": {"GitCommit": "1.6.20~ds1-1+deb12u3"}},
        {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
        {"Name": "docker-init", "Version": "0.19.0", "Details": {"GitCommit": ""}},
    ],
}
HOST = Host(
    python=(3, 12, 1),
    kernel="6.1.0-40-amd64",
    data_dir=Path("/var/lib/airlock"),
    data_dir_mode=0o700,
    data_dir_owned=True,
    data_dir_writable=True,
    file_system="ext4",
    free_bytes=100 << 30,
    free_inodes=1_000_000,
    swap_bytes=0,
    smt_active=False,
    ksm_running=False,
    vulnerable=(),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, workers=2)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """The findings by their names, each of which must be unique."""
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def judge(settings: Settings, name: str, **changes: Any) -> Finding:
    """The finding of that name on a good daemon with these differences."""
    return by_name(engine_findings(DEBIAN_12 | changes, DEBIAN_12_VERSION, settings))[name]


def components(**versions: str) -> dict[str, Any]:
    """`docker version` of an upstream build with these component versions."""
    found = [
        {"Name": name, "Version": version, "Details": {"GitCommit": "v1-0-gabc"}}
        for name, version in versions.items()
    ]
    return {"ApiVersion": "1.51", "Components": found}


def test_a_good_daemon_has_no_faults_but_old_components(settings: Settings) -> None:
    """Debian 12's packages: everything is well, except for flaws that its runc and containerd still show."""
    findings = by_name(engine_findings(DEBIAN_12, DEBIAN_12_VERSION, settings))

    faulty = {name for name, finding in findings.items() if finding.level is not Level.OK}
    assert faulty == {"runc", "containerd"}
    assert all(findings[name].level is Level.WARNING for name in faulty)


def test_a_repaired_package_is_not_blamed_for_its_number(settings: Settings) -> None:
    """Debian's deb12u1 has the fix of CVE-2024-21626; upstream's 1.1.5, and Debian's earlier one, do not."""
    debian = by_name(engine_findings(DEBIAN_12, DEBIAN_12_VERSION, settings))["runc"]
    upstream = by_name(engine_findings(DEBIAN_12, components(runc="1.1.5"), settings))["runc"]

    assert "CVE-2024-21626" not in debian.found
    assert "CVE-2025-31133" in debian.found
    assert "CVE-2024-21626" in upstream.found
    assert "security tracker" in upstream.advice


@pytest.mark.parametrize(
    ("runc", "level"),
    [("1.3.6", Level.OK), ("1.6.0", Level.OK), ("1.5.0", Level.OK), ("1.3.3", Level.WARNING), ("x", Level.WARNING)],
)
def test_runc_is_judged_by_its_branch(settings: Settings, runc: str, level: Level) -> None:
    """A current patch of a maintained branch is well; an older one, or one that cannot be read, is not."""
    finding = by_name(engine_findings(DEBIAN_12, components(runc=runc), settings))["runc"]

    assert finding.level is level
    assert runc in finding.found


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("1.1.99", False),
        ("1.2.7", False),
        ("1.2.8", True),
        ("v1.3.10", True),
        ("1.4.0-rc.2", False),
        ("1.4.0-rc.3", True),
        ("1.4.0~rc3", True),
        ("1.4.0", True),
        ("1.5.0-rc.1", True),
        ("2.0.0", True),
        ("1.2.8+ds1-1", True),
    ],
)
def test_a_fix_counts_in_its_branch_and_in_newer_ones(version: str, fixed: bool) -> None:
    """Versions are compared as numbers; candidates come before their release."""
    parsed = parse_version(version)

    assert parsed is not None
    assert is_fixed(parsed, ("1.2.8", "1.3.3", "1.4.0-rc.3")) is fixed


def test_a_text_without_a_version_has_none() -> None:
    """A commit's hash is not mistaken for a version."""
    assert [parse_version(text) for text in ("", "5d6db84", "1.2", "unknown")] == [None] * 4


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({"SecurityOptions": []}, "seccomp", Level.ERROR, "not available"),
        ({"SecurityOptions": None}, "LSM", Level.WARNING, "one wall less"),
        ({"SecurityOptions": ["name=selinux"]}, "LSM", Level.OK, "selinux"),
        ({"SecurityOptions": ["name=userns"]}, "user namespaces", Level.OK, "remapped"),
        ({"SecurityOptions": ["name=rootless"]}, "user namespaces", Level.OK, "without root"),
        ({"CgroupDriver": "none"}, "cgroups", Level.ERROR, "no limit"),
        ({"CgroupVersion": "1", "CgroupDriver": "cgroupfs"}, "cgroups", Level.OK, "version 1"),
        ({"MemoryLimit": False, "PidsLimit": False}, "limits", Level.ERROR, "memory, number of processes"),
        ({"CpuCfsQuota": False}, "limits", Level.ERROR, "CPU"),
        ({"SwapLimit": False}, "swap limit", Level.WARNING, "more than its memory limit"),
        ({"Runtimes": {"crun": {}}}, "runtime", Level.ERROR, "'runc' is none"),
        ({"MemTotal": 1 << 30}, "capacity", Level.WARNING, "2.0 GiB by their default limit"),
    ],
)
def test_a_fault_of_the_daemon_is_found(
    settings: Settings, changes: dict[str, Any], name: str, level: Level, words: str
) -> None:
    """One thing is wrong with an otherwise good daemon: its finding says so, and what to do."""
    finding = judge(settings, name, **changes)

    assert finding.level is level
    assert words in finding.found
    assert finding.level is Level.OK or finding.advice


@pytest.mark.parametrize(("api", "level"), [("1.40", Level.ERROR), ("1.41", Level.OK), ("", Level.ERROR)])
def test_an_old_daemon_is_refused(settings: Settings, api: str, level: Level) -> None:
    """Docker before 20.10 lacks what a run's request asks for; 1.100 is newer than 1.41."""
    versions = {"ApiVersion": api, "Components": []}

    finding = by_name(engine_findings(DEBIAN_12, versions, settings))["docker API"]
    newer = by_name(engine_findings(DEBIAN_12, versions | {"ApiVersion": "1.100"}, settings))["docker API"]

    assert finding.level is level
    assert newer.level is Level.OK


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-11-24T00:05:07.545794411Z", Level.OK),
        ("2026-11-24T01:05:07.545794411+01:00", Level.OK),
        ("2026-11-24T00:05:00Z", Level.WARNING),
        ("yesterday", Level.WARNING),
    ],
)
def test_clocks_are_compared(text: str, level: Level) -> None:
    """Two seconds of difference are borne; more, or a time that cannot be read, is told."""
    now = 1795478707.0  # 2026-11-24 00:05:07 UTC

    finding = clock_finding({"SystemTime": text}, now, now + 0.5)

    assert finding.level is level


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({}, "data directory", Level.OK, "is private"),
        ({"data_dir_mode": 0o755}, "data directory", Level.ERROR, "mode 0755"),
        ({"data_dir_owned": False}, "data directory", Level.ERROR, "another user"),
        ({"data_dir_writable": False}, "data directory", Level.ERROR, "cannot be written"),
        ({"data_dir_mode": None}, "data directory", Level.OK, "will be made"),
        ({"file_system": "tmpfs"}, "file system", Level.WARNING, "lost when the host restarts"),
        ({"file_system": "nfs4"}, "file system", Level.WARNING, "locks"),
        ({"free_bytes": 5 << 30}, "disk", Level.WARNING, "5.0 GiB"),
        ({"free_bytes": 1 << 29}, "disk", Level.ERROR, "0.5 GiB"),
        ({"free_inodes": 500}, "inodes", Level.WARNING, "500 free"),
        ({"kernel": "4.19.0-21-amd64"}, "kernel", Level.WARNING, "no longer"),
        ({"kernel": "5.10.0"}, "kernel", Level.OK, "5.10.0"),
        ({"vulnerable": ("mds", "tsa")}, "kernel", Level.WARNING, "mds, tsa"),
        ({"smt_active": True}, "SMT", Level.WARNING, "share one core"),
        ({"ksm_running": True}, "KSM", Level.WARNING, "merged"),
        ({"swap_bytes": 2 << 30}, "swap", Level.OK, "2.0 GiB"),
        ({"python": (3, 10, 9)}, "python", Level.ERROR, "3.10.9"),
    ],
)
def test_a_fault_of_the_host_is_found(
    settings: Settings, changes: dict[str, Any], name: str, level: Level, words: str
) -> None:
    """One thing is different on an otherwise good host: its finding says so, the others stay as they were."""
    good = by_name(host_findings(HOST, settings))

    found = by_name(host_findings(replace(HOST, **changes), settings))

    assert found[name].level is level
    assert words in found[name].found
    assert {n for n in found if found[n] != good[n]} <= {name, "file system"}


def test_what_a_kernel_does_not_tell_is_not_judged(settings: Settings) -> None:
    """No file, no finding: neither good nor bad is made up."""
    host = replace(HOST, smt_active=None, ksm_running=None, free_inodes=None)

    names = by_name(host_findings(host, settings)).keys()

    assert not names & {"SMT", "KSM", "inodes"}


def test_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    """/proc and /sys are read as the kernel writes them."""
    data_dir = tmp_path / "with space" / "data"
    data_dir.mkdir(parents=True)
    data_dir.chmod(0o750)
    files = {
        "proc/self/mounts": f"/dev/a / ext4 rw 0 0\ntmpfs {tmp_path}/with\\040space tmpfs rw 0 0\n",
        "proc/meminfo": "MemTotal: 1 kB\nSwapTotal:     2048 kB\n",
        "sys/devices/system/cpu/smt/active": "1\n",
        "sys/kernel/mm/ksm/run": "0\n",
        "sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable; SMT vulnerable\n",
        "sys/devices/system/cpu/vulnerabilities/l1tf": "Mitigation: PTE Inversion\n",
    }
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    host = read_host(data_dir, tmp_path / "root")

    assert (host.file_system, host.swap_bytes, host.smt_active, host.ksm_running) == ("tmpfs", 2 << 20, True, False)
    assert host.vulnerable == ("mds",)
    assert (host.data_dir_mode, host.data_dir_owned, host.data_dir_writable) == (0o750, True, True)
    assert host.free_bytes > 0


def test_a_data_directory_that_is_not_there_yet_is_judged_by_its_place(tmp_path: Path) -> None:
    """Free space and permission are those of the nearest folder that exists."""
    host = read_host(tmp_path / "a" / "b")

    assert host.data_dir_mode is None
    assert host.data_dir_writable
    assert host.free_bytes == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.05)


def test_a_daemon_that_does_not_answer_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was tried, the reason and the remedy are named; the host's findings are still there."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    findings = by_name(examine(settings))

    assert findings["docker"].level is Level.ERROR
    assert "/nonexistent/docker.sock" in findings["docker"].found
    assert "DOCKER_HOST" in findings["docker"].advice
    assert findings["python"].level is Level.OK
    assert "image" not in findings


def test_a_daemon_that_hangs_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that accepts and says nothing costs seconds, not for ever."""
    monkeypatch.setattr("controller.doctor.examination._CALL_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()

        findings = by_name(examine(settings))

    assert findings["docker"].level is Level.ERROR
    assert time.monotonic() - start < 20


def test_the_command_prints_each_finding_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every finding has its line, in either form; an error decides the exit code."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    arguments = ["doctor", "--data-dir", str(tmp_path / "new")]

    text = CliRunner().invoke(cli, arguments)
    data = CliRunner().invoke(cli, [*arguments, "--json"])

    findings = json.loads(data.stdout)["findings"]
    assert text.exit_code == data.exit_code == 1
    lines = [f"{finding['level']:<8}{finding['name']} " for finding in findings]
    assert [line for line in lines if f"\n{line}" not in f"\n{text.stdout}"] == []
    assert [finding["level"] for finding in findings if finding["name"] == "docker"] == ["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the oci engine needs root")
def test_the_oci_engine_is_examined_with_a_real_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Docker: the choice and its reason, runtime, cgroups, image; and a container that came and went."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    settings = Settings(engine="auto", oci_image_dir=unpacked_images())

    findings = by_name(examine(settings))

    assert findings["engine"].found.startswith("oci, because Docker does not answer")
    good = ("runtime", "limits", "seccomp", "image", "user namespaces", "sandbox")
    assert {findings[name].level for name in good} == {Level.OK}
    assert "docker" not in findings


@pytest.mark.skipif(os.geteuid() != 0, reason="the oci engine needs root")
def test_what_the_oci_engine_lacks_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """A runtime that is not installed, an image that is not unpacked; then no container is tried."""
    findings = by_name(examine(Settings(engine="oci", runtime="no-such-runtime", oci_image_dir=tmp_path)))

    assert findings["engine"].found == "oci, because AIRLOCK_ENGINE is oci"
    assert [findings[name].level for name in ("runtime", "image")] == [Level.ERROR] * 2
    assert "AIRLOCK_RUNTIME" in findings["runtime"].advice
    assert "airlock image build" in findings["image"].advice
    assert "sandbox" not in findings


@pytest.mark.parametrize(
    ("wanted", "lack", "level", "words"),
    [
        ("auto", None, Level.OK, "its root is nobody on the host"),
        ("on", None, Level.OK, "its root is nobody on the host"),
        ("off", None, Level.WARNING, "AIRLOCK_OCI_USER_NAMESPACES is off"),
        ("auto", "runc did not start", Level.WARNING, "one wall less. runc did not start"),
        ("off", "runc did not start", Level.WARNING, "one wall less. runc did not start"),
        ("on", "runc did not start", Level.ERROR, "no run starts. runc did not start"),
    ],
)
def test_whether_containers_have_user_namespaces_is_told(
    wanted: Any, lack: str | None, level: Level, words: str
) -> None:
    """And where they have none: why, in the runtime's words, and what to do."""
    finding = user_namespaces_finding(wanted, lack)

    assert (finding.name, finding.level, words in finding.found) == ("user namespaces", level, True)
    assert bool(finding.advice) == (level is not Level.OK)


def test_a_host_that_cannot_hold_a_run_is_an_error() -> None:
    """No controller for memory, no seccomp: the limits and the filter would be nothing."""
    bare = Kernel(cgroup_version="2", cgroup_driver="systemd", swap_limit=False)

    findings = by_name(list(oci_host_findings(bare, {"pids"}, seccomp=False)))
    whole = by_name(list(oci_host_findings(replace(bare, swap_limit=True, apparmor_profile="docker-default"),
                                           {"pids", "memory", "cpu"}, seccomp=True)))  # fmt: skip

    assert findings["limits"].found.endswith("memory, CPU")
    levels = {name: finding.level for name, finding in findings.items()}
    assert levels == {
        "cgroups": Level.OK, "limits": Level.ERROR, "swap limit": Level.WARNING, "seccomp": Level.ERROR,
        "LSM": Level.WARNING,
    }  # fmt: skip
    assert {finding.level for finding in whole.values()} == {Level.OK}
