"""The process: the go line, standard streams, exit codes and the working directory."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runner.console import ORDER_SECONDS
from runner_jobs import GO, READING, Done, Room, environment


def _start(room: Room, script: str, go: bytes = GO) -> "subprocess.Popen[bytes]":
    arguments, _ = room.start(script, go)
    return subprocess.Popen(
        [sys.executable, "-B", "-s", "-P", "-m", "runner", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(room.base / "work"),
    )


def _run(room: Room, script: str, go: bytes = GO) -> Done:
    process = _start(room, script, go)
    log, _ = process.communicate(go, timeout=60)
    (room.base / "log").write_bytes(log)
    return room.collect(process.returncode)


def test_the_whole_process(room: Room) -> None:
    """A job run by a process of its own, as a container runs it."""
    room.give_table(1, {"a": [1, 2]})

    done = _run(room, "def azureml_main(df):\n    print('hello')\n    return df * 2,\n")

    assert (done.code, done.log) == (0, "hello\n")
    assert done.table.to_pydict() == {"a": [2, 4]}
    assert done.report["timings"]["import_seconds"] > 0.01


@pytest.mark.parametrize("go", [b"", b"{", b'{"go": 2}\n', b'{"go": 1}', b"x" * 5000])
def test_without_the_go_line_nothing_runs(go: bytes, room: Room) -> None:
    """Anything but the go line ends the process with 70, in silence, the job unread."""
    done = room.run("print('ran')\n", go)

    assert (done.code, done.log, done.report) == (70, "", {})


def test_the_job_is_read_after_the_go_line(room: Room) -> None:
    """What is in /in may be written until the go line: a warm runner knows nothing of its job."""
    process = _start(room, "raise ValueError('too early')\n")
    assert process.stdin
    time.sleep(1)
    (room.base / "in" / "script.py").write_text("def azureml_main():\n    print('late')\n")
    log, _ = process.communicate(GO, timeout=60)

    assert process.returncode == 0
    assert log.startswith(b"late\n")


def test_prints_go_live(room: Room) -> None:
    """A line is in the log when it is printed, not when the script ends."""
    process = _start(room, "import time\nprint('first')\ntime.sleep(3600)\n")
    assert process.stdin
    assert process.stdout
    process.stdin.write(GO)
    process.stdin.flush()

    assert process.stdout.readline() == b"first\n"

    process.kill()
    process.communicate()


def entry(**change: object) -> dict[str, object]:
    """The description of an input."""
    return {"port": 1, "file": "x", "format": "csv", "compression": None, "reading": READING, "slice": None} | change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, "version 1; this runner understands 3"),
        ({"task": "dance"}, "task is 'dance'"),
        ({"profile": None}, "profile is None"),
        ({"dtypes": "best"}, "dtypes is 'best'"),
        ({"inputs": [entry(port=3)]}, "port is 3"),
        ({"inputs": [entry(compression="rar")]}, "compression is 'rar'"),
        ({"inputs": [entry(file="../x")]}, "'../x' is not a plain file name"),
        ({"outputs": [{"port": 1, "file": "result", "format": "xls"}]}, "output format is 'xls'"),
        ({"outputs": [{"port": 3, "file": "result", "format": "csv"}]}, "output port is 3"),
        ({"limits": {}}, "KeyError"),
        ({"group_by": "x"}, "group_by is 'x', which does not fit run"),
        ({"group_by": 1}, "group_by is 1"),
        ({"inputs": [entry(), entry()]}, "2 inputs on the ports [1] do not fit run"),
        ({"inputs": [entry(slice={"offset": -1, "rows": 1})]}, "the slice's offset is -1"),
        ({"inputs": [entry(slice={"offset": 0, "rows": "1"})]}, "the slice's rows is '1'"),
        ({"task": "ingest"}, "0 inputs on the ports [] do not fit ingest"),
        ({"task": "convert", "inputs": [entry(port=2)]}, "1 inputs on the ports [2] do not fit convert"),
        ({"task": "compare", "inputs": [entry()]}, "1 inputs on the ports [1] do not fit compare"),
        ({"task": "concatenate", "inputs": [entry()] * 10_001}, "10001 inputs on the ports [1]"),
        ({"task": "group", "inputs": [entry()]}, "group_by is None, which does not fit group"),
    ],
)
def test_jobs_that_are_not_understood(change: dict[str, object], words: str, room: Room) -> None:
    """A job.json of another shape is the controller's fault: exit code 2, and the log names the field."""
    room.job |= change

    done = room.run("print('ran')\n")

    assert done.code == 2
    assert words in done.log
    assert done.report == {}


