"""Writes prepared batches: rows into the documents' file, chunks into the index; counts what was skipped and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from outcrop.builds.checkpoint import Checkpoint
from outcrop.builds.kept_writes import KeptWrites
from outcrop.builds.salvage import Salvaged
from outcrop.builds.vector_log import VectorLogWriter
from outcrop.documents import Counts, DocumentRow, DocumentsWriter
from outcrop.engines.protocol import GenerationIndex, IndexedChunk
from outcrop.errors import DuplicateDocument
from outcrop.ingest import BadRecord
from outcrop.writes.applying import chunks_of
from outcrop.writes.preparing import PreparedDocument, located


class Written(msgspec.Struct, frozen=True):
    """What became of a batch."""

    documents: int
    chunks: int
    skipped: int


class Faults(msgspec.Struct, frozen=True, eq=False):
    """What happens with a bad record: it stops the build, or it is skipped and told to `on_skip`."""

    on_error: Literal["stop", "skip"]
    on_skip: Callable[[BadRecord], None] | None


class Writer:
    """Gives out rows and slots, and writes. One thread uses it.

    A batch's vectors are in `log`, if there is one, before its rows and the build's checkpoint are committed: so every document
    that is there has its vectors.
    """

    def __init__(
        self,
        documents: DocumentsWriter,
        index: GenerationIndex,
        *,
        checkpoint: Checkpoint,
        log: VectorLogWriter | None,
        faults: Faults,
        kept: KeptWrites | None,
    ) -> None:
        self._documents = documents
        self._index = index
        self._checkpoint = checkpoint
        self._log = log
        self._faults = faults
        self._kept = kept
        self._next_row = 1
        self._next_slot = 1
        self._prepared = 0
        self.document_count = 0
        self.chunk_count = 0
        self.skipped = 0

    @property
    def counts(self) -> Counts:
        """What was written so far."""
        return Counts(documents=self.document_count, chunks=self.chunk_count)

    def write(self, batch: Salvaged) -> Written:
        """Write a batch; what was written of it. Raises the first bad document's error if the build stops at errors."""
        before = Written(self.document_count, self.chunk_count, self.skipped)
        for bad in batch.bad:
            self._skip(bad)
        documents = batch.documents
        prepared = self._prepared + len(documents) - batch.reused
        try:
            rows = self._commit(documents, prepared)
        except DuplicateDocument:
            documents = self._without_duplicates(documents)
            rows = self._commit(documents, prepared)
        self._index.apply(self._indexed(documents, rows), (), self._checkpoint.sequence)
        self._prepared = prepared
        self._advance(rows)
        return Written(self.document_count - before.documents, self.chunk_count - before.chunks, self.skipped - before.skipped)

    def _commit(self, documents: Sequence[PreparedDocument], prepared: int) -> list[DocumentRow]:
        rows = self._rows(documents)
        vectors = [one.vectors for one in documents if one.vectors is not None]
        if self._log is not None and vectors:
            self._log.append(self._next_slot, np.concatenate(vectors))
        self._documents.add(rows, self._checkpoint.sequence, self._checkpoint.encoded(prepared))
        return rows

    def _skip(self, bad: BadRecord) -> None:
        if self._faults.on_error == "stop":
            raise bad.error
        self.skipped += 1
        if self._faults.on_skip is not None:
            self._faults.on_skip(bad)

    def _without_duplicates(self, documents: Sequence[PreparedDocument]) -> list[PreparedDocument]:
        """The batch with only the first document of every id."""
        seen = set(self._documents.known([one.document.id for one in documents]))
        kept = []
        for one in documents:
            document_id = one.document.id
            if document_id in seen:
                error = DuplicateDocument(
                    f"document id {document_id!r} occurs a second time; ids must be unique in a source", document_id=document_id
                )
                self._skip(BadRecord(origin=one.origin, error=located(error, one.origin)))
            else:
                seen.add(document_id)
                kept.append(one)
        return kept

    def _rows(self, documents: Sequence[PreparedDocument]) -> list[DocumentRow]:
        slot = self._next_slot
        rows = []
        kept = self._kept
        put = frozenset[str]() if kept is None else kept.put_among([one.document.id for one in documents])
        has_vectors = self._checkpoint.recipe.dimension is not None
        for row, one in enumerate(documents, self._next_row):
            born = None if kept is None or one.document.id in put else kept.since
            unembedded = has_vectors and one.vectors is None
            rows.append(DocumentRow(row, one.document, chunks_of(one, slot), unembedded=unembedded, born=born))
            slot += len(one.pieces)
        return rows

    def _indexed(self, documents: Sequence[PreparedDocument], rows: Sequence[DocumentRow]) -> list[IndexedChunk]:
        return [
            IndexedChunk(
                slot=chunk.slot,
                title=chunk.title,
                text=chunk.text,
                metadata=chunk.metadata,
                vector=None if one.vectors is None else one.vectors[chunk.ordinal],
            )
            for one, row in zip(documents, rows, strict=True)
            for chunk in row.chunks
        ]

    def _advance(self, rows: Sequence[DocumentRow]) -> None:
        chunks = sum(len(row.chunks) for row in rows)
        self._next_row += len(rows)
        self._next_slot += chunks
        self.document_count += len(rows)
        self.chunk_count += chunks
