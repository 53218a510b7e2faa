"""Brute force: what a filter and an exact vector search must answer, computed in the plainest way. Slow, and obviously right.

An engine's tests compare with these. Nothing here is shared with the engines but the definition of a filter's meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from outcrop.errors import InvalidQuery
from outcrop.filters import Filter, matches, parse
from outcrop.model import Document, Metric


def select(documents: Iterable[Document], where: str | Mapping[str, Any] | Filter | None) -> list[Document]:
    """The documents that `where` selects, in their order; all of them when it is None. Raises `InvalidFilter`.

    >>> papers = [Document(id="a", text="", metadata={"year": 2014}), Document(id="b", text="", metadata={"year": 2020})]
    >>> [document.id for document in select(papers, "year >= 2015")]
    ['b']
    """
    tree = parse(where)
    return [document for document in documents if tree is None or matches(tree, document.metadata)]


def nearest(vectors: ArrayLike, query: ArrayLike, k: int, metric: Metric = "cosine") -> list[tuple[int, float]]:
    """The `k` rows of `vectors` (n, dimension) with the highest score for `query` (dimension,), best first, ties by row.

    A pair is a 0-based row and its score, computed in float64: the cosine similarity (0 for a vector of zeros), the dot product, or
    the negative euclidean distance. Raises `InvalidQuery` for another metric, a `k` below 0, or rows of another length.

    >>> nearest([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], [0.0, 1.0], 2, "dot")
    [(2, 3.0), (1, 2.0)]
    """
    if metric not in ("cosine", "dot", "l2"):
        raise InvalidQuery(f"a metric is cosine, dot or l2, found {metric!r}", parameter="metric")
    if k < 0:
        raise InvalidQuery(f"k must not be negative, found {k}", parameter="k")
    rows, wanted = np.asarray(vectors, np.float64).tolist(), np.asarray(query, np.float64).tolist()
    scored = [(_score(row, wanted, metric), row_index) for row_index, row in enumerate(rows)]
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]
    return [(row_index, score) for score, row_index in best]


def _score(row: Sequence[float], query: Sequence[float], metric: Metric) -> float:
    if len(row) != len(query):
        raise InvalidQuery(f"the query has {len(query)} dimensions, a vector has {len(row)}", parameter="query")
    if metric == "l2":
        return -math.dist(row, query)
    product = math.fsum(a * b for a, b in zip(row, query, strict=True))
    if metric == "dot":
        return product
    lengths = math.hypot(*row) * math.hypot(*query)
    return product / lengths if lengths else 0.0
