"""Measuring two generations in turns, on a clock that only searches move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from outcrop.judging.latency import interleaved


class Turns:
    """Remembers who was asked what; a search takes as many seconds as `seconds` says next."""

    def __init__(self, seconds: Iterator[float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.asked: list[tuple[str, str]] = []

    def clock(self) -> float:
        return self.now

    def search(self, name: str) -> Any:
        def search(query: str) -> None:
            self.asked.append((name, query))
            self.now += next(self.seconds)

        return search


def forever(value: float) -> Iterator[float]:
    while True:
        yield value


def test_two_generations_are_measured_in_turns_after_a_warm_up() -> None:
    turns = Turns(forever(0.001))
    first, second = interleaved(turns.search("a"), turns.search("b"), ["x", "y"], clock=turns.clock)
    assert (first.search_count, second.search_count) == (200, 200)
    assert first.p50_ms == first.p95_ms == second.p95_ms == pytest.approx(1.0)
    warm_up, measured = turns.asked[:4], turns.asked[4:]
    assert warm_up == [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")]
    # who begins takes turns, within a round and from one round to the next, so that each query is asked first of each as often
    assert measured[:8] == [("a", "x"), ("b", "x"), ("b", "y"), ("a", "y"), ("b", "x"), ("a", "x"), ("a", "y"), ("b", "y")]
    assert len(measured) == 400


def test_slow_searches_are_measured_less_often_but_twenty_times() -> None:
    turns = Turns(forever(2.0))
    first, second = interleaved(turns.search("a"), turns.search("b"), [f"q{number}" for number in range(300)], clock=turns.clock)
    assert (first.search_count, second.search_count) == (20, 20)
    assert len(turns.asked) < 2 * (20 + 5)


def test_the_percentiles_are_those_of_the_times_measured() -> None:
    times = [0.0, 0.0, *(number / 1e6 for number in range(400))]  # one query: a warm-up of each, then 200 of each in turns
    turns = Turns(iter(times))
    first, second = interleaved(turns.search("a"), turns.search("b"), ["x"], clock=turns.clock)
    mine = sorted(value for value, (name, _) in zip(times[2:], turns.asked[2:], strict=True) if name == "a")
    assert first.p50_ms == pytest.approx((mine[99] + mine[100]) / 2 * 1000)
    assert first.p95_ms == pytest.approx((mine[189] + 0.05 * (mine[190] - mine[189])) * 1000)
    assert second.search_count == 200


def test_many_queries_are_measured_in_part_spread_over_all() -> None:
    turns = Turns(forever(0.001))
    interleaved(turns.search("a"), turns.search("b"), [str(number) for number in range(1000)], clock=turns.clock)
    assert {query for _, query in turns.asked} == {str(number) for number in range(0, 1000, 5)}
