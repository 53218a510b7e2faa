"""Builds FAISS indexes, one function a kind, and sets how many threads that takes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, sqrt
from typing import Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from outcrop.index_values import IndexSpec
from outcrop.model import Metric

_HNSW_M, _HNSW_EF_CONSTRUCTION = 16, 64
_IVF_ROWS_PER_LIST_MIN = 39  # fewer, and k-means has too little to learn from (FAISS's own limit)
_CODES_PER_LIST = 1024  # of fast-scan, whose work at each list counts, and which reads a good part of them all
_TRAINING_ROWS_PER_LIST = 64
_TRAINING_BYTES_MAX = 256 << 20
_PQ_TRAINING_ROWS = 8_192
_TRAINING_ROUNDS = 10
_SEED = 20_240_229
_PARALLEL_ROWS_MIN = 10_000

_PROCESS = os.getpid()
_of_thread = threading.local()


def build_kind(kind: str, vectors: NDArray[np.float32], metric: Metric, spec: IndexSpec) -> tuple[Any, dict[str, int]]:
    """An index of these rows, with what was used for the parameters that `spec` gives or leaves open."""
    builders = {"hnsw": _build_hnsw, "ivf_flat": _build_ivf_flat, "ivf_pq": _build_ivf_pq}
    return builders[kind](vectors, faiss_metric(metric), spec)


def faiss_metric(metric: Metric) -> int:
    """FAISS's number of a metric: the inner product for cosine too, whose rows have length 1."""
    return cast(int, faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def sample(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most `count` rows drawn without replacement, always the same ones."""
    if count >= len(vectors):
        return np.array(vectors)
    rows = np.random.default_rng(_SEED).choice(len(vectors), count, replace=False)
    return vectors[np.sort(rows)]


def search_on_one_thread() -> None:
    """One query on several OpenMP threads is up to eight times slower. The setting belongs to the calling thread.

    Made once a thread: the call lets go of the interpreter, and the other leg's thread would take it for 0.1 ms or more.
    """
    if not getattr(_of_thread, "searches", False):
        faiss.omp_set_num_threads(1)
        _of_thread.searches = True


@contextmanager
def building_threads(row_count: int, threads: int | None) -> Iterator[None]:
    """FAISS on all cores, or so many `threads`, in this thread for the time of a build.

    A small build gains little by it, and on one it is repeatable.
    """
    before = faiss.omp_get_max_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if os.getpid() != _PROCESS:  # a forked child has none of the threads that OpenMP made in its parent, and would wait for them
        cores = 1
    wanted = 1 if cores is None or row_count < _PARALLEL_ROWS_MIN else cores
    faiss.omp_set_num_threads(wanted if threads is None else min(wanted, threads))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        _of_thread.searches = False  # recall may have been measured in between


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
    nlist = _nlist(spec, rows, round(4 * sqrt(rows)))
    index = faiss.IndexIVFFlat(faiss.IndexFlat(dimension, metric), dimension, nlist, metric)
    _train_and_add(index, vectors, _TRAINING_ROWS_PER_LIST * nlist)
    return index, {"nlist": nlist}


def _build_ivf_pq(vectors: NDArray[np.float32], metric: int, spec: IndexSpec) -> tuple[Any, dict[str, int]]:
    """Codes of 4 bits for each piece of a vector, which AVX compares 32 at a time (fast-scan)."""
    rows, dimension = vectors.shape
    nlist = _nlist(spec, rows, rows // _CODES_PER_LIST)
    pieces = _divisor_from(dimension, 2 * (ceil(dimension / 4) if spec.pq_bytes is None else spec.pq_bytes))
    index = faiss.IndexIVFPQFastScan(faiss.IndexFlat(dimension, metric), dimension, nlist, pieces, 4, metric)
    # Without residuals one lookup table serves all lists; the exact scores make up for what that costs in precision.
    index.by_residual = False
    index.pq.cp.min_points_per_centroid = 1  # fewer points only bring a warning on stderr
    index.pq.cp.seed, index.pq.cp.niter = _SEED, _TRAINING_ROUNDS
    training_rows = max(_TRAINING_ROWS_PER_LIST * nlist, _PQ_TRAINING_ROWS)
    # Many small k-means, whose threads would mostly wait for each other: 0.4 s on one thread, 3 on two.
    _train_and_add(index, vectors, training_rows, on_one_thread=True)
    return index, {"nlist": nlist, "pq_bytes": ceil(pieces / 2)}


def _train_and_add(index: Any, vectors: NDArray[np.float32], training_rows: int, *, on_one_thread: bool = False) -> None:
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = _SEED, _TRAINING_ROUNDS, 1
    bounded = max(min(training_rows, _TRAINING_BYTES_MAX // (4 * vectors.shape[1])), index.nlist)
    threads = faiss.omp_get_max_threads()
    if on_one_thread:
        faiss.omp_set_num_threads(1)
    index.train(sample(vectors, bounded))
    faiss.omp_set_num_threads(threads)
    index.add(vectors)


def _nlist(spec: IndexSpec, rows: int, default: int) -> int:
    wanted = default if spec.nlist is None else spec.nlist
    return max(1, min(wanted, rows // _IVF_ROWS_PER_LIST_MIN))


def _divisor_from(dimension: int, wanted: int) -> int:
    """The smallest divisor of `dimension` that is at least `wanted`: a product quantizer cuts vectors into equal pieces."""
    return next(size for size in range(min(wanted, dimension), dimension + 1) if dimension % size == 0)
