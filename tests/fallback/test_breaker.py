"""The circuit breaker, by a clock of the test's own."""

from __future__ import annotations

import logging

import pytest

from outcrop.engines.fallback import Breaker, Policy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("lancedb", lambda: Policy(failures_max=3, open_seconds=30.0, apply_seconds=2.0), clock=clock)


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    assert [breaker.failed("disk"), breaker.failed("disk")] == [False, False]
    assert (breaker.state, breaker.allows()) == ("closed", True)
    assert breaker.failed("disk")
    assert (breaker.state, breaker.allows(), breaker.failure_count) == ("open", False, 3)


def test_a_success_in_between_begins_the_count_anew(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.failed("disk")
        breaker.failed("disk")
        breaker.succeeded()
    assert (breaker.state, breaker.failure, breaker.failure_count) == ("closed", None, 10)


def test_after_its_time_it_lets_one_caller_through(breaker: Breaker, clock: Clock) -> None:
    breaker.failed("disk", at_once=True)
    clock.now += 29.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.state == "half-open"
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    clock.now += 1.1  # the caller never came back
    assert [breaker.allows() for _ in range(2)] == [True, False]


def test_a_success_closes_it_and_a_failure_opens_it_for_as_long_again(breaker: Breaker, clock: Clock) -> None:
    breaker.failed("disk", at_once=True)
    clock.now += 31.0
    assert breaker.allows()
    breaker.failed("disk again")
    assert breaker.state == "open"
    clock.now += 29.0
    assert not breaker.allows()
    clock.now += 2.0
    assert breaker.allows()
    breaker.succeeded()
    assert (breaker.state, breaker.allows(), breaker.allows()) == ("closed", True, True)


def test_it_says_why_it_failed_last_and_since_when(breaker: Breaker) -> None:
    breaker.failed("disk")
    first = breaker.failure
    breaker.failed("memory")
    assert first is not None
    assert breaker.failure is not None
    assert (breaker.failure.reason, breaker.failure.since) == ("memory", first.since)


def test_each_change_is_one_record(breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "outcrop"):
        for _ in range(6):
            breaker.failed("disk")
        clock.now += 31.0
        breaker.allows()
        for _ in range(3):
            breaker.succeeded()
    events = [(record.event, record.engine) for record in caplog.records]  # type: ignore[attr-defined]
    assert events == [("engine_failed", "lancedb"), ("engine_left_alone", "lancedb"), ("engine_recovered", "lancedb")]
