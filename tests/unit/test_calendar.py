"""The calendar by which retention removes: when it trusts the wall clock, and what it keeps over restarts."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from controller.services import upkeep
from controller.services.upkeep import Calendar

DAY = 86_400.0


class Clock:
    """Both clocks, moved by hand, and the state that a server keeps."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 1000.0
        self.kept: dict[str, Any] | None = None
        self.notes = 0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def get(self, name: str) -> dict[str, Any] | None:
        return self.kept

    def note(self, name: str, value: dict[str, Any], at: datetime) -> None:
        self.kept, self.notes = value, self.notes + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(time=lambda: made.wall, monotonic=lambda: made.steady))
    return made


def test_a_first_start_trusts_the_clock(clock: Clock) -> None:
    """There is nothing to doubt it by; what it shows is written down once a minute at most."""
    calendar = Calendar(clock)  # type: ignore[arg-type]

    for _ in range(120):
        assert calendar.moment() is not None
        clock.pass_by(1)

    assert clock.notes == 2


@pytest.mark.parametrize(
    ("moved", "trusted"), [(0, True), (6 * DAY, True), (8 * DAY, False), (-300, True), (-3600, False)]
)
def test_a_start_with_another_clock_is_doubted_for_a_day(clock: Clock, moved: float, trusted: bool) -> None:
    """Behind what was seen last, or more than a week ahead of it."""
    Calendar(clock).moment()  # type: ignore[arg-type]
    clock.wall += moved

    calendar = Calendar(clock)  # type: ignore[arg-type]

    assert (calendar.moment() is not None) == trusted
    clock.pass_by(DAY)
    assert calendar.moment() is not None


def test_a_pause_goes_on_after_a_restart(clock: Clock) -> None:
    """Of a jump while serving: known at once, and only what is left of its day."""
    calendar = Calendar(clock)  # type: ignore[arg-type]
    calendar.moment()
    clock.wall += 100 * DAY
    clock.pass_by(1)
    assert calendar.moment() is None

    again = Calendar(clock)  # type: ignore[arg-type]
    assert again.moment() is None
    clock.pass_by(DAY / 2)
    assert again.moment() is None
    last = Calendar(clock)  # type: ignore[arg-type]
    clock.pass_by(DAY / 2 - 60)
    assert last.moment() is None
    clock.pass_by(120)
    assert last.moment() is not None
