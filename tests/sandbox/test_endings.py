"""However a script ends, its run ends with the true status and reason, and nothing of it stays.

The scripts of one group are submitted together, run two at a time as on any server, and judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox import check_clean, ended, strays, submit

from tests.running import RunningServer

HEAD = "import ctypes, os, signal, subprocess, sys, threading, time\nimport pandas as pd\n\ndef azureml_main(a, b):\n"
FRAME = "return pd.DataFrame({'x': [1]})"
CRASHED = ("failed", "crashed")
SUCCEEDED = ("succeeded", None)
SCRIPT_ERROR = ("failed", "script_error")
TIMEOUT = ("failed", "timeout")

ENDINGS: dict[str, tuple[str, tuple[str, str | None], str]] = {
    # what the script does: its lines, (status, reason), what the error says
    "leaves with 0 before the result": ("os._exit(0)", CRASHED, "exit code 0"),
    "leaves with 1 without a report": ("os._exit(1)", CRASHED, "exit code 1"),
    "leaves with 3": ("os._exit(3)", CRASHED, "exit code 3"),
    "leaves with 70 as the runner may": ("os._exit(70)", CRASHED, "exit code 70"),
    "pretends to be killed for memory": ("os._exit(137)", CRASHED, "exit code 137"),
    "pretends to be timed out": ("os._exit(124)", CRASHED, "exit code 124"),
    "calls sys.exit": ("sys.exit()", SCRIPT_ERROR, "SystemExit"),
    "calls sys.exit(0)": ("sys.exit(0)", SCRIPT_ERROR, "SystemExit"),
    "calls exit with a text": ("sys.exit('enough')", SCRIPT_ERROR, "enough"),
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt", SCRIPT_ERROR, "KeyboardInterrupt"),
    "raises BaseException": ("raise BaseException('odd')", SCRIPT_ERROR, "odd"),
    "reads a null pointer": ("ctypes.string_at(0)", CRASHED, "SIGSEGV"),
    "aborts": ("os.abort()", CRASHED, "SIG"),
    "overflows the C stack": (
        "import faulthandler\n    faulthandler._stack_overflow()",
        CRASHED,
        "SIGSEGV",
    ),
    "recurses for ever": ("f = lambda: f()\n    f()", SCRIPT_ERROR, "recursion"),
    "replaces itself by another program": ("os.execv('/bin/true', ['true'])", CRASHED, "exit code 0"),
    "replaces itself by one that fails": ("os.execv('/bin/false', ['false'])", CRASHED, "exit code 1"),
    "kills itself": (f"os.kill(os.getpid(), signal.SIGKILL)\n    {FRAME}", SUCCEEDED, ""),
    "terminates itself": (f"os.kill(os.getpid(), signal.SIGTERM)\n    {FRAME}", SUCCEEDED, ""),
    "kills all that it can": (f"subprocess.Popen(['sleep', '60'])\n    os.kill(-1, 9)\n    {FRAME}", SUCCEEDED, ""),
    "stops itself": (f"os.kill(os.getpid(), signal.SIGSTOP)\n    {FRAME}", SUCCEEDED, ""),
    "leaves a thread behind": (
        f"threading.Thread(target=time.sleep, args=(600,)).start()\n    {FRAME}",
        SUCCEEDED,
        "",
    ),
    "leaves a child that holds the log": (
        "if os.fork() == 0:\n        os.setsid()\n        time.sleep(600)\n    " + FRAME,
        SUCCEEDED,
        "",
    ),
    "leaves a daemon and its grandchildren": (
        "for _ in range(5):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid(); os.fork(); os.fork()\n"
        "            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "            while True: time.sleep(1)\n    " + FRAME,
        SUCCEEDED,
        "",
    ),
    "leaves a child and crashes": (
        "if os.fork() == 0:\n        os.setsid()\n        time.sleep(600)\n    os._exit(5)",
        CRASHED,
        "exit code 5",
    ),
    "closes its output and returns": ("os.closerange(0, 100)\n    " + FRAME, SUCCEEDED, ""),
    "removes everything it can": (
        "subprocess.run(['rm', '-rf', '--no-preserve-root', '/'], stderr=subprocess.DEVNULL)\n    " + FRAME,
        SUCCEEDED,
        "",
    ),
    "breaks the interpreter": (
        "import builtins, json\n    sys.modules.clear(); builtins.open = None; builtins.__import__ = None\n"
        "    json.dumps = lambda *a, **k: os._exit(0)\n    os.write = None\n    raise ValueError('broken')",
        SCRIPT_ERROR,
        "broken",
    ),
    "sleeps for ever": ("time.sleep(600)", TIMEOUT, "time limit of 2 seconds"),
    "spins for ever": ("while True: pass", TIMEOUT, "time limit of 2 seconds"),
    "ignores all signals": (
        "for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)\n    while True: time.sleep(1)",
        TIMEOUT,
        "time limit of 2 seconds",
    ),
    "closes its output and sleeps": ("os.closerange(0, 100)\n    time.sleep(600)", TIMEOUT, "time limit"),
    "takes its log from the server and sleeps": (
        "log = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n    end = time.monotonic() + 1\n"
        "    while time.monotonic() < end:\n        os.write(1, b'x')\n"
        "        try: os.read(log, 100)\n        except BlockingIOError: pass\n    time.sleep(600)",
        TIMEOUT,
        "time limit",
    ),
    "sleeps in C without the interpreter's lock": ("ctypes.CDLL(None).sleep(600)", TIMEOUT, "time limit"),
    "sleeps while it is imported": ("return a\n\nimport time\ntime.sleep(600)", TIMEOUT, "time limit"),
    "forks until nothing is left": (
        "while True:\n        try: os.fork()\n        except OSError: pass",
        TIMEOUT,
        "time limit",
    ),
    "starts threads until nothing is left": (
        "while True:\n        try: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "        except RuntimeError: time.sleep(0.01)",
        TIMEOUT,
        "time limit",
    ),
}

WARM_ENDINGS = {
    "kills itself": (CRASHED, "SIGKILL"),
    "terminates itself": (CRASHED, "SIGTERM"),
    "stops itself": (TIMEOUT, "time limit of 2 seconds"),
}
"""Only process 1 ignores what it does to itself, and in a warm container the runner is another."""


def wanted_of(name: str, start: str) -> tuple[tuple[str, str | None], str]:
    wanted, text = ENDINGS[name][1:]
    return WARM_ENDINGS.get(name, (wanted, text)) if start == "warm" else (wanted, text)


BOMBS = ("forks until nothing is left", "starts threads until nothing is left")


@pytest.fixture(scope="module")
def runs(server: RunningServer, start: str) -> Iterator[dict[str, Any]]:
    """Each ending's run, when it has ended."""
    ids = {
        name: submit(
            server,
            f"{HEAD}    {lines}\n",
            timeout_seconds=2 if wanted_of(name, start)[0] == TIMEOUT else 60,
            memory_bytes=256 << 20,
        )
        # First those for which it matters that the start is warm: after a native crash some are plain.
        for name, (lines, _, _) in sorted(ENDINGS.items(), key=lambda item: item[0] not in WARM_ENDINGS)
    }
    yield {name: ended(server, run_id) for name, run_id in ids.items()}
    check_clean(server)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_run_ends_with_its_true_status(runs: dict[str, Any], start: str, name: str) -> None:
    """A script that ends so gets the status and the reason that are true, and an error that says what happened."""
    wanted, text = wanted_of(name, start)
    run = runs[name]

    message = (run["error"] or {}).get("message", "") + (run["error"] or {}).get("type", "")

    assert (run["status"], run["reason"]) == wanted, run["error"]
    assert text.lower() in message.lower()
    assert (run["error"] is None) == (wanted == SUCCEEDED)


