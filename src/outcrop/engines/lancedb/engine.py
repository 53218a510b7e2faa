"""The LanceDB engine: one table per generation for text, vectors and filters; documents stay in documents.sqlite."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from outcrop.documents import Documents
from outcrop.engines.lancedb import absorbing, checking, library, location, probing, vector_index
from outcrop.engines.lancedb.building import Building
from outcrop.engines.lancedb.location import Place
from outcrop.engines.lancedb.serving import Serving
from outcrop.engines.lancedb.snapshot import LanceSnapshot
from outcrop.engines.lancedb.table import Marker
from outcrop.engines.protocol import KEEP_SECONDS, Availability, IndexedChunk, IndexStats, Publishing, SampleQueries
from outcrop.errors import Closed, IllegalState, StorageFailed
from outcrop.model import Capabilities, Recipe

_log = logging.getLogger("outcrop")
_MEMORY_BYTES = 400_000_000
_UNINDEXED_SHARE_MAX = 1 / 8


class LanceEngine:
    """LanceDB, with new tables in the generation's folder, or below `uri`, a URI or an absolute path.

    An existing table is looked for where it was made, whatever `uri` is. A build keeps chunks that are not written yet, with what
    Arrow makes of them, in about `memory_bytes`; what LanceDB takes for its indexes is its own affair. Nothing of LanceDB is
    imported before an index is made, opened, verified, or dropped from an object store.
    """

    name = "lancedb"
    capabilities = Capabilities(filters=True, metrics=("cosine", "dot", "l2"), index_kinds=vector_index.KINDS, explains_terms=False)

    def __init__(self, uri: str | None = None, *, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._uri = uri
        self._memory_bytes = memory_bytes

    def availability(self) -> Availability:
        """Whether LanceDB works here: tried out in a process of its own, once for each set of versions."""
        return probing.availability()

    def create(self, recipe: Recipe, directory: Path) -> LanceIndex:
        """An empty index for a new generation."""
        return LanceIndex(directory, recipe, Building(directory, recipe, self._uri, memory_bytes=self._memory_bytes))

    def open(self, recipe: Recipe, directory: Path) -> LanceIndex:
        """The sealed index of an existing generation. Raises `Damaged` if the table is missing or cannot be read."""
        return LanceIndex(directory, recipe, Serving(directory, recipe))

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Compare every file with its checksum, then read every row and compare it with documents.sqlite."""
        with closing(Documents(directory)) as documents:
            checking.verify(recipe, directory, documents)

    def drop(self, directory: Path) -> None:
        """Remove the tables that lie outside of the generation's folder. Raises `StorageFailed` if one could not be."""
        with ExitStack() as removing:  # each is tried, whatever becomes of the others
            for place in location.elsewhere(directory, self._uri):
                removing.callback(_remove, place)


def _remove(place: Place) -> None:
    if place.local is not None:
        location.remove(place.local)
        return
    with library.calling(place, "written"):
        connection = library.run_beside(place, partial(library.connect, place))
        connection.drop_table(location.TABLE, ignore_missing=True)


class LanceIndex:
    """One generation's index: first building, then, once sealed, serving."""

    def __init__(self, directory: Path, recipe: Recipe, state: Building | Serving) -> None:
        self._directory = directory
        self._recipe = recipe
        self._building = state if isinstance(state, Building) else None
        self._serving = state if isinstance(state, Serving) else None

    def __repr__(self) -> str:
        state = "serving" if self._serving else "building" if self._building else "closed"
        return f"LanceIndex({str(self._directory)!r}, {state})"

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in and slots out. Of an open index: one version of the table, synced before this returns.

        A table that is small beside what was written to it is indexed at once: scores depend on what the index has counted.
        """
        if self._building is not None:
            self._building.apply(upserts, deletes, sequence)
            return
        serving = self._open()
        before = serving.snapshot().version
        tables = serving.tables
        tables.place.begin()
        tables.change(tables.latest(), upserts, deletes, Marker(sequence=sequence, facts=before.facts))
        tables.place.settle()
        after = serving.snapshot().version
        if after.unindexed_count > _UNINDEXED_SHARE_MAX * (after.chunk_count - after.unindexed_count):
            self._index_at_once(serving)

    def seal(self, queries: SampleQueries | None = None) -> IndexStats:  # noqa: ARG002 - it measures with noise
        """Build the indexes, make everything durable, and open it."""
        if self._building is None:
            raise IllegalState(f"{self._directory} is sealed already")
        self._building.seal()
        self._building = None
        self._serving = Serving(self._directory, self._recipe)
        return self._serving.stats()

    def snapshot(self) -> LanceSnapshot:
        """The index as of the last complete write."""
        return self._open().snapshot()

    def follow(self, seconds_max: float) -> bool:  # noqa: ARG002 - see there
        """Nothing lags."""
        return True

    def absorb(
        self, publishing: Publishing, *, keep_seconds: float = KEEP_SECONDS, floor: int | None = None, timeout_seconds: float = 0.0
    ) -> int:
        """Index what is searched one by one, join small files, remove versions older than an hour, forget what ended long ago.

        LanceDB's part of it holds the apply lock for as long as it takes: beside a writer it fails.
        """
        return absorbing.absorb(self._open(), publishing, keep_seconds=keep_seconds, floor=floor, timeout_seconds=timeout_seconds)

    def stats(self) -> IndexStats:
        """What the index holds."""
        return self._open().stats()

    def close(self) -> None:
        """Release everything. A build that was not sealed is thrown away with its folder. Idempotent."""
        self._building = None
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    def _index_at_once(self, serving: Serving) -> None:
        """The write is there whether or not this succeeds."""
        try:
            absorbing.index(serving, first_vectors_too=False)
        except StorageFailed as error:
            _log.warning("new chunks in %s are searched one by one until they are absorbed: %s", self._directory, error)

    def _open(self) -> Serving:
        serving = self._serving
        if serving is None:
            raise Closed(f"the index in {self._directory} is {'still being built' if self._building else 'closed'}")
        return serving
