"""Receipts: what a finished run was made of, what it gave and under which walls, signed by this server.

A receipt is made once and kept beside the run's results, so everybody who asks gets the same bytes. The worker makes
it when the run has ended and whoever waited has been told; where there is none yet, the first who asks has it made.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog

from controller.errors import AirlockError, Conflict, NotFound
from controller.model import Environment, Format, Outcome, Run, Status, StoredImage, TaskKind
from controller.runlog import read_text
from controller.services.backend import Backend, now, waiting
from controller.services.receipt_document import (
    FileHash,
    Receipt,
    ReceiptEngine,
    ReceiptImage,
    ReceiptInput,
    ReceiptLog,
    ReceiptOutputs,
    ReceiptTable,
)
from controller.signing import canonical
from controller.workspace import BUNDLE, CHUNK_BYTES, RECEIPT, RECEIPT_PART, Workspace, disk_errors, sync, write_all

_log = structlog.get_logger(__name__)
_GONE = FileHash(sha256=None, bytes=None)
_LINKED_KNOWN = 1000
_linked: dict[tuple[int, int, int, int], FileHash] = {}
"""Hashes of input files that are linked, by device, inode, size and time."""


def receipt(backend: Backend, run: Run) -> bytes:
    """The receipt of a run that has ended, the same bytes each time; made now if it was not made before.

    Conflict while the run has not ended; NotFound when it was deleted meanwhile; Busy, StorageFull.
    """
    if not run.status.final:
        raise Conflict(f"the run has no receipt before it has ended: its status is {run.status}")
    workspace = backend.workspaces.of(run.id)
    try:
        if (made := _kept(workspace)) is None:
            with waiting(backend, run.tenant_id), workspace.alone(), backend.notary.places:
                made = _made(backend, run, workspace)
        with suppress(OSError):  # a disk that fails is no reason to keep it back
            sync(workspace.root)  # only now, since for most receipts nobody asks: its name must not get lost any more
        return made
    except FileNotFoundError:
        raise NotFound("the run's files are no longer there: it was deleted meanwhile") from None


def make_ahead(backend: Backend, run: Run) -> None:
    """Make the receipt of this run, which has ended, before anybody asks, or before its files go; of other tasks, none.

    What goes wrong is logged, never raised: the run has ended, and its receipt can still be made on demand.
    """
    workspace = backend.workspaces.of(run.id)
    if run.job.task is not TaskKind.RUN:
        return
    try:
        # BlockingIOError: somebody has asked meanwhile and it is being made. FileNotFoundError: deleted meanwhile.
        with suppress(BlockingIOError, FileNotFoundError), workspace.alone(wait=False):
            _made(backend, run, workspace)
    except (AirlockError, OSError) as e:
        _log.warning("receipt_not_made", run_id=run.id, error=str(e))
    except Exception:  # noqa: BLE001 - a fault of ours in an extra must not end the thread with its queue
        _log.exception("receipt_not_made", run_id=run.id)


def _kept(workspace: Workspace) -> bytes | None:
    try:
        with open(f"{workspace.root}/{RECEIPT}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _made(backend: Backend, run: Run, workspace: Workspace) -> bytes:
    """The receipt; kept when this returns, and whole whatever happens. FileNotFoundError when the run was deleted
    meanwhile."""
    if (kept := _kept(workspace)) is not None:
        return kept
    data = backend.notary.key.signed(_document(backend, run, workspace).model_dump(mode="json"))
    with disk_errors():
        part, whole = f"{workspace.root}/{RECEIPT_PART}", f"{workspace.root}/{RECEIPT}"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(part, whole)
    return data


def _document(backend: Backend, run: Run, workspace: Workspace) -> Receipt:
    outcome = run.outcome or Outcome(status=run.status)
    return Receipt(
        airlock_version=_airlock_version(),
        issued_at=now(),
        run_id=run.id,
        tenant_id=run.tenant_id,
        status=run.status,
        reason=outcome.reason,
        error_code=outcome.error.code if outcome.error else None,
        warnings=tuple(warning.code for warning in outcome.warnings),
        attempt=run.attempt,
        reused_from=outcome.reused_from,
        rerun_of=run.rerun_of,
        batch_id=run.batch_id,
        item=run.item,
        script_sha256=run.script_sha256,
        inputs=_inputs(run, workspace),
        bundle=_input_hash(f"{workspace.input_dir}/{BUNDLE}") if run.job.bundle else None,
        parameters_sha256=hashlib.sha256(canonical(run.job.parameters)).hexdigest(),
        profile=run.job.profile,
        dtypes=run.job.dtypes,
        environment=Environment(name=run.environment, digest=outcome.digest),
        engine=_engine(backend, run),
        limits=run.limits,
        usage=outcome.usage,
        timings=outcome.timings,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        outputs=ReceiptOutputs(
            tables=_tables(run, workspace),
            images=tuple(_image(image, workspace) for image in outcome.images),
            log=ReceiptLog(**_log_hash(workspace).model_dump(), truncated=outcome.log_truncated),
        ),
    )


@cache
def _airlock_version() -> str:
    return version("airlock")


def _engine(backend: Backend, run: Run) -> ReceiptEngine | None:
    """What the engine says of itself now. None of a run that no engine was asked to execute: it was cancelled in the
    queue, or is another run's result; and when the engine does not answer."""
    info = backend.notary.engine_info() if run.attempt else None
    if info is None:
        return None
    return ReceiptEngine(
        name=info.name,
        version=info.version,
        runtime=info.runtime,
        runtime_version=info.runtime_version,
        cgroup_version=info.cgroup_version,
        cgroup_driver=info.cgroup_driver,
        controls=info.controls,
    )


