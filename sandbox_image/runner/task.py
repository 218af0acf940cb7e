"""One job from its description to its report."""

import os

import pandas as pd

from runner import report as report_file
from runner import shims, table_tasks
from runner.bundle import Bundle, unpack
from runner.console import Console
from runner.device import collect_images
from runner.entry import entry_point, load_script, open_import_paths, script_module
from runner.explain import explain, remember_source
from runner.figures import Figures
from runner.formats import blaming
from runner.frames import to_arrow, to_pandas
from runner.hints import Source
from runner.job import Failure, Input, Job, Paths, Report
from runner.keep import Kept
from runner.ports import plan_call
from runner.returned import Table, result_tables
from runner.workbench import Workbench

SUCCEEDED = 0
FAILED = 1
FORKED = 4
_LOG_SAYS = "[airlock] error {}: the script failed; the Python interpreter says why:"
_LOG_HEAD = "---------- error reported by the Python interpreter ----------"
_LOG_TAIL = "---------- end of the error reported by the Python interpreter ----------"


class Task:
    """One job at work.  Whatever goes wrong, `perform` writes the report, and writes it last."""

    def __init__(self, job: Job, paths: Paths, console: Console) -> None:
        self._job = job
        self._paths = paths
        self._console = console
        self._figures = Figures()
        self._process = os.getpid()
        self._bundle: Bundle | None = None
        self._script = b""
        self.report = Report()
        self._bench = Workbench(job, paths, self.report)

    def perform(self) -> int:
        """Do the job and report; gives the exit code."""
        try:
            if self._job.task == "run":
                self._run()
            else:
                table_tasks.perform(self._bench)
        except BaseException as error:  # a script may raise anything
            self.report.failure = explain(error, self._source())
            self._bench.forget_outputs()
        if self._bundle is not None:  # else no script has run
            figures = self._figures if self._job.profile.open_figures else None
            self.report.images = collect_images(self._paths, self._bundle, figures, self._job.limits, self.report.warn)
        self._end_log()
        report_file.write(self.report, self._paths.report)
        return FAILED if self.report.failure else SUCCEEDED

    def _run(self) -> None:
        archive = self._paths.inputs / self._job.bundle if self._job.bundle else None
        self._bundle = unpack(archive, self._paths, self.report.warn)
        with self._bench.timed("read_seconds"):
            frames = {
                entry.port: self._frame(entry)
                for entry in sorted(self._job.inputs, key=lambda entry: entry.port)
            }
        with self._bench.timed("script_seconds"):
            returned = self._call_script(frames, self._bundle)
        with self._bench.timed("write_seconds"):
            for port, table in enumerate(returned, start=1):
                self._bench.write(port, to_arrow(table, self._job.profile, self.report.warn))

    def _frame(self, entry: Input) -> pd.DataFrame:
        table = self._bench.read(entry)
        with blaming(entry.port, entry.format):
            return to_pandas(table, self._job.dtypes, self._job.profile, self.report.warn)

    def _call_script(self, frames: dict[int, pd.DataFrame], bundle: Bundle) -> list[Table]:
        self._script = self._paths.script.read_bytes()
        remember_source(self._source().text)
        open_import_paths(self._paths, bundle, self.report.warn)
        module = script_module()
        kept = Kept()
        self._figures.watch()
        try:
            shims.install(self._script, bundle, self.report.warn)
            load_script(self._script, module)
            function = entry_point(module)
            call = plan_call(function, frames, self._job.profile, self._job.parameters, self.report.warn)
            frames.clear()  # the script alone decides how long its tables live
            returned = function(*call.positional, **call.keywords)
        finally:
            kept.put_back()
            self._end_forked_copies()
        return result_tables(returned, self._job.profile, self.report.warn)

    def _end_forked_copies(self) -> None:
        """End a process that the script forked and that came back from it: there is one report to write."""
        if os.getpid() != self._process:
            self._console.flush()
            os._exit(FORKED)

    def _source(self) -> Source:
        bundle = self._bundle or Bundle(self._paths.bundle)
        return Source(self._script.decode("utf-8", "replace"), bundle.root, bundle.only_folder)

    def _end_log(self) -> None:
        self._console.flush()
        if self.report.failure:
            self._console.say(_told(self.report.failure))
        for notice in self.report.notices[: report_file.WARNINGS]:
            text = report_file.clip(notice.message, report_file.WARNING_CHARACTERS).replace("\n", " ")
            self._console.say(f"[airlock] warning {notice.code}: {text}\n")


def _told(failure: Failure) -> str:
    """Give the end of a failed job's log: the script's traceback between two marks, or our own sentence."""
    if not failure.traceback:
        return f"[airlock] error {failure.code}: {failure.message}\n"
    hint = failure.message.partition("\nHint: ")[2]
    raised = f"Caught exception while executing function: {failure.traceback.rstrip()}"
    lines = [_LOG_SAYS.format(failure.code), _LOG_HEAD, raised, *([f"Hint: {hint}"] if hint else []), _LOG_TAIL, ""]
    return "\n".join(lines)


def prepare(paths: Paths) -> None:
    """Make the working directory ready: a place for temporary files, and matplotlib's fonts already listed."""
    os.chdir(paths.work)
    paths.scratch.mkdir(exist_ok=True)
    settings = paths.work / ".config" / "matplotlib"
    settings.mkdir(parents=True, exist_ok=True)
    for file in sorted(paths.fonts.iterdir()) if paths.fonts.is_dir() else ():
        link = settings / file.name
        if not link.is_symlink():
            link.symlink_to(file)
