"""Runs the runner's real main in a fork per job, so that a suite pays for its imports once.

Reads one JSON object per line ({"arguments": [...], "stdin": path, "log": path}), answers each with the wait
status of the child.  The child is what `python -m runner` is after its imports.
"""

import json
import os
import sys

from runner import __main__ as program
from runner import console, entry, job, job_file, task  # noqa: F401 - what the program imports first


def main() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            for descriptor, path, flags in ((0, request["stdin"], os.O_RDONLY), (1, request["log"], os.O_WRONLY)):
                os.dup2(os.open(path, flags), descriptor)
            os.dup2(1, 2)
            os.setsid()
            program.main(request["arguments"])
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


main()
