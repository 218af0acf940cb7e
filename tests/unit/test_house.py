"""The house stays as it was built: imports go down, and documents speak of what there is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


def test_imports_only_go_down():
    """The contracts in pyproject.toml: floors, no Flask below the web, nobody but the sandbox parses tables."""
    linter = Path(sys.executable).with_name("lint-imports")

    path = {**os.environ, "PYTHONPATH": "sandbox_image"}
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, env=path, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    """Links to other files of the project, and to headings in them."""
    broken = []
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", document.read_text()):
        if target and "://" not in target and not (document.parent / target).exists():
            broken.append(target)

    assert broken == []


def test_no_file_names_this_machine():
    """No path of a developer's machine and no address of a package registry in what is committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    unwanted = re.compile(rb"/work/(main|shared)|/opt/(wheels|pypi)|\.pyenv|pythonhosted|npmjs|anaconda\.org")
    files = {ROOT / name for name in listed.decode().split("\0") if name} - {Path(__file__)}
    guilty = [file for file in files if file.is_file() and unwanted.search(file.read_bytes())]

    assert guilty == []
