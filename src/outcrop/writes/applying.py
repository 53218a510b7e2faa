"""Makes writes visible in one generation: rows first, then the index, whose commit is the moment.

Whoever calls holds the generation's apply lock. Everything here may be done again after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.documents import Applied, DocumentRow, Documents, DocumentsWriter
from outcrop.engines.protocol import GenerationIndex, IndexedChunk, IndexSnapshot
from outcrop.errors import Damaged
from outcrop.model import Chunk, Recipe
from outcrop.writes.outcomes import Outcome, Patch, Put, patched
from outcrop.writes.preparing import PreparedDocument


class Target(msgspec.Struct, frozen=True, eq=False):
    """A generation that is written: its rows, to read and to write, and its index."""

    documents: Documents
    writer: Callable[[], DocumentsWriter]
    index: GenerationIndex
    recipe: Recipe


class Effect(msgspec.Struct, frozen=True):
    """What a write came to in a generation, in documents and chunks."""

    put: int
    replaced: int
    deleted: int
    patched: int
    chunks: int


def apply(target: Target, outcomes: Mapping[str, Outcome], sequence: int) -> Effect:
    """Apply what a write, or several, come to; the generation is at `sequence` then. Puts are prepared for its recipe."""
    puts = [outcome for outcome in outcomes.values() if isinstance(outcome, Put)]
    patches = {document_id: outcome for document_id, outcome in outcomes.items() if isinstance(outcome, Patch)}
    deletes = [document_id for document_id, outcome in outcomes.items() if not isinstance(outcome, Put | Patch)]
    rows = _rows(target, puts, patches)
    applied = target.writer().apply(rows, deletes, sequence)
    _index(target.index, rows, applied, sequence)
    return Effect(
        put=len(puts),
        replaced=applied.replaced - (len(rows) - len(puts)),
        deleted=applied.deleted,
        patched=len(rows) - len(puts),
        chunks=sum(len(row.chunks) for row in rows),
    )


def recover(target: Target) -> None:
    """Bring the index to where the rows are: a write that was cut short between the two left it behind."""
    behind, head = target.index.snapshot().sequence, target.documents.sequence()
    if behind > head:
        raise Damaged(
            f"{target.documents.path.parent}: the index holds the writes up to {behind}, the documents those up to {head}: the"
            " folder was copied while it was written. Restore it whole, or build a new generation.",
            path=target.documents.path.parent,
        )
    if behind == head:
        return
    changes = target.documents.changes(behind)
    missing = _vectors_of(target.documents, [chunk.slot for chunk in changes.born])
    chunks = [_indexed(chunk, missing.get(chunk.slot)) for chunk in changes.born]
    target.index.apply(chunks, changes.ended, changes.sequence)


def chunks_of(one: PreparedDocument, first_slot: int) -> list[Chunk]:
    """The chunks of a prepared document, in slots from `first_slot` on."""
    document = one.document
    return [
        Chunk(
            slot=first_slot + ordinal,
            document_id=document.id,
            ordinal=ordinal,
            text=piece.text,
            title=document.title,
            source=document.source,
            metadata=document.metadata,
            heading=piece.heading,
            page=piece.page,
            start=piece.start,
            end=piece.end,
        )
        for ordinal, piece in enumerate(one.pieces)
    ]


def _rows(target: Target, puts: Sequence[Put], patches: Mapping[str, Patch]) -> list[DocumentRow]:
    head = target.writer().head()
    row, slot = head.next_row, head.next_slot
    rows = []
    for put in puts:
        chunks = chunks_of(put.prepared, slot)
        vectors = None if target.recipe.dimension is None else put.prepared.vectors
        unembedded = target.recipe.dimension is not None and vectors is None
        rows.append(DocumentRow(row, put.prepared.document, chunks, vectors, unembedded=unembedded))
        row, slot = row + 1, slot + len(chunks)
    if not patches:
        return rows
    snapshot = target.index.snapshot()
    for stored in target.documents.stored(list(patches)):
        document = patched(stored.document, patches[stored.document.id])
        chunks = [
            msgspec.structs.replace(chunk, slot=slot + place, metadata=document.metadata)
            for place, chunk in enumerate(stored.chunks)
        ]
        vectors = _copied(snapshot, stored.chunks, stored.vectors) if target.recipe.dimension is not None else None
        unembedded = target.recipe.dimension is not None and vectors is None
        rows.append(DocumentRow(row, document, chunks, vectors, unembedded=unembedded))
        row, slot = row + 1, slot + len(chunks)
    return rows


def _copied(
    snapshot: IndexSnapshot, chunks: Sequence[Chunk], tail: Mapping[int, NDArray[np.float32]]
) -> NDArray[np.float32] | None:
    """The vectors of a document's chunks, float32 of shape (len(chunks), dimension), or None if it has none."""
    slots = [chunk.slot for chunk in chunks]
    in_parts = dict(zip(slots, snapshot.vectors(slots), strict=True)) if any(slot not in tail for slot in slots) else {}
    found = [tail[slot] if slot in tail else in_parts[slot] for slot in slots]
    return None if not found or any(vector is None for vector in found) else np.stack([one for one in found if one is not None])


def _index(index: GenerationIndex, rows: Sequence[DocumentRow], applied: Applied, sequence: int) -> None:
    chunks = [
        _indexed(chunk, None if row.vectors is None else row.vectors[place])
        for row in rows
        for place, chunk in enumerate(row.chunks)
    ]
    index.apply(chunks, applied.dead_slots, sequence)


def _vectors_of(documents: Documents, slots: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    wanted = set(slots)
    if not wanted:
        return {}
    return {
        row.slot: row.vector
        for row in documents.view(at=documents.sequence(), tail_after=min(wanted) - 1).tail
        if row.slot in wanted
    }


def _indexed(chunk: Chunk, vector: NDArray[np.float32] | None) -> IndexedChunk:
    return IndexedChunk(slot=chunk.slot, title=chunk.title, text=chunk.text, metadata=chunk.metadata, vector=vector)
