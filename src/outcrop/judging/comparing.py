"""Compares two generations: figures, recipes, documents and the answers to queries."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from outcrop.errors import InvalidInput
from outcrop.evaluation import JudgedQueries, overlap, paired_bootstrap, rank_biased_overlap, require_measures
from outcrop.judging.answers import Answers, answers
from outcrop.judging.comparison import Comparison, GenerationFigures, QueryChanges, QueryComparison
from outcrop.judging.differences import document_changes
from outcrop.judging.latency import Latency, interleaved
from outcrop.judging.recipes import recipe_changes
from outcrop.judging.sides import Side


def compare(
    a: Side, b: Side, queries: JudgedQueries | None, *, k: int = 10, clock: Callable[[], float] = perf_counter
) -> Comparison:
    """What would change if `b` served instead of `a`; see `Collection.compare`. `clock` gives seconds.

    Raises `InvalidInput` for a `k` that is no whole number of at least 1, `MissingExtra` if queries are judged and nDCG cannot be
    computed here, and what searching raises.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidInput(f"k is {k!r}; it must be a whole number of at least 1", parameter="k")
    if queries is not None and queries.judgements:
        require_measures()
    before, after = (None, None) if queries is None else (answers(a, queries, k), answers(b, queries, k))
    latencies = (None, None) if queries is None else interleaved(a.search, b.search, list(queries.queries.values()), clock=clock)
    return Comparison(
        a=_figures(a, before, latencies[0]),
        b=_figures(b, after, latencies[1]),
        recipe=recipe_changes(a.info.recipe, b.info.recipe),
        documents=document_changes(a.documents, b.documents),
        queries=None if queries is None or before is None or after is None else _changes(queries, before, after, k),
        notes=(*_behind(a, b), *(() if queries is None else (*_given(a), *_given(b)))),
    )


def _figures(side: Side, found: Answers | None, latency: Latency | None) -> GenerationFigures:
    counts = side.documents.counts()
    return GenerationFigures(
        number=side.info.number,
        uuid=side.info.uuid,
        document_count=counts.documents,
        chunk_count=counts.chunks,
        size_bytes=side.info.size_bytes,
        ndcg_at_10=None if found is None or found.measures is None else found.measures.ndcg_at_10,
        latency=latency,
    )


def _changes(queries: JudgedQueries, a: Answers, b: Answers, k: int) -> QueryChanges:
    compared = [_query(query_id, text, a, b, k=k) for query_id, text in queries.queries.items()]
    count = len(compared)
    verdict = None
    if a.measures is not None and b.measures is not None:
        verdict = paired_bootstrap(b.name, b.measures.per_query, a.name, a.measures.per_query)
    return QueryChanges(
        name=queries.name,
        k=k,
        overlap=sum(one.overlap for one in compared) / count,
        rbo=sum(one.rbo for one in compared) / count,
        unchanged_share=sum(one.unchanged for one in compared) / count,
        verdict=verdict,
        per_query=tuple(sorted(compared, key=lambda one: (one.rbo, one.overlap))),
    )


def _query(query_id: str, text: str, a: Answers, b: Answers, *, k: int) -> QueryComparison:
    before, after = a.ids(query_id, k), b.ids(query_id, k)
    return QueryComparison(
        query_id=query_id,
        query=text,
        overlap=overlap(before, after),
        rbo=rank_biased_overlap(before, after),
        unchanged=before == after,
        moved_in=tuple(one for one in after if one not in before),
        moved_out=tuple(one for one in before if one not in after),
        ndcg_at_10_a=a.ndcg.get(query_id),
        ndcg_at_10_b=b.ndcg.get(query_id),
    )


def _behind(*sides: Side) -> list[str]:
    """A generation that does not serve is not given every write at once."""
    (before, late), (after, early) = sorted((side.documents.sequence(), side.info.number) for side in sides)
    if before == after:
        return []
    told = f"generation {late} holds the writes up to {before}, generation {early} those up to {after}: what lies between is"
    return [f"{told} carried over when it is promoted, and is a difference here"]


def _given(side: Side) -> list[str]:
    """A generation whose vectors came with its documents cannot embed a query."""
    recipe = side.info.recipe
    if recipe.dimension is None or recipe.embedder is not None:
        return []
    return [f"the vectors of generation {side.info.number} were given with its documents, so the queries searched its words only"]
