"""Who answers: which engine serves a generation now, and how many searches each engine has answered."""

from __future__ import annotations

from collections import Counter

from outcrop import forking
from outcrop.config import Config
from outcrop.engines import registry
from outcrop.engines.protocol import GenerationIndex
from outcrop.model import Degraded, Running, ServingStats


class Answers:
    """Counts answers by engine, in this process; a forked child begins anew. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = forking.lock()
        self._begin()
        forking.in_child(self, Answers._begin)

    def _begin(self) -> None:
        self._counts: Counter[str] = Counter()
        self._fallbacks: Counter[str] = Counter()

    def count(self, engine: str, degraded: Degraded | None) -> None:
        """One more."""
        with self._lock:
            self._counts[engine] += 1
            if degraded is not None and engine != registry.LANCEDB:
                self._fallbacks[degraded.cause] += 1

    def by_engine(self) -> dict[str, int]:
        """How many each engine has given."""
        with self._lock:
            return dict(self._counts)

    def fallbacks(self) -> dict[str, int]:
        """How many degraded ones another engine than LanceDB has given, by their cause."""
        with self._lock:
            return dict(self._fallbacks)

    def fallback_rate(self) -> float | None:
        """The share that LanceDB has not given, or None if there was no answer yet."""
        counts = self.by_engine()
        total = sum(counts.values())
        return 1.0 - counts.get(registry.LANCEDB, 0) / total if total else None


def running(index: GenerationIndex, serving: ServingStats | None, config: Config) -> Running:
    """What serves an open generation now. `serving` says how the first of its two engines does, if it has two."""
    if serving is None:
        return Running(engine=index.snapshot().engine)
    if not config.fallback_to_mvp:
        return Running(engine=registry.LANCEDB, reason=serving.reason)
    if serving.reason is not None:
        return Running(engine=registry.BUILTIN, reason=f"LanceDB: {serving.reason}")
    return Running(engine=registry.LANCEDB, fallback=registry.BUILTIN)
