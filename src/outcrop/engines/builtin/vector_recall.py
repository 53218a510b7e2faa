"""Measures recall of an index against exact search, and finds the least effort that reaches a target.

Rows themselves are too easy as queries, and so are rows with a little noise: what users ask lies far from every text. Queries here
are what the build gives (short texts made from the chunks' own, embedded as queries are), and rows with one and a half and with
two times their own length of noise. On 100,000 x 256 a graph finds of those .909 and .815 at ef 100, .972 and .945 at ef 400; of
real titles, first words and claims .900 and .967, of single words .805 and .934. With as much noise as the row is long it was .954
and .984. Only part of the lists of an inverted file misses more of real queries than of noise, so there the given ones count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.builtin.vector_facts import VectorFacts, set_effort, work
from outcrop.engines.builtin.vector_kinds import sample
from outcrop.engines.builtin.vector_scan import normalized, scores_of_rows
from outcrop.index_values import IndexSpec, RecallPoint
from outcrop.model import Metric

RECALL_K = 10
QUERY_COUNT = 400
_GIVEN_SHARE_MAX = 0.75
_NOISE = (1.5, 2.0)
_SEED = 20_240_229
_BLOCK_ROWS = 4_096  # 400 queries take 30 MB beside them
# The effort chosen must pass the target by this much on the queries that choose it, so that it passes on others too.
_MARGIN = 0.01
_EF_LADDER = (64, 80, 100, 128, 160, 180, 200, 224, 256, 320, 400, 512, 768, 1024)
_PROBE_SHARES = (1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
_SHARE_OF_CODES_MIN = 1 / 8  # to read fewer saves next to nothing
_REFINE_LADDER = (100, 200, 400, 800)  # less is nothing gained: a search asks for 100 candidates
_CANDIDATES = 100
_NEARLY_FREE = 1.2

Search = Callable[[VectorFacts, NDArray[np.float32]], NDArray[np.float32]]
"""The scores of what a search with these facts finds."""


class Queries(msgspec.Struct, frozen=True, eq=False):
    """Queries, float32 of shape (n, dimension), and for each the true score of its 10th nearest row: what scores at least as high
    is a hit, also among equal rows. `given_count` of them came from the build."""

    vectors: NDArray[np.float32]
    limits: NDArray[np.float32]
    given_count: int

    def half(self, which: int) -> Queries:
        """The queries that choose (0), or those that measure what was chosen (1)."""
        return Queries(self.vectors[which::2], self.limits[which::2], self.given_count // 2)

    def __str__(self) -> str:
        noisy = len(self.vectors) - self.given_count
        texts = f"{self.given_count} short texts, " if self.given_count else ""
        return f"{texts}{noisy} stored vectors with noise"


class Tuned(msgspec.Struct, frozen=True):
    """The facts with the effort chosen, and the curve of what was tried, least work first."""

    facts: VectorFacts
    curve: tuple[RecallPoint, ...]


def made_queries(vectors: NDArray[np.float32], metric: Metric, given: NDArray[np.float32] | None) -> Queries:
    """The queries for these rows. `given` is float32 of shape (n, dimension), or None."""
    rng = np.random.default_rng(_SEED)
    texts = np.empty((0, vectors.shape[1]), np.float32) if given is None else given[: round(QUERY_COUNT * _GIVEN_SHARE_MAX)]
    rows = sample(vectors, QUERY_COUNT - len(texts))
    noise = normalized(rng.standard_normal(rows.shape, dtype=np.float32))
    strength = np.resize(np.array(_NOISE, np.float32), len(rows))[:, None]
    noisy = rows + noise * strength * np.linalg.norm(rows, axis=1, keepdims=True)
    queries = np.concatenate([texts, noisy])[rng.permutation(len(texts) + len(rows))]
    queries = normalized(queries) if metric == "cosine" else np.ascontiguousarray(queries)
    return Queries(queries, tenth_scores(vectors, queries, metric), len(texts))


def tenth_scores(vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """For each query the true score of its 10th nearest row, float32 of shape (n,)."""
    found = _nearest_rows(vectors, queries, metric)
    scores = [scores_of_rows(vectors, rows, query, metric) for rows, query in zip(found, queries, strict=True)]
    return np.array([each.min(initial=np.inf) for each in scores], np.float32)


def _nearest_rows(vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric) -> NDArray[np.int64]:
    """The 10 nearest rows of each query, int64 of shape (n, 10): by large products of matrices, in a third of FAISS's time.

    Memory beside the answer is bounded by the block: only the best of each are kept.
    """
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        products = queries @ block.T
        if metric == "l2":  # in the order of the distances: what only the query adds is left out
            products -= np.einsum("ij,ij->i", block, block) / 2
        best = _largest(products)
        scores = np.concatenate([scores, np.take_along_axis(products, best, axis=1)], axis=1)
        rows = np.concatenate([rows, best + start], axis=1)
        best = _largest(scores)
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return np.ascontiguousarray(rows)


def _largest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where the 10 largest of each row are, in any order."""
    count = scores.shape[1]
    return np.argpartition(scores, count - min(RECALL_K, count), axis=1)[:, -RECALL_K:]


