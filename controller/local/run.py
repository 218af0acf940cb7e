"""A run on the user's own machine: the same runner, in a process of the user's own; no server and no container.

Options, job document, judgement and run document are the server's own code, so that one script means one thing.
What is missing is every wall: the script can do whatever its user can.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import math
import os
import resource
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from pydantic import ValidationError

from controller.client.api import table_type
from controller.client.download import receive
from controller.client.follow import LogText, Run
from controller.client.tables import ARROW, StoredTable, packing
from controller.config import Settings
from controller.engines.base import STDERR, STDOUT, Ended, SandboxResult
from controller.local.interpreter import Interpreter
from controller.local.process import Process
from controller.model import (
    LARGEST,
    Compression,
    Format,
    Input,
    Job,
    Limits,
    Reading,
    Status,
    Timings,
    Usage,
)
from controller.model import Run as RunWord
from controller.sandbox_source import sandbox_source
from controller.services.backend import now
from controller.services.execution import job_document
from controller.services.report import judge, read_report
from controller.web.documents import Options, run_document
from controller.workspace import BUNDLE, IMAGES, SCRIPT, Workspace, output_file

LOCAL = "local"
"""The id of every local run: there is one, and it is gone with the command."""
_NEEDS_A_CONTAINER = {"memory_bytes": "--memory", "cpus": "--cpus", "reuse": "--reuse", "environment": "environment"}
_FORMATS = {format.media_type: format for format in Format}


class LocalRunRefused(Exception):
    """The run cannot be made here as it was asked for; the message names the option or the file, and the way out."""


class LocalRun:
    """One local run, with those methods of `client.api.Client` that `airlock run` uses. Use it in `with`.

    All its files are in a temporary directory, which goes at the end, as does every process it started.
    """

    def __init__(
        self, interpreter: Interpreter, formats: Sequence[str], compare: Callable[[], Mapping[str, Any]]
    ) -> None:
        """`formats`: those beside Arrow in which tables will be wanted. `compare` is asked when the script has ended,
        and its answer becomes `versions` in the run's document.
        """
        self._interpreter = interpreter
        self._formats = tuple(map(Format, formats))
        self._compare = compare
        self._rooms = contextlib.ExitStack()
        self._process: Process | None = None
        self._document: Run | None = None

    def __enter__(self) -> Self:
        root = self._rooms.enter_context(tempfile.TemporaryDirectory(prefix="airlock-", ignore_cleanup_errors=True))
        self._workspace = Workspace(Path(root), Path(root))
        self._work = Path(root) / "work"
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel(LOCAL)
        self._rooms.close()

    def submit(
        self,
        script: Path | str,
        *,
        dataframe1: Path | StoredTable | None = None,
        dataframe2: Path | StoredTable | None = None,
        bundle: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start it. Raises LocalRunRefused, UnsendableFile, OSError."""
        if isinstance(script, str):
            raise LocalRunRefused(f"{script} is stored on the server: `airlock script source` prints it, for a file")
        wanted = _checked(options or {})
        tables = {port: _file(table) for port, table in ((1, dataframe1), (2, dataframe2)) if table is not None}
        started = now()
        self._run = RunWord(
            id=LOCAL,
            tenant_id=LOCAL,
            status=Status.RUNNING,
            attempt=1,
            job=_job(wanted, tables, self._formats, bundle=bundle is not None),
            limits=_limits(wanted.timeout_seconds),
            environment=LOCAL,
            script_sha256=hashlib.sha256(script.read_bytes()).hexdigest(),
            created_at=started,
            started_at=started,
        )
        files = {SCRIPT: script, BUNDLE: bundle, **{f"dataframe{port}": table for port, table in tables.items()}}
        self._prepare({name: path for name, path in files.items() if path is not None})
        self._start()
        return self._shown(self._run)

    def follow_log(self, run_id: str) -> Iterator[LogText | Run]:
        """The log while it is written; the last item is the ended run."""
        process = self._process
        if process is None:
            raise LocalRunRefused("no run was started")
        decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (STDOUT, STDERR)}
        log_bytes = 0
        for stream, data in process.follow(self._run.limits.timeout_seconds):
            log_bytes += len(data)
            if text := decoders[stream].decode(data):
                yield LogText("stdout" if stream == STDOUT else "stderr", text)
        self._document = {**self._ended(process, log_bytes), "versions": self._compare()}
        yield self._document

    def wait(self, run_id: str) -> Run:
        """The run once it has ended."""
        if self._document is None:
            deque(self.follow_log(run_id), maxlen=0)
        return cast(Run, self._document)

    def output(self, run_id: str, file: Path, accept: str = ARROW, port: int = 1) -> int:
        """Save the table of an output port; bytes written. The format is Arrow, or the one that was asked for."""
        with self.output_stream(run_id, accept, port) as stream:
            return receive(iter(lambda: stream.read(1 << 20), b""), file)

    @contextlib.contextmanager
    def output_stream(self, run_id: str, accept: str = ARROW, port: int = 1) -> Iterator[BinaryIO]:
        """The same table as a readable binary stream."""
        with (self._workspace.output_dir / output_file(port, _FORMATS[accept])).open("rb") as stream:
            yield stream

    def image(self, run_id: str, name: str, file: Path) -> int:
        """Save one image; bytes written."""
        image = next(image for image in self._outcome.images if image.name == name)
        with (self._workspace.output_dir / IMAGES).open("rb") as images:
            images.seek(image.offset)
            return receive([images.read(image.bytes)], file)

    def receipt(self, run_id: str) -> bytes:
        """There is none: nobody vouches for what happened on the user's own machine. Raises LocalRunRefused."""
        raise LocalRunRefused("a local run has no receipt: leave it out with --local")

    def cancel(self, run_id: str) -> None:
        """Kill it, with everything that it started."""
        if self._process is not None:
            self._process.kill()

    def _prepare(self, files: Mapping[str, Path]) -> None:
        """The directories of the file contract, as the runner expects them."""
        self._work.mkdir()
        inputs = self._workspace.input_dir
        inputs.mkdir()
        for name, path in files.items():
            (inputs / name).symlink_to(path.resolve())
        (inputs / "matplotlibrc").touch()
        job, limits = self._run.job, self._run.limits
        self._outputs = self._rooms.enter_context(self._workspace.outputs(job.wanted))
        self._workspace.describe(job_document(job.task, job, limits, job.wanted))

    def _start(self) -> None:
        folders = (self._workspace.input_dir, self._workspace.output_dir, self._work, self._workspace.root / "fonts")
        command = [self._interpreter.path, "-B", "-P", "-m", "runner", *map(str, folders)]
        self._began, self._used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._process = Process(command, self._environment(), self._work)

    def _environment(self) -> dict[str, str]:
        """The user's own, with those variables that a container sets for a run of one CPU; no key of ours."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")}
        path = [str(sandbox_source()), *filter(None, [own.get("PYTHONPATH")])]
        return own | {
            "PYTHONPATH": os.pathsep.join(path),
            "TMPDIR": str(self._work / "tmp"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            # Empty: plots look as they do in the image; the list of fonts stays in the user's own cache.
            "MATPLOTLIBRC": str(self._workspace.input_dir / "matplotlibrc"),
        }

    def _ended(self, process: Process, log_bytes: int) -> Run:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.monotonic() - self._began
        usage = Usage(
            wall_seconds=wall,
            cpu_seconds=used.ru_utime + used.ru_stime - self._used.ru_utime - self._used.ru_stime,
            peak_memory_bytes=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        )
        ended = Ended.DEADLINE if process.timed_out else Ended.EXITED
        result = SandboxResult(ended, process.exit_code, False, "", 0.0, usage)
        job, limits = self._run.job, self._run.limits
        outcome = judge(result, read_report(self._outputs), self._outputs, limits, job.wanted)
        timings = Timings(script_seconds=wall)
        self._outcome = outcome.model_copy(update={"log_bytes": log_bytes, "usage": usage, "timings": timings})
        update = {"status": outcome.status, "outcome": self._outcome, "finished_at": now()}
        return self._shown(self._run.model_copy(update=update))

    def _shown(self, run: RunWord) -> Run:
        """The server's document, and that nothing was isolated; the limits of a container are none here."""
        return run_document(run) | {"limits": None, "isolated": False, "python": self._interpreter.path}


