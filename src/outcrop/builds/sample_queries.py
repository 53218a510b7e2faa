"""Queries as users ask them, made from a build's own texts: by them the engine measures the recall of a vector index.

Vectors of short texts lie far from those of whole chunks, and an approximate index misses more there: recall on noisy copies of
the stored vectors alone is too good to be true.
"""

from __future__ import annotations

import random
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from outcrop.documents import Documents
from outcrop.embedding import Embedder
from outcrop.errors import OutcropError
from outcrop.model import Chunk

_COUNT = 300
_COUNT_MIN = 50
_SECONDS_MAX = 1.0
_FIRST_WORDS = (3, 8)
_SEED = 20_240_229


def sample_queries(directory: Path, embedder: Embedder | None) -> NDArray[np.float32] | None:
    """Vectors of titles, first words and single words of chunks all over a generation that is being built, as queries are embedded.

    Float32 of shape (n, dimension) without rows of zeros, n at most 300; None without an embedder, or from one that makes fewer
    than 50 in a second (a remote one) or fails: a build does not wait or fail for them.
    """
    if embedder is None:
        return None
    ends = monotonic() + _SECONDS_MAX
    vectors: list[NDArray[np.float32]] = []
    with suppress(OutcropError):
        for text in _texts(directory):
            if monotonic() > ends:
                break
            vector = np.asarray(embedder.embed_query(text), np.float32)
            if vector.shape == (embedder.identity.dimension,) and np.isfinite(vector).all() and vector.any():
                vectors.append(vector)
    return np.stack(vectors) if len(vectors) >= _COUNT_MIN else None


def _texts(directory: Path) -> list[str]:
    with closing(Documents(directory)) as stored:
        slots = np.unique(np.linspace(1, max(1, stored.counts().chunks), _COUNT).astype(np.int64)).tolist()
        chunks = stored.fetch(slots)
    rng = random.Random(_SEED)
    texts = [_query(chunk, number, rng) for number, chunk in enumerate(chunks) if chunk.text.split()]
    rng.shuffle(texts)  # the first ones, where the time is up early, are of all kinds and from all over
    return texts


def _query(chunk: Chunk, number: int, rng: random.Random) -> str:
    words = chunk.text.split()
    if number % 3 == 0 and chunk.title is not None and chunk.title.strip():
        return chunk.title
    if number % 3 == 1:
        return rng.choice(words)
    return " ".join(words[: rng.randint(*_FIRST_WORDS)])
