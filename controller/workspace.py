"""A run's files: where they lie, how they get in, and how they are taken out of a sandbox's reach.

    DATA/uploads/<token>/in/...            being received; not a run yet
    DATA/scratch/out-<run id>/             mounted at /out while a sandbox lives
                 aside-<token>/            a conversion at work; uploads/ and scratch/ are emptied at each start
    DATA/batches/<batch id>/in/            what a batch's items link: script.py bundle.zip dataframe2; dataframe1, if
                                           it is cut by rows; or dataframe1-1 ..., one for each item
    DATA/scripts/<version id>/in/          of a stored script: script.py bundle.zip; dataframe1 dataframe2 as samples
    DATA/runs/<run id>/in/                 mounted at /in: script.py dataframe1 dataframe2 bundle.zip; job.json too
                                           (the row has all of it: written anew when the run begins)
                       log                 framed by log.py
                       result.arrow ...    the outputs, one file per format; result2.arrow ... of the second port
                       device.csv ...      the device port as a table, where somebody asked for it
                       images              one image after the other
                       receipt.json        what of it was signed; this run's own, also where results are shared

Nothing here opens what a tenant made: bytes are moved, counted and handed on. The data directory is 0700, so the
permissive modes inside it (a sandbox runs under a uid of its own) are for the mounts only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from controller.errors import EngineError, StorageFailed, StorageFull, TooLarge
from controller.model import Format, Part, Stored

CHUNK_BYTES = 1 << 20
LOOK_BYTES = 64 << 20
"""Between two looks at how much room an upload leaves."""
_Known = Callable[[Iterable[str]], set[str]]
"""Which of these ids the store knows."""
_FULL = (
    "the disk of the server's data directory is full: nothing was accepted; "
    "free space there, or delete runs that are no longer needed"
)
JOB = "job.json"
SCRIPT, BUNDLE = "script.py", "bundle.zip"
RESULT, REPORT, IMAGES, LOG = "result", "report.json", "images", "log"
RECEIPT, RECEIPT_PART = "receipt.json", "receipt.json.part"
REPORT_BYTES = 1 << 20


def output_file(port: int, format: Format) -> str:
    """The name of an output in /out: `result` (of port 2: `result2`) for Arrow, else with the format's suffix."""
    return _stem(port) + ("" if format is Format.ARROW else format.suffix)


def _stem(port: int) -> str:
    return RESULT if port == 1 else f"{RESULT}{port}"


class Outputs:
    """The files in /out: made and opened by the controller before the sandbox, read after its death.

    The sandbox can write into them, and neither add, rename, link nor replace any: it does not own the directory.
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        self._directory = directory
        self._descriptors: dict[str, int] = {}
        self._moved: set[str] = set()
        try:
            os.mkdir(directory)
        except FileExistsError:  # an earlier attempt's
            shutil.rmtree(directory)
            os.mkdir(directory)
        directory.chmod(0o755)
        for name in names:
            fd = os.open(f"{directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._descriptors[name] = fd
            os.fchmod(fd, 0o666)

    def size(self, name: str) -> int:
        """Bytes in the file. EngineError when it is no longer the plain file that we made."""
        status = os.fstat(self._descriptors[name])
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise EngineError(f"the output file {name} was replaced while the sandbox ran")
        return status.st_size

    def read_at(self, name: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset` on."""
        return os.pread(self._descriptors[name], count, offset)

    def keep(self, name: str, target: Path) -> None:
        """Move the file out, durable, and no longer writable for a sandbox."""
        os.fsync(self._lock(name))
        self._move(name, target)

    def keep_all(self, targets: Mapping[str, Path], directory: Path) -> None:
        """Move these files into one directory; all of it durable when this returns.

        As they are moved before they are synced, one entry in the file system's journal has all of it; so nobody may
        look for them until this has returned.
        """
        for name, target in targets.items():
            self._lock(name)
            self._move(name, target)
        for name in targets:
            os.fsync(self._descriptors[name])
        if targets:
            sync(directory)

    def _lock(self, name: str) -> int:
        """For sandboxes: a later one may read it, a conversion."""
        fd = self._descriptors[name]
        os.fchmod(fd, 0o644)
        return fd

    def _move(self, name: str, target: Path) -> None:
        os.replace(f"{self._directory}/{name}", target)
        self._moved.add(name)

    def close(self) -> None:
        for fd in self._descriptors.values():
            os.close(fd)
        with suppress(OSError):  # a disk that does not work any more: the next start removes it
            for name in self._descriptors.keys() - self._moved:
                os.unlink(f"{self._directory}/{name}")
            os.rmdir(self._directory)
        self._descriptors.clear()


