"""What a write does to one document, as a value and as the body of a journal entry.

A put carries its chunks and vectors as one recipe made them, so that applying it again, after a crash or to another generation
of the same recipe, calls no embedder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np

from outcrop.generations.journal import Entry, EntryKind
from outcrop.ingest import Piece
from outcrop.model import Document, Recipe
from outcrop.writes.preparing import PreparedDocument


class Space(msgspec.Struct, frozen=True):
    """What two recipes must share for the one to take over what the other prepared: the vectors' space, and the chunker."""

    vectors: str
    chunker: str


class Put(msgspec.Struct, frozen=True, eq=False):
    """A document is there now, as prepared by a recipe of this space."""

    prepared: PreparedDocument
    space: Space


class Patch(msgspec.Struct, frozen=True):
    """These values take the place of those with the same keys in the document's metadata, if the document is there."""

    metadata: Mapping[str, Any]


class Delete(msgspec.Struct, frozen=True):
    """The document is gone."""


Outcome: TypeAlias = Put | Patch | Delete
Outcomes: TypeAlias = dict[str, Outcome]


def space_of(recipe: Recipe) -> Space:
    """The space in which a recipe prepares documents."""
    if recipe.embedder is None:
        return Space(vectors="none" if recipe.dimension is None else f"given {recipe.dimension}", chunker=recipe.chunker)
    identity = hashlib.sha256(msgspec.json.encode(recipe.embedder)).hexdigest()
    return Space(vectors=f"embedder {identity}", chunker=recipe.chunker)


def encoded(document_id: str, outcome: Outcome) -> tuple[EntryKind, str, bytes]:
    """Kind, document id and body of a journal entry."""
    match outcome:
        case Put(prepared, space):
            return "put", document_id, msgspec.msgpack.encode(_body(prepared, space))
        case Patch(metadata):
            return "patch", document_id, msgspec.msgpack.encode(metadata)
        case Delete():
            return "delete", document_id, b""


def resolved(entries: Iterable[Entry]) -> Outcomes:
    """What the entries of several writes, oldest first, come to for each document."""
    outcomes: Outcomes = {}
    for entry in entries:
        outcomes[entry.document_id] = after(outcomes.get(entry.document_id), decoded(entry))
    return outcomes


def decoded(entry: Entry) -> Outcome:
    """What an entry of the journal says."""
    if entry.kind == "delete":
        return Delete()
    if entry.kind == "patch":
        return Patch(msgspec.msgpack.decode(entry.body))
    return _put(msgspec.msgpack.decode(entry.body, type=_Body))


def patched(document: Document, patch: Patch) -> Document:
    """The document with the patch's values."""
    return msgspec.structs.replace(document, metadata={**document.metadata, **patch.metadata})


def after(before: Outcome | None, then: Outcome) -> Outcome:
    """What two outcomes for one document, one after the other, come to."""
    if not isinstance(then, Patch):
        return then
    match before:
        case Patch(metadata):
            return Patch({**metadata, **then.metadata})
        case Put(prepared):
            changed = msgspec.structs.replace(prepared, document=patched(prepared.document, then))
            return msgspec.structs.replace(before, prepared=changed)
        case Delete():
            return before  # a patch of what is not there is nothing
    return then


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """A put in the journal. `vectors` and `vector` are float32, little-endian; a piece is start, end, heading and page."""

    id: str
    text: str
    title: str | None
    source: str | None
    metadata: dict[str, Any]
    vector: bytes | None
    pieces: list[tuple[int, int, str | None, int | None]]
    vectors: bytes | None
    space: tuple[str, str]


def _body(prepared: PreparedDocument, space: Space) -> _Body:
    document = prepared.document
    return _Body(
        id=document.id,
        text=document.text,
        title=document.title,
        source=document.source,
        metadata=document.metadata,
        vector=None if document.vector is None else np.asarray(document.vector, "<f4").tobytes(),
        pieces=[(piece.start, piece.end, piece.heading, piece.page) for piece in prepared.pieces],
        vectors=None if prepared.vectors is None else np.ascontiguousarray(prepared.vectors, "<f4").tobytes(),
        space=(space.vectors, space.chunker),
    )


def _put(body: _Body) -> Put:
    vector = None if body.vector is None else np.frombuffer(body.vector, "<f4")
    document = Document(body.id, body.text, body.title, body.source, body.metadata, vector)
    pieces = [Piece(body.text[start:end], start, end, heading, page) for start, end, heading, page in body.pieces]
    vectors = None if body.vectors is None else np.frombuffer(body.vectors, "<f4").reshape(len(pieces), -1)
    prepared = PreparedDocument(document=document, origin=f"document {body.id!r}", pieces=pieces, vectors=vectors)
    return Put(prepared=prepared, space=Space(*body.space))
