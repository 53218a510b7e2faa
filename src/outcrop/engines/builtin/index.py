"""The built-in engine: Tantivy for text, FAISS for vectors, SQLite for documents, all in the generation's own folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outcrop import files
from outcrop.documents import Documents
from outcrop.engines.builtin.parts import Part, PartWriter
from outcrop.engines.builtin.text import TextReader, TextWriter
from outcrop.engines.protocol import Availability, IndexedChunk, IndexStats, Ranking
from outcrop.errors import Closed, IllegalState
from outcrop.filters import Filter
from outcrop.model import Capabilities, Chunk, Recipe, TermScore

_TEXT = Path("builtin") / "text"
_FLOAT_BYTES = 4
_PART_ROWS_MAX = 1_000_000
_PART_ROWS_MAX_WITHOUT_VECTORS = 250_000  # metadata of an open part is in memory, about half a kilobyte a row
_PART_BYTES_MAX = 512 * 1024**2


class BuiltinEngine:
    """The engine that is always there. `part_bytes_max` bounds the vectors of one part and with it the memory of a build."""

    name = "builtin"
    capabilities = Capabilities(filters=True, metrics=("cosine", "dot", "l2"), index_kinds=("flat", "hnsw", "ivf_flat", "ivf_pq"))

    def __init__(self, *, part_bytes_max: int = _PART_BYTES_MAX) -> None:
        self._part_bytes_max = part_bytes_max

    def availability(self) -> Availability:
        """Always available: its libraries are core dependencies."""
        return Availability(available=True)

    def create(self, recipe: Recipe, directory: Path) -> BuiltinIndex:
        """An empty index for a new generation."""
        rows = _PART_ROWS_MAX_WITHOUT_VECTORS
        if recipe.dimension is not None:
            rows = max(1, min(self._part_bytes_max // (recipe.dimension * _FLOAT_BYTES), _PART_ROWS_MAX))
        return BuiltinIndex(directory, recipe, building=_Building(directory, recipe, rows))

    def open(self, recipe: Recipe, directory: Path) -> BuiltinIndex:
        """The sealed index of an existing generation; everything is memory-mapped, so size does not matter."""
        return BuiltinIndex(directory, recipe, serving=_Serving(directory, recipe))

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Compare the parts' files with their checksums, and the text index's with those that Tantivy keeps in them."""
        with closing(Documents(directory)) as documents:
            for part in documents.parts():
                for fact in part.files:
                    files.check_file(directory, fact)
        with closing(TextReader.open(directory / _TEXT, recipe.analyzer)) as text:
            text.verify()

    def drop(self, recipe: Recipe, directory: Path) -> None:
        """Nothing lies outside the generation's folder."""


class BuiltinIndex:
    """One generation's index: first building, then, once sealed, serving."""

    def __init__(
        self, directory: Path, recipe: Recipe, *, building: _Building | None = None, serving: _Serving | None = None
    ) -> None:
        self._directory = directory
        self._recipe = recipe
        self._building = building
        self._serving = serving

    def __repr__(self) -> str:
        state = "serving" if self._serving else "building" if self._building else "closed"
        return f"BuiltinIndex({str(self._directory)!r}, {state})"

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in while building. Nothing can be searched before `seal`."""
        if self._building is None:
            raise IllegalState(f"{self._directory} is sealed: it takes no more chunks")
        self._building.apply(upserts, deletes, sequence)

    def seal(self) -> IndexStats:
        """Build the vector index of the last part, commit the text index, make all of it durable, and open it."""
        if self._building is None:
            raise IllegalState(f"{self._directory} is sealed already")
        self._building.seal()
        self._building = None
        self._serving = _Serving(self._directory, self._recipe)
        return self._serving.stats()

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """BM25 over title and text."""
        return self._open().text.search(query, k, where)

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest chunks over all parts."""
        return self._open().nearest(vector, k, where)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots, in one statement."""
        return self._open().documents.fetch(slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """What each query term contributes to each chunk's BM25 score."""
        return self._open().text.explain(query, slots)

    def stats(self) -> IndexStats:
        """What the index holds."""
        return self._open().stats()

    def close(self) -> None:
        """Release everything. A build that was not sealed is thrown away with its folder."""
        if self._building is not None:
            self._building.abort()
            self._building = None
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    def _open(self) -> _Serving:
        if self._serving is None:
            raise Closed(f"the index in {self._directory} is {'still being built' if self._building else 'closed'}")
        return self._serving


