"""The pipes of a run's log, at whose other end is a script that may do with it what it likes."""

import os
import select
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from controller.engines.base import STDERR, STDOUT
from controller.engines.launcher import Fork, _pipes
from controller.engines.oci_streams import Job, pipes


@pytest.fixture(params=["fork", "first process"])
def job(request):
    """What reads a log, of a forked runner or a container's first process; and the script's end of both streams."""
    with ExitStack() as held:
        if request.param == "fork":
            ours, theirs = _pipes(held, held, os.getuid())
            yield Fork(SimpleNamespace(), 0, ours), (theirs["stdout"], theirs["stderr"])
        else:
            both = held.enter_context(pipes())
            yield Job(SimpleNamespace(), both), both.theirs[1:]


def test_a_script_that_is_faster_at_its_own_log_does_not_hold_the_reader(job):
    """It takes what was seen there before the server does. In which moment it must do so cannot be chosen: the kernel's
    answer is made up, and the pipes are as it leaves them."""
    one, theirs = job
    ours = [descriptor for descriptor, stream in one._open.items() if stream in (STDOUT, STDERR)]
    one._poll = SimpleNamespace(poll=lambda _: [(descriptor, select.POLLIN) for descriptor in ours])

    stolen = one.read(0.1)
    os.write(theirs[0], b"a word")
    left = one.read(0.1)

    assert stolen == []
    assert left == [(STDOUT, b"a word")]
