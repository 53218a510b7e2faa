"""A generation under test: written the way that Outcrop writes one, and beside it what it must hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop.documents import DocumentRow, Documents, DocumentsWriter
from outcrop.engines.protocol import Engine, IndexedChunk, IndexSnapshot, Ranking
from outcrop.filters import Filter
from outcrop.index_values import IndexSpec
from outcrop.model import Chunk, Document, Metric, Recipe
from outcrop.writes import applying

DIMENSION = 8
WORD = "granite"
"""Is in the text of every `item` that is given no other."""
EVERYTHING = 1_000_000
"""A `k` above the size of every index here."""
PATIENCE_SECONDS = 20.0
"""So long a test waits for what should take milliseconds, before it fails."""
_BATCH = 500


class Item(msgspec.Struct, frozen=True, eq=False):
    """A document to put. It has a chunk for each text; `vectors` is float32 of shape (len(texts), dimension), or None."""

    id: str
    texts: tuple[str, ...]
    metadata: dict[str, Any]
    vectors: NDArray[np.float32] | None
    title: str | None = None


class Write(msgspec.Struct, frozen=True, eq=False):
    """What `GenerationIndex.apply` was given, or is to be."""

    upserts: tuple[IndexedChunk, ...]
    deletes: tuple[int, ...]
    sequence: int


class Seen(msgspec.Struct, frozen=True):
    """The slots that a search for `WORD` finds by the text, and a search for anything by the vector."""

    lexical: frozenset[int]
    nearest: frozenset[int]


def item(document_id: str, text: str = WORD, vector: ArrayLike | None = None, *, title: str | None = None, **metadata: Any) -> Item:
    """A document of one chunk."""
    vectors = None if vector is None else np.asarray(vector, np.float32)[np.newaxis]
    return Item(document_id, (text,), metadata, vectors, title)


def items(numbers: range, *, seed: int = 0, dimension: int | None = DIMENSION) -> list[Item]:
    """Documents `d<number>` of one chunk with random vectors; the metadata holds the number as `n`."""
    vectors = [None] * len(numbers) if dimension is None else gaussian(len(numbers), dimension, seed)
    return [item(f"d{n}", vector=vector, n=n) for n, vector in zip(numbers, vectors, strict=True)]


def gaussian(count: int, dimension: int = DIMENSION, seed: int = 0) -> NDArray[np.float32]:
    """Random vectors, float32 of shape (count, dimension)."""
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def seen(snapshot: IndexSnapshot, dimension: int | None = DIMENSION, where: Filter | None = None) -> Seen:
    """What both legs of a snapshot find."""
    nearest = () if dimension is None else slots(snapshot.nearest(np.ones(dimension, np.float32), EVERYTHING, where))
    return Seen(frozenset(slots(snapshot.lexical(WORD, EVERYTHING, where))), frozenset(nearest))


def slots(ranking: Ranking) -> list[int]:
    """The slots of a ranking, best first; they occur once."""
    found: list[int] = ranking.slots.tolist()
    assert len(found) == len(set(found)), "a ranking names a chunk twice"
    return found


def types(ranking: Ranking) -> tuple[str, str]:
    """The types of a ranking's slots and scores."""
    return str(ranking.slots.dtype), str(ranking.scores.dtype)


class Generation:
    """One opening of a generation. `alive[sequence]` has, by slot, the chunks that live after that write."""

    def __init__(self, engine: Engine, recipe: Recipe, directory: Path, beside: Generation | None = None) -> None:
        self.engine, self.recipe, self.directory = engine, recipe, directory
        self.index = engine.open(recipe, directory)
        self.documents = Documents(directory)
        self.alive: dict[int, Mapping[int, IndexedChunk]] = {} if beside is None else beside.alive
        self.apply_lock: threading.Lock = threading.Lock() if beside is None else beside.apply_lock

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the generation's apply lock, as `absorb` wants it. All openings made of one another share it."""
        assert self.apply_lock.acquire(timeout=PATIENCE_SECONDS), "the apply lock is not given back"
        try:
            yield
        finally:
            self.apply_lock.release()

    def write(self, put: Sequence[Item] = (), deletes: Sequence[str] = (), *, index_too: bool = True) -> Write:
        """One write: its rows, committed, and then the index, unless the writer is to have died in between."""
        with self.publishing(), closing(DocumentsWriter.open(self.directory)) as writer:
            head = writer.head()
            rows = rows_of(put, head.next_row, head.next_slot)
            applied = writer.apply(rows, deletes, head.sequence + 1)
            write = Write(tuple(indexed(rows)), applied.dead_slots, head.sequence + 1)
            kept = {slot: chunk for slot, chunk in self.living.items() if slot not in applied.dead_slots}
            self.alive[write.sequence] = kept | {chunk.slot: chunk for chunk in write.upserts}
            if index_too:
                self.index.apply(write.upserts, write.deletes, write.sequence)
        if index_too:
            self.index.follow(PATIENCE_SECONDS)
        return write

    def recover(self) -> None:
        """What the next writer does first after a crash: apply to the index what only the rows have."""
        with self.publishing(), closing(DocumentsWriter.open(self.directory)) as writer:
            applying.recover(applying.Target(self.documents, lambda: writer, self.index, self.recipe))

    @property
    def living(self) -> Mapping[int, IndexedChunk]:
        """The chunks that live after the last write."""
        return self.alive[max(self.alive)] if self.alive else {}

    def expected(self, sequence: int | None = None) -> Seen:
        """What `seen` must find after the last write, or that one."""
        chunks = (self.living if sequence is None else self.alive[sequence]).values()
        return Seen(
            frozenset(chunk.slot for chunk in chunks if WORD in chunk.text.split()),
            frozenset(chunk.slot for chunk in chunks if chunk.vector is not None),
        )

    def seen(self) -> Seen:
        """What a new snapshot shows."""
        return seen(self.index.snapshot(), self.recipe.dimension)

    def slot_of(self, document_id: str) -> int:
        """The slot of a living document's first chunk."""
        return self.documents.stored([document_id])[0].chunks[0].slot

    def close(self) -> None:
        """Close the index and the rows. Idempotent."""
        self.index.close()
        self.documents.close()