class Workspace:
    """One run's directory; what lives only as long as a sandbox lies in `scratch`, which is emptied at each start."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self._scratch = scratch

    # Made when they are asked for: a path costs more than most of what is done with it, and nobody needs all of them.

    @property
    def input_dir(self) -> Path:
        return self.root / "in"

    @property
    def output_dir(self) -> Path:
        return self._scratch / f"out-{self.root.name}"

    @property
    def log(self) -> Path:
        return self.root / LOG

    @property
    def images(self) -> Path:
        return self.root / IMAGES

    @property
    def receipt(self) -> Path:
        return self.root / RECEIPT

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[None]:
        """The run's directory, locked: one receipt of a run is made at a time, in all processes. FileNotFoundError;
        BlockingIOError when another is at it and we would not wait."""
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(directory)

    def result(self, port: int, format: Format) -> Path:
        return self.root / (_stem(port) + format.suffix)

    def document(self, name: str) -> Path:
        """A JSON document that a sandbox wrote beside its tables."""
        return self.root / name

    def device(self, format: Format) -> Path:
        return self.root / ("device" + format.suffix)

    def describe(self, job: bytes) -> None:
        """Write /in/job.json."""
        with disk_errors():
            fd = os.open(f"{self.root}/in/{JOB}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                write_all(fd, job)
                os.fchmod(fd, 0o644)
            finally:
                os.close(fd)

    @contextmanager
    def outputs(self, wanted: Iterable[tuple[int, Format]], documents: Iterable[str] = ()) -> Iterator[Outputs]:
        """The files that one sandbox may write; what is not kept is gone at the end."""
        with disk_errors():
            tables = (output_file(*one) for one in wanted)
            outputs = Outputs(self.output_dir, [*tables, *documents, REPORT, IMAGES])
        try:
            yield outputs
        finally:
            outputs.close()

    @contextmanager
    def aside(self, job: bytes, tables: Mapping[str, Path | Iterable[bytes]]) -> Iterator[Workspace]:
        """A workspace for a moment: a job document and its tables, each a file that is linked, or pieces of one.

        FileNotFoundError when a run was removed meanwhile.
        """
        inner = Workspace(self._scratch / f"aside-{secrets.token_hex(8)}", self._scratch)
        try:
            with disk_errors():
                inner.root.mkdir()
                inner.input_dir.mkdir()
                for name, source in tables.items():
                    table = inner.input_dir / name
                    if isinstance(source, Path):
                        _link(source, table, inner.root)
                    else:
                        with table.open("xb") as file:
                            file.writelines(source)
                        table.chmod(0o644)
                inner.describe(job)
            yield inner
        finally:
            shutil.rmtree(inner.root, ignore_errors=True)

    def stored(self) -> Stored:
        """The bytes of what a finished run keeps, beside its inputs; none where somebody took its files away."""
        try:
            with os.scandir(self.root) as found:
                sizes = {entry.name: entry.stat().st_size for entry in found if entry.is_file()}
        except FileNotFoundError:
            return Stored()
        log_bytes = sizes.pop(LOG, 0)
        return Stored(output_bytes=sum(sizes.values()), log_bytes=log_bytes)

    def open_image(self, offset: int, count: int) -> Iterator[bytes]:
        """A part of the images file, in pieces. FileNotFoundError, at once, when the run was removed."""
        file = self.images.open("rb")

        def pieces() -> Iterator[bytes]:
            with file:
                file.seek(offset)
                left = count
                while left and (piece := file.read(min(left, CHUNK_BYTES))):
                    left -= len(piece)
                    yield piece

        return pieces()

    def link_results(self, target: Workspace, needed: Collection[str]) -> bool:
        """Give another run this one's log, images and tables: the same files, linked. False, and it has none of them,
        when one that is needed is gone, or one has all the links that it may have.
        """
        linked: list[str] = []
        try:
            for path in self.root.iterdir():
                if path.is_file() and path.name not in (RECEIPT, RECEIPT_PART):
                    os.link(path, target.root / path.name)
                    linked.append(path.name)
            if whole := set(needed) <= set(linked):
                sync(target.root)
        except OSError:
            whole = False
        if not whole:
            with disk_errors():
                for name in linked:
                    os.unlink(target.root / name)
        return whole

    def remove_parts(self, parts: Collection[Part]) -> None:
        """The files of these parts; what is not there is removed already. The receipt stays: it says what they were."""
        if Part.INPUTS in parts:
            shutil.rmtree(self.input_dir, ignore_errors=True)
        for path in list(self.root.iterdir()) if self.root.exists() else ():
            part = Part.LOG if path.name == LOG else Part.OUTPUTS
            if path.is_file() and part in parts and path != self.receipt:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Everything of it, also while a conversion is at work there: under its name nothing comes back."""
        removed = self.root.with_name(f"removed-{secrets.token_hex(8)}")
        try:
            os.rename(self.root, removed)
        except FileNotFoundError:
            return
        shutil.rmtree(removed, ignore_errors=True)


