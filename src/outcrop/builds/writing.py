"""Writes prepared batches: rows into the documents' file, chunks into the index; counts what was skipped and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from outcrop.documents import Counts, DocumentRow, DocumentsWriter
from outcrop.engines.protocol import GenerationIndex, IndexedChunk
from outcrop.errors import DuplicateDocument
from outcrop.ingest import BadRecord
from outcrop.writes.applying import chunks_of
from outcrop.writes.preparing import Prepared, PreparedDocument, located


class Written(msgspec.Struct, frozen=True):
    """What became of a batch."""

    documents: int
    chunks: int
    skipped: int


class Writer:
    """Gives out rows and slots, and writes. One thread uses it."""

    def __init__(
        self,
        documents: DocumentsWriter,
        index: GenerationIndex,
        *,
        sequence: int,
        on_error: Literal["stop", "skip"],
        on_skip: Callable[[BadRecord], None] | None,
    ) -> None:
        self._documents = documents
        self._index = index
        self._sequence = sequence
        self._on_error = on_error
        self._on_skip = on_skip
        self._next_row = 1
        self._next_slot = 1
        self.document_count = 0
        self.chunk_count = 0
        self.skipped = 0

    @property
    def counts(self) -> Counts:
        """What was written so far."""
        return Counts(documents=self.document_count, chunks=self.chunk_count)

    def write(self, batch: Prepared) -> Written:
        """Write a batch; what was written of it. Raises the first bad document's error if the build stops at errors."""
        before = Written(self.document_count, self.chunk_count, self.skipped)
        for bad in batch.bad:
            self._skip(bad)
        documents = batch.documents
        rows = self._rows(documents)
        try:
            self._documents.add(rows, self._sequence)
        except DuplicateDocument:
            documents = self._without_duplicates(documents)
            rows = self._rows(documents)
            self._documents.add(rows, self._sequence)
        self._index.apply(self._indexed(documents, rows), (), self._sequence)
        self._advance(rows)
        return Written(self.document_count - before.documents, self.chunk_count - before.chunks, self.skipped - before.skipped)

    def _skip(self, bad: BadRecord) -> None:
        if self._on_error == "stop":
            raise bad.error
        self.skipped += 1
        if self._on_skip is not None:
            self._on_skip(bad)

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
        for row, one in enumerate(documents, self._next_row):
            rows.append(DocumentRow(row=row, document=one.document, chunks=chunks_of(one, slot)))
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
