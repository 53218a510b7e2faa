"""The active generation's own documents as a source: how a new embedder, chunker or analyzer is applied to what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import msgspec

from outcrop.documents import Documents
from outcrop.ingest import BadRecord, Record
from outcrop.model import Document

KeptWrite: TypeAlias = tuple[Literal["put", "delete"], str, Document | None]
_PAGE_IDS = 256


class OwnDocuments:
    """Streams a generation's documents as they were after one write: what is written meanwhile is not read, but carried over.

    `at` gives that write when reading begins. `keep_vectors=False` drops vectors that came with the documents: they belong to
    another embedder's space.
    """

    size_bytes = None

    def __init__(self, documents: Documents, number: int, *, keep_vectors: bool, at: Callable[[], int]) -> None:
        self.description = f"the documents of generation {number}"
        self.document_count: int | None = documents.counts().documents
        self._documents = documents
        self._keep_vectors = keep_vectors
        self._at = at

    def records(self) -> Iterator[Record | BadRecord]:
        """Every document in the order of writing."""
        for position, document in enumerate(self._documents.scan(at=self._at()), 1):
            kept = _in_this_space(document, keep_vectors=self._keep_vectors)
            yield Record(document=kept, origin=f"{self.description}, item {position}", position_bytes=None)


def kept_writes(documents: Documents, since: int, *, keep_vectors: bool) -> Iterator[KeptWrite]:
    """What was written to a generation since the write `since`: (put, id, the document as it is now) or (delete, id, None).

    For `build(source, keep_writes=True)`: with the sequence at which the generation was built these are all writes since then. Each
    document comes once. The ids are held in memory, the documents are read in pages. `keep_vectors` as in `OwnDocuments`.
    """
    put, gone = documents.written_since(since)
    for place in range(0, len(put), _PAGE_IDS):
        page = put[place : place + _PAGE_IDS]
        found = {document.id: document for document in documents.get(page)}
        for document_id in page:
            document = found.get(document_id)  # None if it was deleted a moment ago
            kept = None if document is None else _in_this_space(document, keep_vectors=keep_vectors)
            yield "delete" if kept is None else "put", document_id, kept
    for document_id in gone:
        yield "delete", document_id, None


def _in_this_space(document: Document, *, keep_vectors: bool) -> Document:
    return document if keep_vectors or document.vector is None else msgspec.structs.replace(document, vector=None)
