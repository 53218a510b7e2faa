"""A generation that takes writes, as the layers above the engine write it, and beside it a model of what it must hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from outcrop.documents import DocumentRow, Documents, DocumentsWriter
from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.protocol import Engine, GenerationIndex, IndexedChunk
from outcrop.index_values import IndexSpec
from outcrop.model import Chunk, Document, Metric, Recipe

DIMENSION = 6
BUILTIN = BuiltinEngine()
WORDS = ("granite", "basalt", "slate", "marble", "lava")


def recipe(metric: Metric = "cosine", dimension: int | None = DIMENSION, index: IndexSpec | None = None) -> Recipe:
    return Recipe(
        engine="builtin",
        embedder=None,
        dimension=dimension,
        metric=metric,
        chunker="whole",
        analyzer="english",
        index=index or IndexSpec(),
        vector_weight=0.5,
    )


class Item:
    """A document to put: one chunk a text, with a vector each unless `vectors` is None."""

    def __init__(
        self, document_id: str, texts: Sequence[str], metadata: Mapping[str, Any], vectors: NDArray[np.float32] | None
    ) -> None:
        self.id, self.texts, self.metadata, self.vectors = document_id, texts, dict(metadata), vectors


def rows_for(items: Sequence[Item], next_row: int, next_slot: int) -> list[DocumentRow]:
    rows = []
    for item in items:
        chunks = [
            Chunk(next_slot + place, item.id, place, text, None, None, item.metadata, None, None, 0, len(text))
            for place, text in enumerate(item.texts)
        ]
        document = Document(item.id, "\n".join(item.texts), metadata=item.metadata)
        rows.append(DocumentRow(next_row, document, chunks, item.vectors, unembedded=False))
        next_row, next_slot = next_row + 1, next_slot + len(chunks)
    return rows


def indexed(rows: Sequence[DocumentRow]) -> list[IndexedChunk]:
    return [
        IndexedChunk(chunk.slot, chunk.title, chunk.text, chunk.metadata, None if row.vectors is None else row.vectors[place])
        for row in rows
        for place, chunk in enumerate(row.chunks)
    ]


def create(directory: Path, made_by: Recipe, items: Sequence[Item] = (), engine: Engine = BUILTIN) -> None:
    """A sealed generation at sequence 0."""
    directory.mkdir(parents=True, exist_ok=True)
    with closing(DocumentsWriter.create(directory)) as documents:
        index = engine.create(made_by, directory)
        rows = rows_for(items, 1, 1)
        if rows:
            # A build hands its vectors to the index only.
            documents.add([DocumentRow(row.row, row.document, row.chunks) for row in rows], 0)
            index.apply(indexed(rows), (), 0)
        documents.seal(sequence=0)
        index.seal()
        index.close()


class Living:
    """One opening of a generation: what one process has."""

    def __init__(self, directory: Path, made_by: Recipe, engine: Engine = BUILTIN) -> None:
        self.directory, self.recipe = directory, made_by
        self.documents = Documents(directory)
        self.index: GenerationIndex = engine.open(made_by, directory)
        self._thread_lock = threading.Lock()

    @contextmanager
    def publishing(self) -> Iterator[None]:
        with self._thread_lock, filelock.FileLock(self.directory / "apply.lock", thread_local=False):
            yield

    def write(self, items: Sequence[Item], deletes: Sequence[str] = (), *, index_too: bool = True) -> int:
        """Apply one write; its sequence."""
        with self.publishing(), closing(DocumentsWriter.open(self.directory)) as writer:
            head = writer.head()
            rows = rows_for(items, head.next_row, head.next_slot)
            applied = writer.apply(rows, deletes, head.sequence + 1)
            if index_too:
                self.index.apply(indexed(rows), applied.dead_slots, head.sequence + 1)
            return head.sequence + 1

    def recover(self) -> None:
        """What the next writer does first: replay what the index lacks."""
        with self.publishing():
            behind = self.index.snapshot().sequence
            changes = self.documents.changes(behind)
            if changes.sequence > behind:
                chunks = [IndexedChunk(one.slot, one.title, one.text, one.metadata, None) for one in changes.born]
                self.index.apply(chunks, changes.ended, changes.sequence)

    def close(self) -> None:
        self.index.close()
        self.documents.close()
