"""Whoever waits for a run is told of it; and what nobody waits for costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from controller.dispatch.news import News, Watch


def test_a_change_wakes_everybody_who_waits_for_this_run() -> None:
    """And nobody else; whoever has asked is told the next change only."""
    news = News()

    with news.watch("a") as first, news.watch("a") as second, news.watch("b") as other:
        news.changed("a")

        assert [watch.wait(0) for watch in (first, second, other)] == [True, True, False]
        assert [watch.changed() for watch in (first, second, other)] == [True, True, False]
        assert [watch.changed() for watch in (first, second, other)] == [False] * 3
        assert not first.wait(0)
        news.changed("a")
        assert first.wait(0)
    assert not news._watches


def test_who_waits_for_the_end_sleeps_on_when_the_run_begins() -> None:
    """Whoever follows it is told; and both are told of any other change."""
    news = News()

    with news.watch("a", end_only=True) as waiter, news.watch("a") as follower:
        news.begun("a")

        assert (waiter.wait(0), follower.wait(0)) == (False, True)
        assert follower.changed()
        news.changed("a")
        assert (waiter.changed(), follower.changed()) == (True, True)


def test_growth_wakes_those_who_listen_once() -> None:
    """A follower that has been woken hears of no other print until it listens again."""
    news = News()

    with news.watch("a") as follower, news.watch("a") as waiter:
        news.listen("a", follower)
        news.grown("a")
        woken = (follower.wait(0), waiter.wait(0), follower.changed())
        news.grown("a")
        again = follower.wait(0)
        news.listen("a", follower)
        news.grown("a")

        assert woken == (True, False, False)
        assert not again
        assert follower.wait(0)
        news.listen("a", follower)
    assert not news._listening
    assert not news._watches


def test_a_stopping_server_wakes_all_and_lets_nobody_wait() -> None:
    """Also those that come afterwards."""
    news = News()

    with news.watch("a") as before:
        news.close()
        with news.watch("b") as after:
            assert (before.wait(0), after.wait(0), news.closed) == (True, True, True)


def test_a_million_prints_wake_two_hundred_followers_a_few_times() -> None:
    """Those who were woken and rest are not told again, so the writer's time does not depend on how many they are."""
    news, waked = News(), 0

    def seconds(action: Callable[[], None]) -> float:
        began = time.perf_counter()
        action()
        return time.perf_counter() - began

    class Counting(Watch):
        def tell_growth(self) -> None:
            nonlocal waked
            waked += 1

    def print_much() -> None:
        for _ in range(100_000):
            news.grown("a")

    for _ in range(200):
        news.listen("a", Counting())
    took = seconds(print_much)

    assert waked == 200
    assert took < 5


def test_many_followers_rest_longer() -> None:
    """Together they look so often and no oftener; one alone rests 20 ms."""
    news = News()
    alone = news.pause_seconds()
    news._count = 600

    assert (alone, news.pause_seconds()) == (0.02, 0.2)
