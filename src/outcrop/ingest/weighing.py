"""How many bytes are under way in a pipeline, so that the reader waits when there are too many.

Only the reader waits, and never while it holds something that nobody else could finish. What grows on its way (a text gets pieces,
and those get vectors) takes more without waiting; the reader learns from it how much to take for the next item.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from math import ceil
from typing import Any

import msgspec

from outcrop.memory import Account

_GROWTHS_KEPT = 8


class Bound(msgspec.Struct, frozen=True, eq=False):
    """The bytes that items under way may hold: `weigh` says how many an item has, `account` is where they are taken from."""

    account: Account
    weigh: Callable[[Any], int]


class Load(msgspec.Struct):
    """An item on its way: what it weighed when it was read, and how much is held for it now."""

    item: Any
    read_bytes: int
    held_bytes: int


class Scale:
    """Takes bytes for items that come in, more when they grow, and gives them back. Without a bound it weighs nothing.

    What comes in is held for as large as items like it became: with the largest growth of the last few that were finished.
    """

    def __init__(self, bound: Bound | None, stopped: Callable[[], bool]) -> None:
        self._bound = bound
        self._stopped = stopped
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._closed = False
        self._growths: tuple[float, ...] = (1.0,)

    def admitted(self, items: Iterator[Any]) -> Iterator[Load]:
        """The items, each as soon as there is room for it; they end when the pipeline has stopped."""
        for item in items:
            size = 0 if self._bound is None else self._bound.weigh(item)
            wanted = ceil(size * max(self._growths))
            if not self._take(wanted):
                return
            yield Load(item, size, wanted)

    def weighed(self, stage: Callable[[Any], Any]) -> Callable[[Load], Load]:
        """The stage as one that works on loads: what it makes of an item may weigh more."""

        def work(load: Load) -> Load:
            load.item = stage(load.item)
            if self._bound is not None:
                grown = self._bound.weigh(load.item) - load.held_bytes
                if grown > 0:
                    self._add(grown)
                    load.held_bytes += grown
            return load

        return work

    def released(self, loads: Iterable[Load]) -> Iterator[Any]:
        """The items; each is done with when the next one is asked for."""
        for load in loads:
            yield load.item
            if self._bound is not None:
                growth = self._bound.weigh(load.item) / max(load.read_bytes, 1)
                self._growths = (*self._growths[1 - _GROWTHS_KEPT :], max(1.0, growth))
            load.item = None
            self._give_back(load.held_bytes)

    def close(self) -> None:
        """Give back whatever is held, and take nothing any more: a waiting reader goes on, and finds that the pipeline stopped."""
        with self._lock:
            self._closed = True
            held, self._held_bytes = self._held_bytes, 0
        if self._bound is not None:
            self._bound.account.give_back(held)

    def _take(self, size_bytes: int) -> bool:
        if self._bound is None:
            return True
        if not self._bound.account.take(size_bytes, stopped=self._stopped):
            return False
        return self._note(size_bytes)

    def _add(self, size_bytes: int) -> None:
        if self._bound is not None:
            self._bound.account.add(size_bytes)
            self._note(size_bytes)

    def _note(self, size_bytes: int) -> bool:
        """Whether what was taken is held; after `close` it goes back at once."""
        with self._lock:
            if not self._closed:
                self._held_bytes += size_bytes
                return True
        if self._bound is not None:
            self._bound.account.give_back(size_bytes)
        return False

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            if self._closed:
                return
            self._held_bytes -= size_bytes
        if self._bound is not None:
            self._bound.account.give_back(size_bytes)
