"""An OCI runtime (runc, crun, runsc) as the oci engine drives it: a program that is run and ends. No daemon.

What a container is made of lies below /run, which a reboot empties as it ends all containers: one directory for each,
there before the runtime is asked and gone after everything else. So whatever is killed, the next sweep knows of it. Of
a container that no runtime makes (oci_made.py) there is a file in its place, with its document.
A container's first process becomes a child of this process, which is told how it ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from controller.engines import cgroup
from controller.engines.cgroup import CgroupReader
from controller.engines.oci_children import ChildInit
from controller.engines.oci_host import Host
from controller.engines.oci_stage import on_stage
from controller.engines.walls import SOCKET_BYTES
from controller.errors import EngineError, EngineUnavailable

STATE = Path("/run/airlock-oci")
_CALL_SECONDS = 60
_OWN_SECONDS = 1.0
"""For the cgroups of a container to go, whose first process has ended, before its runtime is asked."""
_MAKING_SECONDS = 10.0
"""For a runtime to end that an earlier server had started."""
_STAGED = ".new-"
_STAGED_SECONDS = 600.0
_OPTIONS = {"runsc": ("--network=none",)}
_log = structlog.get_logger(__name__)


class Runtime:
    """One program, and the containers that are made with it. Thread-safe."""

    def __init__(self, program: str, host: Host, state: Path = STATE) -> None:
        self.program = program
        self.host = host
        self._bundles = state / Path(program).name / "bundles"
        self._root = state / Path(program).name / "root"
        self._found: str | None = None

    def version(self) -> str:
        """What it says of itself; asked once for each program that is put in its place. EngineUnavailable."""
        path = self._path()
        return _version(path, os.stat(path).st_mtime_ns)

    def _path(self) -> str:
        """Looked for once, as long as it is there: not in every folder of the PATH for every container."""
        if self._found is None or not os.access(self._found, os.X_OK):
            self._found = shutil.which(self.program)
        if self._found is None:
            raise EngineUnavailable(f"{self.program} is not installed: `airlock doctor` says more")
        return self._found

    def start(self, name: str, config: dict[str, Any], streams: tuple[int, int, int], image: Path) -> ChildInit:
        """Make and start a container of this unpacked image, with these descriptors as its standard streams.

        EngineError: it did not come to life; `remove` what there may be. EngineUnavailable: nothing was made.
        """
        self.version()
        bundle = self.new_bundle(name, config)
        command = ["run", "--detach", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"), name]
        options = ["--log", str(bundle / "log"), "--log-format", "json"]
        with _being_made(bundle) as lock:

            def run() -> int:
                return _run(self._command(*options, *command), streams, lock)

            try:
                failed = on_stage(image, run) if _mappings(config) else run()
            except subprocess.TimeoutExpired as e:
                raise EngineError(f"{self.program} took more than {_CALL_SECONDS} s to start a container") from e
            except OSError as e:
                raise EngineError(f"{self.program} cannot be run: {e}") from e
        if failed:
            raise EngineError(f"{self.program} did not start the container: {_last_words(bundle / 'log')}")
        init = ChildInit.of_child(int((bundle / "pid").read_text()))
        if not _is_mapped(init.pid, config):
            init.close()
            raise EngineError(f"{self.program} did not give the container the user namespace that was asked for")
        return init

    def remove(self, name: str) -> bool:
        """Kill what is left of a container, and remove it; whether it is gone. No harm when it never was. Never raises.

        Its first process is killed, and collected where it is ours, before the runtime is asked: that waits long for
        one that is still to be collected.
        """
        bundle = self._bundles / name
        try:
            if bundle.is_file():
                return self.remove_made(name, self.place(name))
            if bundle.exists():
                with _being_made(bundle, _MAKING_SECONDS):
                    return not bundle.exists() or self._remove(name, bundle)
            return True
        except (EngineError, OSError) as e:
            if not bundle.exists():
                return True  # another sweep was faster; the bundle goes last
            _log.warning("container_not_removed", container=name, error=str(e))  # the sweep will find it
            return False

    def remove_made(self, name: str, place: str) -> bool:
        """As `remove`, of one that no runtime has made, with its cgroups at this place."""
        try:
            if cgroup.clear(place, _MAKING_SECONDS) is False:
                raise EngineError("its cgroups are still there")
            os.unlink(f"{self._bundles}/{name}")
        except FileNotFoundError:
            return True  # another sweep was faster
        except (EngineError, OSError) as e:
            _log.warning("container_not_removed", container=name, error=str(e))  # the sweep will find it
            return False
        return True

    def _remove(self, name: str, bundle: Path) -> bool:
        with suppress(OSError, ValueError):
            ChildInit.end(int((bundle / "pid").read_text()), name)
        if not self._cleared(name):
            done = self._call("delete", "--force", name)
            if cgroup.clear(self.place(name), _MAKING_SECONDS) is False:
                raise EngineError(f"its cgroups are still there; {self.program} said: {done.stderr.strip()[-300:]}")
        shutil.rmtree(self._root / name, ignore_errors=True)  # what runc knows of it; of a start that was cut off
        shutil.rmtree(bundle)
        return True

    def _cleared(self, name: str) -> bool:
        """Whether all that the runtime would do is done: its cgroups were there, and are gone.

        `runc delete --force` ends what is left, removes the cgroups and its own directory of the container: that costs
        a tenth as much without the start of a program. Where systemd holds the cgroups, systemd is to be asked.
        """
        if Path(self.program).name != "runc" or self.host.cgroup_driver == "systemd":
            return False
        return cgroup.clear(self.place(name), _OWN_SECONDS) is True

    def found(self, live: Callable[[], set[str]] = set) -> Iterator[tuple[str, dict[str, str]]]:
        """Every container that there is or may be, with its annotations. Launchers last: they collect their forks.

        Those are left out that are `live` after the look: one that is being made meanwhile is, or was not seen.
        """
        try:
            names = sorted(os.listdir(self._bundles), reverse=True)
        except FileNotFoundError:
            return
        known = live()
        for name in names:
            if name.startswith(_STAGED):
                self._forget_staged(self._bundles / name)
            elif name not in known:
                with suppress(OSError, ValueError, LookupError):  # it has gone meanwhile
                    yield name, dict(self.document(name)["annotations"])

    def document(self, name: str) -> dict[str, Any]:
        """What a container was made from. OSError, ValueError."""
        bundle = self._bundles / name
        found: dict[str, Any] = json.loads((bundle if bundle.is_file() else bundle / "config.json").read_text())
        return found

    def place(self, name: str) -> str:
        """Where its cgroups are, in each hierarchy. OSError, ValueError."""
        if (self._bundles / name).is_file():
            return str(self.document(name)["linux"]["cgroupsPath"]).strip("/")
        return cgroup.oci_place(name, self.host.cgroup_driver)

    def there(self, name: str) -> bool:
        """Whether there is or may be such a container."""
        return (self._bundles / name).exists()

    @staticmethod
    def _forget_staged(path: Path) -> None:
        """A directory that nothing was made with."""
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STAGED_SECONDS:
                path.unlink() if path.is_file() else shutil.rmtree(path)

    def add_made(self, name: str, config: dict[str, Any]) -> None:
        """Know of a container that no runtime makes, whose cgroups will be where its document says. EngineUnavailable.

        As a bundle it is there at once and whole.
        """
        staged = f"{self._bundles}/{_STAGED}{name}"
        try:
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                text = json.dumps(config).encode()
                if os.write(descriptor, text) != len(text):
                    raise OSError("there is no room")
            finally:
                os.close(descriptor)
            os.rename(staged, f"{self._bundles}/{name}")
        except OSError as e:
            with suppress(OSError):
                os.unlink(staged)
            raise EngineUnavailable(f"{self._bundles} cannot be written: {e}") from e

    def new_bundle(self, name: str, config: dict[str, Any]) -> Path:
        """There at once and whole, so that a sweep can always tell whose it is. EngineUnavailable: it is not."""
        staged, bundle = self._bundles / f"{_STAGED}{name}", self._bundles / name
        try:
            self._bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
            staged.mkdir(mode=0o700)
            (staged / "config.json").write_text(json.dumps(config))
            staged.rename(bundle)
        except OSError as e:
            shutil.rmtree(staged, ignore_errors=True)
            raise EngineUnavailable(f"{self._bundles} cannot be written: {e}") from e
        return bundle

    def _command(self, *words: str) -> list[str]:
        systemd = ["--systemd-cgroup"] if self.host.cgroup_driver == "systemd" else []
        extra = _OPTIONS.get(Path(self.program).name, ())
        return [self._path(), "--root", str(self._root), *systemd, *extra, *words]

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _call(self._command(*words))


def counters_of(place: str, runtime: Runtime) -> CgroupReader:
    """Of a container with its cgroups there, whose script has not started: what sockets may hold is bounded first."""
    counters = cgroup.reader_at(place, runtime.host.cgroup_version)
    counters.bound_socket_buffers(SOCKET_BYTES)
    return counters


def all_runtimes(current: Runtime, state: Path = STATE) -> list[Runtime]:
    """This one, and those that containers of an earlier server may have been made with."""
    names = sorted(path.name for path in state.glob("*") if path.is_dir())
    return [current, *(Runtime(name, current.host, state) for name in names if name != Path(current.program).name)]


@cache
def _version(path: str, changed: int) -> str:
    """`changed` is when the program was: another one may say something else. Debian tells its package as a commit."""
    done = _call([path, "--version"])
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise EngineUnavailable(f"{path} --version ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    first = lines[0].rpartition(" ")[2]
    commits = (line.rpartition(" ")[2] for line in lines if line.startswith("commit: "))
    return next((commit for commit in commits if commit.startswith(first)), first)


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_CALL_SECONDS, check=False
        )
    except OSError as e:
        raise EngineUnavailable(f"{command[0]} cannot be run: {e}") from e
    except subprocess.TimeoutExpired as e:
        raise EngineUnavailable(f"{command[0]} took more than {_CALL_SECONDS} s") from e


def _run(command: list[str], streams: tuple[int, int, int], lock: int) -> int:
    """Its exit status, as soon as there is one: the wait of subprocess with a timeout looks only now and then.
    OSError, TimeoutExpired."""
    process = subprocess.Popen(command, stdin=streams[0], stdout=streams[1], stderr=streams[2], pass_fds=(lock,))
    try:
        ended = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll(_CALL_SECONDS * 1000)
        finally:
            os.close(ended)
        return process.wait(0)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


@contextmanager
def _being_made(bundle: Path, seconds: float = 0.0) -> Iterator[int]:
    """Held by a runtime, too, as long as it makes the container: also where the server that asked it was killed."""
    descriptor = os.open(bundle / "config.json", os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EngineError("it is still being made") from None
                time.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)


def _mappings(config: dict[str, Any]) -> list[tuple[int, int, int]]:
    """The users of the user namespace that is asked for; none without one."""
    asked = config["linux"].get("uidMappings", [])
    return [(one["containerID"], one["hostID"], one["size"]) for one in asked]


def _is_mapped(pid: int, config: dict[str, Any]) -> bool:
    """Whether the kernel says the same of a process, its groups included."""
    asked = _mappings(config)
    if not asked:
        return True
    try:
        maps = [Path(f"/proc/{pid}/{kind}_map").read_text().splitlines() for kind in ("uid", "gid")]
    except OSError:
        return False
    return all([tuple(map(int, line.split())) for line in lines] == asked for lines in maps)


def _last_words(log: Path) -> str:
    """The complaints in a runtime's log, a JSON object in each line. The first is the cause of the others."""
    with suppress(OSError, ValueError, LookupError):
        lines = [json.loads(line) for line in log.read_text(errors="replace").splitlines() if line]
        grave = [str(line["msg"]) for line in lines if line["level"] in ("error", "fatal")]
        return "; ".join(grave or [str(lines[-1]["msg"])])[:500]
    return "it gave no reason"
