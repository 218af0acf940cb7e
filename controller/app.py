"""The roof: where the rooms are put together. Nothing below names a concrete store, engine or dispatcher."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import structlog
from flask import Flask

from controller import failpoints, large_pages, serverlog
from controller.config import Settings, failpoint
from controller.dispatch.inprocess import InProcessDispatcher
from controller.dispatch.news import News
from controller.engines.base import Engine
from controller.engines.choice import choose
from controller.engines.docker import DockerEngine
from controller.engines.oci import OciEngine
from controller.engines.warm_start import WarmPolicy
from controller.errors import AirlockError, DataInUse, StoreError
from controller.http_server import HttpServer
from controller.metrics import Metrics
from controller.people import People
from controller.services import tally, tenants, upkeep
from controller.services.audit import Refusals
from controller.services.backend import LEASE_SECONDS, Backend, now
from controller.services.execution import execute
from controller.services.keys import Uses
from controller.services.mode import CurrentMode
from controller.services.notary import Notary
from controller.services.places import Places
from controller.services.quotas import Buckets
from controller.services.tenants import new_id
from controller.services.waiters import Waiters
from controller.signing import SigningKey, read_signing_key
from controller.store.audit import SqlAudit
from controller.store.batches import SqlBatches
from controller.store.database import Database
from controller.store.datasets import SqlDatasets
from controller.store.endpoints import SqlEndpoints
from controller.store.scripts import SqlScripts
from controller.store.sql import SqlStore
from controller.store.state import SqlState
from controller.store.tenants import SqlTenants
from controller.tracing import make_tracing
from controller.web.application import create_web
from controller.workspace import Workspaces

_log = structlog.get_logger(__name__)
KILL_SECONDS = 10.0
"""For runs to end that were killed."""
LOCK_SECONDS = 10.0
TENANTS_SECONDS = 1.0
_KEY_FILE_BYTES = 4096


def prepare(settings: Settings, given: str | None = None) -> str | None:
    """Bring the schema up to date; the first API key if there was none yet, to be shown once: a new one, or the one
    that the operator gives. InvalidRequest when that is none.

    ReceiptKeyUnusable, before anything else is done. StoreError when the database is gone and the runs' files are not:
    to begin anew would remove them all.
    """
    _signing_key(settings)
    if not _database_path(settings).exists() and any((settings.data_dir / "runs").glob("*")):
        raise StoreError(
            f"{_database_path(settings)} is gone, and {settings.data_dir / 'runs'} is not empty: restore the database "
            "from a backup, or move the data directory away to begin anew"
        )
    database = _database(settings)
    try:
        database.migrate()
        return tenants.first_key(SqlTenants(database), _pepper(settings), now(), given)
    finally:
        database.close()


class Server:
    """Everything that runs in the serving process, from start to close."""

    def __init__(self, settings: Settings) -> None:
        database = _database(settings)
        self.store = SqlStore(database)
        self.engine = _engine(settings)
        workspaces = Workspaces(settings.data_dir, settings.min_free_bytes)
        hosted, audit = SqlTenants(database), SqlAudit(database)
        places = Places(hosted, settings.quotas)
        self.dispatcher = InProcessDispatcher(settings.workers, self._execute, self.engine.kill, places.of)
        self.backend = Backend(
            settings=settings,
            store=self.store,
            datasets=SqlDatasets(database),
            batches=SqlBatches(database),
            tenants=hosted,
            audit=audit,
            state=SqlState(database),
            scripts=SqlScripts(database),
            endpoints=SqlEndpoints(database),
            workspaces=workspaces,
            engine=self.engine,
            dispatcher=self.dispatcher,
            news=News(),
            conversions=threading.Semaphore(settings.workers),
            waiters=Waiters(settings.threads // 2),
            metrics=Metrics(version("airlock")),
            tracing=make_tracing(settings.tracing),
            notary=Notary(_signing_key(settings), self.engine, settings.image, settings.workers),
            owner=new_id("own"),
            people=People(settings),
            places=places,
            mode=CurrentMode(),
            refusals=Refusals(audit),
            uses=Uses(hosted),
            buckets=Buckets(),
        )
        self.backend.metrics.measure(lambda: tally.measurements(self.backend))
        self._closing = threading.Event()
        self._calendar = upkeep.Calendar(self.backend.state)
        self.web: Flask = create_web(self.backend, _pepper(settings))

    def start(self) -> None:
        """Take up what an earlier process left: its files and runs are put right, its containers go, runs go on."""
        upkeep.take_up(self.backend)
        # Not in this thread: a Docker that hangs must not keep the server from answering.
        for name, seconds, step in (
            ("sweep", self.backend.settings.sweep_seconds, self._sweep),
            ("leases", LEASE_SECONDS / 4, self._keep_leases),
            ("retention", self.backend.settings.sweep_seconds, self._remove_old),
            ("tenants", TENANTS_SECONDS, self._look_after_tenants),
        ):
            threading.Thread(target=self._again_and_again, args=(seconds, step), name=name, daemon=True).start()

    def stop(self) -> None:
        """Requests that wait for something are answered now."""
        self.backend.news.close()

    def close(self) -> None:
        """Let running runs end for a while, then stop them; they are begun again at the next start."""
        self._closing.set()
        if not self.dispatcher.drain(self.backend.settings.drain_seconds):
            self.engine.close()
            self.dispatcher.drain(KILL_SECONDS)
        self.engine.close()
        self.backend.refusals.close()
        with suppress(AirlockError):  # counts are no reason to keep a server from ending
            self.backend.traffic.write(self.backend.endpoints)
        self.store.close()
        self.backend.tracing.close()

    def _execute(self, run_id: str) -> float | None:
        with structlog.contextvars.bound_contextvars(run_id=run_id):
            return execute(self.backend, run_id)

    def _again_and_again(self, seconds: float, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
            except AirlockError as e:
                _log.warning("upkeep_failed", step=threading.current_thread().name, code=e.code, error=e.detail)
            except Exception:  # noqa: BLE001 - the next step may work again
                _log.exception("unforeseen_error", step=threading.current_thread().name)
            if self._closing.wait(seconds):
                return

    def _sweep(self) -> None:
        with self.backend.metrics.engine_errors():
            removed = self.engine.sweep()
        if removed:
            _log.warning("leftovers_removed", containers=removed)
            self.backend.metrics.leaks("container", removed)

    def _keep_leases(self) -> None:
        upkeep.keep_leases(self.backend, self.dispatcher.at_work())

    def _remove_old(self) -> None:
        upkeep.remove_old(self.backend, self._calendar)

    def _look_after_tenants(self) -> None:
        upkeep.look_after_tenants(self.backend)


def _database(settings: Settings) -> Database:
    return Database(f"sqlite:///{_database_path(settings)}")


def _database_path(settings: Settings) -> Path:
    return settings.data_dir / "airlock.db"


def _pepper(settings: Settings) -> bytes:
    return tenants.read_pepper(settings.data_dir / "pepper")


def _signing_key(settings: Settings) -> SigningKey:
    return read_signing_key(settings.data_dir / "receipt.key")


def _engine(settings: Settings) -> Engine:
    """For as long as this process serves: its containers are the engine's that made them."""
    choice, instance = choose(settings), _instance(settings.data_dir)
    _log.info("engine_chosen", engine=choice.engine, why=choice.why)
    if choice.engine == "oci":
        return OciEngine(
            instance,
            settings.oci_image_dir,
            settings.runtime,
            _warm_policy(settings),
            settings.oci_user_namespaces,
            settings.oci_warm_maker,
        )
    return DockerEngine(instance, settings.runtime, settings.workers * 4 + 16, _warm_policy(settings))