class Room:
    """What uploads leave free on their disk: looked at before one begins, and again as its bytes come."""

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        self._directory, self._min_free_bytes = directory, min_free_bytes
        self._unseen = 0

    def require(self) -> None:
        """StorageFull when too little is left."""
        with disk_errors():
            free = shutil.disk_usage(self._directory).free
        if free < self._min_free_bytes:
            raise StorageFull(_FULL, limit=self._min_free_bytes)

    def taken(self, count: int) -> None:
        """So many bytes more have been written. StorageFull, as `require`."""
        self._unseen += count
        if self._unseen >= LOOK_BYTES:
            self._unseen = 0
            self.require()


class NewFile:
    """A file that is being received: written front to back, and by nobody else."""

    def __init__(self, path: str, room: Room) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.size = 0
        self._room = room

    def write(self, data: bytes) -> None:
        write_all(self.descriptor, data)
        self.size += len(data)
        self._room.taken(len(data))


class Staging:
    """Inputs on their way in: written as they arrive, bounded, and made a run's by one rename.

    Files stay open until then: they are looked at, and brought onto the disk, without being looked up again.
    """

    def __init__(self, root: str, room: Room) -> None:
        self.root = root
        """Where it lies now."""
        self._room = room
        self.sealed = False
        self._in = f"{root}/in"
        self._linked: set[str] = set()
        self._files: dict[str, NewFile] = {}

    def make(self) -> None:
        os.mkdir(self.root)
        os.mkdir(self._in)

    def open(self, name: str) -> NewFile:
        """A new file for an input, to be written by the caller."""
        self._files[name] = NewFile(f"{self._in}/{name}", self._room)
        return self._files[name]

    def write(self, name: str, data: bytes) -> None:
        with disk_errors():
            self.open(name).write(data)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A small part's content. TooLarge above the limit."""
        size = self.size(name)
        if size > limit_bytes:
            raise TooLarge(f"{name} has {size} bytes, the limit is {limit_bytes}", limit=limit_bytes, value=size)
        if name in self._linked:
            return self.path(name).read_bytes()
        return os.pread(self._files[name].descriptor, size, 0)

    def size(self, name: str) -> int:
        return os.stat(f"{self._in}/{name}").st_size if name in self._linked else self._files[name].size

    def names(self) -> list[str]:
        return sorted([*self._files, *self._linked])

    def path(self, name: str) -> Path:
        return Path(self._in, name)

    def remove(self, name: str) -> None:
        os.unlink(f"{self._in}/{name}")
        os.close(self._files.pop(name).descriptor)

    def link(self, name: str, source: Path) -> None:
        """Take a file that lies elsewhere as an input: the same file, linked. FileNotFoundError when it is gone."""
        with disk_errors():
            _link(source, f"{self._in}/{name}", self.root)
        self._linked.add(name)

    def link_inputs(self, source: Workspace, names: Iterable[str]) -> None:
        """Take these inputs of another run: the same files, linked. FileNotFoundError when one is gone."""
        for name in names:
            self.link(name, source.input_dir / name)

    def input_bytes(self, shared: Collection[str] = ()) -> int:
        """The bytes of the inputs, without those that belong to somebody else: a dataset's are the dataset's."""
        return sum(self.size(name) for name in self.names() if name not in shared)

    def seal(self, target: Path) -> None:
        """Everything to its place, and onto the disk: after this the inputs survive a power cut.

        To its place first. All that was made and renamed then goes into the file system's journal at once, with the
        first file that is synced; the others find their part of it done. Until the caller has written the row, a crash
        leaves a stray.
        """
        with disk_errors():
            os.rename(self.root, target)
            self.root = str(target)
            self._in = f"{target}/in"
            for file in self._files.values():  # what is linked is on the disk already
                os.fchmod(file.descriptor, 0o644)
                os.fsync(file.descriptor)
            sync(self._in, 0o755)
            sync(target)
            sync(target.parent)
        self.sealed = True

    def close(self) -> None:
        """What is not sealed is removed."""
        for file in self._files.values():
            os.close(file.descriptor)
        self._files.clear()
        if not self.sealed:
            shutil.rmtree(self.root, ignore_errors=True)


