"""Several ask for the same at once: one does it, and the others take what it found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from outcrop import forking

_T = TypeVar("_T")
_WAITED_SECONDS_MAX = 10.0  # whoever works may have been interrupted where it could not say so any more


class SingleFlight(Generic[_T]):
    """Runs what has the same key once at a time. Safe to use from many threads; in a forked child nothing is under way."""

    def __init__(self, *, waited_seconds_max: float = _WAITED_SECONDS_MAX) -> None:
        self._waited_seconds_max = waited_seconds_max
        self._lock = forking.lock()
        self._flights: dict[bytes, _Flight[_T]] = {}
        forking.in_child(self, SingleFlight._begin_child)

    def run(self, key: bytes, work: Callable[[], _T]) -> tuple[_T, bool]:
        """What `work` gives, and whether it was this call's: False if another thread's for the same key was waited for.

        If that one fails, or takes more than 10 s, this call does its own work: so every caller gets an error of its own, and none
        waits for ever. What is given may go to several threads: it must not be changed.
        """
        with self._lock:
            flight = self._flights.get(key)
            ended = None if flight is None else flight.awaited()
            if flight is None:
                flight = self._flights[key] = _Flight()
        if ended is None:
            return self._led(key, flight, work), True
        if not ended.wait(self._waited_seconds_max):
            self._end(key, flight)
        return (flight.results[0], False) if flight.results else (work(), True)

    @property
    def under_way(self) -> int:
        """How many are being done."""
        return len(self._flights)

    def _led(self, key: bytes, flight: _Flight[_T], work: Callable[[], _T]) -> _T:
        try:
            made = work()
            flight.results.append(made)
            return made
        finally:
            self._end(key, flight)

    def _end(self, key: bytes, flight: _Flight[_T]) -> None:
        with self._lock:
            if self._flights.get(key) is not flight:  # ended by one who had waited too long, or in a child
                return
            del self._flights[key]
        if flight.ended is not None:  # nobody begins to wait any more
            flight.ended.set()

    def _begin_child(self) -> None:
        self._flights = {}


class _Flight(Generic[_T]):
    """Work that goes on; `results` holds what it gave, and stays empty if it failed. Nearly always nobody waits for it."""

    __slots__ = ("ended", "results")

    def __init__(self) -> None:
        self.ended: threading.Event | None = None
        self.results: list[_T] = []

    def awaited(self) -> threading.Event:
        """What to wait for. To be called by one at a time."""
        if self.ended is None:
            self.ended = threading.Event()
        return self.ended
