"""The active generation's own documents as a source: how a new embedder, chunker or analyzer is applied to what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from outcrop.builds.kept_writes import KeptWrites
from outcrop.documents import Documents
from outcrop.ingest import BadRecord, Record, Source
from outcrop.model import Document

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


class WithKeptWrites:
    """A source in which what was written to a generation directly takes the place of what the source says.

    What was deleted is left out, what was put in comes at the end. `documents` are the generation's. The ids are held in memory,
    the documents read in pages.
    """

    def __init__(self, source: Source, documents: Documents, kept: KeptWrites, *, keep_vectors: bool) -> None:
        self.description = f"{source.description}, with the writes kept"
        self.size_bytes = source.size_bytes
        self.document_count = None
        self._source = source
        self._documents = documents
        self._kept = kept
        self._keep_vectors = keep_vectors

    def records(self) -> Iterator[Record | BadRecord]:
        """The source's records, but for those documents; then these."""
        put, gone = self._kept.put_and_gone()
        kept = {*put, *gone}
        for item in self._source.records():
            if isinstance(item, BadRecord) or item.document.id not in kept:
                yield item
        for place in range(0, len(put), _PAGE_IDS):
            for document in self._documents.get(put[place : place + _PAGE_IDS]):
                own = _in_this_space(document, keep_vectors=self._keep_vectors)
                yield Record(document=own, origin=f"the write of {document.id!r}", position_bytes=None)


def _in_this_space(document: Document, *, keep_vectors: bool) -> Document:
    return document if keep_vectors or document.vector is None else msgspec.structs.replace(document, vector=None)
