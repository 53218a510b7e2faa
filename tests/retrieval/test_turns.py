"""How many searches compute at once."""

from __future__ import annotations

import os
import threading
import time

import pytest

from outcrop.retrieval import turns as module
from outcrop.retrieval.turns import Places, Turns


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits does so until it is its turn."""
    monkeypatch.setattr(module, "_WAITED_SECONDS_MAX", 30)


@pytest.mark.usefixtures("patient")
def test_a_place_goes_to_whoever_has_waited_longest() -> None:
    places = Places(1)
    assert places.take()
    served: list[int] = []
    waiters = []
    for number in range(5):

        def wait(number: int = number) -> None:
            assert places.take()
            served.append(number)
            places.give_back()

        waiters.append(threading.Thread(target=wait))
        waiters[-1].start()
        while len(places._waiting) <= number:  # each comes after the one before
            time.sleep(0)
    places.give_back()
    for one in waiters:
        one.join(30)
    assert served == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("patient")
def test_there_are_never_more_than_places_and_none_is_lost() -> None:
    places, inside, most = Places(3), set(), []

    def search(name: int) -> None:
        for _ in range(2_000):
            assert places.take()
            inside.add(name)
            most.append(len(inside))
            inside.discard(name)
            places.give_back()

    threads = [threading.Thread(target=search, args=(name,)) for name in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert max(most) <= 3
    assert len(places._free) == 3
    assert not places._waiting


def test_who_has_waited_long_goes_without_a_place() -> None:
    places = Places(1)
    assert places.take()
    assert not places.take()
    assert not places._waiting


def test_one_search_is_never_a_crowd_and_more_than_half_the_cores_are() -> None:
    for cores, searches, crowded in ((1, 1, False), (1, 2, True), (2, 1, False), (2, 2, True), (8, 4, False), (8, 5, True)):
        turns = Turns(cores)
        for _ in range(searches):
            turns.__enter__()
        assert turns.crowded is crowded
        for _ in range(searches):
            turns.__exit__(None, None, None)
        assert not turns.crowded


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_all_places_and_no_search_of_its_parent() -> None:
    turns = Turns(1)
    assert turns.take() is not None
    assert turns.take() is not None
    with turns, turns:
        child = os.fork()
        if not child:
            os._exit(0 if not turns.crowded and turns.take() is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert turns.crowded
