"""Tables that somebody made to do harm: every task on tables ends with a name for what is wrong, and no result."""

import random
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from runner_jobs import Done, Room, arrow_bytes, environment

TASKS = ("convert", "ingest", "compare", "concatenate", "group")
GOOD = pa.table({
    "k": pa.array(["a", "b", None, "a"]), "n": pa.array([1, 2, 3, None]),
    "c": pa.array(["x", "y", "x", None]).dictionary_encode(), "l": pa.array([[1], [], None, [2, 3]]),
})  # fmt: skip


def _run(room: Room, task: str, data: bytes) -> Done:
    """The task, with the table on every port that it has."""
    room.job["task"] = task
    if task == "compare":
        room.job["outputs"] = []
    if task == "group":
        room.job["group_by"] = "k"
    if task == "concatenate":
        room.give_part(1, GOOD)
        room.give_part(2, data)
    else:
        room.give(1, data, "arrow")
    if task == "compare":
        room.give(2, data, "arrow")
    return room.run()


def _nothing_left(done: Done) -> bool:
    files = [path for path in done.outputs.iterdir() if path.name != "report.json"]
    return bool(files) and done.report["files"] == {} and not any(path.stat().st_size for path in files)


def _invalid_utf8() -> bytes:
    return arrow_bytes(pa.table({"k": ["valid text"]})).replace(b"valid text", b"valid \xff\xfe\xfd!")


def _invalid_name() -> bytes:
    return arrow_bytes(pa.table({"named": [1]})).replace(b"named", b"n\xff\xfe\xfdd")


def _invalid_field_name() -> bytes:
    return arrow_bytes(pa.table({"k": [{"inner": 1}]})).replace(b"inner", b"i\xff\xfe\xfdr")


def _wild_offsets() -> bytes:
    table = pa.table({"k": pa.array(["abc", "defg", "hi"])})
    offsets = struct.pack("<4i", 0, 3, 7, 9)
    data = arrow_bytes(table)
    assert data.count(offsets) == 1
    return data.replace(offsets, struct.pack("<4i", 0, 3, 2**31 - 1, 9))


def _wild_indices() -> bytes:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, 0, 1, 0, 0], pa.int32()), pa.array(["x", "y"]))
    indices = struct.pack("<7i", 0, 1, 1, 0, 1, 0, 0)
    return arrow_bytes(pa.table({"k": column})).replace(indices, struct.pack("<7i", 0, 1, 2**30, 0, 1, 0, 0))


def _deep() -> bytes:
    data_type = pa.int8()
    for _ in range(60):
        data_type = pa.list_(data_type)
    return arrow_bytes(pa.table({"k": pa.nulls(1, data_type)}))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "garbage": lambda: b"ARROW1\0\0" + bytes(random.Random(1).randbytes(500)) + b"ARROW1",
    "cut": lambda: arrow_bytes(GOOD)[:-100],
    "invalid text": _invalid_utf8,
    "invalid name": _invalid_name,
    "invalid name inside": _invalid_field_name,
    "wild offsets": _wild_offsets,
    "wild indices": _wild_indices,
    "deep": _deep,
    "union": lambda: arrow_bytes(pa.table({
        "k": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    })),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tables_are_refused_by_name(make: Callable[[], bytes], task: str, room: Room) -> None:
    """Each ends as bad input with a message of bounded length, and nothing is left of a result."""
    done = _run(room, task, make())

    assert (done.code, done.report["reason"]) == (1, "bad_input"), done.report
    assert done.error["code"] in ("0003", "0017", "0018")
    assert 10 < len(done.error["message"]) < 2000
    assert done.error["traceback"] == ""
    assert _nothing_left(done)


@pytest.mark.parametrize("task", TASKS)
def test_any_byte_may_be_wrong(task: str, room: Room) -> None:
    """Files of which some bytes were changed are read, or refused by name; the process never breaks."""
    data = arrow_bytes(GOOD)
    chance = random.Random(7)
    for _ in range(25):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        room.job["inputs"] = []

        done = _run(room, task, bytes(changed))

        assert done.code in (0, 1), (done.code, done.log)
        if done.code:
            assert done.report["reason"] == "bad_input", done.report["error"]
            assert _nothing_left(done)


