"""What an engine is: three small protocols and the values that pass through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.filters import Filter
from outcrop.index_values import IndexChoice
from outcrop.model import Capabilities, Chunk, Degraded, Recipe, ServingStats, TermScore

_Answer = TypeVar("_Answer")

KEEP_SECONDS = 300.0
"""How long chunks that ended can still be fetched, at least: longer than any search lasts."""

Publishing: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Gives a context manager that holds a generation's apply lock."""

SampleQueries: TypeAlias = Callable[[], NDArray[np.float32] | None]
"""Gives vectors as searches will ask for them, float32 of shape (n, dimension), or None where nobody can make any."""


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
    """What an index holds. Sizes are in bytes; `recall` is recall@10 against exact search, measured when it was sealed.

    `serving`, of an index in two engines, says how the first one does. `choice` says how the vector index was chosen, if that is
    known. Of `fields`, a filter by one of `fields_without_column` may read more than it selects.
    """

    chunk_count: int
    unindexed_count: int
    size_bytes: int
    vector_index: str | None
    recall: float | None
    fields: tuple[str, ...]
    serving: ServingStats | None = None
    choice: IndexChoice | None = None
    fields_without_column: tuple[str, ...] = ()


class IndexSnapshot(Protocol):
    """One generation's index as of one write. It never changes, and is safe to use from many threads at once.

    `engine` is the name of the engine that answers, and `degraded` says why it is another one than was wanted, or is None.
    `sequence` is the last write that it shows. `lag` counts the chunks that are searched one by one, because no vector index has
    them yet. Use it for one search and let go of it: what it was made of is kept as long as it is referenced, but chunks that ended
    are forgotten some minutes later, and `fetch` leaves those out.
    """

    engine: str
    degraded: Degraded | None
    sequence: int
    lag: int

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """At most `k` chunks by BM25 among those that `where` selects. Empty when no term of the query is indexed."""
        ...

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """At most `k` nearest chunks among those that `where` selects. Chunks without a vector are never among them."""
        ...

    def nearest_exact(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """As `nearest`, past every approximate index: what recall is measured against, at whatever cost."""
        ...

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots in the order asked; unknown slots are left out.

        Called once its legs are done by every search, with no slots by one that found nothing.
        """
        ...

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """For each slot, what each query term contributes to its BM25 score. Nothing for an unknown slot."""
        ...

    def vectors(self, slots: Sequence[int]) -> list[NDArray[np.float32] | None]:
        """For each slot its vector, float32 of shape (dimension,), as the index keeps it: for cosine at length 1.

        None for a chunk without a vector and for an unknown slot.
        """
        ...


class Failover(Exception):
    """Raised by a leg of a snapshot whose engine failed while another has the same write: `instead` answers the same query."""

    def __init__(self, instead: IndexSnapshot) -> None:
        super().__init__(instead)
        self.instead = instead


def answered(snapshot: IndexSnapshot, ask: Callable[[IndexSnapshot], _Answer]) -> _Answer:
    """What the snapshot answers, or the one that stands in for it when its engine fails."""
    try:
        return ask(snapshot)
    except Failover as failed:
        return ask(failed.instead)


class GenerationIndex(Protocol):
    """One generation's index in one engine: first building, then, once sealed, open.

    Any number of threads may ask for snapshots; who applies holds the generation's apply lock (or builds it).
    """

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in and slots out, after documents.sqlite has committed their rows. May be done again after a crash.

        While building: visible and durable after `seal`, and nothing is deleted. Once sealed: visible to the next `snapshot` of
        every process, and durable, together with `sequence`, when this returns; nothing of it before that.

        Raises, while building, `InvalidInput` for a vector of another length or that is not finite, and `IllegalState` for deletes.
        """
        ...

    def seal(self, queries: SampleQueries | None = None) -> IndexStats:
        """Build the final index structures and make everything durable. Called once, by the build, after the last `apply`.

        An engine that measures the recall of what it builds may do so with `queries`. Raises `IllegalState` the second time.
        """
        ...

    def snapshot(self) -> IndexSnapshot:
        """The index as of the last write whose `apply` had returned when this was called, in whatever process; or a later one.

        Costs microseconds when nothing was written since the last call.
        """
        ...

    def follow(self, seconds_max: float) -> bool:
        """Bring up to date what lags behind the rows by design, outside of every lock, for at most so long; whether that is done.

        For whoever has just written. An index that `apply` has brought up to date returns True at once.
        """
        ...

    def absorb(
        self, publishing: Publishing, *, keep_seconds: float = KEEP_SECONDS, floor: int | None = None, timeout_seconds: float = 0.0
    ) -> int:
        """Put what is searched one by one into the vector index, tidy up, and say how many chunks were put in.

        `publishing` gives a context manager that holds the generation's apply lock; it is taken for moments only, several times.
        Snapshots taken before stay as they were. Chunks that ended at least `keep_seconds` ago, and not after the write `floor`,
        may be forgotten. Only one caller at a time does it, over all processes: another waits up to `timeout_seconds`, then
        does nothing and returns 0. After a crash anywhere in it nothing is lost, and the next call removes what it left.
        """
        ...

    def stats(self) -> IndexStats:
        """What the index holds now."""
        ...

    def close(self) -> None:
        """Release files and memory. Idempotent; afterwards everything, snapshots included, raises `Closed`."""
        ...


class Engine(Protocol):
    """One kind of backend. Engines hold no state of their own: everything lives in the generation's folder."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    def availability(self) -> Availability:
        """Whether this engine works here. Where it does not, `create` and `open` raise `EngineUnavailable`."""
        ...

    def create(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """An empty index for a new generation in `directory`, which exists and holds its documents.sqlite."""
        ...

    def open(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """The sealed index of an existing generation. Raises `Damaged` where there is none."""
        ...

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Read every immutable file of the index and raise `Damaged` for the first that is not what was written."""
        ...

    def drop(self, directory: Path) -> None:
        """Remove whatever the engine keeps outside `directory`."""
        ...
