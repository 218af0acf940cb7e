"""gunicorn, embedded: one process with many threads, in which the server lives; and what it needs to stand alone.

gunicorn expects a buffering proxy in front. Airlock should have one too (docs/operations.md), yet must not fall over
without: a slow or silent client costs a thread for seconds, not for as long as it likes.
"""

from __future__ import annotations

import functools
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from controller.config import Settings
from controller.serverlog import LibraryHandler
from controller.web.bare import bare_answer, refusal
from controller.web.body import DEADLINES

HEAD_SECONDS = 15.0
"""For the head of a request to arrive, from when a thread waits for it."""
UNREAD_MILLISECONDS = 60_000
"""For a client to take in some of an answer."""
IN_FLIGHT_SECONDS = 10
"""For requests in flight when the server is asked to stop; those that wait for something are ended at once."""
STOP_SECONDS = 65
"""For all but running runs, when the server stops: requests, containers. After it the process is killed."""
HEADER_BYTES = 32_768
"""Of one header: gunicorn's own refusal, above this, says less than ours below it."""
_LAST_WORDS_SECONDS = 2.0
"""For a client to take in why its request was none."""
_CONNECTIONS_PER_THREAD = 8
_OWN_DESCRIPTORS = 256
_log = structlog.get_logger(__name__)


class Serving(Protocol):
    """What is served, in the serving process."""

    web: Flask

    def stop(self) -> None:
        """Nobody may wait any longer. Called in a signal handler."""

    def close(self) -> None:
        """The last request is answered: end everything."""


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's own lines, as lines of ours."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers = [LibraryHandler()]


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker, with an end to patience."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heads: dict[Any, float] = {}
        self._answering: set[Any] = set()

    def init_process(self) -> None:
        # Only in this process: its parent waits longer, for all of it.
        self.cfg.set("graceful_timeout", IN_FLIGHT_SECONDS)
        super().init_process()

    def run(self) -> None:
        super().run()
        # A reader that stands still holds a thread, and a process does not end before its threads.
        for conn in list(self._answering):
            _hang_up(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self.app.stop()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """For all of this time. gunicorn looks whether its parent is there, and who is to be hung up on, after whatever
        happens: once in this time is enough.
        """
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            super().wait_for_and_dispatch_events(left)
            if not self.alive or self._accepting is not (self.nr_conns < self.worker_connections):
                return

    def enqueue_req(self, conn: Any) -> None:
        """A connection that has said nothing yet waits among the idle ones, as gunicorn has it only after 5 s in a
        thread: so many of them would hold all threads.
        """
        if conn.initialized or conn.data_ready:
            self.tpool.submit(self.handle, conn).add_done_callback(functools.partial(self._answered, conn))
            return
        conn.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(conn)
        readable = functools.partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _answered(self, conn: Any, done: Future[Any]) -> None:
        """In the thread that answered: the connection waits for its next request, or is closed by the main thread."""
        if not done.cancelled() and done.exception() is None and done.result() is True and not _read_ahead(conn):
            self._await_request(conn)
        else:
            self.method_queue.defer(self.finish_request, conn, done)

    def _await_request(self, conn: Any) -> None:
        """gunicorn has its main thread do this, and wakes it; but epoll takes one more while it waits."""
        conn.set_timeout()
        self.keepalived_conns.append(conn)
        if not self.alive:  # looked at when it is among them: one that is added while the server stops has as long
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        readable = functools.partial(self.on_client_socket_readable, conn)
        with suppress(OSError, ValueError):  # the server has stopped
            self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in list(self.keepalived_conns):  # threads may add to them meanwhile
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        """In a thread of the pool: read a request's head, and answer it."""
        self._heads[conn] = time.monotonic()
        if not conn.initialized:
            with suppress(OSError):
                conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
        try:
            again = super().handle(conn)
        finally:
            self._heads.pop(conn, None)
            self._answering.discard(conn)
        if not again:
            _part(conn)
        return again

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._heads.pop(conn, None)  # its head is here
        self._answering.add(conn)
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """What gunicorn refuses itself, in the form of all other refusals. gunicorn's own would repeat in answer and
        log what was sent.
        """
        status, detail = refusal(exc)
        request_id, answer = bare_answer(status, detail)
        if status >= 500:
            _log.error("unforeseen_error", request_id=request_id, exc_info=exc)
        else:
            _log.info("request_refused", request_id=request_id, status=status, kind=type(exc).__name__)
        with suppress(OSError):
            client.settimeout(_LAST_WORDS_SECONDS)
            client.sendall(answer)

    def murder_pending(self) -> None:
        """Called about once a second: hang up on heads, and end bodies, that do not come to their end."""
        super().murder_pending()
        DEADLINES.end_late_reads()
        latest = time.monotonic() - HEAD_SECONDS
        for conn, since in list(self._heads.items()):
            if since < latest:
                _hang_up(conn)


def _part(conn: Any) -> None:
    """Close a connection that is done with, letting the client read its answer first: here, in a thread of the pool.

    gunicorn does it in the thread that accepts everybody's connections, and waits there two seconds for each client
    that does not hang up: twenty of them kept a server from answering anybody for forty seconds.
    """
    close_graceful(conn.sock)
    conn.close = lambda graceful=False: None


def _read_ahead(conn: Any) -> bool:
    """Whether a part of its next request has been read with the last: no poller would tell of that."""
    return bool(conn.parser.unreader.buf.getvalue())


def _hang_up(conn: Any) -> None:
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_RDWR)


