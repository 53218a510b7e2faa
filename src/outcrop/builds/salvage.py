"""Prepares documents with what interrupted builds had prepared: nothing is embedded, nor cut by a chunker of one's own, twice.

A document that is stored with the same content is not cut again. A vector is taken over if the text that the embedder would see is
the same, so that a document whose metadata changed is not embedded again either.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.builds.unfinished import Unfinished
from outcrop.builds.vector_log import VectorLog
from outcrop.documents import Documents, StoredDocument
from outcrop.embedding import Embedder
from outcrop.errors import OutcropError
from outcrop.ingest import Chunker, Piece, Record
from outcrop.ingest.chunking import BUILT_IN
from outcrop.model import Document
from outcrop.writes.preparing import Batch, Prepared, PreparedDocument, Preparer, embedded_text

_log = logging.getLogger("outcrop")
_encode = msgspec.json.Encoder().encode


class Salvaged(Prepared, frozen=True):
    """A batch of which `reused` documents needed no work, because an interrupted build had done it."""

    reused: int


class Known(msgspec.Struct, frozen=True, eq=False):
    """A document as it was prepared before. `vectors` is float32 of shape (len(pieces), dimension), or None if they were lost."""

    document: Document
    pieces: Sequence[Piece]
    vectors: NDArray[np.float32] | None


def pays(embedder: Embedder | None, chunker: Chunker) -> bool:
    """Whether taking over costs less than doing it again. Our own chunkers are quicker than looking up what they made."""
    return embedder is not None or not isinstance(chunker, BUILT_IN)


class Store:
    """What one interrupted build had prepared, by document. For one thread."""

    def __init__(self, left: Unfinished) -> None:
        recipe = left.checkpoint.recipe
        self._documents = Documents(left.directory)
        self._log = None if recipe.embedder is None else VectorLog(left.directory, recipe.embedder.dimension)

    def find(self, ids: Sequence[str]) -> dict[str, Known]:
        """Those of these documents that it has."""
        return {one.document.id: self._known(one) for one in self._documents.stored(ids)}

    def close(self) -> None:
        """Release the files. Idempotent."""
        self._documents.close()
        if self._log is not None:
            self._log.close()

    def _known(self, stored: StoredDocument) -> Known:
        pieces = [Piece(one.text, one.start, one.end, one.heading, one.page) for one in stored.chunks]
        vectors = None if self._log is None else self._log.vectors(stored.chunks[0].slot, len(pieces))
        return Known(document=stored.document, pieces=pieces, vectors=vectors)


def opened_stores(left: Sequence[Unfinished]) -> list[Store]:
    """The interrupted builds that can be read."""
    stores = []
    for one in left:
        try:
            stores.append(Store(one))
        except OutcropError as error:
            _tell_unreadable(error)
    return stores


class SalvagingPreparer:
    """Two stages of a build, each for one thread: `chunk` and `embed`."""

    def __init__(self, preparer: Preparer, stores: Sequence[Store], *, embeds: bool) -> None:
        self._preparer = preparer
        self._stores = list(stores)
        self._embeds = embeds

    def chunk(self, batch: Batch) -> Salvaged:
        """Cut the documents into pieces, as far as that was not done before; with vectors where they are known."""
        known = self._known([record.document.id for record in batch.records])
        if not known:
            prepared = self._preparer.chunk(batch)
            return _salvaged(prepared, prepared.documents, reused=0)
        same = {record.origin: _taken_over(record, one) for record in batch.records if (one := _same(record.document, known))}
        others = [record for record in batch.records if record.origin not in same]
        prepared = self._preparer.chunk(msgspec.structs.replace(batch, records=others))
        ready = same | {one.origin: _with_vectors(one, known) for one in prepared.documents}
        documents = [ready[record.origin] for record in batch.records if record.origin in ready]
        reused = sum(one.vectors is not None for one in documents) if self._embeds else len(same)
        return _salvaged(prepared, documents, reused=reused)

    def embed(self, batch: Salvaged) -> Salvaged:
        """Give every piece its vector that has none yet."""
        missing = [one for one in batch.documents if one.vectors is None]
        embedded = iter(self._preparer.embed(msgspec.structs.replace(batch, documents=missing)).documents)
        documents = [next(embedded) if one.vectors is None else one for one in batch.documents]
        return msgspec.structs.replace(batch, documents=documents)

    def _known(self, ids: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for store in list(self._stores):
            try:
                found = store.find([one for one in ids if one not in found]) | found
            except OutcropError as error:
                _tell_unreadable(error)
                self._stores.remove(store)
        return found


def _tell_unreadable(error: OutcropError) -> None:
    _log.warning("what an interrupted build had prepared cannot be read and is prepared again (%s)", error)


def _salvaged(prepared: Prepared, documents: Sequence[PreparedDocument], *, reused: int) -> Salvaged:
    return Salvaged(documents=documents, bad=prepared.bad, position_bytes=prepared.position_bytes, reused=reused)


def _same(document: Document, known: Mapping[str, Known]) -> Known | None:
    """What is known of exactly this document. 1, 1.0 and true are equal in Python, so metadata is compared as it is written."""
    found = known.get(document.id)
    if found is None or found.document != document or _encode(found.document.metadata) != _encode(document.metadata):
        return None
    return found


def _taken_over(record: Record, known: Known) -> PreparedDocument:
    return PreparedDocument(document=record.document, origin=record.origin, pieces=known.pieces, vectors=known.vectors)


def _with_vectors(one: PreparedDocument, known: Mapping[str, Known]) -> PreparedDocument:
    """The document with its vectors, if each of its pieces was embedded before."""
    before = known.get(one.document.id)
    if before is None or before.vectors is None or before.document.vector is not None or one.document.vector is not None:
        return one
    rows = {embedded_text(before.document, piece): row for row, piece in enumerate(before.pieces)}
    texts = [embedded_text(one.document, piece) for piece in one.pieces]
    if not all(text in rows for text in texts):
        return one
    return msgspec.structs.replace(one, vectors=before.vectors[[rows[text] for text in texts]])
