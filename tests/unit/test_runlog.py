"""The log keeps its head and its tail, and says what it cut."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runlog import REMARK, STDERR, STDOUT, RunLog, read_frames


def write(path: Path, limit: int, *pieces: tuple[int, bytes]) -> RunLog:
    log = RunLog(path, limit)
    for stream, data in pieces:
        log.write(stream, data)
    log.close()
    return log


def test_a_short_log_is_kept_whole_and_told_apart(tmp_path):
    """stdout and stderr come back in the order in which they were written."""
    path = tmp_path / "log"

    log = write(path, 100, (STDOUT, b"a"), (STDERR, b"b"), (STDOUT, b"c"))

    assert [(stream, data) for stream, data, _ in read_frames(path)] == [(1, b"a"), (2, b"b"), (1, b"c")]
    assert (log.bytes, log.truncated) == (3, False)


@pytest.mark.parametrize(("written", "cut"), [(100, 0), (101, 1), (250, 150)])
def test_the_limit_is_exact(tmp_path, written, cut):
    """At the limit nothing is cut; one byte more cuts one byte, and the remark says so."""
    path = tmp_path / "log"
    data = bytes(n % 251 for n in range(written))

    log = write(path, 100, (STDOUT, data))

    kept = b"".join(piece for stream, piece, _ in read_frames(path) if stream != REMARK)
    remarks = [piece for stream, piece, _ in read_frames(path) if stream == REMARK]
    assert kept == data[:50] + data[written - 50 :]
    assert log.truncated == bool(cut)
    assert [f"{cut} bytes".encode() in remark for remark in remarks] == [True] * bool(cut)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30)), max_size=40))
def test_head_and_tail_are_what_was_written_first_and_last(tmp_path_factory, pieces):
    """For any writes: the first 32 bytes and the last 32 bytes are kept, each on its own stream."""
    path = tmp_path_factory.mktemp("log") / "log"
    every = [(stream, byte) for stream, data in pieces for byte in data]

    write(path, 64, *pieces)

    kept = [(stream, byte) for stream, data, _ in read_frames(path) if stream != REMARK for byte in data]
    assert kept == (every if len(every) <= 64 else every[:32] + every[-32:])


def test_the_head_can_be_read_while_the_log_grows(tmp_path):
    """A reader goes on from where it was, and sees no half frame."""
    path = tmp_path / "log"
    log = RunLog(path, 1000)
    log.write(STDOUT, b"first")

    [(_, first, offset)] = list(read_frames(path))
    log.write(STDERR, b"second")
    rest = [data for _, data, _ in read_frames(path, offset)]

    log.close()
    assert (first, rest) == (b"first", [b"second"])


def test_a_log_of_single_bytes_costs_little_memory(tmp_path):
    """A script that writes byte by byte does not make an object for each in the tail."""
    log = RunLog(tmp_path / "log", 1 << 16)

    for _ in range(1 << 17):
        log.write(STDOUT, b"x")

    assert len(log._tail) < 32
    log.close()


def test_a_missing_log_reads_as_empty(tmp_path):
    """A queued run has no log file yet."""
    assert list(read_frames(tmp_path / "none")) == []
