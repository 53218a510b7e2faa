"""Runs two legs at once: the longer one on the caller, the other on a thread that is kept for it.

A thread that sleeps takes 20 to 150 us to wake up, as long as a short leg takes. So a leg that no thread has begun when the
caller is free is run by the caller; and a caller whose other leg is nearly done looks for it a while before it goes to sleep
itself.
`concurrent.futures` can do the first but not the second, and costs 0.03 ms more for each search.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Generic, TypeVar

from outcrop.retrieval.turns import cores

_T = TypeVar("_T")
_U = TypeVar("_U")
_THREADS_MAX = 8
_LOOKED_FOR_SECONDS = 0.0002
_yield_core = getattr(os, "sched_yield", lambda: None)


class LegThreads:
    """A few threads that wait for legs, begun at the first search. Safe from many callers; a forked child gets its own."""

    def __init__(self) -> None:
        self._threads: _Threads | None = None
        self._closed = False

    def both(self, here: Callable[[], _T], there: Callable[[], _U]) -> tuple[_T, _U]:
        """The results of two functions that run at once. Raises what either raises, when neither runs any more."""
        if self._closed:
            return here(), there()
        threads = self._threads
        if threads is None or threads.process != os.getpid():  # after a fork the threads stayed with the parent
            threads = self._threads = _Threads()
        leg = _Leg(there)
        threads.waiting.put(leg)
        try:
            mine = here()
        except BaseException:
            if not leg.claim():
                leg.wait()  # what it reads must not be closed under it
            raise
        return mine, there() if leg.claim() else leg.result()

    def close(self) -> None:
        """Let the threads end when they have done what they are at. A search that has begun runs what is left on its own."""
        self._closed = True
        if self._threads is not None:
            self._threads.end()


class _Threads:
    """The threads of one process and what they wait for. They end with this object, if nobody ends them before."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.waiting: SimpleQueue[_Leg[Any] | None] = SimpleQueue()
        count = min(_THREADS_MAX, cores())
        self.end = weakref.finalize(self, _end, self.waiting, count)
        for number in range(count):
            threading.Thread(target=_work, args=(self.waiting,), name=f"outcrop-leg-{number}", daemon=True).start()


class _Leg(Generic[_T]):
    """A leg that is to be run once, by whoever claims it first."""

    __slots__ = ("_claimed", "_done", "_ended", "_error", "_run", "_value")

    def __init__(self, run: Callable[[], _T]) -> None:
        self._run = run
        self._claimed = threading.Lock()
        self._ended = threading.Lock()
        self._ended.acquire()
        self._done = False
        self._value: _T | None = None
        self._error: BaseException | None = None

    def claim(self) -> bool:
        """Whether the caller is the one to run it."""
        return self._claimed.acquire(blocking=False)

    def run(self) -> None:
        """Run it, on a thread that has claimed it."""
        try:
            self._value = self._run()
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            self._error = error
        self._done = True
        self._ended.release()

    def wait(self) -> None:
        """Return when it has ended."""
        deadline = perf_counter() + _LOOKED_FOR_SECONDS
        while not self._done and perf_counter() < deadline:
            _yield_core()
        if not self._done:
            self._ended.acquire()

    def result(self) -> _T:
        """What it found, when it has ended."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set unless there is an error


def _work(waiting: SimpleQueue[_Leg[Any] | None]) -> None:
    while (leg := waiting.get()) is not None:
        if leg.claim():
            leg.run()
        del leg  # what it found belongs to its caller alone


def _end(waiting: SimpleQueue[_Leg[Any] | None], count: int) -> None:
    for _ in range(count):
        waiting.put(None)
