"""Counting a stream in bounded memory: percentiles of times, and which of very many queries are asked most."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from outcrop.insights.line import Line
from outcrop.insights.values import Times

_STEP = math.log(1.02)
_LEAST = 1e-4
_WAITING_MAX = 256


class Spread:
    """Numbers by their size, in steps of 2 %: a few hundred counts, whatever comes. They are sorted in some hundreds at a time.

    >>> spread = Spread()
    >>> for number in range(1, 101):
    ...     spread.add(number)
    >>> 49 <= spread.percentile(50) <= 51, spread.count, spread.greatest
    (True, 100, 100.0)
    """

    __slots__ = ("_count", "_greatest", "_places", "_total", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[float] = []
        self._places: dict[int, int] = {}
        self._count = 0
        self._total = 0.0
        self._greatest = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count + len(self._waiting)

    @property
    def total(self) -> float:
        """All of them added up."""
        self._settle()
        return self._total

    @property
    def greatest(self) -> float:
        """The greatest; 0 if there is none."""
        self._settle()
        return self._greatest

    def add(self, number: float) -> None:
        """One more."""
        self._waiting.append(number)
        if len(self._waiting) >= _WAITING_MAX:
            self._settle()

    def percentile(self, percent: float) -> float:
        """The number below which so many percent lie, within 1 %; 0 if there is none."""
        self._settle()
        wanted, seen = self._count * percent / 100, 0
        for place in sorted(self._places):
            seen += self._places[place]
            if seen >= wanted:
                return min(math.exp(place * _STEP), self._greatest)
        return 0.0

    def merged(self, others: Iterable[Spread]) -> Spread:
        """This one and the others together, as a new one."""
        merged = Spread()
        for one in (self, *others):
            one._settle()  # noqa: SLF001 - another one of this class
            merged._take(one._places, one._total, one._greatest)  # noqa: SLF001
        return merged

    def times(self) -> Times:
        """The numbers as times."""
        p50, p95, p99 = (round(self.percentile(percent), 3) for percent in (50, 95, 99))
        return Times(self.count, p50, p95, p99, round(self.greatest, 3))

    def _settle(self) -> None:
        if not self._waiting:
            return
        numbers = np.array(self._waiting, np.float64)
        self._waiting.clear()
        places, counts = np.unique(np.rint(np.log(np.maximum(numbers, _LEAST)) / _STEP).astype(np.int64), return_counts=True)
        self._take(dict(zip(places.tolist(), counts.tolist(), strict=True)), float(numbers.sum()), float(numbers.max()))

    def _take(self, places: dict[int, int], total: float, greatest: float) -> None:
        for place, count in places.items():
            self._places[place] = self._places.get(place, 0) + count
            self._count += count
        self._total += total
        self._greatest = max(self._greatest, greatest)


class Asked(msgspec.Struct):
    """What is known of one query with one shape of filter. `soon` and `late` count repeats that a cache might have answered: by
    whether they came within the cache's time after the one before."""

    missed: int
    searches: int = 0
    zero_results: int = 0
    cached: int = 0
    lexical_silent: int = 0
    vector_silent: int = 0
    soon: int = 0
    late: int = 0
    last_at: float = 0.0
    last: tuple[object, ...] = ()


class Counted:
    """The queries that are asked most, of however many (lossy counting, Manku and Motwani, VLDB 2002).

    At most `size_max` are kept. When there are more, those that were asked least go, and every count that is kept then may be too
    low by `undercounted`. Until then counts are exact.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._kept: dict[tuple[str, str | None], Asked] = {}
        self.undercounted = 0

    def of(self, line: Line) -> Asked:
        """What is known of the query of a line that has one."""
        assert line.query is not None
        key = line.query, line.where
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= self._size_max:
                self._forget()
            found = self._kept[key] = Asked(self.undercounted)
        return found

    def top(self, by: str, count: int) -> list[tuple[str, str | None, Asked]]:
        """The queries with the most of what `by` counts, none without any."""
        some = ((query, where, one) for (query, where), one in self._kept.items() if getattr(one, by))
        return sorted(some, key=lambda item: (-getattr(item[2], by), -item[2].searches, item[0]))[:count]

    def total(self, by: str) -> int:
        """What `by` counts, of all that are kept."""
        return sum(getattr(one, by) for one in self._kept.values())

    def _forget(self) -> None:
        while len(self._kept) > self._size_max // 2:
            self.undercounted += 1
            self._kept = {key: one for key, one in self._kept.items() if one.searches + one.missed > self.undercounted}
