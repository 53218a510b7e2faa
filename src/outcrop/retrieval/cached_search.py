"""I have a question that was asked before, must it be searched again?

An answer is kept under everything that it depends on: the generation's uuid, the write that it shows, the engine and why that one
serves, how many chunks its index lacks, and every field of the resolved request. Whoever asks looks first where the index stands
now. So nothing is ever taken back: after a write, a promotion or a rollback, by whatever process, one asks by another key.

A query is the same query only character for character, without the white space around it, which `prepare` has removed: an embedder
may see case, accents and spaces, though the analyzer does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from time import monotonic, perf_counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.protocol import IndexSnapshot
from outcrop.memory import CacheStats, MemoryBudget
from outcrop.model import Degraded
from outcrop.retrieval.cache import BoundedCache
from outcrop.retrieval.executor import Executor, query_vector
from outcrop.retrieval.generation import OpenGeneration
from outcrop.retrieval.hits import Hits, TookMs
from outcrop.retrieval.request import Request
from outcrop.retrieval.single_flight import SingleFlight

_KEY_BYTES = 32
_encode_key = msgspec.msgpack.Encoder(enc_hook=lambda vector: vector.tobytes()).encode
_encode_hits = msgspec.msgpack.Encoder().encode
_decode_hits = msgspec.msgpack.Decoder(Hits).decode


class CachedSearch:
    """The executor's search, which does not do again what it did within the last `seconds`; 0: it does. Safe from many threads.

    Answers are kept encoded, so that every caller gets hits of his own. Equal searches at the same time are run once.
    """

    def __init__(self, executor: Executor, budget: MemoryBudget, *, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._executor = executor
        self._enabled = seconds > 0
        self._answers = BoundedCache(budget.account("query cache"), seconds=seconds, clock=clock)
        self._vectors = BoundedCache(budget.account("embedding cache"), seconds=seconds, clock=clock)
        self._searches: SingleFlight[_Answer] = SingleFlight()
        self._embeddings: SingleFlight[bytes] = SingleFlight()

    def search(self, generation: OpenGeneration, request: Request, degraded: Degraded | None) -> Hits:
        """As `Executor.search`: the same hits, and the same errors, of which none is kept."""
        if not self._enabled:
            return self._executor.search(generation, request, degraded)
        began = perf_counter()
        index = generation.index.snapshot()
        shown = _Shown(index.sequence, index.engine, degraded if index.degraded is None else index.degraded, index.lag)
        key = _key(generation.name.uuid, shown, request)
        kept = self._answers.get(key)
        if kept is None:
            work = partial(self._searched, generation, request, degraded, index=index, shown=shown, key=key)
            answer, own = self._searches.run(key, work)
            self._answers.count(hit=not own)
            if own:
                return answer.hits
            kept = answer.encoded
        hits = _decode_hits(kept)
        took = TookMs(total=(perf_counter() - began) * 1e3)
        return msgspec.structs.replace(hits, took_ms=took, cached=True)

    def stats(self) -> tuple[CacheStats, CacheStats] | tuple[None, None]:
        """How the cache of answers does, and that of query embeddings."""
        return (self._answers.stats(), self._vectors.stats()) if self._enabled else (None, None)

    def keep_for(self, seconds: float) -> None:
        """Keep answers and embeddings so long from now on; with 0 none, and forget those that are kept."""
        self._enabled = seconds > 0
        for cache in (self._answers, self._vectors):
            cache.keep_for(seconds)

    def shrink(self) -> None:
        """Keep no more than the budget allows now."""
        for cache in (self._answers, self._vectors):
            cache.shrink()

    def close(self) -> None:
        """Keep nothing any more."""
        self._answers.clear()
        self._vectors.clear()

    def _searched(
        self,
        generation: OpenGeneration,
        request: Request,
        degraded: Degraded | None,
        *,
        index: IndexSnapshot,
        shown: _Shown,
        key: bytes,
    ) -> _Answer:
        hits = self._executor.search(generation, request, degraded, index=index, embed=self._query_vector)
        encoded = _encode_hits(hits)
        if _Shown(hits.sequence, hits.engine, hits.degraded, hits.index_lag) == shown:  # else another snapshot stood in for it
            self._answers.put(key, encoded)
        return _Answer(hits, encoded)

    def _query_vector(self, generation: OpenGeneration, request: Request) -> tuple[NDArray[np.float32] | None, float | None]:
        """As `query_vector` of the executor."""
        if request.mode == "lexical" or request.vector is not None or generation.embedder is None:
            return query_vector(generation, request)
        began = perf_counter()
        key = _digest(generation.embedding_key + request.query.encode())
        kept = self._vectors.get(key)
        if kept is None:
            kept, own = self._embeddings.run(key, partial(self._embedded, generation, request, key))
            self._vectors.count(hit=not own)
        vector = np.frombuffer(kept, np.float32) if kept else None  # bytes cannot be written to, nor can the array
        return vector, (perf_counter() - began) * 1e3

    def _embedded(self, generation: OpenGeneration, request: Request, key: bytes) -> bytes:
        vector, _ = query_vector(generation, request)
        kept = b"" if vector is None else vector.tobytes()
        self._vectors.put(key, kept)
        return kept


class _Shown(msgspec.Struct, frozen=True):
    """What a snapshot is of: two of the same generation that agree in this answer alike."""

    sequence: int
    engine: str
    degraded: Degraded | None
    lag: int


class _Answer(msgspec.Struct, frozen=True, eq=False):
    """Hits for the caller who searched, and the same encoded for all others."""

    hits: Hits
    encoded: bytes


def _key(generation_uuid: str, shown: _Shown, request: Request) -> bytes:
    """Of every field of the request, those to come too. Encoded, because a filter for 1 and one for true are equal in Python."""
    return _digest(_encode_key((generation_uuid, shown, request)))


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_BYTES).digest()
