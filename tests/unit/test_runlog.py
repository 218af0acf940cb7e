"""The log keeps its head and its tail, and says what it cut."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runlog import (
    BEGUN,
    END,
    REMARK,
    START,
    STDERR,
    STDOUT,
    LogReader,
    Position,
    RunLog,
    read_frames,
    read_text,
)


def begun(path: Path, limit: int, attempt: int = 1) -> RunLog:
    return RunLog(path, limit, attempt, lambda: None)


def write(path: Path, limit: int, *pieces: tuple[int, bytes]) -> RunLog:
    log = begun(path, limit)
    for stream, data in pieces:
        log.write(stream, data)
    log.close()
    return log


def test_a_short_log_is_kept_whole_and_told_apart(tmp_path):
    """stdout and stderr come back in the order in which they were written."""
    path = tmp_path / "log"

    log = write(path, 100, (STDOUT, b"a"), (STDERR, b"b"), (STDOUT, b"c"))

    assert [(stream, data) for stream, data in read_frames(path)] == [(1, b"a"), (2, b"b"), (1, b"c")]
    assert (log.bytes, log.truncated) == (3, False)


@pytest.mark.parametrize(("written", "cut"), [(100, 0), (101, 1), (250, 150)])
def test_the_limit_is_exact(tmp_path, written, cut):
    """At the limit nothing is cut; one byte more cuts one byte, and the remark says so."""
    path = tmp_path / "log"
    data = bytes(n % 251 for n in range(written))

    log = write(path, 100, (STDOUT, data))

    kept = b"".join(piece for stream, piece in read_frames(path) if stream != REMARK)
    remarks = [piece for stream, piece in read_frames(path) if stream == REMARK]
    assert kept == data[:50] + data[written - 50 :]
    assert log.truncated == bool(cut)
    assert [f"{cut} bytes".encode() in remark for remark in remarks] == [True] * bool(cut)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30)), max_size=40))
def test_head_and_tail_are_what_was_written_first_and_last(tmp_path_factory, pieces):
    """For any writes: the first 32 bytes and the last 32 bytes are kept, each on its own stream."""
    path = tmp_path_factory.mktemp("log") / "log"
    every = [(stream, byte) for stream, data in pieces for byte in data]

    write(path, 64, *pieces)

    kept = [(stream, byte) for stream, data in read_frames(path) if stream != REMARK for byte in data]
    assert kept == (every if len(every) <= 64 else every[:32] + every[-32:])


def words(reader: LogReader) -> list[bytes]:
    """What the script wrote since the last time, and where it begins again."""
    pieces = [piece for piece in reader.read() if not piece.seen]
    return [piece.data if piece.stream != BEGUN else b"(again)" for piece in pieces if piece.stream != END]


def test_the_head_can_be_read_while_the_log_grows(tmp_path):
    """A reader goes on from where it was, and sees no half frame."""
    path = tmp_path / "log"
    log, reader = begun(path, 1000), LogReader(path)
    log.write(STDOUT, b"first")

    first = words(reader)
    log.write(STDERR, b"second")
    with path.open("ab") as file:
        file.write(b"\1\0\0\0\5half")
    rest = words(reader)

    log.close()
    assert (first, rest) == ([b"first"], [b"second"])


def test_a_reader_is_told_that_the_log_begins_again(tmp_path):
    """Another attempt's log is read from its start; who had read nothing yet is told nothing."""
    path = tmp_path / "log"
    early, late = LogReader(path), LogReader(path)
    assert words(early) == words(late) == []

    write(path, 100, (STDOUT, b"a"))
    first = words(early)
    log = begun(path, 100, attempt=2)
    log.write(STDOUT, b"b")

    assert (first, words(early), words(late)) == ([b"a"], [b"(again)", b"b"], [b"b"])
    assert early.position == late.position
    log.close()


def test_reading_goes_on_after_every_place(tmp_path):
    """Each piece's position gives the rest and nothing twice; the end gives nothing."""
    path = tmp_path / "log"
    write(path, 8, (STDOUT, b"ab"), (STDERR, b"cd"), (STDOUT, b"efgh"), (STDOUT, b"ij"))
    pieces = list(LogReader(path).read())

    rests = [[piece for piece in LogReader(path, one.position).read() if not piece.seen] for one in pieces]

    assert rests == [pieces[number + 1 :] for number in range(len(pieces))]
    assert words(LogReader(path, START)) == [b"ab", b"cd", b"\n[airlock: 2 bytes of the log were cut here]\n", b"ghij"]


