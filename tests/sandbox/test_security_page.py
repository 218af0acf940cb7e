"""docs/security.md names a test for each promise: each of them exists, and none is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "security.md"
ELSEWHERE = ("test_sandbox_image.py", "test_old_scripts.py", Path(__file__).name)
"""Files of this directory that are about something else: the image's content, older libraries, and this page."""
ABOUT_THE_SUITE = {
    "test_the_probe_can_tell_a_call_that_works",
    "test_no_piece_of_work_is_forgotten",
    "test_the_working_directory_is_an_ordinary_one",
    "test_a_script_that_fills_its_disk_is_told_so",
    "test_a_short_log_is_whole",
    "test_the_log_is_seen_while_the_script_runs",
    "test_a_follower_sees_each_line_as_it_comes",
    "test_the_log_of_a_run_that_was_stopped_is_kept",
    "test_the_script_is_nobody",
}
"""Tests of what works and of the probes themselves, rather than of a wall."""


def promises_tested() -> set[str]:
    names = set()
    for path in HERE.glob("test_*.py"):
        if path.name not in ELSEWHERE:
            body = ast.parse(path.read_text()).body
            names |= {n.name for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}
    return names


def named_elsewhere() -> set[str]:
    """The page names tests of other directories too, where a tenant meets the API."""
    files = [path for name in ("web", "contract", "unit", "acceptance") for path in (HERE.parent / name).rglob("*.py")]
    trees = [ast.walk(ast.parse(path.read_text())) for path in files]
    return {node.name for tree in trees for node in tree if isinstance(node, ast.FunctionDef)}


def test_each_test_that_the_page_names_exists() -> None:
    """A promise on the page is proved by a test that is really there."""

    named = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE.read_text()))

    assert named - promises_tested() - named_elsewhere() == set()


def test_each_promise_that_is_tested_is_on_the_page() -> None:
    """A wall that has a test has a line on the page."""

    named = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE.read_text()))

    assert promises_tested() - named - ABOUT_THE_SUITE == set()