class Workspaces:
    """The data directory's part that holds files."""

    def __init__(self, data_dir: Path, min_free_bytes: int = 0) -> None:
        self._min_free_bytes = min_free_bytes
        self._uploads = data_dir / "uploads"
        self._scratch = data_dir / "scratch"
        self._runs = data_dir / "runs"
        self._batches = data_dir / "batches"
        self._scripts = data_dir / "scripts"
        for directory in (self._uploads, self._scratch, self._runs, self._batches, self._scripts):
            directory.mkdir(parents=True, exist_ok=True)

    def of(self, run_id: str) -> Workspace:
        return Workspace(self._runs / run_id, self._scratch)

    def of_batch(self, batch_id: str) -> Workspace:
        """What a batch keeps for its items to link: script, bundle, tables. It has inputs only."""
        return Workspace(self._batches / batch_id, self._scratch)

    def of_script(self, version_id: str) -> Workspace:
        """What a version of a stored script keeps for its runs to link. It has inputs only."""
        return Workspace(self._scripts / version_id, self._scratch)

    @contextmanager
    def stage(self) -> Iterator[Staging]:
        """A place for one request's inputs; what is not sealed is removed. StorageFull when too little is free, now or
        after some of them are written.
        """
        room = Room(self._uploads, self._min_free_bytes)
        room.require()
        staging = Staging(f"{self._uploads}/{secrets.token_hex(16)}", room)
        try:
            with disk_errors():
                staging.make()
            yield staging
        finally:
            staging.close()

    def full(self) -> bool:
        """Whether there is so little room that a sandbox could not write its report."""
        return shutil.disk_usage(self._uploads).free < REPORT_BYTES

    def remove_strays(self, known_runs: _Known, known_batches: _Known, known_scripts: _Known) -> int:
        """At start: half-received uploads, what sandboxes left, and the files of runs, batches and scripts that the
        store does not know."""
        strays = [*self._uploads.iterdir(), *self._scratch.iterdir()]
        kept = ((self._runs, known_runs), (self._batches, known_batches), (self._scripts, known_scripts))
        for directory, known in kept:
            keep = known(path.name for path in directory.iterdir())
            strays += (path for path in directory.iterdir() if path.name not in keep)
        for path in strays:
            shutil.rmtree(path, ignore_errors=True)
        return len(strays)


def _link(source: Path, target: Path | str, spare: Path | str) -> None:
    """The same file under another name. FileNotFoundError when it is gone.

    A file has as many links as its file system allows: those that there are keep it, and the next ones get a copy that
    takes its place. `spare` is a directory of the caller's, where it is made.
    """
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno != errno.EMLINK:
            raise
        copy = Path(spare, "renewed")
        shutil.copyfile(source, copy)
        copy.chmod(0o644)
        sync(copy)
        os.replace(copy, source)
        sync(source.parent)
        os.link(source, target)


def write_all(fd: int, data: bytes) -> None:
    """By the system's own call: a file of Python's asks first whether it is a terminal, and where it stands."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk has a name, and so has a broken one."""
    try:
        yield
    except OSError as e:
        if (named := disk_error(e)) is not None:
            raise named from e
        raise


def disk_error(error: OSError) -> StorageFull | StorageFailed | None:
    """The name of a disk's failure; None for another error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(_FULL)
    if error.errno in (errno.EROFS, errno.EIO):
        detail = f"the disk of the server's data directory does not work ({error.strerror}): look at the server's log"
        return StorageFailed(detail)
    return None


def sync(path: Path | str, mode: int | None = None) -> None:
    """Bring a file, or a directory's list of names, onto the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
