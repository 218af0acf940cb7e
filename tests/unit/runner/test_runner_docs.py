"""docs/contract.md says what the runner does: its tables of codes are complete."""

import re

import runner.failure as failure
from runner import old_frames, old_modules
from runner.job import PROFILES
from runner_jobs import SOURCES

PAGE = (SOURCES.parent / "docs" / "contract.md").read_text()
CODE = "\n".join(path.read_text() for path in sorted((SOURCES / "runner").glob("*.py")))


def test_every_warning_is_documented() -> None:
    """The page lists the codes of warnings that stand in the sources, no more and no fewer."""
    used = set(re.findall(r'(?:warn\(|Notice\()\s*"([a-z_]+)"', CODE))
    listed = PAGE.partition("| code | what it says |")[2]

    assert used == set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", listed))


def test_every_error_code_is_documented() -> None:
    """The page lists the error codes, with the reason of each."""
    kinds: list[type[failure.RunnerError]] = [failure.RunnerError]
    for kind in kinds:  # it grows by what it finds
        kinds += kind.__subclasses__()

    for kind in kinds:
        assert re.search(rf"\| {kind.code} \| `{kind.reason}` \|", PAGE), kind
    assert f"| {failure.OUT_OF_MEMORY} |" in PAGE


def test_the_limits_of_bundles_are_documented() -> None:
    """The page names the limits that archive.py has."""
    from runner import archive

    text = " ".join(PAGE.split())

    assert f"{archive.MAX_ENTRIES} entries and {archive.MAX_BYTES >> 20} MiB in all" in text
    assert f"{archive.MAX_RATIO} times smaller" in text
    assert f"files under {archive.RATIO_FREE_BYTES >> 20} MiB may be" in text


def test_the_wait_for_order_is_documented() -> None:
    """The page names the pause of a change between the two streams, and its bound."""
    from runner import console

    text = " ".join(PAGE.split())

    assert (console.SETTLE_SECONDS, console.ORDER_SECONDS) == (0.002, 0.5)
    assert "two milliseconds after its last write: half a second in all" in text


def test_every_shim_is_documented() -> None:
    """The page names every method that is emulated, and every module."""
    emulated = {f".{name}" for name in (*old_frames._FRAMES, *old_frames._SERIES)}
    modules = set(old_modules._ALIASES) - {"pandas.tools"}

    assert {name for name in emulated | modules if f"`{name}`" not in PAGE} == set()


def test_profiles_are_documented() -> None:
    """The table of profiles has a column for each."""
    header = next(line for line in PAGE.splitlines() if "(default)" in line)

    assert re.findall(r"`([a-z-]+)`", header) == list(PROFILES)


def test_the_page_stays_short() -> None:
    """A page that is read, not searched."""
    assert len(PAGE.splitlines()) < 230