class _Building:
    """The writing side: a text writer and the part that is being filled."""

    def __init__(self, directory: Path, recipe: Recipe, part_rows_max: int) -> None:
        self._directory = directory
        self._recipe = recipe
        self._part_rows_max = part_rows_max
        self._sequence = 0
        self._text = TextWriter.create(directory / _TEXT, recipe.analyzer)
        self._part: PartWriter | None = None

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        if deletes:
            raise IllegalState("a build deletes nothing")
        self._text.add(upserts)
        self._sequence = sequence
        remaining = upserts
        while remaining:
            if self._part is None:
                self._part = PartWriter(self._directory, self._recipe)
            room = self._part_rows_max - self._part.row_count
            self._part.append(remaining[:room])
            remaining = remaining[room:]
            if self._part.row_count == self._part_rows_max:
                self._seal_part()

    def seal(self) -> None:
        self._seal_part()
        self._text.commit(self._sequence)
        self._text.close()
        files.sync_folder((self._directory / _TEXT).parent)
        files.sync_folder(self._directory)

    def abort(self) -> None:
        if self._part is not None:
            self._part.abort()
        self._text.close()

    def _seal_part(self) -> None:
        if self._part is not None:
            self._part.seal()
            self._part = None


class _Serving:
    """The reading side: a text reader, the open parts and the documents."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self._directory = directory
        self._metric = recipe.metric
        self.documents = Documents(directory)
        self.text = TextReader.open(directory / _TEXT, recipe.analyzer)
        self._parts = [Part(directory, row, recipe) for row in self.documents.parts()]

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        found = [self._nearest_in(part, vector, k, where) for part in self._parts]
        if len(found) == 1:
            return found[0]
        if not found:
            return Ranking(slots=np.empty(0, np.int64), scores=np.empty(0, np.float32))
        slots = np.concatenate([one.slots for one in found])
        scores = np.concatenate([one.scores for one in found])
        best = np.lexsort((slots, -scores))[:k]
        return Ranking(slots=slots[best], scores=scores[best])

    def _nearest_in(self, part: Part, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        if part.vectors is None:
            return Ranking(slots=np.empty(0, np.int64), scores=np.empty(0, np.float32))
        mask = None if where is None else part.columns.mask(where)
        rows, scores = part.vectors.nearest(vector, k, mask)
        return Ranking(slots=part.slots[rows], scores=scores)

    def stats(self) -> IndexStats:
        facts = [part.facts for part in self._parts if part.facts is not None]
        rows = sum(fact.row_count for fact in facts)
        return IndexStats(
            chunk_count=self.text.chunk_count,
            unindexed_count=0,
            size_bytes=files.size_bytes(self._directory),
            vector_index=" + ".join(sorted({_described(fact.kind, fact.parameters) for fact in facts})) if facts else None,
            recall=sum(fact.recall * fact.row_count for fact in facts) / rows if rows else None,
            fields=self.fields(),
        )

    def fields(self) -> tuple[str, ...]:
        return tuple(sorted({field for part in self._parts for field in part.columns.fields}))

    def close(self) -> None:
        self.text.close()
        for part in self._parts:
            part.close()
        self.documents.close()


def _described(kind: str, parameters: dict[str, int]) -> str:
    """For people: `hnsw (m 16, ef_search 96)`."""
    listed = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return f"{kind} ({listed})" if listed else kind