def recall_of(facts: VectorFacts, queries: Queries, search: Search) -> RecallPoint:
    """The share of the true ten nearest that are found, and the median time of a search."""
    hits, took = 0, []
    for query, limit in zip(queries.vectors, queries.limits, strict=True):
        began = perf_counter()
        scores = search(facts, query)
        took.append(perf_counter() - began)
        hits += int(np.count_nonzero(scores >= limit))
    count = RECALL_K * len(queries.vectors)
    median = round(float(np.median(took)) * 1e6, 1) if took else 0.0
    return RecallPoint(
        kind=facts.kind, parameters=facts.parameters, recall=round(hits / count, 4) if count else 1.0, microseconds=median
    )


def tuned(facts: VectorFacts, spec: IndexSpec, queries: Queries, search: Search, *, target: float) -> Tuned:
    """The effort of least work that reaches the target; if none does, the one of the highest recall.

    Of those that are at most a fifth more work, the one of the highest recall: real queries may be harder than those here.
    """
    wanted = min(1.0, target + _MARGIN)
    tried: list[_Tried] = []

    def with_effort(effort: dict[str, int]) -> VectorFacts:
        return msgspec.structs.replace(facts, parameters={**facts.parameters, **effort})

    def reaches(effort: dict[str, int]) -> bool:
        harder = with_effort(effort)
        tried.append(_Tried(facts=harder, cost=work(harder, _CANDIDATES), point=recall_of(harder, queries, search)))
        return tried[-1].point.recall >= wanted

    def is_dear(effort: dict[str, int]) -> bool:
        least = min((one.cost for one in tried if one.point.recall >= wanted), default=inf)
        return work(with_effort(effort), _CANDIDATES) > _NEARLY_FREE * least

    for run in _runs(facts, spec):
        if is_dear(run[0]):
            break
        *rising, most = run
        if reaches(most):
            any(is_dear(effort) or reaches(effort) for effort in rising)  # up to the first that is dear, or enough
    tried.sort(key=lambda one: one.cost)
    reached = [one for one in tried if one.point.recall >= wanted]
    near = [one for one in reached if one.cost <= _NEARLY_FREE * reached[0].cost]
    best = max(near or tried, key=lambda one: one.point.recall)
    return Tuned(best.facts, tuple(one.point for one in tried))


class _Tried(msgspec.Struct, frozen=True):
    facts: VectorFacts
    cost: float
    point: RecallPoint


def _runs(facts: VectorFacts, spec: IndexSpec) -> Iterator[list[dict[str, int]]]:
    """Efforts to try, the least first. Those of a run differ in how much is scored again, so its last finds the most."""
    if facts.kind == "hnsw":
        yield from ([{"ef_search": ef}] for ef in (_EF_LADDER if spec.ef_search is None else (spec.ef_search,)))
        return
    nlist = facts.parameters["nlist"]
    shares = [share for share in _PROBE_SHARES if share >= _SHARE_OF_CODES_MIN or facts.kind != "ivf_pq"]
    probes = sorted({max(1, round(nlist * share)) for share in shares})
    refines = _REFINE_LADDER if spec.refine is None else (spec.refine,)
    for nprobe in probes if spec.nprobe is None else [min(spec.nprobe, nlist)]:
        yield [{"nprobe": nprobe, "refine": refine} for refine in refines] if facts.kind == "ivf_pq" else [{"nprobe": nprobe}]


def search_of(index: Any, vectors: NDArray[np.float32], metric: Metric, nearest: Callable[..., Any]) -> Search:
    """Searches of this index as users make them."""

    def search(facts: VectorFacts, query: NDArray[np.float32]) -> NDArray[np.float32]:
        set_effort(index, facts)
        scores: NDArray[np.float32] = nearest(index, vectors, query, RECALL_K, facts=facts, metric=metric)[1]
        return scores

    return search
