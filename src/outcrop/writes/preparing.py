"""From records to rows: batches of a bounded size, cut into chunks, with their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sys import getsizeof

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.embedding import Embedder
from outcrop.errors import InvalidDocument, OutcropError
from outcrop.ingest import BadRecord, Chunker, Piece, Record
from outcrop.memory import Account
from outcrop.model import Document, Recipe

# What the objects of a document, a bad record or a piece take besides their texts.
_DOCUMENT_BYTES, _BAD_BYTES, _PIECE_BYTES = 600, 2_000, 150
_BYTES_PER_JSON_BYTE = 6  # a number of a few digits is an object of 30 bytes
_BATCHES_UNDER_WAY = 6
_encoded = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, frozen=True):
    """Some records of the source, and how far into the source they reach. `size_bytes` is about the memory that they take."""

    records: Sequence[Record]
    bad: Sequence[BadRecord]
    position_bytes: int | None
    size_bytes: int = 0


class PreparedDocument(msgspec.Struct, frozen=True, eq=False):
    """A document with its pieces and, if there is a vector leg, their vectors: float32 of shape (len(pieces), dimension)."""

    document: Document
    origin: str
    pieces: Sequence[Piece]
    vectors: NDArray[np.float32] | None


class Prepared(msgspec.Struct, frozen=True):
    """A batch that is ready to be written."""

    documents: Sequence[PreparedDocument]
    bad: Sequence[BadRecord]
    position_bytes: int | None

    @property
    def size_bytes(self) -> int:
        """About the memory that the documents take, with their pieces and vectors."""
        return _BAD_BYTES * len(self.bad) + sum(map(_prepared_bytes, self.documents))


def batches(source: Iterable[Record | BadRecord], document_count_max: int, size_bytes_max: int) -> Iterator[Batch]:
    """Records in batches, bounded in documents and in the memory that they take; one document alone may take more."""
    records: list[Record] = []
    bad: list[BadRecord] = []
    size = 0
    position: int | None = None
    for item in source:
        if isinstance(item, BadRecord):
            bad.append(item)
            size += _BAD_BYTES
        else:
            records.append(item)
            size += document_bytes(item.document)
            position = item.position_bytes
        if len(records) + len(bad) >= document_count_max or size >= size_bytes_max:
            yield Batch(records=records, bad=bad, position_bytes=position, size_bytes=size)
            records, bad, size = [], [], 0
    if records or bad:
        yield Batch(records=records, bad=bad, position_bytes=position, size_bytes=size)


def batch_bytes_max(ingestion: Account) -> int:
    """How large one batch may be, so that reading, cutting, embedding and writing each have one."""
    return ingestion.limit_bytes // _BATCHES_UNDER_WAY


def document_bytes(document: Document) -> int:
    """About the memory that a document takes."""
    vector = 0 if document.vector is None else getsizeof(document.vector)
    metadata = _BYTES_PER_JSON_BYTE * len(_encoded(document.metadata)) if document.metadata else 0
    return _DOCUMENT_BYTES + getsizeof(document.text) + getsizeof(document.title) + vector + metadata


def _prepared_bytes(one: PreparedDocument) -> int:
    text = one.document.text
    pieces = sum(_PIECE_BYTES + (0 if piece.text is text else getsizeof(piece.text)) for piece in one.pieces)
    return document_bytes(one.document) + pieces + (0 if one.vectors is None else one.vectors.nbytes)


class Preparer:
    """Cuts and embeds batches according to a recipe. With `bare`, documents may lack the vector that the others bring."""

    def __init__(self, recipe: Recipe, embedder: Embedder | None, chunker: Chunker, *, bare: bool = False) -> None:
        self._recipe = recipe
        self._embedder = embedder
        self._chunker = chunker
        self._bare = bare

    def settle(self, first: Batch) -> Recipe:
        """The recipe with its dimension known: the embedder's, or that of the vector that the first document brings, or none."""
        open_yet = self._embedder is None and self._recipe.dimension is None
        if open_yet and first.records and first.records[0].document.vector is not None:
            self._recipe = msgspec.structs.replace(self._recipe, dimension=len(first.records[0].document.vector))
        return self._recipe

    def chunk(self, batch: Batch) -> Prepared:
        """Cut every document into pieces; documents whose vector does not fit become bad ones."""
        documents, bad = [], list(batch.bad)
        for record in batch.records:
            fault = self._vector_fault(record.document)
            if fault is not None:
                bad.append(BadRecord(origin=record.origin, error=located(fault, record.origin)))
                continue
            document = record.document
            pieces = [whole(document)] if document.vector is not None else self._chunker.pieces(document)
            documents.append(PreparedDocument(document=document, origin=record.origin, pieces=pieces, vectors=None))
        return Prepared(documents=documents, bad=bad, position_bytes=batch.position_bytes)

    def embed(self, batch: Prepared) -> Prepared:
        """Give every piece its vector: the document's own, or the embedder's, all in one call."""
        if self._recipe.dimension is None:
            return batch
        texts = [
            embedded_text(one.document, piece) for one in batch.documents if one.document.vector is None for piece in one.pieces
        ]
        embedded = self._embedder.embed_documents(texts) if self._embedder is not None and texts else None
        documents, position = [], 0
        vectors: NDArray[np.float32] | None
        for one in batch.documents:
            if one.document.vector is not None:
                vectors = np.asarray(one.document.vector, dtype=np.float32).reshape(1, -1)
            elif embedded is not None:
                vectors = embedded[position : position + len(one.pieces)]
                position += len(one.pieces)
            else:
                vectors = None
            documents.append(msgspec.structs.replace(one, vectors=vectors))
        return msgspec.structs.replace(batch, documents=documents)

    def _vector_fault(self, document: Document) -> InvalidDocument | None:
        dimension = self._recipe.dimension
        if document.vector is None:
            if dimension is None or self._embedder is not None or self._bare:
                return None
            return InvalidDocument(
                f"document {document.id!r} has no vector, but the first document has one and there is no embedder: give every"
                f" document a vector, or build with an embedder",
                document_id=document.id,
            )
        if dimension is None:
            return InvalidDocument(
                f"document {document.id!r} has a vector, but the first document has none and there is no embedder: give every"
                f" document a vector, or none",
                document_id=document.id,
            )
        if len(document.vector) != dimension:
            return InvalidDocument(
                f"document {document.id!r}: its vector has {len(document.vector)} numbers, the generation's have {dimension}",
                document_id=document.id,
            )
        return None


def located(error: OutcropError, origin: str) -> OutcropError:
    """The error with the place of its record in front: `corpus.jsonl:17: ...`."""
    return type(error)(f"{origin}: {error.message}", **{**error.values, "origin": origin})


def whole(document: Document) -> Piece:
    """A document as one piece."""
    return Piece(text=document.text, start=0, end=len(document.text), heading=None, page=None)


def embedded_text(document: Document, piece: Piece) -> str:
    """What the embedder sees of a chunk: the document's title and the chunk's text, a line each."""
    return f"{document.title}\n{piece.text}" if document.title else piece.text