def _warm_policy(settings: Settings) -> WarmPolicy:
    return WarmPolicy(
        size=settings.warm_containers,
        directory=settings.data_dir / "warm",
        image=settings.image,
        limits=settings.limits(),
        longest_seconds=settings.max_timeout_seconds,
    )


def _instance(data_dir: Path) -> str:
    """The name by which this data directory's server knows its containers again."""
    path = data_dir / "instance"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(fd, "w") as file:
        file.write(new_id("srv"))
    return path.read_text()


def serve(settings: Settings, key_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The first API key goes to `key_file` (mode 0600), or is printed, once; a key that
    is in the file already becomes the first.

    DataInUse when another server uses the data directory, ReceiptKeyUnusable, InvalidRequest for a key that is none.
    """
    serverlog.configure()
    # Opened before the key is made: a key that could not be handed over would be lost.
    handed_to = _private_file(key_file) if key_file is not None else None
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.data_dir.chmod(0o700)
    failpoints.arm(failpoint())
    with _alone(settings.data_dir):
        given = _key_in(handed_to) if handed_to is not None else None
        key = prepare(settings, given)
        if given is not None:
            pass  # whoever wrote it there has it
        elif key is not None and handed_to is not None:
            os.ftruncate(handed_to, 0)
            os.write(handed_to, f"{key}\n".encode())
        elif key is not None:
            print(f"First API key (every scope; shown only now, keep it):\n\n    {key}\n", flush=True)
        HttpServer(settings, lambda: _started(settings)).run()


def _started(settings: Settings) -> Server:
    server = Server(settings)
    server.start()
    # Behind the first answers: on a busy machine it takes a second.
    threading.Thread(target=large_pages.collapse, name="large-pages", daemon=True).start()
    return server


def _key_in(fd: int) -> str | None:
    """What stands in the key file; None when it is empty."""
    return os.pread(fd, _KEY_FILE_BYTES, 0).decode(errors="replace").strip() or None


def _private_file(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    return fd


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock: two servers would sweep away each other's containers.

    The serving process inherits it. Waits a little for one that is just ending, as after a kill of its parent.
    """
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DataInUse(f"another server is using the data directory {data_dir}") from None
            time.sleep(0.1)
    try:
        yield
    finally:
        os.close(fd)