def test_a_reader_keeps_its_place_until_it_has_read(tmp_path):
    """While there is no log, or none of its attempt, whoever comes after it begins where it wanted to."""
    path, after = tmp_path / "log", Position(1, 11)
    reader = LogReader(path, after)

    missing = (list(reader.read()), reader.place)
    begun(path, 100, attempt=2).close()
    pieces = list(reader.read())

    assert missing == ([], after)
    assert (pieces[0].stream, pieces[0].position) == (BEGUN, Position(2, 0))
    assert reader.place == pieces[-1].position


@pytest.mark.parametrize("place", [Position(1, 12), Position(1, 10_000), Position(2, 9), Position(0, 11)])
def test_a_place_that_is_none_begins_again(tmp_path, place):
    """Between two frames, past the end, another attempt: the whole log comes, and that it does is said."""
    path = tmp_path / "log"
    write(path, 100, (STDOUT, b"some"), (STDERR, b"words"))

    assert words(LogReader(path, place)) == [b"(again)", b"some", b"words"]


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30)), max_size=40), st.integers(0, 90))
def test_any_place_gives_the_rest_or_all(tmp_path_factory, pieces, number):
    """For any log and any number: what is not seen is what follows the place, or everything."""
    path = tmp_path_factory.mktemp("log") / "log"
    write(path, 64, *pieces)
    whole = list(LogReader(path).read())

    found = list(LogReader(path, Position(1, number)).read())

    if any(piece.position.offset == number for piece in whole):
        assert [piece for piece in found if not piece.seen] == [p for p in whole if p.position.offset > number]
    else:
        assert [(p.stream, p.data, p.seen) for p in found if p.stream != BEGUN] == [
            (p.stream, p.data, False) for p in whole
        ]


def test_readers_are_told_when_there_is_more(tmp_path):
    """At the start, for each write that lands in the file, and at the end; not for what is kept for later."""
    calls: list[int] = []
    log = RunLog(tmp_path / "log", 4, 1, lambda: calls.append(1))
    counts = [len(calls)]
    for data in (b"a", b"bc", b"d"):
        log.write(STDOUT, data)
        counts.append(len(calls))
    log.close()

    assert [*counts, len(calls)] == [1, 2, 3, 3, 4]


def test_a_log_of_single_bytes_costs_little_memory(tmp_path):
    """A script that writes byte by byte, to one stream or to both in turn, does not make an object for each."""
    path, log = tmp_path / "log", begun(tmp_path / "log", 1 << 16)

    tracemalloc.start()
    for n in range(1 << 16):
        log.write(STDOUT if n % 2 else STDERR, b"x")
    for _ in range(1 << 15):
        log.write(STDOUT, b"y")
    for n in range(1 << 15):
        log.write(STDERR if n % 2 else STDOUT, b"z")
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    log.close()

    kept = [(stream, data) for stream, data in read_frames(path) if stream != REMARK]
    assert highest < 16 << 15
    assert kept == [(STDERR, b"x"), (STDOUT, b"x")] * (1 << 14) + [(STDOUT, b"z"), (STDERR, b"z")] * (1 << 14)


def test_the_tail_of_one_stream_is_joined_and_cut_within_a_frame(tmp_path):
    """Small writes share a frame, of which the oldest bytes go first."""
    path, log = tmp_path / "log", begun(tmp_path / "log", 20000)

    for n in range(30000):
        log.write(STDOUT, bytes([n % 251]))
    log.close()

    frames = [data for stream, data in read_frames(path) if stream == STDOUT][10000:]
    assert b"".join(frames) == bytes(n % 251 for n in range(20000, 30000))
    assert len(frames) <= 4


def test_a_character_that_the_other_stream_cuts_is_whole_in_the_text(tmp_path):
    """Each stream is decoded by itself; what is no character is one that says so."""
    pieces = (STDOUT, b"caf\xc3"), (STDERR, b"warning\n"), (STDOUT, b"\xa9\n"), (STDERR, b"\xff\xc3")

    write(tmp_path / "log", 1000, *pieces)

    assert "".join(read_text(tmp_path / "log")) == "cafwarning\né\n\ufffd\ufffd"


def test_a_missing_log_reads_as_empty(tmp_path):
    """A queued run has no log file yet."""
    assert list(read_frames(tmp_path / "none")) == []