def test_the_working_directory(room: Room) -> None:
    """The script starts in its working directory, with a place for temporary files and the fonts listed."""
    (room.base / "fonts" / "fontlist.json").write_text("{}")
    room.job["parameters"] = {}

    done = room.run(
        "import os, tempfile\ndef azureml_main():\n"
        "    return {'cwd': [os.getcwd()], 'tmp': [os.path.isdir('tmp')],\n"
        "            'fonts': [open('.config/matplotlib/fontlist.json').read()]}\n"
    )

    assert done.table.to_pylist() == [{"cwd": str(done.work), "tmp": True, "fonts": "{}"}]


def test_the_search_path(room: Room) -> None:
    """The bundle stands after the standard library and before the packages; the working directory nowhere."""
    done = _run(room, "import json, sys\nprint(json.dumps(sys.path))\ndef azureml_main(): pass\n")

    path: list[str] = json.loads(done.log.splitlines()[0])
    bundle = path.index(str(done.work / "Script Bundle"))
    assert path.index(os.path.dirname(json.__path__[0])) < bundle
    assert bundle < min(n for n, entry in enumerate(path) if entry.endswith("site-packages"))
    assert not {"", ".", str(done.work), str(Path(__file__).parents[3] / "sandbox_image")} & set(path)


def test_nothing_needless_is_imported(room: Room) -> None:
    """Before the script runs, what is loaded is pandas, pyarrow and what they need."""
    done = _run(room, "import sys\nprint(*sys.modules)\ndef azureml_main(): pass\n")

    loaded = set(done.log.splitlines()[0].split())
    assert {"pandas", "pyarrow", "pyarrow.pandas_compat"} <= loaded
    assert not {"matplotlib", "pyarrow.parquet", "pyarrow.dataset", "multiprocessing.pool", "sqlite3", "ssl"} & loaded


def _start_apart(room: Room, script: str) -> "subprocess.Popen[bytes]":
    """A job whose two streams are two pipes, as a container's are."""
    arguments, _ = room.start(script)
    process = subprocess.Popen(
        [sys.executable, "-B", "-s", "-P", "-m", "runner", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(room.base / "work"),
    )
    assert process.stdin
    process.stdin.write(GO)
    process.stdin.close()
    return process


def test_c01_two_streams_are_joined_in_order(room: Room) -> None:
    """C01: prints to the two streams in turn come in turn, even to a reader that takes standard error first."""
    turns = 12
    process = _start_apart(
        room,
        "import sys\ndef azureml_main():\n"
        f"    for n in range({turns}):\n        print('o', n)\n        print('e', n, file=sys.stderr)\n"
        "        sys.stdout.write('p\\n'); sys.stderr.write('q\\n')\n    return {'n': [1]}\n",
    )
    assert process.stdout
    assert process.stderr
    log = b""
    waiting = [process.stderr.fileno(), process.stdout.fileno()]
    while waiting:
        ready = select.select(waiting, [], [], 60)[0]
        first = next(descriptor for descriptor in waiting if descriptor in ready)
        data = os.read(first, 65536)
        log += data
        if not data:
            waiting.remove(first)
    assert process.wait(60) == 0
    process.stdout.close()
    process.stderr.close()

    said = [line for line in log.decode().splitlines() if not line.startswith("[airlock]")]
    assert said == [word for n in range(turns) for word in (f"o {n}", f"e {n}", "p", "q")]


def test_waiting_for_order_is_bounded(room: Room) -> None:
    """When nobody reads, a script that changes the stream a thousand times loses half a second, and no more."""
    process = _start_apart(
        room,
        "import sys, time\ndef azureml_main():\n    started = time.monotonic()\n"
        "    for n in range(1000):\n        print(n)\n        print(n, file=sys.stderr)\n"
        "    return {'seconds': [time.monotonic() - started]}\n",
    )

    assert process.wait(60) == 0
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()

    seconds = room.collect(0).table["seconds"][0].as_py()
    assert ORDER_SECONDS <= seconds < ORDER_SECONDS + 2
