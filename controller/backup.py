"""A consistent copy of a data directory while its server runs, and a data directory made from one.

    BACKUP/airlock.db                    a snapshot, by SQLite's own backup
           pepper, receipt.key           without them no API key is valid, and receipts have another key
           runs/, batches/, scripts/     files that nobody changes any more are hard-linked where that can be (they cost
                                         no room), the others copied
           backup.json                   written last: a backup without it is not whole

Files first, then the database, then the files that came meanwhile: so a run that the snapshot knows has its files, also
one that ended while the copy was made. What the snapshot does not know is removed in the end, and what was deleted
meanwhile, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from controller.errors import BackupUnusable, DataInUse
from controller.model import Word
from controller.store.audit import SqlAudit
from controller.store.audit_store import Entry
from controller.store.database import Database

DATABASE, MARK = "airlock.db", "backup.json"
SECRETS = ("pepper", "receipt.key")
FOLDERS = ("runs", "batches", "scripts")
_KNOWN = {
    "runs": "SELECT id FROM runs",
    "batches": "SELECT id FROM batches",
    "scripts": "SELECT id FROM script_versions WHERE deleted_at IS NULL",
}
_ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "runs": (("runs", "id"),),
    "scripts": (),  # a version that was deleted is blanked, not removed
    "batches": (("batch_items", "batch_id"), ("batch_datasets", "batch_id"), ("batches", "id")),
}
"""What the database has of each folder's things."""
_STILL_WRITTEN = {"log", "job.json"}
"""The names of files that a server may open again and write on; all others are made once, and replaced as a whole."""
_HALF = (".part", ".new")
"""Of files that get their name when they are whole."""
_FORM = 1


class Summary(Word):
    """What a backup holds."""

    form: int = _FORM
    airlock: str
    made_at: datetime
    runs: int
    batches: int
    scripts: int
    bytes: int


def back_up(data_dir: Path, target: Path) -> Summary:
    """Copy the data directory into a folder that is not there yet, or empty. The server may run.

    It is on record in the audit log: who has it has every key's proof. BackupUnusable when there is nothing to copy,
    the folder is not empty, or the copy of the database is not sound; StoreError.
    """
    source = data_dir / DATABASE
    if not source.is_file():
        raise BackupUnusable(f"there is no database in {data_dir}: is this the server's data directory?")
    _make_empty(target)
    with _opened(data_dir) as database:
        SqlAudit(database).append(Entry(action="backup.make", at=datetime.now(UTC), subject=str(target)))
    with _disk_errors(target):
        for name in FOLDERS:
            _copy_folder(data_dir / name, target / name)
        _copy_database(source, target / DATABASE)
        for name in FOLDERS:
            _copy_folder(data_dir / name, target / name)
        for name in SECRETS:
            _copy_secret(data_dir / name, target / name)
        counts = {name: _keep_known(data_dir, target, name) for name in FOLDERS}
        _check_database(target / DATABASE)
        total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        summary = Summary(airlock=version("airlock"), made_at=datetime.now(UTC), bytes=total, **counts)
        _write(target / MARK, summary.model_dump_json(indent=2).encode())
    return summary


