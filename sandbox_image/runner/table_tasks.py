"""The tasks that work on tables alone: no script is loaded, and no image collected."""

from runner.failure import BadInput, RunnerError
from runner.workbench import Workbench


def perform(bench: Workbench) -> None:
    """Do the task of the job.  Raises a `RunnerError` with a name for whatever is wrong with the tables."""
    task = bench.job.task
    try:
        _perform(task, bench)
    except (RunnerError, MemoryError):
        raise
    except Exception as error:
        why = str(error).strip() or type(error).__name__
        raise BadInput(f"the task {task!r} cannot be done with what was handed in: {why}") from error


def _perform(task: str, bench: Workbench) -> None:
    # Imported here, each by the task that needs it: a run should not wait for what it never does.
    if task == "convert":
        _convert(bench)
    elif task == "ingest":
        from runner.ingest import ingest

        ingest(bench)
    elif task == "compare":
        from runner.compare import compare

        compare(bench)
    elif task == "concatenate":
        from runner.concatenate import concatenate

        concatenate(bench)
    else:
        from runner.group import group

        group(bench)


def _convert(bench: Workbench) -> None:
    with bench.timed("read_seconds"):
        table = bench.read(bench.job.inputs[0])
    with bench.timed("write_seconds"):
        bench.write(1, table)
