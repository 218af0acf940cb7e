"""Scripts that tamper with what they can reach: the run still ends, with an honest report or a clear exit code."""

import json
import resource
import time

import pytest
from runner_jobs import Room

GIVES = "    return {'x': [1]}\n"
NO_REPORT = 3

SURVIVED = {
    "changes-directory": "import os\ndef azureml_main():\n    os.chdir('/')\n" + GIVES,
    "empties-its-directory": "import os, shutil\ndef azureml_main():\n    shutil.rmtree(os.getcwd(), True)\n" + GIVES,
    "closes-1-and-2": "import os\ndef azureml_main():\n    os.close(1); os.close(2)\n" + GIVES,
    "closes-everything": "import os\ndef azureml_main():\n    os.closerange(0, 4096)\n" + GIVES,
    "closes-the-streams": "import sys\ndef azureml_main():\n    sys.stdout.close(); sys.stderr.close()\n" + GIVES,
    "replaces-the-streams": "import sys\ndef azureml_main():\n    sys.stdout = None; sys.stderr = 5\n" + GIVES,
    "streams-that-raise": (
        "import sys\nclass Evil:\n    def __getattr__(self, name): raise SystemExit\n"
        "def azureml_main():\n    sys.stdout = sys.stderr = Evil()\n" + GIVES
    ),
    "breaks-builtins": (
        "import builtins\ndef azureml_main():\n    frame = {'x': [1]}\n"
        "    for name in ('open', 'len', 'isinstance', 'str', 'print', 'sorted', 'dict', 'max'):\n"
        "        setattr(builtins, name, None)\n    return frame\n"
    ),
    "breaks-modules": (
        "import os, json, io, time, zlib, traceback, linecache\n"
        "def azureml_main():\n    frame = {'x': [1]}\n"
        "    for module in (os, json, io, time, zlib, traceback, linecache):\n"
        "        for name in list(vars(module)):\n"
        "            if not name.startswith('_'): setattr(module, name, None)\n    return frame\n"
    ),
    "empties-sys-modules": "import sys\ndef azureml_main():\n    sys.modules.clear(); sys.path.clear()\n" + GIVES,
    "exits-on-open": (
        "import builtins, os\ndef azureml_main():\n    builtins.open = os.open = lambda *a, **k: os._exit(0)\n" + GIVES
    ),
    "replaces-exit": "import os, sys\ndef azureml_main():\n    os._exit = sys.exit = lambda code: None\n" + GIVES,
    "traces": "import sys\ndef azureml_main():\n    sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)\n"
    + GIVES,
    "tiny-recursion-limit": (
        "import sys\ndef azureml_main():\n    try:\n        sys.setrecursionlimit(30)\n"
        "    except RecursionError:\n        pass\n" + GIVES
    ),
    "leaves-a-timer": (
        "import pyarrow, signal, time\ndef fire(*a): raise SystemExit\n"
        "class Slow:\n    def __arrow_c_stream__(self, schema=None):\n"
        "        time.sleep(0.6)\n        return pyarrow.table({'x': [1]}).__arrow_c_stream__(schema)\n"
        "def azureml_main():\n"
        "    signal.signal(signal.SIGALRM, fire); signal.setitimer(signal.ITIMER_REAL, 0.3)\n    return Slow()\n"
    ),
    "leaves-threads": (
        "import threading, time\ndef azureml_main():\n"
        "    for daemon in (True, False):\n"
        "        threading.Thread(target=time.sleep, args=(3600,), daemon=daemon).start()\n" + GIVES
    ),
    "exit-handlers-that-hang": (
        "import atexit, time\ndef azureml_main():\n    atexit.register(time.sleep, 3600)\n" + GIVES
    ),
    "leaves-descriptors-open": (
        "import os\ndef azureml_main():\n    try:\n        while True: os.dup(0)\n    except OSError:\n        pass\n"
        + GIVES
    ),
    "denies-output-signals": (
        "import signal\ndef azureml_main():\n    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n" + GIVES
    ),
    "unusual-finders": (
        "import sys\nclass Evil:\n    def find_spec(self, *a): raise SystemExit\n"
        "def azureml_main():\n    sys.meta_path.insert(0, Evil())\n" + GIVES
    ),
    "reads-standard-input": (
        "def azureml_main():\n    try:\n        input()\n    except EOFError:\n        pass\n" + GIVES
    ),
    "forbids-collection": "import gc\ndef azureml_main():\n    gc.disable(); gc.freeze()\n" + GIVES,
}