def restore(source: Path, data_dir: Path) -> Summary:
    """Make a data directory of a backup, which stays as it is. Begin with a folder that is not there, or empty.

    BackupUnusable for a backup that is not whole; DataInUse when the data directory is not empty; StoreError.
    """
    summary = read_summary(source)
    if data_dir.exists() and any(data_dir.iterdir()):
        raise DataInUse(f"{data_dir} is not empty: a backup is restored into a new data directory, never over another")
    _check_database(source / DATABASE)
    with _disk_errors(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        for name in FOLDERS:
            shutil.copytree(source / name, data_dir / name, dirs_exist_ok=True)
        for name in SECRETS:
            _copy_secret(source / name, data_dir / name)
        # The database last: a server does not begin on files without one, and says so.
        part = data_dir / f"{DATABASE}.part"
        shutil.copyfile(source / DATABASE, part)
        part.chmod(0o600)
        _sync(part)
        os.replace(part, data_dir / DATABASE)
        _sync(data_dir)
    details = {"made_at": summary.made_at.isoformat()}
    with _opened(data_dir) as database:
        database.migrate()
        restored = Entry(action="backup.restore", at=datetime.now(UTC), subject=str(source), details=details)
        SqlAudit(database).append(restored)
    return summary


@contextlib.contextmanager
def _opened(data_dir: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{data_dir / DATABASE}")
    try:
        yield database
    finally:
        database.close()


def read_summary(source: Path) -> Summary:
    """BackupUnusable when the folder is no whole backup, or one of a later Airlock."""
    try:
        document = json.loads((source / MARK).read_bytes())
        if document.get("form") != _FORM:
            raise BackupUnusable(f"{source} is a backup of another form ({document.get('form')}): a newer Airlock's?")
        summary = Summary.model_validate(document)
    except FileNotFoundError as e:
        raise BackupUnusable(f"{source} has no {MARK}: it is no backup, or one that was not finished") from e
    except (OSError, ValueError, AttributeError) as e:
        raise BackupUnusable(f"{source / MARK} cannot be read: {e}") from e
    for name in (DATABASE, *SECRETS, *FOLDERS):
        if not (source / name).exists():
            raise BackupUnusable(f"{source} is not whole: {name} is missing")
    return summary


def _make_empty(target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise BackupUnusable(f"{target} is not empty: each backup gets a folder of its own")
    with _disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(0o700)


def _copy_folder(source: Path, target: Path) -> None:
    """The files below a folder, as far as they are there: what is removed in this moment is not missed."""
    target.mkdir(exist_ok=True)
    for folder, _, names in os.walk(source):
        inner = target / Path(folder).relative_to(source)
        inner.mkdir(exist_ok=True)
        for name in names:
            if not name.endswith(_HALF):
                with contextlib.suppress(FileNotFoundError):
                    _take(Path(folder) / name, inner / name)


def _take(source: Path, target: Path) -> None:
    """One file: linked, or copied where it may still be written, and where links cannot be had."""
    part = target.with_name(f"{target.name}.part")
    if source.name in _STILL_WRITTEN:
        shutil.copy2(source, part)
    elif target.exists() and target.samefile(source):
        return
    else:
        try:
            os.link(source, part)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or as many links as it allows
            shutil.copy2(source, part)
    os.replace(part, target)


def _copy_database(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as reader,
        contextlib.closing(sqlite3.connect(target)) as writer,
    ):
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode=DELETE")  # one file, that needs no log beside it
    target.chmod(0o600)
    _check_database(target)
    _sync(target)


def _check_database(path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
            found = db.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as e:
        raise BackupUnusable(f"{path} is no database that can be read: {e}") from e
    if found[0] != "ok":
        raise BackupUnusable(f"{path} is damaged: {found[0]}")


def _copy_secret(source: Path, target: Path) -> None:
    if not source.is_file():
        raise BackupUnusable(f"{source} is missing: without it the copy would be of no use")
    _write(target, source.read_bytes())


def _keep_known(data_dir: Path, target: Path, folder: str) -> int:
    """Remove what the snapshot does not know, and from it what is no longer there: how many are left of both."""
    with contextlib.closing(sqlite3.connect(target / DATABASE)) as db, db:
        known = {row[0] for row in db.execute(_KNOWN[folder])}
        deleted = {one for one in known if not (data_dir / folder / one).exists()}
        for table, column in _ROWS[folder]:
            statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608 - ours
            db.executemany(statement, [(one,) for one in deleted])
    for path in list((target / folder).iterdir()):
        if path.name not in known - deleted:
            shutil.rmtree(path)
    return len(known - deleted)


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, shutil.Error) as e:
        raise BackupUnusable(f"{folder} cannot be written, or its source not read: {e}") from e
