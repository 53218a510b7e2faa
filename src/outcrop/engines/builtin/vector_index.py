"""The approximate index of one part: which one to build, how hard to search it, and how good it then is.

An HNSW graph walks over 8-bit codes of the vectors, a quarter of their size. Whatever an index finds is scored again from the
float32 rows, so that a score never depends on the index that found it. How hard to search (`ef_search`, `nprobe`) is chosen
by measuring recall on the part's own data.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, sqrt
from typing import Any, cast

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.builtin.vector_scan import best, exact_nearest, normalized, scores_of_rows
from outcrop.errors import InvalidConfig
from outcrop.model import IndexSpec, Metric

Found = tuple[NDArray[np.int64], NDArray[np.float32]]

RECALL_TARGET = 0.97
#: `auto` scans exactly up to this many numbers (rows x dimension): 6,000 rows of 256, 4,000 of 384. At 5,000 x 256 a scan takes
#: 0.12 ms and HNSW 0.09 to 0.15; at 10,000 it is 0.37 against 0.19 to 0.23 ms (2 cores, AVX-512).
FLAT_NUMBERS_MAX = 1_536_000
#: Below this many rows no kind of index is built: a product quantizer alone needs 256 rows for its centroids.
INDEXED_ROWS_MIN = 256

# The effort chosen must pass the target by this much on the queries that choose it, so that it passes on others too.
_RECALL_MARGIN = 0.005
_RECALL_AUTO_MIN = 0.95
_RECALL_K = 10
_RECALL_QUERIES = 400
_EF_LADDER = (64, 80, 100, 128, 160, 180, 200, 224, 256, 320, 400, 512, 768, 1024)
_HNSW_M, _HNSW_EF_CONSTRUCTION = 16, 64
_IVF_ROWS_PER_LIST_MIN = 39  # fewer, and k-means has too little to learn from (FAISS's own limit)
_TRAINING_ROWS_PER_LIST = 64
_TRAINING_BYTES_MAX = 256 << 20
_PQ_TRAINING_ROWS = 65_536
_TRAINING_ROUNDS = 10
_SEED = 20_240_229
_PARALLEL_ROWS_MIN = 10_000
# What a search costs, in rows scored one by one: an HNSW walk about 12 per unit of ef; a row read in sequence a quarter.
_ROWS_PER_EF = 12
_ROWS_PER_SCANNED = 0.25


_PROCESS = os.getpid()
_of_thread = threading.local()


class VectorFacts(msgspec.Struct, frozen=True):
    """What was really built, which may be less than what was asked for: a part of few rows is always `flat`.

    `kind` is flat, hnsw, ivf_flat or ivf_pq. `parameters` are those of the kind, as in `IndexSpec`. `recall` is recall@10
    against exact search, measured on queries that took no part in choosing the parameters (1.0 for `flat`).
    `index_size_bytes` is the size of index.faiss, 0 for `flat`.
    """

    kind: str
    row_count: int
    dimension: int
    parameters: dict[str, int]
    recall: float
    index_size_bytes: int = 0


def chosen_kind(spec: IndexSpec, row_count: int, dimension: int) -> str:
    """The kind that is built for so many rows."""
    if spec.kind == "flat" or row_count < INDEXED_ROWS_MIN:
        return "flat"
    if spec.kind == "auto":
        return "flat" if row_count * dimension <= FLAT_NUMBERS_MAX else "hnsw"
    return spec.kind


def build(vectors: NDArray[np.float32], metric: Metric, spec: IndexSpec, *, threads: int | None = None) -> tuple[Any, VectorFacts]:
    """A FAISS index of these rows (None for `flat`), ready to be searched or written, and the facts about it.

    `vectors` is float32 of shape (n, dimension), usually a memory map: the rows are read in place. All cores build, or `threads` of
    them, from 10,000 rows on. With `auto` an index that does not reach a recall of 0.95 at any effort is thrown away for exact
    search, which is then the faster way to such a recall. Raises `InvalidConfig` when a parameter of `spec` is not positive.
    """
    _check(spec)
    rows, dimension = vectors.shape
    flat = VectorFacts(kind="flat", row_count=rows, dimension=dimension, parameters={}, recall=1.0)
    kind = chosen_kind(spec, rows, dimension)
    if kind == "flat":
        return None, flat
    with _building_threads(rows, threads):
        index, parameters = _BUILDERS[kind](vectors, _faiss_metric(metric), spec)
        facts = msgspec.structs.replace(flat, kind=kind, parameters=parameters)
        facts = _with_chosen_effort(index, vectors, spec, facts=facts, metric=metric)
    if spec.kind == "auto" and facts.recall < _RECALL_AUTO_MIN:
        return None, flat
    return index, facts


def set_effort(index: Any, facts: VectorFacts) -> None:
    """Make the index search as hard as the facts say, whatever its file says."""
    if facts.kind == "hnsw":
        index.hnsw.efSearch = facts.parameters["ef_search"]
    else:
        index.nprobe = facts.parameters["nprobe"]


def nearest(
    index: Any,
    vectors: NDArray[np.float32],
    vector: NDArray[np.float32],
    k: int,
    *,
    facts: VectorFacts,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
) -> Found:
    """The `k` nearest rows that `mask` selects, through the index where that is cheaper than a scan of the selected rows.

    Never a row that is not selected and never fewer than min(k, selected rows): when the index finds too few, a scan answers.
    """
    _search_on_one_thread()
    row_count = facts.row_count
    selected = row_count if mask is None else int(np.count_nonzero(mask))
    if index is None or selected * selected <= _work(facts, k) * row_count:
        return exact_nearest(vectors, vector, k, metric, mask=mask)
    parameters = None if mask is None or selected == row_count else _filtered(facts, mask, selected)
    labels = index.search(vector[None], _fetched(facts, k), params=parameters)[1][0]
    rows = labels[labels >= 0]
    if len(rows) < min(k, selected):
        return exact_nearest(vectors, vector, k, metric, mask=mask)
    return best(rows, scores_of_rows(vectors, rows, vector, metric), k)


def _search_on_one_thread() -> None:
    """One query on several OpenMP threads is up to eight times slower. The setting belongs to the calling thread.

    Made once a thread: the call lets go of the interpreter, and the other leg's thread would take it for 0.1 ms or more.
    """
    if not getattr(_of_thread, "searches", False):
        faiss.omp_set_num_threads(1)
        _of_thread.searches = True


def _work(facts: VectorFacts, k: int) -> float:
    """What an unfiltered search costs, in rows scored one by one. A filter that selects a share s makes it 1 / s of that."""
    if facts.kind == "hnsw":
        return float(_ROWS_PER_EF * max(facts.parameters["ef_search"], _fetched(facts, k)))
    nlist, nprobe = facts.parameters["nlist"], facts.parameters["nprobe"]
    return _ROWS_PER_SCANNED * (nlist + facts.row_count * nprobe / nlist) + _fetched(facts, k)


def _fetched(facts: VectorFacts, k: int) -> int:
    """How many rows to take from the index, so that the k best by their true score are among them."""
    if facts.kind == "ivf_flat":
        return k
    spare = 4 * k + 64 if facts.kind == "ivf_pq" else k // 8 + 16
    return min(k + spare, facts.row_count)


def _filtered(facts: VectorFacts, mask: NDArray[np.bool_], selected: int) -> Any:
    """Search parameters for a mask: as many *selected* rows must be met as an unfiltered search meets rows."""
    selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
    widened = facts.row_count / selected
    if facts.kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=ceil(facts.parameters["ef_search"] * widened), sel=selector)
    nprobe = min(facts.parameters["nlist"], ceil(facts.parameters["nprobe"] * widened))
    return faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)


def _build_hnsw(vectors: NDArray[np.float32], metric: int, spec: IndexSpec) -> tuple[Any, dict[str, int]]:
    m = _HNSW_M if spec.m is None else max(spec.m, 2)
    ef_construction = _HNSW_EF_CONSTRUCTION if spec.ef_construction is None else spec.ef_construction
    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, m, metric)
    index.hnsw.efConstruction = ef_construction
    # The quantizer learns the range of each dimension: from the true extremes, so that no row is clipped.
    index.train(np.stack([vectors.min(axis=0), vectors.max(axis=0)]))
    index.add(vectors)
    return index, {"m": m, "ef_construction": ef_construction}


def _build_ivf_flat(vectors: NDArray[np.float32], metric: int, spec: IndexSpec) -> tuple[Any, dict[str, int]]:
    rows, dimension = vectors.shape
    nlist = _nlist(spec, rows)
    index = faiss.IndexIVFFlat(faiss.IndexFlat(dimension, metric), dimension, nlist, metric)
    _train_and_add(index, vectors, _TRAINING_ROWS_PER_LIST * nlist)
    return index, {"nlist": nlist}


def _build_ivf_pq(vectors: NDArray[np.float32], metric: int, spec: IndexSpec) -> tuple[Any, dict[str, int]]:
    rows, dimension = vectors.shape
    nlist = _nlist(spec, rows)
    pq_bytes = _divisor_from(dimension, ceil(dimension / 4) if spec.pq_bytes is None else spec.pq_bytes)
    index = faiss.IndexIVFPQ(faiss.IndexFlat(dimension, metric), dimension, nlist, pq_bytes, 8, metric)
    # Without residuals one lookup table serves all lists and nothing is precomputed at opening; the exact scores make up for it.
    index.by_residual = False
    index.pq.cp.min_points_per_centroid = 1  # fewer points only bring a warning on stderr
    index.pq.cp.seed, index.pq.cp.niter = _SEED, _TRAINING_ROUNDS
    _train_and_add(index, vectors, max(_TRAINING_ROWS_PER_LIST * nlist, _PQ_TRAINING_ROWS))
    return index, {"nlist": nlist, "pq_bytes": pq_bytes}


_BUILDERS = {"hnsw": _build_hnsw, "ivf_flat": _build_ivf_flat, "ivf_pq": _build_ivf_pq}


def _train_and_add(index: Any, vectors: NDArray[np.float32], training_rows: int) -> None:
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = _SEED, _TRAINING_ROUNDS, 1
    bounded = max(min(training_rows, _TRAINING_BYTES_MAX // (4 * vectors.shape[1])), index.nlist)
    index.train(_sample(vectors, bounded))
    index.add(vectors)


def _nlist(spec: IndexSpec, rows: int) -> int:
    wanted = round(4 * sqrt(rows)) if spec.nlist is None else spec.nlist
    return max(1, min(wanted, rows // _IVF_ROWS_PER_LIST_MIN))


def _divisor_from(dimension: int, wanted: int) -> int:
    """The smallest divisor of `dimension` that is at least `wanted`: a product quantizer cuts vectors into equal pieces."""
    return next(size for size in range(min(wanted, dimension), dimension + 1) if dimension % size == 0)


def _with_chosen_effort(
    index: Any, vectors: NDArray[np.float32], spec: IndexSpec, *, facts: VectorFacts, metric: Metric
) -> VectorFacts:
    """Set the least effort that reaches the target on half of the sample queries; the other half measures the recall."""
    name, given = ("ef_search", spec.ef_search) if facts.kind == "hnsw" else ("nprobe", spec.nprobe)
    if given is not None and name == "nprobe":
        given = min(given, facts.parameters["nlist"])
    queries = _sample_queries(vectors, metric)
    limits = _tenth_scores(vectors, queries, metric)
    chosen = facts
    for effort in _efforts(facts) if given is None else (given,):
        chosen = msgspec.structs.replace(facts, parameters={**facts.parameters, name: effort})
        set_effort(index, chosen)
        if _recall(index, vectors, (queries[::2], limits[::2]), facts=chosen, metric=metric) >= RECALL_TARGET + _RECALL_MARGIN:
            break
    measured = _recall(index, vectors, (queries[1::2], limits[1::2]), facts=chosen, metric=metric)
    return msgspec.structs.replace(chosen, recall=measured)


def _efforts(facts: VectorFacts) -> tuple[int, ...]:
    if facts.kind == "hnsw":
        return _EF_LADDER
    nlist = facts.parameters["nlist"]
    return (*(effort for power in range(16) for effort in (2**power, 3 * 2**power // 2) if effort < nlist), nlist)


def _sample_queries(vectors: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Rows with noise as long as the row itself, float32 of shape (queries, dimension).

    A row alone is too easy a query. With so much noise the best cosine is about 0.7, and recall is what short texts get that
    were embedded as queries, within two points (181,095 x 256: 0.952 against 0.933 at ef 100, 0.977 against 0.959 at ef 200).
    """
    rows = _sample(vectors, _RECALL_QUERIES)
    noise = normalized(np.random.default_rng(_SEED).standard_normal(rows.shape, dtype=np.float32))
    queries = rows + noise * np.linalg.norm(rows, axis=1, keepdims=True)
    return normalized(queries) if metric == "cosine" else queries