@pytest.mark.parametrize("text", SURVIVED.values(), ids=SURVIVED.keys())
def test_tampering_does_not_spoil_the_report(text: str, room: Room) -> None:
    """Whatever the script breaks around itself, its table comes out and the report says so, within seconds."""
    started = time.monotonic()
    room.also("parquet")
    room.also("csv")
    room.also("json")

    done = room.run(text)

    assert time.monotonic() - started < 20
    assert (done.code, done.report["outcome"], done.report["error"]) == (0, "succeeded", None)
    assert done.table.to_pydict() == {"x": [1]}
    assert (done.outputs / "result.json").read_text() == '[{"x":1}]\n'


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.modules.clear()\n1/0\n",
        "import builtins\nbuiltins.open = builtins.len = None\n1/0\n",
        "import os\nos.closerange(0, 4096)\n1/0\n",
        "import linecache, traceback\nlinecache.cache.clear()\ntraceback.TracebackException = None\n1/0\n",
        "import shutil, os\nshutil.rmtree(os.getcwd(), True)\n1/0\n",
    ],
)
def test_tampering_does_not_spoil_the_error(text: str, room: Room) -> None:
    """An error after the tampering is reported with its line and the script's source."""
    done = room.run(text)

    assert (done.error["type"], done.error["line"]) == ("ZeroDivisionError", text.count("\n"))
    assert "    1/0\n" in done.error["traceback"]


@pytest.mark.parametrize("code", [0, 1, 70, 137])
def test_a_script_that_ends_the_process_leaves_no_report(code: int, room: Room) -> None:
    """os._exit gives whatever code it likes, and an empty report: nobody can take it for a success."""
    done = room.run(f"import os\nos._exit({code})\n")

    assert done.code == code
    assert done.report == {}


@pytest.mark.parametrize("ending", [GIVES, "    1/0\n"])
def test_a_forked_copy_of_the_script_writes_no_report(ending: str, room: Room) -> None:
    """A process that the script forked and forgot ends where the script ends; the first one alone reports."""
    done = room.run(
        "import os, time\ndef azureml_main():\n    child = os.fork()\n    if child:\n"
        "        return {'status': [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]}\n    print('child')\n" + ending
    )

    assert done.code == 0
    assert done.table.to_pydict() == {"status": [4]}
    assert done.log.startswith("child\n[airlock]")


def test_a_crash_shows_where_it_was(room: Room) -> None:
    """A native crash ends the process by its signal; the log holds the line of the script."""
    done = room.run("import ctypes\ndef azureml_main():\n    ctypes.string_at(0)\n")

    assert done.code == -11
    assert done.report == {}
    assert "Segmentation fault" in done.log
    assert 'File "script.py", line 3 in azureml_main' in done.log


def test_a_report_that_cannot_be_written_has_its_exit_code(room: Room) -> None:
    """Without a report the exit code is 3, and the log says why."""
    done = room.run(
        "import resource\ndef azureml_main():\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n    return None\n"
    )

    assert done.code == NO_REPORT
    assert done.report == {}
    assert "[airlock] the report could not be written" in done.log


def test_a_bundle_module_cannot_replace_the_runner(room: Room) -> None:
    """Modules in the bundle named like those the runner needs later are not what the runner gets."""
    names = ("pyarrow.py", "json.py", "traceback.py", "csv.py", "runner/__init__.py", "runner/report.py")
    room.give_bundle(dict.fromkeys(names, "raise SystemExit('taken')"))
    room.also("parquet")

    done = room.run("def azureml_main():\n    return {'x': [1]}\n")

    assert done.code == 0
    assert done.table.to_pydict() == {"x": [1]}


def test_a_result_whose_methods_lie(room: Room) -> None:
    """A frame of the script's own class that raises while it is read is an error of the script."""
    done = room.run(
        "import pandas as pd\nclass Frame(pd.DataFrame):\n    def items(self): raise KeyError('lie')\n"
        "def azureml_main():\n    return Frame({'x': [1]})\n"
    )

    assert (done.error["code"], done.error["type"]) == ("0085", "KeyError")


def test_warnings_without_end_are_bounded(room: Room) -> None:
    """A hundred thousand columns that each deserve a warning give a bounded report and a bounded log."""
    done = room.run(
        "import pandas as pd\ndef azureml_main():\n"
        "    return pd.DataFrame([[None] * 5000], columns=pd.Index(['\\ud800' * 50] * 5000, dtype=object))\n"
    )

    assert done.code == 0
    assert len(done.report["warnings"]) <= 100
    assert len(done.log) < 500_000
    assert len(json.dumps(done.report["output"])) < 1024 * 1024


def test_images_beyond_the_size_limit_of_a_file(room: Room) -> None:
    """When the file of images is full, the images before stay whole, and a warning counts the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    done = room.run(
        "import resource, struct, zlib\n"
        "def chunk(name, data):\n"
        "    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))\n"
        "def azureml_main():\n"
        "    header = struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)\n"
        "    for n in range(3):\n"
        "        data = b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', header) + chunk(b'tEXt', bytes(40000))\n"
        "        data += chunk(b'IEND', b'')\n"
        "        open(f'{n}.png', 'wb').write(data)\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, {hard}))\n"
    )

    assert soft == hard or hard == resource.RLIM_INFINITY
    assert [image["name"] for image in done.report["images"]] == ["0.png", "1.png"]
    assert done.image(1).endswith(b"IEND\xaeB`\x82")
    assert "images_cut" in done.warnings
