"""What a launcher makes ahead for its forks: it changes what they cost, and nothing that a script could see."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runner import keep, unchanged
from runner.entry import MODULE_NAME, script_module

WORLD = """
import gc, json, linecache, os, signal, sys, warnings
from pathlib import Path
import pyarrow
from runner import __main__, console, entry, failure, job, job_file, keep, rehearsal, task

def world():
    import logging
    return {
        "modules": sorted(sys.modules),
        "paths": [sys.path, [str(finder) for finder in sys.meta_path], sorted(sys.path_importer_cache)],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "streams": [str(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "warnings": [str(warnings.filters), [n for n, m in sys.modules.items() if hasattr(m, "__warningregistry__")]],
        "source": sorted(linecache.cache),
        "log": [str(logging.root.handlers), logging.root.level],
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "hooks": [str(hook) for hook in (sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook)],
        "limit": sys.getrecursionlimit(),
    }

pyarrow.table({"a": [1]}).to_pandas()  # loads a module, in every run that has an input
before = world()
rehearsal.rehearse(Path(sys.argv[1]))
print(json.dumps([before, world()]))
"""


MODULES = """
import json, sys
from runner import __main__, console, entry, job, job_file, task

def own():
    return sorted(name for name in sys.modules if name.partition(".")[0] == "runner")

seen = [own()]
entry.look_ahead()
seen.append(own())
entry.come_back()
seen.append(own())
entry.look_ahead()
entry.step_aside()
print(json.dumps([*seen, own()]))
"""


def run(program: str, *arguments: str, directory: Path) -> Any:
    here = Path(keep.__file__).parents[1]
    command = [sys.executable, "-I", "-B", "-c", f"import sys; sys.path.append({str(here)!r})\n{program}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_runners_modules_are_put_aside_ahead(tmp_path: Path) -> None:
    """A fork finds those that it asks for; a task without a script all of them, and a script none."""
    before, ahead, back, aside = run(MODULES, directory=tmp_path)

    program = ["__main__", "console", "entry", "job", "job_file", "task"]
    assert ahead == ["runner", *(f"runner.{name}" for name in program)]
    assert back == before
    assert aside == []


def test_a_rehearsal_leaves_nothing_behind(tmp_path: Path) -> None:
    """No module, path, handler, thread, descriptor or file: only what is made when first used."""
    before, after = run(WORLD, str(tmp_path / "rehearsal"), directory=tmp_path)

    assert after == before
    assert os.listdir(tmp_path) == []


@pytest.fixture
def module() -> Any:
    module = script_module()
    yield module
    del sys.modules[MODULE_NAME]


@pytest.mark.parametrize("told", [True, False])
def test_what_a_script_changed_is_put_back(told: bool, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that was taken ahead holds what there was, also what changed between it and the script."""
    monkeypatch.setattr(keep, "CHANGES_ARE_TOLD", told and unchanged.CHANGES_ARE_TOLD)
    keep.look_ahead()
    monkeypatch.setattr(json, "dumps", meanwhile := object())
    imported = sys.modules["imported_by_the_job"] = type(sys)("imported_by_the_job")

    kept = keep.Kept()
    json.dumps, json.added = None, 1  # type: ignore[assignment, attr-defined]
    for name in ("json", MODULE_NAME, "imported_by_the_job"):
        del sys.modules[name]
    kept.put_back()

    assert (json.dumps, json.added) == (meanwhile, 1)  # type: ignore[attr-defined]
    names = ("json", MODULE_NAME, "imported_by_the_job")
    assert [sys.modules[name] for name in names] == [json, module, imported]
    del sys.modules["imported_by_the_job"], json.added  # type: ignore[attr-defined]


def test_a_fork_copies_nothing_that_was_not_changed(module: Any) -> None:
    """The snapshot is the one that was taken ahead, as long as it is true."""
    if not unchanged.CHANGES_ARE_TOLD:
        pytest.skip("this Python does not tell")
    keep.look_ahead()

    before, kept = list(keep._held), keep.Kept()
    kept.put_back()

    assert kept._held == before