@pytest.mark.parametrize("task", TASKS)
def test_thirty_thousand_columns(task: str, room: Room) -> None:
    """Columns without end are work, and no harm: the task ends, and its report is bounded."""
    names = ["k", *(f"column {n}" for n in range(29_999))]
    table = pa.Table.from_arrays([pa.array([1, 1])] * len(names), names=names)

    done = _run(room, task, arrow_bytes(table))

    if task == "concatenate":
        assert "item 2: it has 30000 columns, item 1 has 4" in done.error["message"]
    else:
        assert (done.code, done.report["error"]) == (0, None)


@pytest.mark.parametrize("task", TASKS)
def test_large_dictionaries(task: str, room: Room) -> None:
    """A dictionary of a million levels beside two rows is a table of two rows."""
    levels = pa.array(range(1_000_000)).cast(pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([999_999, 0]), levels)
    good: dict[str, Any] = {"k": column} | {name: GOOD[name].slice(0, 2) for name in ("n", "c", "l")}

    done = _run(room, task, arrow_bytes(pa.table(good)))

    if task == "concatenate":
        assert "column 'k' is dictionary<" in done.error["message"]
    else:
        assert (done.code, done.report["error"]) == (0, None)
    if task == "group":
        assert [group["value"] for group in done.json("groups.json")] == ["999999", "0"]
    if task == "ingest":
        (found, *_) = done.json("statistics.json")["columns"]
        assert (found["distinct"], found["minimum"], found["maximum"]) == (2, "0", "999999")


@pytest.mark.parametrize("task", TASKS)
def test_a_script_is_never_loaded(task: str, room: Room) -> None:
    """A task on tables runs no script, unpacks no bundle and collects no image."""
    room.give_bundle({"runner.py": "raise SystemExit('taken')"})
    (room.base / "work" / "left.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    room.job |= {"task": task, "group_by": "k" if task == "group" else None}
    room.job["outputs"] = [] if task == "compare" else room.job["outputs"]
    room.give_table(1, GOOD)
    if task == "compare":
        room.give_table(2, GOOD)

    done = room.run("print('loaded')\n")

    assert (done.code, done.log, done.report["images"]) == (0, "", [])
    assert (done.outputs / "images").read_bytes() == b""
    assert not (done.work / "Script Bundle").exists()


@pytest.mark.parametrize(
    ("task", "file", "table"),
    [
        ("ingest", "preview.json", pa.table({"k": ["x" * 1000] * 200})),
        ("ingest", "statistics.json", pa.table({f"c{n}": ["x" * 95] for n in range(200)})),
        ("group", "groups.json", pa.table({"k": [f"{'x' * 20}{n}" for n in range(2000)]})),
    ],
)
def test_a_file_of_the_task_that_does_not_fit(task: str, file: str, table: pa.Table, room: Room) -> None:
    """Past the size limit of a file, the error names the file and the limit, and nothing is left."""
    room.job |= {"task": task, "outputs": [], "group_by": "k" if task == "group" else None}
    room.job["limits"] = room.job["limits"] | {"output_bytes": 30_000}
    room.give_table(1, table)
    arguments, stdin = room.start()

    with stdin.open("rb") as go:
        code = subprocess.run(
            [sys.executable, "-B", "-s", "-P", "-m", "runner", *arguments],
            stdin=go, capture_output=True, env=environment(room.base / "work"), timeout=60, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
        ).returncode  # fmt: skip

    found = room.collect(code)
    assert (found.error["code"], found.report["reason"]) == ("0085", "output_limit")
    assert f"'{file}' (JSON) does not fit: File too large; the limit is 30000 bytes" in found.error["message"]
    assert _nothing_left(found)
