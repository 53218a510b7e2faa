"""What an engine is: two small protocols and the values that pass through them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.filters import Filter
from outcrop.model import Capabilities, Chunk, Recipe, TermScore


class Ranking(msgspec.Struct, frozen=True, eq=False):
    """The answer of one leg: parallel arrays, best first.

    `slots` is int64 of shape (n,): the chunks' slots. `scores` is float32 of shape (n,), higher is better: BM25 for the lexical
    leg; cosine similarity, dot product or the negative euclidean distance for the vector leg.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.slots)


class Availability(msgspec.Struct, frozen=True):
    """Whether an engine works here; if not, why and what to do about it."""

    available: bool
    reason: str | None = None
    remedy: str | None = None


class IndexedChunk(msgspec.Struct, frozen=True, eq=False):
    """One chunk as an index takes it. `vector` is float32 of shape (dimension,), or None when there is no vector leg."""

    slot: int
    title: str | None
    text: str
    metadata: dict[str, object]
    vector: NDArray[np.float32] | None


class IndexStats(msgspec.Struct, frozen=True):
    """What an index holds. Sizes are in bytes; `recall` is recall@10 against exact search, measured when it was sealed."""

    chunk_count: int
    unindexed_count: int
    size_bytes: int
    vector_index: str | None
    recall: float | None
    fields: tuple[str, ...]


class GenerationIndex(Protocol):
    """One generation's index in one engine. Searching is safe from many threads at once; one thread applies at a time."""

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in and slots out. Idempotent. Visible to searches only after `seal` (a build) or at once (sealed)."""
        ...

    def seal(self) -> IndexStats:
        """Build the final index structures and make everything durable. Called once, by the build, after the last `apply`."""
        ...

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """At most `k` chunks by BM25 among those that `where` selects. Empty when no term of the query is indexed."""
        ...

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """At most `k` nearest chunks among those that `where` selects."""
        ...

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots in the order asked; unknown slots are left out."""
        ...

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """For each slot, what each query term contributes to its BM25 score."""
        ...

    def stats(self) -> IndexStats:
        """What the index holds now."""
        ...

    def close(self) -> None:
        """Release files and memory. Idempotent; a search after it raises `Closed`."""
        ...


class Engine(Protocol):
    """One kind of backend. Engines hold no state of their own: everything lives in the generation's folder."""

    name: str
    capabilities: Capabilities

    def availability(self) -> Availability:
        """Whether this engine works here."""
        ...

    def create(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """An empty index for a new generation in `directory`, which exists and holds its documents.sqlite."""
        ...

    def open(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """The sealed index of an existing generation."""
        ...

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Read every immutable file of the index and raise `Damaged` for the first that is not what was written."""
        ...

    def drop(self, recipe: Recipe, directory: Path) -> None:
        """Remove whatever the engine keeps outside `directory`."""
        ...