def _file(table: Path | StoredTable) -> Path:
    if isinstance(table, StoredTable):
        raise LocalRunRefused("a dataset lies on the server: save it with `airlock dataset get`, and give that file")
    return table


def _checked(options: Mapping[str, Any]) -> Options:
    """The options as the server reads them. Raises LocalRunRefused, for those too that need a container."""
    for name, spelt in _NEEDS_A_CONTAINER.items():
        if name in options:
            raise LocalRunRefused(f"{spelt} is for runs in a server's container: leave it out with --local")
    try:
        return Options.model_validate(dict(options))
    except ValidationError as error:
        faults = (f"options.{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise LocalRunRefused("; ".join(faults)) from error


def _job(wanted: Options, tables: Mapping[int, Path], formats: Sequence[Format], *, bundle: bool) -> Job:
    inputs = []
    for port, reading in ((1, wanted.dataframe1), (2, wanted.dataframe2)):
        if port in tables:
            inputs.append(_input(port, tables[port], reading))
        elif reading is not None:
            raise LocalRunRefused(f"options.dataframe{port}: there is no dataframe{port} to be read in this way")
    return Job(
        profile=wanted.profile,
        dtypes=wanted.dtypes,
        inputs=tuple(inputs),
        bundle=bundle,
        output_formats=tuple(dict.fromkeys((Format.ARROW, wanted.output_format, *formats))),
        parameters=wanted.parameters,
    )


def _input(port: int, table: Path, reading: Reading | None) -> Input:
    packed = packing(table)
    return Input(
        port=port,
        format=_FORMATS[table_type(table)],
        compression=Compression(packed) if packed else None,
        reading=reading or Reading(),
    )


def _limits(timeout_seconds: float | None) -> Limits:
    """No time limit unless one is given, and the machine's own for the rest; images as a server keeps them."""
    defaults = {name: Settings.model_fields[name].default for name in ("images", "images_bytes")}
    unused = dict.fromkeys(("memory_bytes", "cpus", "processes", "work_bytes", "work_inodes"), 0)
    sizes = dict.fromkeys(("output_bytes", "log_bytes", "inflated_bytes"), LARGEST)
    return Limits(timeout_seconds=timeout_seconds or math.inf, **defaults, **unused, **sizes)
