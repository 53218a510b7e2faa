"""Who asks for what is just being done waits for it; nobody waits for ever, and nobody gets another one's error."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest

from outcrop.retrieval.single_flight import SingleFlight

LIMIT_SECONDS = 30.0


class Work:
    """Work that begins, and goes on until it is let."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.runs = count(1)
        self.errors: list[BaseException] = []

    def __call__(self) -> int:
        number = next(self.runs)
        self.begun.set()
        assert self.may_end.wait(LIMIT_SECONDS)
        if self.errors:
            raise self.errors.pop()
        return number


def waiters_of(flights: SingleFlight[int], key: bytes, wanted: int) -> None:
    """Return when so many threads wait for the flight."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while wanted and len(flights._flights[key].awaited()._cond._waiters) < wanted:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def many(flights: SingleFlight[int], work: Work, pool: ThreadPoolExecutor, callers: int) -> list[Future[tuple[int, bool]]]:
    """So many callers with one key: the first has begun, all others wait for it."""
    first = pool.submit(flights.run, b"key", work)
    assert work.begun.wait(LIMIT_SECONDS)
    others = [pool.submit(flights.run, b"key", work) for _ in range(callers - 1)]
    waiters_of(flights, b"key", callers - 1)
    return [first, *others]


def test_what_many_ask_for_at_once_is_done_once() -> None:
    flights, work = SingleFlight[int](), Work()
    with ThreadPoolExecutor(8) as pool:
        asked = many(flights, work, pool, 8)
        work.may_end.set()
        found = [one.result(LIMIT_SECONDS) for one in asked]
    assert found == [(1, True), *[(1, False)] * 7]
    assert flights.under_way == 0


def test_what_is_asked_for_later_is_done_again() -> None:
    flights, runs = SingleFlight[int](), count(1)
    assert [flights.run(b"key", lambda: next(runs)) for _ in range(2)] == [(1, True), (2, True)]


def test_another_key_waits_for_nothing() -> None:
    flights, work = SingleFlight[int](), Work()
    with ThreadPoolExecutor(1) as pool:
        asked = many(flights, work, pool, 1)
        assert flights.run(b"another", lambda: 5) == (5, True)
        work.may_end.set()
        assert asked[0].result(LIMIT_SECONDS) == (1, True)


@pytest.mark.parametrize("error", [ValueError("it fails"), KeyboardInterrupt()], ids=["a failure", "an interruption"])
def test_who_waited_for_what_failed_does_it_for_himself(error: BaseException) -> None:
    flights, work = SingleFlight[int](), Work()
    work.errors.append(error)

    def first() -> None:
        with suppress(ValueError, KeyboardInterrupt):
            flights.run(b"key", work)

    leader = threading.Thread(target=first)
    leader.start()
    assert work.begun.wait(LIMIT_SECONDS)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(flights.run, b"key", work) for _ in range(3)]
        waiters_of(flights, b"key", 3)
        work.may_end.set()
        found = sorted(one.result(LIMIT_SECONDS) for one in asked)
    leader.join()
    assert found == [(2, True), (3, True), (4, True)]
    assert flights.under_way == 0


def test_who_waited_too_long_does_it_himself_and_so_do_those_who_come_later() -> None:
    flights, work = SingleFlight[int](waited_seconds_max=0.01), Work()
    with ThreadPoolExecutor(1) as pool:
        asked = many(flights, work, pool, 1)  # and never ends, as far as the others can see
        assert flights.run(b"key", lambda: 5) == (5, True)
        assert flights.under_way == 0
        assert flights.run(b"key", lambda: 6) == (6, True)
        work.may_end.set()
        assert asked[0].result(LIMIT_SECONDS) == (1, True)
    assert flights.under_way == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_waits_for_nothing_that_the_parent_does() -> None:
    flights, work = SingleFlight[int](), Work()
    with ThreadPoolExecutor(1) as pool:
        asked = many(flights, work, pool, 1)
        child = os.fork()
        if not child:
            os._exit(0 if flights.run(b"key", lambda: 5) == (5, True) else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        work.may_end.set()
        assert asked[0].result(LIMIT_SECONDS) == (1, True)
    assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_work_that_forks_ends_in_both_processes() -> None:
    flights = SingleFlight[int]()

    def forks() -> int:
        return os.fork()

    child, own = flights.run(b"key", forks)
    if not child:
        os._exit(0 if own and flights.under_way == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert flights.under_way == 0
