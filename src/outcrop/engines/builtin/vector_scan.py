"""Exact nearest neighbours: every score is computed from the float32 rows themselves.

FAISS's distance functions are called on the rows where they lie, also when that is a memory-mapped file: a filtered scan copies
nothing, the interpreter lock is released, and a row's score does not depend on its position or on the path that led to it.
"""

from __future__ import annotations

from math import isfinite

import faiss
import numpy as np
from numpy.typing import NDArray

from outcrop.model import Metric

_BLOCK_ROWS = 65_536
# FAISS has hand-written kernels for some short vectors which sum in another order in a block's last rows, so that two equal
# rows could differ in the last bit.
_SHORT_DIMENSION_MAX = 16


def exact_nearest(
    vectors: NDArray[np.float32], vector: NDArray[np.float32], k: int, metric: Metric, *, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` best rows among those that `mask` selects, and their scores: exact, at a cost linear in the rows selected.

    `vectors` is float32 of shape (n, dimension), `vector` float32 of shape (dimension,) and finite, `mask` bool of shape (n,).
    For `cosine` both must be normalised (see `normalized`). Returns rows as int64 and scores as float32, both of shape (m,),
    best first and equal scores by row: m is k, or the number of selected rows with a finite score if that is smaller.
    Scores are the cosine similarity, the inner product or the negative euclidean distance. Memory beside the answer is bounded.
    """
    rows = None if mask is None else np.flatnonzero(mask)
    count = len(vectors) if rows is None else len(rows)
    found_rows, found_scores = np.empty(0, np.int64), np.empty(0, np.float32)
    if k <= 0:
        return found_rows, found_scores
    vectors, vector = np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(vector, np.float32)
    for start in range(0, count, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, count)
        if rows is None:
            block_rows, scores = None, _scores_of_block(vectors[start:stop], vector, metric)
        else:
            block_rows = rows[start:stop]
            scores = scores_of_rows(vectors, block_rows, vector, metric)
        kept = _best_positions(scores, k)
        best_rows = kept + start if block_rows is None else block_rows[kept]
        if not len(found_rows):
            found_rows, found_scores = best_rows, scores[kept]
        else:
            found_rows, found_scores = best(
                np.concatenate([found_rows, best_rows]), np.concatenate([found_scores, scores[kept]]), k
            )
    return found_rows, found_scores


def best(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` best of these rows in order: higher scores first, equal scores by row, scores that are not finite left out."""
    order = (-scores).argsort()
    rows, scores = rows.take(order), scores.take(order)
    if len(scores) and not (isfinite(scores[0]) and isfinite(scores[-1])):  # infinities sort to an end, and NaN to the last
        finite = np.isfinite(scores)
        rows, scores = rows[finite], scores[finite]
    if (scores[1:] == scores[:-1]).any():
        order = np.lexsort((rows, -scores))
        rows, scores = rows[order], scores[order]
    return rows[:k], scores[:k]


def scores_of_rows(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], vector: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """The scores of some rows, float32 of shape (len(rows),), read in place. `rows` must lie within `vectors`."""
    scores = np.empty(len(rows), np.float32)
    compute = faiss.fvec_L2sqr_by_idx if metric == "l2" else faiss.fvec_inner_products_by_idx
    pointer = faiss.swig_ptr
    compute(pointer(scores), pointer(vector), pointer(vectors), pointer(rows), vectors.shape[1], 1, len(rows))
    return _as_scores(scores, metric)


def normalized(vectors: NDArray[np.float32], *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """The rows scaled to length 1, as float32 of the same shape, (n, dimension) or (dimension,). Zeros stay zeros.

    They are put into `out`, which may be `vectors` itself, or into a new array.
    """
    norms = np.sqrt(np.einsum("...i,...i->...", vectors, vectors, dtype=np.float64))  # float64: squares of float32 may overflow
    lengths = np.where(norms > 0, norms, 1.0)[..., None]
    scaled = np.empty(vectors.shape, np.float32) if out is None else out
    np.divide(vectors, lengths, out=scaled, dtype=np.float64, casting="same_kind")  # piece by piece: no float64 copy of all
    return scaled


def _scores_of_block(block: NDArray[np.float32], vector: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    count, dimension = block.shape
    if dimension <= _SHORT_DIMENSION_MAX:
        return scores_of_rows(block, np.arange(count), vector, metric)
    scores = np.empty(count, np.float32)
    compute = faiss.fvec_L2sqr_ny if metric == "l2" else faiss.fvec_inner_products_ny
    compute(faiss.swig_ptr(scores), faiss.swig_ptr(vector), faiss.swig_ptr(block), dimension, count)
    return _as_scores(scores, metric)


def _as_scores(values: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """FAISS's squared distances as negative distances, in place; inner products as they are."""
    if metric == "l2":
        np.sqrt(values, out=values)
        np.negative(values, out=values)
    return values


def _best_positions(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The positions of the `k` highest finite scores, best first, equal scores by position."""
    finite = np.isfinite(scores)
    positions = None if finite.all() else np.flatnonzero(finite)
    if positions is not None:
        scores = scores[positions]
    if len(scores) > k:
        # Every score that equals the k-th is kept until the order is known, so that ties are broken by position.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores >= threshold)
        positions = above if positions is None else positions[above]
        scores = scores[above]
    order = np.argsort(-scores, kind="stable")[:k]
    return order if positions is None else positions[order]
