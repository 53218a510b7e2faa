"""An embedder that asks the embedding cache first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.embedding.cache import EmbeddingCache, cache_keys
from outcrop.embedding.failures import mapped_failures
from outcrop.embedding.protocol import Embedder
from outcrop.errors import EmbeddingFailed
from outcrop.model import EmbedderIdentity

# Embedded so many at once: what a failure in the middle of a large batch can lose of what was paid for.
_TEXTS_PER_CALL = 256
# Stored so many at once: keys are spread over the whole of the cache's index, so few large transactions write far less than many.
_TEXTS_PER_STORE = 2048


class CacheCounts(msgspec.Struct, frozen=True):
    """How many texts came from the cache (or were embedded once for several equal texts), and how many were embedded."""

    hits: int
    misses: int


class CachedEmbedder:
    """An embedder whose documents come from `cache` where it has them; equal texts of one call are embedded once.

    Has the identity and the weight of `embedder`, and the same vectors, bit for bit. Queries are passed on and not stored. What was
    embedded before an embedder failed is kept. Safe to use from many threads.
    """

    def __init__(self, embedder: Embedder, cache: EmbeddingCache) -> None:
        self.embedder = embedder
        self.cache = cache
        self._lock = forking.lock()
        self._hits = 0
        self._misses = 0

    @property
    def identity(self) -> EmbedderIdentity:
        """The wrapped embedder's identity."""
        return self.embedder.identity

    @property
    def vector_weight(self) -> float:
        """The wrapped embedder's weight."""
        return self.embedder.vector_weight

    @property
    def counts(self) -> CacheCounts:
        """Hits and misses since this object was made."""
        with self._lock:
            return CacheCounts(hits=self._hits, misses=self._misses)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension), from the cache where it has them.

        Raises `EmbeddingFailed` when the embedder fails, makes another shape than its identity says, or numbers that are not
        finite; an `OutcropError` of its own as it is.
        """
        if not self.cache.enabled:
            self._count(0, len(texts))
            return _checked(self.embedder, texts)
        identity = self.embedder.identity
        keys = cache_keys(identity, texts, scope=getattr(self.embedder, "cache_scope", ""))
        text_of = dict(zip(keys, texts, strict=True))
        rows = self.cache.load(list(text_of), identity.dimension)
        missing = [key for key in text_of if key not in rows]
        for start in range(0, len(missing), _TEXTS_PER_STORE):
            rows.update(self._embedded({key: text_of[key] for key in missing[start : start + _TEXTS_PER_STORE]}))
        self._count(len(texts) - len(missing), len(missing))
        if not texts:
            return np.empty((0, identity.dimension), dtype=np.float32)
        return np.stack([rows[key] for key in keys])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (dimension,), from the wrapped embedder."""
        with mapped_failures(self.embedder):
            return self.embedder.embed_query(text)

    def _embedded(self, text_of: dict[bytes, str]) -> dict[bytes, NDArray[np.float32]]:
        """Embed these texts and store their vectors; when the embedder fails, those that it made before."""
        keys, texts = list(text_of), list(text_of.values())
        done: list[NDArray[np.float32]] = []
        try:
            for start in range(0, len(texts), _TEXTS_PER_CALL):
                # One by one on purpose: what is in the list when the embedder fails is stored.
                done.append(_checked(self.embedder, texts[start : start + _TEXTS_PER_CALL]))  # noqa: PERF401
        finally:
            if done:
                vectors = np.concatenate(done)
                self.cache.store(keys[: len(vectors)], vectors)
        return dict(zip(keys, vectors, strict=True))

    def _count(self, hits: int, misses: int) -> None:
        with self._lock:
            self._hits += hits
            self._misses += misses


def _checked(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """What the embedder makes of the texts, if that is what an embedder must make: it may be the caller's own."""
    with mapped_failures(embedder):
        made = np.asarray(embedder.embed_documents(texts))
    identity = embedder.identity
    wanted = (len(texts), identity.dimension)
    if made.shape != wanted or made.dtype.kind not in "fiu":
        raise EmbeddingFailed(
            f"the embedder {identity.spec!r} made an array of shape {made.shape} of"
            f" {made.dtype} for {len(texts)} texts, {wanted} is wanted",
            embedder=identity.spec,
            status=None,
        )
    rows = np.ascontiguousarray(made, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise EmbeddingFailed(
            f"the embedder {identity.spec!r} made vectors with numbers that are not finite", embedder=identity.spec, status=None
        )
    return rows
