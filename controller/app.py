"""The roof: where the rooms are put together. Nothing below names a concrete store, engine or dispatcher."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from flask import Flask

from controller.config import Settings
from controller.dispatch.base import Finished
from controller.dispatch.inprocess import InProcessDispatcher
from controller.engines.docker import DockerEngine
from controller.errors import DataInUse, EngineError
from controller.http_server import HttpServer
from controller.services import tenants
from controller.services.backend import Backend, now
from controller.services.execution import execute
from controller.services.notary import Notary
from controller.services.report import engine_failed
from controller.services.tenants import new_id
from controller.signing import SigningKey, read_signing_key
from controller.store.sql import SqlStore
from controller.web.application import create_web
from controller.workspace import Workspaces

_log = structlog.get_logger(__name__)
DRAIN_SECONDS = 10.0
LOCK_SECONDS = 10.0


def prepare(settings: Settings) -> str | None:
    """Bring the schema up to date; the first API key if there was none yet, to be shown once.

    ReceiptKeyUnusable, before anything else is done.
    """
    _signing_key(settings)
    store = _store(settings)
    try:
        store.migrate()
        return tenants.first_key(store, _pepper(settings), now())
    finally:
        store.close()


class Server:
    """Everything that runs in the serving process, from start to close."""

    def __init__(self, settings: Settings) -> None:
        self.store = _store(settings)
        self.engine = DockerEngine(_instance(settings.data_dir), settings.runtime, settings.workers * 4 + 16)
        workspaces = Workspaces(settings.data_dir, settings.min_free_bytes)
        self.dispatcher = InProcessDispatcher(
            settings.workers, lambda run_id: execute(self.backend, run_id), self.engine.kill
        )
        self.backend = Backend(
            settings=settings,
            store=self.store,
            workspaces=workspaces,
            engine=self.engine,
            dispatcher=self.dispatcher,
            finished=Finished(),
            conversions=threading.Semaphore(settings.workers),
            waiters=threading.Semaphore(settings.threads // 2),
            notary=Notary(_signing_key(settings), self.engine, settings.image, settings.workers),
        )
        self._closing = threading.Event()
        self.web: Flask = create_web(self.backend, _pepper(settings))

    def start(self) -> None:
        """Take up what an earlier process left: its files and runs are put right, its containers go, runs go on."""
        lost = engine_failed("the server was stopped again and again while this run was executed")
        queued = self.store.recover(self.backend.settings.max_attempts, lost, now())
        strays = self.backend.workspaces.remove_strays(self.store.run_ids())
        _log.info("started", queued=len(queued), strays=strays)
        # Not in this thread: a Docker that hangs must not keep the server from answering.
        threading.Thread(target=self._sweep_on, args=(queued,), name="sweep", daemon=True).start()

    def stop(self) -> None:
        """Requests that wait for something are answered now."""
        self.backend.finished.close()

    def close(self) -> None:
        """Let running runs end for a while, then stop them; they are begun again at the next start."""
        self._closing.set()
        if not self.dispatcher.drain(DRAIN_SECONDS):
            self.engine.close()
            self.dispatcher.drain(DRAIN_SECONDS)
        self.store.close()

    def _sweep_on(self, queued: list[str]) -> None:
        """Sweep, begin what waits from before, and sweep again and again."""
        self._sweep()
        for run_id in queued:
            self.dispatcher.submit(run_id)
        while not self._closing.wait(self.backend.settings.sweep_seconds):
            self._sweep()

    def _sweep(self) -> None:
        try:
            removed = self.engine.sweep()
        except EngineError as e:
            _log.warning("sweep_failed", code=e.code, error=e.detail)
            return
        if removed:
            _log.warning("leftovers_removed", containers=removed)


def _configure_log() -> None:
    """One JSON line for each event, on stderr; with the request's id where there is one, never with tenants' bytes."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _store(settings: Settings) -> SqlStore:
    return SqlStore(f"sqlite:///{settings.data_dir / 'airlock.db'}")


def _pepper(settings: Settings) -> bytes:
    return tenants.read_pepper(settings.data_dir / "pepper")


def _signing_key(settings: Settings) -> SigningKey:
    return read_signing_key(settings.data_dir / "receipt.key")


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
    """Serve until SIGTERM or SIGINT. The first API key goes to `key_file` (mode 0600), or is printed, once.

    DataInUse when another server uses the data directory, ReceiptKeyUnusable.
    """
    _configure_log()
    # Opened before the key is made: a key that could not be handed over would be lost.
    handed_to = _private_file(key_file) if key_file is not None else None
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.data_dir.chmod(0o700)
    with _alone(settings.data_dir):
        key = prepare(settings)
        if key is not None and handed_to is not None:
            os.ftruncate(handed_to, 0)
            os.write(handed_to, f"{key}\n".encode())
        elif key is not None:
            print(f"First API key (every scope; shown only now, keep it):\n\n    {key}\n", flush=True)
        HttpServer(settings, lambda: _started(settings)).run()


def _started(settings: Settings) -> Server:
    server = Server(settings)
    server.start()
    return server


def _private_file(path: Path) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
