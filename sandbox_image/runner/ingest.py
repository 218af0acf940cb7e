"""The task ``ingest``: a table in any format becomes an Arrow file, with a preview and its statistics beside it."""

from runner.preview import preview
from runner.statistics import statistics
from runner.workbench import Workbench

PREVIEW = "preview.json"
STATISTICS = "statistics.json"


def ingest(bench: Workbench) -> None:
    """Read the only input, as stated, and write the outputs asked for and the two files of this task."""
    with bench.timed("read_seconds"):
        table = bench.read(bench.job.inputs[0])
    with bench.timed("write_seconds"):
        bench.write(1, table)
        bench.write_json(PREVIEW, preview(table))
        bench.write_json(STATISTICS, statistics(table))