def _tenth_scores(vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """For each query the true score of its 10th nearest row: what scores at least as high is a hit, also among equal rows."""
    found = faiss.knn(queries, vectors, min(_RECALL_K, len(vectors)), metric=_faiss_metric(metric))[1]
    scores = [scores_of_rows(vectors, rows[rows >= 0], query, metric) for rows, query in zip(found, queries, strict=True)]
    return np.array([each.min(initial=np.inf) for each in scores], np.float32)


def _recall(
    index: Any,
    vectors: NDArray[np.float32],
    queries: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    facts: VectorFacts,
    metric: Metric,
) -> float:
    hits = 0
    for query, limit in zip(*queries, strict=True):
        scores = nearest(index, vectors, query, _RECALL_K, facts=facts, metric=metric)[1]
        hits += int(np.count_nonzero(scores >= limit))
    return hits / (_RECALL_K * len(queries[0]))


def _sample(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most `count` rows drawn without replacement, always the same ones."""
    if count >= len(vectors):
        return np.array(vectors)
    rows = np.random.default_rng(_SEED).choice(len(vectors), count, replace=False)
    return vectors[np.sort(rows)]


def _faiss_metric(metric: Metric) -> int:
    return cast(int, faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def _check(spec: IndexSpec) -> None:
    for name in ("m", "ef_construction", "ef_search", "nlist", "nprobe", "pq_bytes"):
        value = getattr(spec, name)
        if value is not None and value < 1:
            raise InvalidConfig(
                f"the vector index cannot be built: {name} is {value}. Give a number from 1, or none to have it chosen", key=name
            )


@contextmanager
def _building_threads(row_count: int, threads: int | None) -> Iterator[None]:
    """FAISS on all cores, or so many `threads`, in this thread for the time of a build.

    A small build gains little by it, and on one it is repeatable.
    """
    before = faiss.omp_get_max_threads()
    _of_thread.searches = False  # measuring recall searches in between
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if os.getpid() != _PROCESS:  # a forked child has none of the threads that OpenMP made in its parent, and would wait for them
        cores = 1
    wanted = 1 if cores is None or row_count < _PARALLEL_ROWS_MIN else cores
    faiss.omp_set_num_threads(wanted if threads is None else min(wanted, threads))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        _of_thread.searches = False
