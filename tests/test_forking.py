"""Locks and actions at the start of a forked child."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import pytest

from outcrop import forking
from outcrop.errors import IllegalState

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
        self.told: list[str] = []
        forking.before(self, Inherited.close)
        forking.in_child(self, Inherited.begin)

    def close(self) -> None:
        self.told.append("before")

    def begin(self) -> None:
        self.told.append("in child")


def test_what_is_to_be_done_before_a_fork_is_done_in_the_parent_and_the_rest_in_the_child() -> None:
    thing = Inherited()
    assert in_a_child(lambda: thing.told == ["before", "in child"]) == 0
    assert thing.told == ["before"]


def test_an_object_that_is_gone_leaves_nothing_to_be_done() -> None:
    gc.collect()
    before = len(forking._before), len(forking._in_child)
    thing = Inherited()
    assert (len(forking._before), len(forking._in_child)) == (before[0] + 1, before[1] + 1)
    del thing
    gc.collect()
    assert (len(forking._before), len(forking._in_child)) == before


class Worker:
    """A thread that is at work until it is told to end, and says when it has begun and ended."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()
        self.ended = False
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        self.begun.wait()

    def _work(self) -> None:
        with forking.undisturbed(), forking.undisturbed():
            self.begun.set()
            self.end.wait()
            self.ended = True

    def finish(self) -> None:
        self.end.set()
        self._thread.join()


def end_when_a_fork_waits(worker: Worker) -> None:
    while forking._gate._forking is None:
        time.sleep(0.001)
    worker.end.set()


def test_a_fork_waits_for_what_is_done_undisturbed() -> None:
    worker = Worker()
    watch = threading.Thread(target=end_when_a_fork_waits, args=(worker,))
    watch.start()

    def finds_it_done_and_may_work() -> bool:
        with forking.undisturbed():
            return worker.ended

    assert in_a_child(finds_it_done_and_may_work) == 0
    watch.join()
    worker.finish()


def test_a_child_that_was_forked_amid_work_is_refused_and_the_parent_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_WAITED_SECONDS_MAX", 0.0)
    worker = Worker()

    def is_refused() -> bool:
        with pytest.raises(IllegalState, match="forked while a thread was at work"), forking.undisturbed():
            pass
        return True

    assert in_a_child(is_refused) == 0
    worker.finish()
    with forking.undisturbed():
        pass
    assert in_a_child(lambda: forking.undisturbed().__enter__() is None) == 0


def test_a_child_that_was_forked_amid_work_of_the_same_thread_is_refused() -> None:
    def is_refused() -> bool:
        with pytest.raises(IllegalState), forking.undisturbed():
            pass
        return True

    with forking.undisturbed():
        code = in_a_child(is_refused)
    assert code == 0


def test_threads_that_come_and_go_all_the_time_neither_hang_a_fork_nor_reach_its_child() -> None:
    done, rounds = threading.Event(), [0, 0, 0]

    def come_and_go(number: int) -> None:
        while not done.is_set():
            with forking.undisturbed():
                rounds[number] += 1

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    codes = {in_a_child(lambda: forking.undisturbed().__enter__() is None) for _ in range(100)}
    done.set()
    for thread in threads:
        thread.join()
    assert codes == {0}
    assert all(rounds)