class Generations:
    """Makes generations of one engine in a folder, and closes all that it made."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self._opened: list[Generation] = []

    def built(
        self,
        put: Sequence[Item] = (),
        *,
        name: str = "generation",
        metric: Metric = "cosine",
        dimension: int | None = DIMENSION,
        analyzer: str = "english",
        index: IndexSpec | None = None,
        sequence: int = 0,
    ) -> Generation:
        """A new generation, built from these documents, sealed, and opened."""
        recipe = self.recipe(metric, dimension, analyzer=analyzer, index=index)
        chunks = build(self.engine, recipe, self.folder / name, put, sequence=sequence)
        generation = Generation(self.engine, recipe, self.folder / name)
        generation.alive[sequence] = {chunk.slot: chunk for chunk in chunks}
        self._opened.append(generation)
        return generation

    def again(self, generation: Generation) -> Generation:
        """Another opening of a generation, as another process has it."""
        self._opened.append(Generation(self.engine, generation.recipe, generation.directory, generation))
        return self._opened[-1]

    def recipe(
        self,
        metric: Metric = "cosine",
        dimension: int | None = DIMENSION,
        *,
        analyzer: str = "english",
        index: IndexSpec | None = None,
    ) -> Recipe:
        """A recipe for the engine."""
        return Recipe(
            engine=self.engine.name,
            embedder=None,
            dimension=dimension,
            metric=metric,
            chunker="whole",
            analyzer=analyzer,
            index=IndexSpec() if index is None else index,
            vector_weight=0.5,
        )

    def close(self) -> None:
        """Close every generation."""
        for generation in self._opened:
            generation.close()


def build(engine: Engine, recipe: Recipe, directory: Path, put: Sequence[Item], *, sequence: int) -> list[IndexedChunk]:
    """Build a generation as Outcrop does, in several batches, and close it; the chunks that it has."""
    directory.mkdir(parents=True)
    chunks: list[IndexedChunk] = []
    with closing(DocumentsWriter.create(directory)) as documents:
        index = engine.create(recipe, directory)
        with closing(index):
            for start in range(0, len(put), _BATCH):
                rows = rows_of(put[start : start + _BATCH], 1 + start, 1 + len(chunks))
                add(documents, rows, sequence)
                index.apply(indexed(rows), (), sequence)
                chunks += indexed(rows)
            documents.seal(sequence)
            index.seal()
    return chunks


def add(documents: DocumentsWriter, rows: Sequence[DocumentRow], sequence: int) -> None:
    """Write the rows of a build: it hands its vectors to the index only."""
    documents.add([DocumentRow(row.row, row.document, row.chunks) for row in rows], sequence)


def rows_of(put: Sequence[Item], first_row: int, first_slot: int) -> list[DocumentRow]:
    """The documents as rows, from these numbers on."""
    rows, slot = [], first_slot
    for place, one in enumerate(put):
        document = Document(one.id, "\n".join(one.texts), one.title, metadata=one.metadata)
        chunks, start = [], 0
        for ordinal, text in enumerate(one.texts):
            chunks.append(
                Chunk(slot, one.id, ordinal, text, one.title, None, document.metadata, None, None, start, start + len(text))
            )
            slot, start = slot + 1, start + len(text) + 1
        rows.append(DocumentRow(first_row + place, document, chunks, one.vectors))
    return rows


def indexed(rows: Sequence[DocumentRow]) -> list[IndexedChunk]:
    """The chunks of rows as an index takes them."""
    return [
        IndexedChunk(chunk.slot, chunk.title, chunk.text, chunk.metadata, None if row.vectors is None else row.vectors[place])
        for row in rows
        for place, chunk in enumerate(row.chunks)
    ]