def _inputs(run: Run, workspace: Workspace) -> tuple[ReceiptInput, ...]:
    return tuple(
        ReceiptInput(
            port=table.port,
            format=table.format,
            compression=table.compression,
            slice=table.slice,
            reading=table.reading,
            **_input_hash(f"{workspace.input_dir}/{table.file}").model_dump(),
        )
        for table in run.job.inputs
    )


def _tables(run: Run, workspace: Workspace) -> tuple[ReceiptTable, ...]:
    """Those that the run itself wrote: another format that somebody asks for later is not its doing."""
    wanted: tuple[tuple[int, Format], ...] = run.job.wanted if run.status is Status.SUCCEEDED else ()
    return tuple(
        ReceiptTable(port=port, format=format, **_file_hash(workspace.result(port, format)).model_dump())
        for port, format in wanted
    )


def _image(image: StoredImage, workspace: Workspace) -> ReceiptImage:
    try:
        found = _hash(workspace.open_image(image.offset, image.bytes))
    except FileNotFoundError:
        found = _GONE
    return ReceiptImage(name=image.name, type=image.type, **found.model_dump())


def _log_hash(workspace: Workspace) -> FileHash:
    """As GET /v1/runs/{id}/log gives it."""
    return _hash(text.encode() for text in read_text(workspace.log)) if workspace.log.exists() else _GONE


def _input_hash(path: str) -> FileHash:
    """Of a file that many runs link, a dataset's or a batch's, once: the items of a batch may be thousands, and the
    table that they are cut from large. What is linked is never written again."""
    with _opened(path) as fd:
        if fd is None:
            return _GONE
        status = os.fstat(fd)
        if status.st_nlink == 1:
            return _hash(_pieces(fd, status.st_size))
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        found = _linked.get(identity)
        if found is None:
            found = _hash(_pieces(fd, status.st_size))
            if len(_linked) >= _LINKED_KNOWN:
                _linked.clear()
            _linked[identity] = found
        return found


def _file_hash(path: Path) -> FileHash:
    with _opened(path) as fd:
        return _hash(_pieces(fd, os.fstat(fd).st_size)) if fd is not None else _GONE


@contextmanager
def _opened(path: Path | str) -> Iterator[int | None]:
    """None when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _pieces(fd: int, size: int) -> Iterator[bytes]:
    """A file's content; it has so many bytes, and is never written again."""
    while size > 0 and (piece := os.read(fd, min(size, CHUNK_BYTES))):
        size -= len(piece)
        yield piece


def _hash(pieces: Iterable[bytes]) -> FileHash:
    digest, count = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        count += len(piece)
    return FileHash(sha256=digest.hexdigest(), bytes=count)
