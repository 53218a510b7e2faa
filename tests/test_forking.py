"""Locks and actions at the start of a forked child."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

import pytest

from outcrop import forking

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def in_a_child(answer: Callable[[], bool]) -> int:
    """The exit code of a forked child that calls `answer`: 0 if it says true, 1 if false, 2 if it raises."""
    child = os.fork()
    if not child:
        code = 2
        try:
            code = 0 if answer() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_lock_that_another_thread_holds_is_free_in_the_child_and_held_in_the_parent() -> None:
    lock = forking.lock()
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holding.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    assert in_a_child(lambda: lock.acquire(blocking=False)) == 0
    assert not lock.acquire(blocking=False)
    done.set()
    thread.join()


class Inherited:
    def __init__(self) -> None:
        self.told = 0
        forking.in_child(self.begin)

    def begin(self) -> None:
        self.told += 1


def test_what_is_to_be_done_in_a_child_is_done_there_and_not_in_the_parent() -> None:
    thing = Inherited()
    assert in_a_child(lambda: thing.told == 1) == 0
    assert thing.told == 0


def test_an_object_that_is_gone_leaves_nothing_to_be_done() -> None:
    before = len(forking._actions)
    thing = Inherited()
    assert len(forking._actions) == before + 1
    del thing
    gc.collect()
    assert len(forking._actions) == before
