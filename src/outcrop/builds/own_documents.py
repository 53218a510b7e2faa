"""The active generation's own documents as a source: how a new embedder, chunker or analyzer is applied to what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from outcrop.documents import Documents
from outcrop.ingest import BadRecord, Record


class OwnDocuments:
    """Streams a generation's living documents. `keep_vectors=False` drops vectors that came with the documents: they belong to
    another embedder's space. `at` gives, when reading begins, the sequence as of which they are read: later writes follow."""

    size_bytes = None

    def __init__(self, documents: Documents, number: int, *, keep_vectors: bool, at: Callable[[], int]) -> None:
        self.description = f"the documents of generation {number}"
        self.document_count: int | None = documents.counts().documents
        self._documents = documents
        self._keep_vectors = keep_vectors
        self._at = at

    def records(self) -> Iterator[Record | BadRecord]:
        """Every document in the order of writing."""
        for position, document in enumerate(self._documents.scan(self._at()), 1):
            kept = document if self._keep_vectors or document.vector is None else msgspec.structs.replace(document, vector=None)
            yield Record(document=kept, origin=f"{self.description}, item {position}", position_bytes=None)
