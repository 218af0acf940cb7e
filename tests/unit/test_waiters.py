"""Who may wait: so many in all, and an eighth is kept from a tenant that has half of them."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from controller.errors import Busy
from controller.services.waiters import Waiters


def enter(stack: ExitStack, waiters: Waiters, *tenants: str) -> list[bool]:
    """Whether each of these got a place."""
    got = []
    for tenant in tenants:
        try:
            stack.enter_context(waiters.place(tenant))
            got.append(True)
        except Busy:
            got.append(False)
    return got


@pytest.mark.parametrize(
    ("places", "tenants", "got"),
    [
        (4, "aaaab", [True, True, True, False, True]),
        (4, "aaabb", [True, True, True, True, False]),
        (4, "aabcd", [True, True, True, True, False]),
        (16, "a" * 15 + "bb", [True] * 14 + [False, True, True]),
        (1, "aab", [True, False, False]),
        (2, "aab", [True, False, True]),
    ],
)
def test_the_last_places_are_for_tenants_that_have_less_than_half(places: int, tenants: str, got: list[bool]) -> None:
    """And nobody more than there are."""
    with ExitStack() as stack:
        assert enter(stack, Waiters(places), *tenants) == got


def test_a_place_is_free_again_when_whoever_had_it_has_left() -> None:
    """However the wait ended; and nothing is remembered of a tenant of whom nobody waits."""
    waiters = Waiters(2)

    for _ in range(5):
        with suppress(ZeroDivisionError), waiters.place("a"), waiters.place("b"):
            assert enter(ExitStack(), waiters, "a", "b", "c") == [False] * 3
            raise ZeroDivisionError
    with ExitStack() as stack:
        assert enter(stack, waiters, "a", "b") == [True, True]

    assert not waiters._of
