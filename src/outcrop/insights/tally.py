"""The query log, read once from its beginning to its end, as counts that take no more memory for a longer log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from time import sleep

import msgspec

from outcrop.insights.counting import Counted, Spread
from outcrop.insights.line import Line

LISTED = 20
STEPS = ("embed", "lexical", "vector", "fuse", "fetch", "waiting")
OTHER_SHAPES = "(other filters)"
LARGE_K = 50
_QUERIES_MAX = 20_000
_SHAPES_MAX = 500
_SLOW_MAX = 10 * LISTED
_HOUR_SECONDS = 3600
_IN_A_ROW = 128
_PAUSE_SECONDS = 1e-5


class ShapeTally(msgspec.Struct):
    """The searches with one shape of filter. `by_mode` is of those that were run, `selected` of those in which the vector leg found
    fewer chunks than it looked for."""

    fields: tuple[str, ...]
    negated: bool
    by_mode: dict[str, Spread]
    selected: Spread
    searches: int = 0
    zero_results: int = 0


class LegTally(msgspec.Struct):
    """What one leg did in hybrid searches that showed hits, and how often it found nothing at all where it could have."""

    silent: int = 0
    hits: int = 0
    empty: int = 0


class Tally:
    """Counts of searches. `cache_seconds` is how long an answer is kept: after it a repeat is no fault of the cache's size."""

    def __init__(self, cache_seconds: float) -> None:
        self._cache_seconds = cache_seconds
        self.searches = 0
        self.estimated = 0.0
        self.first_at = self.last_at = 0.0
        self.hours: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self.by_mode: dict[str, Spread] = {}
        self.unfiltered: dict[str, Spread] = {}
        self.steps = {name: Spread() for name in STEPS}
        self._spreads = tuple(self.steps.values())
        self.total_ms = 0.0
        self.shapes: dict[str, ShapeTally] = {}
        self.queries = Counted(_QUERIES_MAX)
        self.legs = {"lexical": LegTally(), "vector": LegTally()}
        self.large_k = Spread()
        self.large_k_fetch = Spread()
        self._slow: dict[tuple[str | None, str | None], Line] = {}

    def add_all(self, lines: Iterable[Line]) -> None:
        """Count every line, and let other threads of the process have the interpreter now and then: they answer searches."""
        for number, line in enumerate(lines):
            if not number % _IN_A_ROW:
                sleep(_PAUSE_SECONDS)
            self.add(line)

    def add(self, line: Line) -> None:
        """Count a search."""
        self.first_at = line.at if not self.searches else min(self.first_at, line.at)
        self.last_at = max(self.last_at, line.at)
        self.searches += 1
        self.estimated += 1 / line.share
        self.hours[int(line.at) // _HOUR_SECONDS] += 1
        nothing = is_nothing(line)
        self._count(line, nothing=nothing)
        if line.degraded is not None:
            self.degraded[line.degraded] += 1
        if not line.cached:
            self._time(line)
        if line.where is not None:
            self._shape(line, nothing=nothing)
        self._legs(line)
        if line.query is not None:
            self._query(line, nothing=nothing)

    def slowest(self) -> list[Line]:
        """The searches that took longest, the longest of each query with its filter."""
        return sorted(self._slow.values(), key=lambda line: -line.total_ms)[:LISTED]

    def _count(self, line: Line, *, nothing: bool) -> None:
        counts = self.counts
        counts["zero_results"] += nothing
        counts["zero_unfiltered"] += nothing and line.where is None
        counts["unfiltered"] += line.where is None
        counts["cached"] += line.cached
        counts["cacheable"] += not line.batch
        counts["vector_only"] += line.query is None
        if line.lexical_candidates is not None:
            counts["lexical_searches"] += 1
            counts["no_term"] += line.no_term
        if line.mode == "lexical":
            counts["lexical_alone"] += 1
            counts["zero_lexical_alone"] += nothing and not line.no_term and line.where is None
        if line.mode != "lexical" and not line.vector:
            counts["embedded_searches"] += 1
            counts["no_vector"] += line.no_vector

    def _time(self, line: Line) -> None:
        self.by_mode.setdefault(line.mode, Spread()).add(line.total_ms)
        if line.where is None:
            self.unfiltered.setdefault(line.mode, Spread()).add(line.total_ms)
        self.total_ms += line.total_ms
        for spread, took in zip(self._spreads, steps_of(line), strict=True):
            if took is not None:
                spread.add(took)
        if line.k >= LARGE_K:
            self.large_k.add(line.total_ms)
            self.large_k_fetch.add(0.0 if line.fetch_ms is None else line.fetch_ms)
        key = line.query, line.where
        slowest = self._slow.get(key)
        if slowest is None or line.total_ms > slowest.total_ms:
            self._slow[key] = line
            if len(self._slow) > _SLOW_MAX:
                self._slow = {(one.query, one.where): one for one in self.slowest()}

    def _shape(self, line: Line, *, nothing: bool) -> None:
        name = line.where if line.where in self.shapes or len(self.shapes) < _SHAPES_MAX else OTHER_SHAPES
        assert name is not None
        found = self.shapes.get(name)
        if found is None:
            about = ((), False) if name == OTHER_SHAPES else (line.fields, line.negated)
            found = self.shapes[name] = ShapeTally(*about, {}, Spread())
        found.searches += 1
        found.zero_results += nothing
        if not line.cached:
            found.by_mode.setdefault(line.mode, Spread()).add(line.total_ms)
        if line.vector_candidates is not None and line.vector_candidates < line.candidates and not line.no_vector:
            found.selected.add(line.vector_candidates)

    def _legs(self, line: Line) -> None:
        if line.mode != "hybrid":
            return
        self.counts["hybrid"] += 1
        lexical, vector = self.legs["lexical"], self.legs["vector"]
        lexical.empty += line.lexical_candidates == 0 and not line.no_term and line.where is None
        self.counts["hybrid_unfiltered"] += line.where is None
        if line.hits:
            self.counts["hybrid_shown"] += 1
            self.counts["hybrid_hits"] += line.hits
            lexical.hits += line.lexical_hits + line.both_hits
            vector.hits += line.vector_hits + line.both_hits
            lexical.silent += not line.lexical_hits + line.both_hits
            vector.silent += not line.vector_hits + line.both_hits

    def _query(self, line: Line, *, nothing: bool) -> None:
        one = self.queries.of(line)
        asked = line.mode, line.k, line.offset, line.generation, line.sequence
        # A cache that had the answer would have given it. With a filter it is not known whether its values were the same.
        if not line.cached and not line.batch and line.where is None and one.last == asked:
            if line.at - one.last_at <= self._cache_seconds:
                one.soon += 1
            else:
                one.late += 1
        one.searches += 1
        one.zero_results += nothing
        one.cached += line.cached
        if line.mode == "hybrid" and line.hits:
            one.lexical_silent += not line.lexical_hits + line.both_hits
            one.vector_silent += not line.vector_hits + line.both_hits
        one.last_at, one.last = line.at, asked


def is_nothing(line: Line) -> bool:
    """Whether nothing was found; a page behind the last hit is not that."""
    return not line.hits and not line.offset


def steps_of(line: Line) -> tuple[float | None, ...]:
    """How long each of `STEPS` took. The legs may have run at once: where they fit one after the other, no less than the rest was
    spent waiting, above all for a core."""
    embed, lexical, vector, fuse, fetch = line.embed_ms, line.lexical_ms, line.vector_ms, line.fuse_ms, line.fetch_ms
    if lexical is None and vector is None:
        return embed, lexical, vector, fuse, fetch, None
    room = line.total_ms - (0.0 if embed is None else embed) - (0.0 if fuse is None else fuse) - (0.0 if fetch is None else fetch)
    legs = (0.0 if lexical is None else lexical), (0.0 if vector is None else vector)
    one_after_the_other = legs[0] + legs[1]
    waited = room - (one_after_the_other if one_after_the_other <= room else max(legs))
    return embed, lexical, vector, fuse, fetch, max(0.0, waited)
