"""How many searches compute at once: one more than there are cores. The others wait for a place, in the order of their coming.

More gain nothing: they share the cores, and the interpreter, which only one thread has at a time. A search lets go of it often,
mostly for microseconds, and each time a thread that wants it is woken, finds it taken again, and goes back to sleep: eight threads
answered two thirds as many queries as one, with one and a half to two times the work for each. The one place more is for a core
whose search has ended, until the next one is awake.

A search waits at most 50 ms. So one that is held up (its pages come from a slow disk) holds up nobody for long, and one that was
begun inside another one is not waited for by it.
"""

from __future__ import annotations

import os
from collections import deque
from threading import Lock
from types import TracebackType

from outcrop import forking

_WAITED_SECONDS_MAX = 0.05


class Turns:
    """Who may compute, and how many search. Safe from many threads; a forked child begins anew."""

    def __init__(self, core_count: int | None = None) -> None:
        self._cores = cores() if core_count is None else core_count
        self._begin()
        forking.in_child(self, Turns._begin)

    def __enter__(self) -> None:
        """A search begins, and does what needs no core: waits for an embedder, perhaps."""
        self._under_way.append(None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """A search has ended."""
        if self._under_way:  # not in a child that was forked meanwhile
            self._under_way.pop()

    @property
    def crowded(self) -> bool:
        """Whether so many searches are under way that they keep the cores busy without each taking two."""
        return len(self._under_way) > max(1, self._cores // 2)

    def take(self) -> Places | None:
        """A place, when there is one: what it is to be given back to. None if that took too long."""
        places = self._places
        return places if places.take() else None

    def _begin(self) -> None:
        self._under_way: list[None] = []  # one for each search: appending and popping are atomic, and so need no lock
        self._places = Places(self._cores + 1)


class Places:
    """Places that are handed on to whoever has waited longest. Without a lock: every step is one atomic operation on a list."""

    def __init__(self, count: int) -> None:
        self._free = [None] * count
        self._waiting: deque[Lock] = deque()

    def take(self) -> bool:
        """Whether there was a place, or one was given back in time."""
        try:
            self._free.pop()
        except IndexError:
            return self._wait()
        return True

    def give_back(self) -> None:
        """Let another one have the place."""
        self._free.append(None)
        self._hand_out()

    def _wait(self) -> bool:
        turn = Lock()
        turn.acquire()
        self._waiting.append(turn)
        self._hand_out()  # what was given back just before
        if turn.acquire(timeout=_WAITED_SECONDS_MAX):
            return True
        try:
            self._waiting.remove(turn)
        except ValueError:  # it was handed out at the last moment
            return True
        return False

    def _hand_out(self) -> None:
        """Give free places to those who wait. Whoever frees a place or begins to wait looks here afterwards, so none is missed."""
        while self._waiting:
            try:
                self._free.pop()
            except IndexError:
                return
            try:
                self._waiting.popleft().release()
            except IndexError:  # another thread was faster
                self._free.append(None)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
