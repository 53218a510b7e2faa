"""Two legs at once."""

from __future__ import annotations

import gc
import threading

import pytest

from outcrop.retrieval.legs import LegThreads


@pytest.fixture
def legs() -> LegThreads:
    return LegThreads()


def leg_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("outcrop-leg")]


def test_both_run_at_once_on_two_threads(legs: LegThreads) -> None:
    meeting = threading.Barrier(2, timeout=30)

    def leg() -> int:
        meeting.wait()  # passed only if the other one runs too
        return threading.get_ident()

    here, there = legs.both(leg, leg)
    assert here == threading.get_ident() != there


def test_what_no_thread_has_begun_is_done_by_the_caller(legs: LegThreads) -> None:
    """All threads are busy with legs that end only when the test lets them."""
    let_go = threading.Event()
    count = 32
    begun = threading.Semaphore(0)

    def occupy() -> None:
        def wait() -> None:
            begun.release()
            let_go.wait(30)

        legs.both(wait, wait)

    busy = [threading.Thread(target=occupy) for _ in range(count)]
    for thread in busy:
        thread.start()
    for _ in range(count):
        begun.acquire(timeout=30)
    try:
        assert legs.both(lambda: 1, threading.get_ident) == (1, threading.get_ident())
    finally:
        let_go.set()
        for thread in busy:
            thread.join(30)


@pytest.mark.parametrize("failing", ["here", "there", "both"])
def test_an_error_of_either_is_raised(legs: LegThreads, failing: str) -> None:
    def fail() -> None:
        raise ValueError(failing)

    def pass_() -> None:
        return None

    with pytest.raises(ValueError, match=failing):
        legs.both(fail if failing != "there" else pass_, fail if failing != "here" else pass_)
    assert legs.both(lambda: 1, lambda: 2) == (1, 2), "the threads go on"


def test_threads_begin_with_the_first_search_and_end_with_close_or_without_it() -> None:
    before = set(leg_threads())
    closed, dropped = LegThreads(), LegThreads()
    assert set(leg_threads()) == before
    for one in (closed, dropped):
        assert one.both(lambda: 1, lambda: 2) == (1, 2)
    begun = set(leg_threads()) - before
    assert begun
    closed.close()
    del dropped, one
    gc.collect()
    for thread in begun:
        thread.join(30)
        assert not thread.is_alive()
    assert closed.both(lambda: 1, lambda: 2) == (1, 2), "what has begun still ends"
