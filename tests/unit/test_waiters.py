"""Who may wait: so many in all, and of one tenant half of them."""

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
        (4, "aaa", [True, True, False]),
        (4, "aaabb", [True, True, False, True, True]),
        (4, "aabcd", [True, True, True, True, False]),
        (5, "aaabbc", [True, True, False, True, True, True]),
        (1, "aab", [True, False, False]),
        (2, "aab", [True, False, True]),
    ],
)
def test_a_tenant_gets_half_of_all_places_and_at_least_one(places: int, tenants: str, got: list[bool]) -> None:
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
