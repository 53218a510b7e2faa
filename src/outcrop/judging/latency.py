"""How long two generations take for the same queries, measured in turns so that whatever else the machine does hits both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import msgspec
import numpy as np

from outcrop.judging.sides import Search

SEARCHES = 200
SEARCHES_MIN = 20
SECONDS = 20.0


class Latency(msgspec.Struct, frozen=True):
    """How long a search takes, embedding included: median and 95th percentile in milliseconds, over `search_count` searches."""

    p50_ms: float
    p95_ms: float
    search_count: int


def interleaved(
    first: Search, second: Search, queries: Sequence[str], *, clock: Callable[[], float] = perf_counter
) -> tuple[Latency, Latency]:
    """Search each query with both, in turns, and who begins takes turns too.

    Both are warmed up with every query that is measured. 200 searches each, with at most 200 queries spread over those given; if
    that takes more than about 20 seconds, fewer, but at least 20. `clock` gives seconds.
    """
    asked = _spread(queries, SEARCHES)
    began = clock()
    for query in asked:
        first(query)
        second(query)
        if clock() - began > SECONDS / 4:
            break
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(SEARCHES):
        if number >= SEARCHES_MIN and clock() - began > SECONDS:
            break
        query_round, place = divmod(number, len(asked))
        searches = (first, second)
        for side in (0, 1) if (query_round + place) % 2 == 0 else (1, 0):
            took[side].append(_seconds(searches[side], asked[place], clock))
    return _latency(took[0]), _latency(took[1])


def _seconds(search: Search, query: str, clock: Callable[[], float]) -> float:
    began = clock()
    search(query)
    return clock() - began


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
    return Latency(p50_ms=float(p50), p95_ms=float(p95), search_count=len(seconds))


def _spread(queries: Sequence[str], most: int) -> list[str]:
    """At most `most` of the queries, evenly spread."""
    count = min(len(queries), most)
    return [queries[place * len(queries) // count] for place in range(count)]
