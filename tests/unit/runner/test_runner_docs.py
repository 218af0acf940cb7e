"""docs/script-contract.md says what the runner does: its tables of codes are complete."""

import re

import runner.failure as failure
from runner_jobs import SOURCES

PAGE = (SOURCES.parent / "docs" / "script-contract.md").read_text()
CODE = "\n".join(path.read_text() for path in sorted((SOURCES / "runner").glob("*.py")))


def test_every_warning_is_documented() -> None:
    """The page lists the codes of warnings that stand in the sources, no more and no fewer."""
    used = set(re.findall(r'(?:warn\(|Notice\()\s*"([a-z_]+)"', CODE))
    listed = PAGE.partition("| code | what it says |")[2]

    assert used == set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", listed))


def test_every_error_code_is_documented() -> None:
    """The page lists the error codes, with the reason of each."""
    kinds = [failure.RunnerError, *failure.RunnerError.__subclasses__()]

    for kind in kinds:
        assert re.search(rf"\| {kind.code} \| `{kind.reason}` \|", PAGE), kind
    assert f"| {failure.OUT_OF_MEMORY} |" in PAGE


def test_the_limits_of_bundles_are_documented() -> None:
    """The page names the limits that bundle.py has."""
    from runner import bundle

    words = f"{bundle.MAX_ENTRIES} entries, {bundle.MAX_FILE_BYTES >> 20} MiB in one file"

    assert words in PAGE
    assert f"{bundle.MAX_TOTAL_BYTES >> 20} MiB in all" in PAGE
    assert f"{bundle.MAX_RATIO} times smaller" in PAGE.replace("\n  ", " ")


def test_the_page_stays_short() -> None:
    """A page that is read, not searched."""
    assert len(PAGE.splitlines()) < 170
