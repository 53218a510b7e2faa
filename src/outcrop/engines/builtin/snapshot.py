"""An index as of one write: what the legs search. Nothing in it changes any more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outcrop.documents import Documents
from outcrop.engines.builtin.parts import NOTHING, LivePart, rows_of
from outcrop.engines.builtin.tail import Tail
from outcrop.engines.builtin.text import TextSnapshot
from outcrop.engines.builtin.vectors import VectorPart
from outcrop.engines.protocol import Ranking
from outcrop.filters import Filter
from outcrop.model import Chunk, Degraded, TermScore


class BuiltinSnapshot:
    """The built-in engine's `IndexSnapshot`. `tail` is None for a generation without vectors."""

    engine = "builtin"
    degraded: Degraded | None = None

    def __init__(self, documents: Documents, text: TextSnapshot, parts: tuple[LivePart, ...], tail: Tail | None) -> None:
        self.sequence = text.sequence
        self.lag = 0 if tail is None else tail.lag
        self.text = text
        self.parts = parts
        self.tail = tail
        self._documents = documents

    def __repr__(self) -> str:
        return f"BuiltinSnapshot(sequence={self.sequence}, {len(self.parts)} parts, lag={self.lag})"

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """BM25 over title and text."""
        return self.text.search(query, k, where)

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest chunks over all parts and the tail."""
        return self._nearest(vector, k, where, exact=False)

    def nearest_exact(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest chunks, every row compared."""
        return self._nearest(vector, k, where, exact=True)

    def _nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None, *, exact: bool) -> Ranking:
        self.text.check_open()
        found = [part.nearest(vector, k, where, exact=exact) for part in self.parts]
        if self.tail is not None and self.tail.lag:
            found.append(self.tail.nearest(vector, k, where))
        return _merged(found, k)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots, in one statement."""
        return self._documents.fetch(slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """What each query term contributes to each chunk's BM25 score."""
        return self.text.explain(query, slots)

    def vectors(self, slots: Sequence[int]) -> list[NDArray[np.float32] | None]:
        """The vectors of these slots, from the parts or the tail."""
        self.text.check_open()
        wanted = np.asarray(slots, np.int64)
        found: list[NDArray[np.float32] | None] = [None] * len(wanted)
        holders: list[tuple[NDArray[np.int64], VectorPart | Tail | None]] = [
            (live.part.slots, live.part.vectors) for live in self.parts
        ]
        if self.tail is not None:
            holders.append((self.tail.slots, self.tail))
        for held, holder in holders:
            rows, positions = rows_of(held, wanted)
            if holder is not None and len(rows):
                for position, vector in zip(positions.tolist(), holder.vectors(rows), strict=True):
                    found[position] = vector
        return found


def _merged(found: list[Ranking], k: int) -> Ranking:
    if not found:
        return NOTHING
    if len(found) == 1:
        return found[0]
    slots = np.concatenate([one.slots for one in found])
    scores = np.concatenate([one.scores for one in found])
    best = np.lexsort((slots, -scores))[:k]
    return Ranking(slots=slots[best], scores=scores[best])