class HttpServer(BaseApplication):  # type: ignore[misc]
    """`start` is called in the serving process, after the fork: threads and connections do not survive one."""

    def __init__(self, settings: Settings, start: Callable[[], Serving]) -> None:
        self._settings = settings
        self._start = start
        self._serving: Serving | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        for name, value in {
            "bind": [f"{host}:{port}" for host, port in _addresses(settings)],
            "worker_class": Worker,
            "workers": 1,
            "threads": settings.threads,
            "worker_connections": _connections(settings.threads),
            "graceful_timeout": int(STOP_SECONDS + settings.drain_seconds),
            "limit_request_field_size": HEADER_BYTES,
            "keepalive": 15,
            "proc_name": "airlock",
            "loglevel": "warning",
            "logger_class": _Log,
            "control_socket_disable": True,
            "when_ready": lambda arbiter: self._say_where(),
            "worker_exit": lambda arbiter, worker: self._close(),
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        self._serving = self._start()
        return self._serving.web

    def stop(self) -> None:
        if self._serving is not None:
            self._serving.stop()

    def _say_where(self) -> None:
        (host, port), *others = _addresses(self._settings)
        with suppress(OSError):  # as with the log: nobody reads it, and the server serves all the same
            print(f"Airlock listens on http://{host}:{port}  (API: /docs)", flush=True)
            for host, port in others:
                print(f"Its operator finds /v1/admin on http://{host}:{port}", flush=True)

    def _close(self) -> None:
        if self._serving is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked twice is asked once
            self._serving.close()


def _addresses(settings: Settings) -> list[tuple[str, int]]:
    """Where the server listens: the public address, and the operator's if that is another."""
    addresses = [(settings.host, settings.port)]
    if settings.admin_host is not None and settings.admin_port is not None:
        addresses.append((settings.admin_host, settings.admin_port))
    return addresses


def _connections(threads: int) -> int:
    """How many clients may be connected: as many as the descriptors allow, so that accepting one never fails."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = threads * _CONNECTIONS_PER_THREAD
    if hard == resource.RLIM_INFINITY:
        return wanted
    # Each request may open a few files of its own.
    return max(threads + 1, min(wanted, hard - 4 * threads - _OWN_DESCRIPTORS))
