"""What this host means for the oci engine: its runtime, cgroups and image; and one real container."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from controller.config import Settings
from controller.doctor.engine import capacity_finding, component_finding
from controller.doctor.examination import Finding, Level
from controller.engines.base import RUNNER_COMMAND, SandboxSpec
from controller.engines.oci_children import adopt
from controller.engines.oci_config import sandbox_config
from controller.engines.oci_host import Host, can_limit, has_seccomp, read_host
from controller.engines.oci_images import Images
from controller.engines.oci_runtime import Runtime
from controller.engines.oci_streams import pipes
from controller.engines.oci_users import UserNamespaces, Wanted
from controller.engines.oci_warm import end
from controller.engines.uids import UidPool
from controller.errors import EngineError, ImageMissing

_PROBE_SECONDS = 30
_CONTROLLERS = {"memory": "memory", "pids": "number of processes", "cpu": "CPU"}


def oci_findings(settings: Settings) -> Iterator[Finding]:
    """Look at all that the engine needs, in the order in which it needs it."""
    if os.geteuid() != 0:
        yield Finding("user", Level.ERROR, "not root", "run it as root: the oci engine gives each run its own user")
        return
    host = read_host()
    runtime = Runtime(settings.runtime, host)
    usable = [*_runtime(runtime)]
    yield from usable
    yield from host_findings(host, {name for name in _CONTROLLERS if can_limit(host, name)}, seccomp=has_seccomp())
    yield _capacity(settings)
    images = Images(settings.oci_image_dir)
    try:
        digest = images.digest(settings.image)
        made = images.describe(digest).created[:10]
    except ImageMissing as error:
        yield Finding("image", Level.ERROR, error.detail, "run `airlock image build`, or `airlock image unpack`")
        return
    except EngineError as error:
        yield Finding("image", Level.ERROR, error.detail, "remove its folder and run `airlock image build`")
        return
    yield Finding("image", Level.OK, f"{settings.image} is {digest}, made {made}")
    if not any(finding.level is Level.ERROR for finding in usable):
        adopt()
        yield from _containers(settings, runtime, images.rootfs(digest))


def host_findings(host: Host, controllers: set[str], *, seccomp: bool) -> Iterator[Finding]:
    """Judge what was read. Pure."""
    yield Finding("cgroups", Level.OK, f"version {host.cgroup_version}, driver {host.cgroup_driver}")
    missing = [what for name, what in _CONTROLLERS.items() if name not in controllers]
    if missing:
        advice = "enable the kernel's cgroup controllers (memory, pids, cpu)"
        yield Finding("limits", Level.ERROR, f"the kernel cannot limit: {', '.join(missing)}", advice)
    else:
        yield Finding("limits", Level.OK, f"the kernel can limit {', '.join(_CONTROLLERS.values())}")
    if host.swap_limit:
        yield Finding("swap limit", Level.OK, "supported; runs get no swap")
    else:
        yield Finding(
            "swap limit",
            Level.WARNING,
            "the kernel cannot limit swap: where swap is on, a run may take more than its memory limit",
            "turn swap off, or boot with swapaccount=1",
        )
    if seccomp:
        yield Finding("seccomp", Level.OK, "available; runs get Airlock's own profile")
    else:
        yield Finding("seccomp", Level.ERROR, "not available", "use a kernel built with seccomp")
    if host.apparmor_profile:
        yield Finding("LSM", Level.OK, f"AppArmor confines containers by {host.apparmor_profile}")
    else:
        yield Finding(
            "LSM",
            Level.WARNING,
            "no AppArmor profile for containers is loaded: one wall less",
            "load Docker's docker-default where the kernel has AppArmor; the other walls do not depend on it",
        )


def _runtime(runtime: Runtime) -> Iterator[Finding]:
    try:
        version = runtime.version()
    except EngineError as error:
        advice = "install it (apt-get install runc), or set AIRLOCK_RUNTIME to one that is there"
        yield Finding("runtime", Level.ERROR, error.detail, advice)
        return
    yield Finding("runtime", Level.OK, f"{shutil.which(runtime.program)}, driven directly")
    yield component_finding(Path(runtime.program).name, version)


def _capacity(settings: Settings) -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return capacity_finding({"MemTotal": memory, "NCPU": os.cpu_count()}, settings)


def _containers(settings: Settings, runtime: Runtime, rootfs: Path) -> Iterator[Finding]:
    """Made to see whether they have user namespaces; then one as a run would have it."""
    wanted = settings.oci_user_namespaces
    try:
        lack = UserNamespaces(wanted, runtime, UidPool(), "doctor").lack(rootfs)
    except EngineError as e:
        lack = e.detail  # no container starts, as the next one says
    else:
        yield user_namespaces_finding(wanted, lack)
    yield _probe(settings, runtime, rootfs, user_namespace=wanted == "on" or (wanted == "auto" and lack is None))


def user_namespaces_finding(wanted: Wanted, lack: str | None) -> Finding:
    """Judge what a trial has shown. Pure."""
    name, setting = "user namespaces", "AIRLOCK_OCI_USER_NAMESPACES"
    if lack is None and wanted != "off":
        return Finding(name, Level.OK, "each container has one of its own: its root is nobody on the host")
    if lack is None:
        found, advice = f"there could be some, but {setting} is off: one wall less", f"set {setting} to auto or on"
        return Finding(name, Level.WARNING, found, advice)
    level = Level.ERROR if wanted == "on" else Level.WARNING
    consequence = "no run starts" if wanted == "on" else "one wall less"
    return Finding(
        name,
        level,
        f"a container with one does not start, one without does; {setting} is {wanted}: {consequence}. {lack}",
        "the message is the runtime's own; usual causes: the sysctl user.max_user_namespaces is 0, a server that is in "
        "a container itself, a runtime older than runc 1.1; or accept it: the other walls do not depend on it",
    )


def _probe(settings: Settings, runtime: Runtime, rootfs: Path, *, user_namespace: bool) -> Finding:
    """Start one container exactly as for a run, but for its command, which does nothing."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="airlock-doctor-") as folder:
            code = _run_nothing(settings, runtime, rootfs, Path(folder), user_namespace=user_namespace)
    except EngineError as error:
        return Finding(
            "sandbox",
            Level.ERROR,
            f"a container with the flags of a run does not start: {error.detail}",
            "the message is the runtime's own; usual causes: a full /run, cgroups that are mounted read-only",
        )
    if code != 0:
        return Finding(
            "sandbox",
            Level.ERROR,
            f"Python in a container with the flags of a run ended with exit code {code}",
            "rebuild the image: `airlock image build`",
        )
    spent = time.monotonic() - began
    return Finding("sandbox", Level.OK, f"a container with a run's flags came and went in {spent:.2f} s")


def _run_nothing(
    settings: Settings, runtime: Runtime, rootfs: Path, folder: Path, *, user_namespace: bool
) -> int | None:
    run_id = f"doctor-{os.getpid()}-{time.time_ns()}"
    spec = SandboxSpec(run_id, 1, settings.image, folder, folder, settings.limits())
    deadline = int(time.time() + _PROBE_SECONDS)  # any server's sweep removes it if this process dies
    with UidPool().take() as uid, pipes() as streams:
        config = sandbox_config(
            spec, uid=uid, instance="doctor", deadline=deadline, rootfs=rootfs, host=runtime.host,
            user_namespace=user_namespace,
        )  # fmt: skip
        config["process"]["args"] = [*RUNNER_COMMAND[:-2], "-c", "pass"]
        stdin, stdout, stderr = streams.theirs
        try:
            init = runtime.start(spec.name, config, (stdin, stdout, stderr), rootfs)
        except EngineError:
            runtime.remove(spec.name)
            raise
        try:
            init.wait(_PROBE_SECONDS)
            return init.collect()
        finally:
            end(runtime, spec.name, init)
            init.close()
