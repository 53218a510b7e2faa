"""What the rows of documents.sqlite say, as values, and how they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.errors import Damaged
from outcrop.model import Chunk, Document

decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode
encode = msgspec.json.Encoder().encode
_decode_page = msgspec.json.Decoder(
    list[tuple[int, str, int, str, str | None, str | None, str, str | None, int | None, int, int]]
).decode


decode_slots = msgspec.json.Decoder(list[int]).decode
decode_labels = msgspec.json.Decoder(list[tuple[int, tuple[str, int, str | None, str, dict[str, Any]]]]).decode


class Label(msgspec.Struct, frozen=True):
    """What to call a chunk: its document and place in it, the title, the beginning of its text, the metadata."""

    document_id: str
    ordinal: int
    title: str | None
    text: str
    metadata: dict[str, Any]

    @property
    def id(self) -> str:
        """As `Chunk.id`."""
        return f"{self.document_id}#{self.ordinal}"


class FileFact(msgspec.Struct, frozen=True):
    """An immutable file as it was written. `path` is relative to the generation's folder."""

    path: str
    size_bytes: int
    sha256: str


class PartRow(msgspec.Struct, frozen=True):
    """An immutable part of the index: its folder's uuid, its lowest slot, its files and what the engine noted about it.

    `sequence` is the last write that its rows come from: a reader that sees less must not use it.
    """

    uuid: str
    first_slot: int
    row_count: int
    files: tuple[FileFact, ...]
    facts: dict[str, Any]
    sequence: int = 0


class DocumentRow(msgspec.Struct, frozen=True, eq=False):
    """A document ready to be written, with its chunks.

    `vectors` is float32 of shape (len(chunks), dimension) for chunks that are not in a part yet, None otherwise.
    `unembedded`: the chunks should have vectors and have none. `born` if that is another write than the one that writes it.
    """

    row: int
    document: Document
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32] | None = None
    unembedded: bool = False
    born: int | None = None


class StoredDocument(msgspec.Struct, frozen=True, eq=False):
    """A living document as it is stored, with its chunks in order; `vectors` are those that no part has yet, by slot."""

    row: int
    document: Document
    chunks: list[Chunk]
    vectors: dict[int, NDArray[np.float32]]


class Counts(msgspec.Struct, frozen=True):
    """How many living documents and chunks there are."""

    documents: int
    chunks: int


class Head(msgspec.Struct, frozen=True):
    """The last write that the rows hold, the next row and slot to give out, and how much is alive.

    `publications` counts the changes of the list of parts. Chunks that ended after the write `purged` are all remembered.
    """

    sequence: int
    next_row: int
    next_slot: int
    documents: int
    chunks: int
    publications: int
    purged: int


class Applied(msgspec.Struct, frozen=True):
    """What a write did: slots whose chunks ended, documents that were there before, documents that were removed."""

    dead_slots: tuple[int, ...]
    replaced: int
    deleted: int


class TailRow(msgspec.Struct, frozen=True, eq=False):
    """A chunk whose vector no part has yet. `vector` is float32 of shape (dimension,), as it was given or embedded."""

    slot: int
    vector: NDArray[np.float32]
    metadata: dict[str, Any]


class View(msgspec.Struct, frozen=True, eq=False):
    """What an index is made of at one sequence, read in one transaction.

    `parts` in the order of their slots. `ended` holds the slots, int64, whose chunks ended in (since, at]. `tail` holds the rows
    after `tail_after` that are alive at the sequence and in no part. `publications` and `purged` are the head's: with a `purged`
    above `since`, `ended` lacks slots, though none that a part of the list has.
    """

    parts: tuple[PartRow, ...]
    ended: NDArray[np.int64]
    tail: tuple[TailRow, ...]
    publications: int
    purged: int


class Changes(msgspec.Struct, frozen=True):
    """What happened to the chunks in (after, head]: those alive at the head that were born since, and slots that ended since."""

    born: tuple[Chunk, ...]
    ended: tuple[int, ...]
    sequence: int


def document_values(row: DocumentRow, sequence: int) -> tuple[object, ...]:
    """A row of `documents`, born at `sequence`."""
    document = row.document
    whole = len(row.chunks) == 1 and row.chunks[0].text == document.text
    return (
        row.row,
        document.id,
        document.title,
        document.source,
        None if whole else document.text,
        encode(document.metadata),
        sequence if row.born is None else row.born,
        None if document.vector is None else as_bytes(document.vector),
    )


def chunk_values(row: DocumentRow, sequence: int) -> list[tuple[object, ...]]:
    """The rows of `chunks`, born at `sequence`."""
    vectors = [None] * len(row.chunks) if row.vectors is None else [as_bytes(vector) for vector in row.vectors]
    born = sequence if row.born is None else row.born
    return [
        (c.slot, row.row, c.ordinal, c.text, c.heading, c.page, c.start, c.end, born, vector)
        for c, vector in zip(row.chunks, vectors, strict=True)
    ]


def chunk(values: tuple[Any, ...]) -> Chunk:
    """A chunk from the columns of the reader's statements."""
    slot, document_id, ordinal, text, title, source, metadata, heading, page, start, stop = values
    return Chunk(slot, document_id, ordinal, text, title, source, decode_metadata(metadata), heading, page, start, stop)


def page(found: str, path: Path) -> list[Chunk]:
    """Chunks from one text of JSON, which SQLite has made of the same columns. Raises `Damaged`."""
    try:
        return [chunk(values) for values in _decode_page(found)]
    except msgspec.DecodeError as error:
        raise Damaged(f"{path} holds what cannot be read ({error}); restore it or roll back", path=path) from error


def document(values: tuple[Any, ...]) -> Document:
    """A document from the columns of the reader's statements."""
    document_id, text, title, source, metadata, vector = values
    return Document(document_id, text, title, source, decode_metadata(metadata), None if vector is None else as_vector(vector))


def stored(documents: Sequence[tuple[Any, ...]], chunks: Sequence[tuple[Any, ...]]) -> list[StoredDocument]:
    """Documents with their chunks, from the columns of the reader's statements; chunks are ordered by document and ordinal."""
    made = {}
    for *values, row in documents:
        made[row] = StoredDocument(row=row, document=document(tuple(values)), chunks=[], vectors={})
    for row, slot, ordinal, text, heading, page, start, stop, vector in chunks:
        of, one = made[row].document, made[row]
        chunk = Chunk(slot, of.id, ordinal, text, of.title, of.source, of.metadata, heading, page, start, stop)
        one.chunks.append(chunk)
        if vector is not None:
            one.vectors[slot] = as_vector(vector)
    return list(made.values())


def part_facts(part: PartRow) -> bytes:
    """The JSON that a part's row holds."""
    return encode({"files": part.files, "facts": part.facts, "sequence": part.sequence})


@lru_cache(maxsize=1024)
def part(uuid: str, first_slot: int, row_count: int, facts: bytes) -> PartRow:
    """A part from its row. Rows never change, and are read again with every write."""
    held = msgspec.json.decode(facts)
    return PartRow(
        uuid=uuid,
        first_slot=first_slot,
        row_count=row_count,
        files=msgspec.convert(held["files"], tuple[FileFact, ...]),
        facts=held["facts"],
        sequence=held.get("sequence", 0),
    )


def as_bytes(vector: Any) -> bytes:
    """A vector as it is stored: float32, little-endian."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def as_vector(stored: bytes) -> NDArray[np.float32]:
    """A stored vector."""
    return np.frombuffer(stored, dtype="<f4")
