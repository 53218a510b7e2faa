"""Makes what one recipe prepared fit another: only what differs is cut and embedded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.embedding import Embedder
from outcrop.errors import EmbedderGone, EmbedderMismatch, EmbeddingFailed, MissingExtra, UnknownEmbedder
from outcrop.ingest import Chunker
from outcrop.model import Recipe
from outcrop.writes.outcomes import Outcome, Outcomes, Put, Space, space_of
from outcrop.writes.preparing import PreparedDocument, embedded_text, whole

#: What may keep a generation from embedding: its embedder is gone, changed, or does not answer.
EMBEDDING_ERRORS = (EmbedderMismatch, EmbeddingFailed, MissingExtra, UnknownEmbedder)


class Fitter(msgspec.Struct, frozen=True, eq=False):
    """How a generation prepares documents. Embedder and chunker are asked for only when they are needed."""

    recipe: Recipe
    embedder: Callable[[], Embedder | None]
    chunker: Callable[[], Chunker]


def misfits(outcomes: Mapping[str, Outcome], recipe: Recipe) -> list[Put]:
    """The puts that another recipe prepared in another way."""
    space = space_of(recipe)
    return [one for one in outcomes.values() if isinstance(one, Put) and not _fits(one.space, space)]


def unembeddable(puts: Sequence[Put], recipe: Recipe) -> int:
    """How many of these misfits can have no vector here, whatever the embedder: vectors are given here, and theirs does not fit."""
    if recipe.dimension is None or recipe.embedder is not None:
        return 0
    return sum(put.space.vectors != space_of(recipe).vectors for put in puts)


def fitted(outcomes: Outcomes, fitter: Fitter, *, lexically: bool) -> Outcomes:
    """The same outcomes, prepared for the fitter's recipe. With `lexically`, what cannot be embedded gets no vectors.

    Raises what the embedder raises unless `lexically`.
    """
    unfit = misfits(outcomes, fitter.recipe)
    if not unfit:
        return outcomes
    space = space_of(fitter.recipe)
    prepared = _with_vectors([_cut(put, fitter, space) for put in unfit], fitter, lexically=lexically)
    return {**outcomes, **{one.document.id: Put(prepared=one, space=space) for one in prepared}}


def _fits(prepared_for: Space, wanted: Space) -> bool:
    return prepared_for == wanted


def _cut(put: Put, fitter: Fitter, space: Space) -> PreparedDocument:
    document = put.prepared.document
    if document.vector is not None and put.space.vectors != space.vectors:  # it belongs to another space
        document = msgspec.structs.replace(document, vector=None)
    pieces = [whole(document)] if document.vector is not None else fitter.chunker().pieces(document)
    given = None if document.vector is None else np.asarray(document.vector, np.float32).reshape(1, -1)
    return msgspec.structs.replace(put.prepared, document=document, pieces=pieces, vectors=given)


def _with_vectors(prepared: Sequence[PreparedDocument], fitter: Fitter, *, lexically: bool) -> list[PreparedDocument]:
    if fitter.recipe.dimension is None:
        return [msgspec.structs.replace(one, vectors=None) for one in prepared]
    texts = [embedded_text(one.document, piece) for one in prepared if one.vectors is None for piece in one.pieces]
    embedded = _embedded(texts, fitter, lexically=lexically)
    if embedded is None:
        return list(prepared)
    done, position = [], 0
    for one in prepared:
        if one.vectors is not None:
            done.append(one)
            continue
        done.append(msgspec.structs.replace(one, vectors=embedded[position : position + len(one.pieces)]))
        position += len(one.pieces)
    return done


def _embedded(texts: Sequence[str], fitter: Fitter, *, lexically: bool) -> NDArray[np.float32] | None:
    if not texts:
        return None
    try:
        embedder = fitter.embedder()
        if embedder is not None:
            return np.asarray(embedder.embed_documents(texts), np.float32)
        if not lexically:
            raise EmbedderGone(
                f"{len(texts)} chunks have no vector that fits: this generation's vectors are given with its documents. Write them"
                " again with vectors, or build a new generation.",
                documents=len(texts),
            )
        return None
    except EMBEDDING_ERRORS:
        if not lexically:
            raise
        return None
