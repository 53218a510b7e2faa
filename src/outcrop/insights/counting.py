"""Counting a stream in bounded memory: percentiles of times, and which of very many queries are asked most."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from outcrop.insights.line import Line
from outcrop.insights.values import Times

_STEP = math.log(1.02)
_LEAST = 1e-4


class Spread:
    """Numbers by their size, in steps of 2 %: a few hundred counts, whatever comes.

    >>> spread = Spread()
    >>> for number in range(1, 101):
    ...     spread.add(number)
    >>> 49 <= spread.percentile(50) <= 51, spread.count, spread.greatest
    (True, 100, 100)
    """

    __slots__ = ("count", "counts", "greatest", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.greatest = 0.0

    def add(self, number: float) -> None:
        """One more."""
        place = round(math.log(number) / _STEP) if number > _LEAST else round(math.log(_LEAST) / _STEP)
        self.counts[place] = self.counts.get(place, 0) + 1
        self.count += 1
        self.total += number
        self.greatest = max(self.greatest, number)

    def percentile(self, percent: float) -> float:
        """The number below which so many percent lie, within 1 %; 0 if there is none."""
        wanted, seen = self.count * percent / 100, 0
        for place in sorted(self.counts):
            seen += self.counts[place]
            if seen >= wanted:
                return min(math.exp(place * _STEP), self.greatest)
        return 0.0

    def merged(self, others: Iterator[Spread]) -> Spread:
        """This one and the others together, as a new one."""
        merged = Spread()
        for one in (self, *others):
            for place, count in one.counts.items():
                merged.counts[place] = merged.counts.get(place, 0) + count
            merged.count += one.count
            merged.total += one.total
            merged.greatest = max(merged.greatest, one.greatest)
        return merged

    def times(self) -> Times:
        """The numbers as times."""
        p50, p95, p99 = (round(self.percentile(percent), 3) for percent in (50, 95, 99))
        return Times(self.count, p50, p95, p99, round(self.greatest, 3))


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
