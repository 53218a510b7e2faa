"""Runs one search on one open generation: both legs at once, fusion, then the documents of the hits that are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from time import perf_counter
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import filters, spans
from outcrop.embedding.failures import mapped_failures
from outcrop.embedding.protocol import Embedder
from outcrop.engines import registry
from outcrop.engines.protocol import IndexSnapshot, Ranking, answered
from outcrop.errors import Damaged, EmbeddingFailed
from outcrop.model import Chunk, Degraded, Recipe
from outcrop.retrieval.explain import explanations
from outcrop.retrieval.fusion import Fused, fuse, single
from outcrop.retrieval.generation import OpenGeneration
from outcrop.retrieval.hits import FoundBy, Hit, Hits, Passage, TookMs
from outcrop.retrieval.legs import LegThreads
from outcrop.retrieval.live_recall import Asked, ExactReruns
from outcrop.retrieval.request import Request
from outcrop.retrieval.turns import Turns

Embed: TypeAlias = Callable[[OpenGeneration, Request], tuple[NDArray[np.float32] | None, float | None]]
_SNAPSHOTS_MAX = 3
_NO_RANKING = Ranking(slots=np.empty(0, np.int64), scores=np.empty(0, np.float32))


class _Timed(msgspec.Struct, frozen=True, eq=False):
    ranking: Ranking
    took_ms: float
    began: float = 0.0


class _Forgotten(Exception):
    """A snapshot is so old that chunks it knows have been purged."""


class Executor:
    """Runs searches. One per database; safe from many threads."""

    def __init__(self, live_recall_share: float = 0.0) -> None:
        self._threads = LegThreads()
        self._turns = Turns()
        self.reruns = ExactReruns(live_recall_share)

    def search(
        self,
        generation: OpenGeneration,
        request: Request,
        degraded: Degraded | None,
        *,
        index: IndexSnapshot | None = None,
        embed: Embed | None = None,
    ) -> Hits:
        """Run a checked request. `index` is a snapshot that was just taken, `embed` stands in for `query_vector`.

        Raises what the embedder and the engine raise.
        """
        with self._turns:
            return self._search(generation, request, degraded, embed=query_vector if embed is None else embed, index=index)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()
        self.reruns.close()

    def _search(
        self, generation: OpenGeneration, request: Request, degraded: Degraded | None, *, embed: Embed, index: IndexSnapshot | None
    ) -> Hits:
        began = perf_counter()
        told = _told()
        if told is None or request.mode == "lexical" or request.vector is not None:
            vector, embed_ms = embed(generation, request)
        else:
            with told.within("embed"):
                vector, embed_ms = embed(generation, request)
        for _ in range(_SNAPSHOTS_MAX):
            index = generation.index.snapshot() if index is None else index
            answer = partial(
                self._answer, generation, request=request, vector=vector, degraded=degraded, began=began, embed_ms=embed_ms
            )
            try:
                return self._in_turn(index, answer)
            except _Forgotten:  # it took minutes, and chunks that ended meanwhile were purged
                index = None
        raise Damaged(f"{generation.documents.path} lacks chunks that the index knows; run verify", path=generation.documents.path)

    def _in_turn(self, index: IndexSnapshot, answer: Callable[[IndexSnapshot], Hits]) -> Hits:
        """The answer; from the engine that computes in this process it needs a core."""
        places = self._turns.take() if index.engine == registry.BUILTIN else None
        try:
            return answered(index, answer)
        finally:
            if places is not None:
                places.give_back()

    def _answer(
        self,
        generation: OpenGeneration,
        index: IndexSnapshot,
        request: Request,
        *,
        vector: NDArray[np.float32] | None,
        degraded: Degraded | None,
        began: float,
        embed_ms: float | None,
    ) -> Hits:
        """One search on one snapshot."""
        lexical, nearest = self._legs(index, request, vector)
        fuse_began = perf_counter()
        fused = _fused(request, lexical, nearest, generation.manifest.recipe.vector_weight)
        fetch_began = perf_counter()
        shown = _shown(index, request, fused)
        hits = _hits(generation, index, request, fused=fused, shown=shown)
        ended = perf_counter()
        if nearest is not None and vector is not None:
            self.reruns.offer(Asked(generation.name.uuid, index, vector, request.where, nearest.ranking))
        told = _told()
        if told is not None:
            for leg, of in (("lexical", lexical), ("vector", nearest)):
                if of is not None and of.began:
                    told.add(leg, of.began, of.began + of.took_ms / 1e3)
            told.add("fuse", fuse_began, fetch_began)
            told.add("fetch", fetch_began, ended)
        took = TookMs(
            total=(ended - began) * 1e3,
            embed=embed_ms,
            lexical=lexical.took_ms if lexical else None,
            vector=nearest.took_ms if nearest else None,
            fuse=(fetch_began - fuse_began) * 1e3,
            fetch=(ended - fetch_began) * 1e3,
        )
        found_by = _found_by(generation, request, lexical, nearest, shown=shown, embedded=vector is not None)
        return Hits(
            hits=hits,
            mode=request.mode,
            generation=generation.name.number,
            generation_uuid=generation.name.uuid,
            sequence=index.sequence,
            engine=index.engine,
            degraded=degraded if index.degraded is None else index.degraded,
            took_ms=took,
            index_lag=index.lag,
            total_candidates=len(fused.slots),
            warnings=(*_warnings(generation, request, found_by), *_unembedded(generation, request, index)),
            found_by=found_by,
        )

    def _legs(
        self, index: IndexSnapshot, request: Request, vector: NDArray[np.float32] | None
    ) -> tuple[_Timed | None, _Timed | None]:
        k, where = request.candidates, request.where
        lexical = partial(_timed, partial(index.lexical, request.query, k, where)) if request.mode != "vector" else None
        nearest = partial(_timed, partial(index.nearest, vector, k, where)) if vector is not None else None
        if lexical is None or nearest is None:
            nothing = None if request.mode == "lexical" else _Timed(ranking=_NO_RANKING, took_ms=0.0)
            return (lexical() if lexical else None, nearest() if nearest else nothing)
        if self._turns.crowded:  # the cores are busy, and to hand a leg over costs two threads their place at the interpreter
            return lexical(), nearest()
        vectors_found, texts_found = self._threads.both(nearest, lexical)
        return texts_found, vectors_found


def _timed(run: Callable[[], Ranking]) -> _Timed:
    began = perf_counter()
    ranking = run()
    return _Timed(ranking=ranking, took_ms=(perf_counter() - began) * 1e3, began=began)


def _told() -> spans.Operation | None:
    """The span of this very search, if there is one: not that of a batch or of a promotion, which has thousands of searches."""
    opened = spans.current()
    return opened if opened is not None and opened.name == "search" else None


def query_vector(generation: OpenGeneration, request: Request) -> tuple[NDArray[np.float32] | None, float | None]:
    """The vector to search with, or None if there is none, and how many milliseconds embedding took if the query was embedded."""
    if request.mode == "lexical":
        return None, None
    if request.vector is not None:
        return request.vector, None
    began = perf_counter()
    embedder = generation.embedder
    vector = None if embedder is None else _embedded(embedder, request.query, generation.manifest.recipe)
    return vector, (perf_counter() - began) * 1e3


def _embedded(embedder: Embedder, query: str, recipe: Recipe) -> NDArray[np.float32] | None:
    with mapped_failures(embedder):
        made = embedder.embed_query(query)
    return checked_embedding(made, embedder, recipe)


def checked_embedding(made: object, embedder: Embedder, recipe: Recipe) -> NDArray[np.float32] | None:
    """A query's vector, checked: what the index reads must have its shape. None for cosine if it is all zeros (no known word)."""
    try:
        vector = np.ascontiguousarray(made, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise _bad_embedding(embedder, f"something that is no vector ({error})") from error
    if vector.shape != (recipe.dimension,):
        raise _bad_embedding(embedder, f"a vector of shape {vector.shape} instead of ({recipe.dimension},)")
    if not np.isfinite(vector).all():
        raise _bad_embedding(embedder, "a vector with NaN or infinity")
    if recipe.metric == "cosine" and not vector.any():
        return None
    return vector


def _bad_embedding(embedder: Embedder, found: str) -> EmbeddingFailed:
    spec = embedder.identity.spec
    return EmbeddingFailed(f"the embedder {spec!r} made {found} of a query; mend its embed_query", embedder=spec, status=None)


def _fused(request: Request, lexical: _Timed | None, nearest: _Timed | None, vector_weight: float) -> Fused:
    if lexical is not None and nearest is not None:
        return fuse(lexical.ranking, nearest.ranking, request.fusion, vector_weight)
    if nearest is not None:
        return single(nearest.ranking, "vector")
    return single(lexical.ranking if lexical is not None else _NO_RANKING, "lexical")


class _Shown(msgspec.Struct, frozen=True):
    """The chunks of one page, with their 0-based places in the fused ranking."""

    chunks: Sequence[Chunk]
    places: Sequence[int]


def _shown(index: IndexSnapshot, request: Request, fused: Fused) -> _Shown:
    """The page: at most `per_document` chunks of a document, ties by document id, `offset` skipped, `k` kept.

    Chunks are fetched in windows that end where a score ends, so that a tie is never cut before it is ordered.
    """
    wanted = request.offset + request.k
    kept: list[tuple[Chunk, int]] = []
    of_document: dict[str, int] = {}
    if not len(fused.slots):
        index.fetch(())  # which tells whoever serves that the search is over
    begin = 0
    while begin < len(fused.slots) and len(kept) < wanted:
        end = _window_end(fused.scores, begin + wanted - len(kept))
        for place, chunk in _ordered(index, fused, begin, end):
            seen = of_document.get(chunk.document_id, 0)
            if seen < request.per_document:
                of_document[chunk.document_id] = seen + 1
                kept.append((chunk, place))
        begin = end
    page = kept[request.offset : wanted]
    return _Shown(chunks=[chunk for chunk, _ in page], places=[place for _, place in page])


def _window_end(scores: NDArray[np.float64], end: int) -> int:
    count = len(scores)
    if end >= count:
        return count
    last = scores[end - 1]
    while end < count and scores[end] == last:
        end += 1
    return end


def _ordered(index: IndexSnapshot, fused: Fused, begin: int, end: int) -> list[tuple[int, Chunk]]:
    slots = fused.slots[begin:end].tolist()
    place_of = dict(zip(slots, range(begin, end), strict=True))
    chunks = index.fetch(slots)
    if len(chunks) < len(slots):
        raise _Forgotten
    fetched = [(place_of[chunk.slot], chunk) for chunk in chunks]
    scores = fused.scores[begin:end].tolist()
    if len(set(scores)) < len(scores):
        fetched.sort(key=lambda item: (-scores[item[0] - begin], item[1].document_id, item[1].ordinal))
    return fetched


def _hits(generation: OpenGeneration, index: IndexSnapshot, request: Request, *, fused: Fused, shown: _Shown) -> tuple[Hit, ...]:
    explained = explanations(index, request, fused, shown.places) if request.explain else None
    passage = Passage(query=request.query, analyzer=generation.manifest.recipe.analyzer)
    return tuple(
        Hit(
            id=chunk.id,
            document_id=chunk.document_id,
            rank=request.offset + position + 1,
            score=float(fused.scores[place]),
            text=chunk.text,
            title=chunk.title,
            metadata=chunk.metadata,
            source=chunk.source,
            heading=chunk.heading,
            page=chunk.page,
            start=chunk.start,
            end=chunk.end,
            explanation=explained[position] if explained is not None else None,
            _snippet=passage,
        )
        for position, (chunk, place) in enumerate(zip(shown.chunks, shown.places, strict=True))
    )


def _found_by(
    generation: OpenGeneration, request: Request, lexical: _Timed | None, nearest: _Timed | None, *, shown: _Shown, embedded: bool
) -> FoundBy:
    """What each leg brought into the page that is shown."""
    slots = {chunk.slot for chunk in shown.chunks}
    by_words = slots.intersection(lexical.ranking.slots.tolist()) if lexical is not None else set()
    by_vector = slots.intersection(nearest.ranking.slots.tolist()) if nearest is not None else set()
    both = len(by_words & by_vector)
    return FoundBy(
        lexical_candidates=len(lexical.ranking.slots) if lexical is not None else None,
        vector_candidates=len(nearest.ranking.slots) if nearest is not None else None,
        lexical=len(by_words) - both,
        vector=len(by_vector) - both,
        both=both,
        no_term=lexical is not None and not len(lexical.ranking.slots) and not generation.analyzer.terms(request.query),
        no_vector=request.mode != "lexical" and not embedded,
    )


def _warnings(generation: OpenGeneration, request: Request, found_by: FoundBy) -> tuple[str, ...]:
    warnings = list(request.warnings)
    if request.where is not None:
        for field in sorted(filters.fields(request.where)):
            if _has_field(generation.fields, field):
                continue
            known = generation.index.stats().fields  # a write may have brought it
            if _has_field(known, field):
                continue
            near = get_close_matches(field, known, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there are: {', '.join(known[:20])}"
                if known
                else "no document has metadata"
            )
            warnings.append(f"no document has the field {field!r} that the filter names; {hint}")
    if found_by.no_vector:
        warnings.append(f"the query {request.query!r:.80} has no word that the embedder knows: the vector leg found nothing")
    if found_by.no_term:
        warnings.append(f"the query {request.query!r:.80} has no searchable term (only stop words or punctuation)")
    return tuple(warnings)


def _unembedded(generation: OpenGeneration, request: Request, index: IndexSnapshot) -> tuple[str, ...]:
    count = 0 if request.mode == "lexical" else generation.unembedded_count(index.sequence)
    if not count:
        return ()
    return (f"{count} chunks have no vector, because they could not be embedded: they are found by their words only",)


def _has_field(known: Sequence[str], field: str) -> bool:
    return any(one == field or one.startswith(f"{field}.") for one in known)