def test_no_process_outlives_its_run(server: RunningServer, runs: dict[str, Any]) -> None:
    """When all runs have ended, no process with a uid of the pool is left on the host, nor a container."""

    assert server.gone(), server.containers()
    assert strays(server) == []


@pytest.mark.parametrize("name", [name for name, (_, wanted, _) in ENDINGS.items() if wanted == TIMEOUT])
def test_a_timeout_is_punctual(runs: dict[str, Any], name: str) -> None:
    """A run that is stopped at its time limit ends within a second of it, and never before it.

    A bomb may take longer to die: the kernel has to end each of its processes, within the run's share of CPU.
    """
    grace = 5.0 if name in BOMBS else 1.0

    assert 2.0 <= runs[name]["usage"]["wall_seconds"] <= 2.0 + grace


@pytest.mark.parametrize(
    "name", ["removes everything it can", "leaves a daemon and its grandchildren", "forks until nothing is left"]
)
def test_the_next_run_is_clean(server: RunningServer, name: str) -> None:
    """Right after a script that did its worst, the next run finds an untouched sandbox."""
    lines, wanted, _ = ENDINGS[name]
    run = ended(server, submit(server, f"{HEAD}    {lines}\n", timeout_seconds=3 if wanted == TIMEOUT else 60))

    assert (run["status"], run["reason"]) == wanted
    check_clean(server)
