"""``python -I -B -m runner [IN OUT WORK FONTS]``: wait for the go line, do the one job in IN, exit.

Exit codes: 0 succeeded; 1 failed, and the report says why; 2 job.json is not understood; 3 the report could
not be written; 70 the go line did not come.  (4: a copy of the process that the script forked and forgot.)
"""

import faulthandler
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

INVALID_JOB = 2
NO_REPORT = 3
NO_GO = 70


def main(arguments: list[str]) -> NoReturn:
    """Do one job and end the process, without the interpreter's shutdown: that alone would cost 60 ms."""
    leave = os._exit  # held here: the script may replace it
    started = time.monotonic()
    from runner import console, entry, job, job_file, task

    import_seconds = time.monotonic() - started
    paths = job.Paths(*map(Path, arguments))
    log = console.Console()
    faulthandler.enable()
    task.prepare(paths)
    if not console.wait_for_go():
        leave(NO_GO)
    console.close_standard_input()
    try:
        described = job_file.read_job(paths.job)
        if described.task == "run":
            entry.step_aside()
        else:
            entry.come_back()
        one = task.Task(described, paths, log)
        one.report.timings["import_seconds"] = import_seconds
        code = one.perform()
    except job.InvalidJob as error:
        log.say(f"[airlock] {error}\n")
        code = INVALID_JOB
    except BaseException as error:
        log.say(f"[airlock] the report could not be written: {type(error).__name__}\n")
        code = NO_REPORT
    leave(code)


if __name__ == "__main__":
    main(sys.argv[1:])
