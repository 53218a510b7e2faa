"""Two rankings become one. Pure functions on whole arrays; the formulas are the documentation.

`weighted` (the default): each leg's scores are scaled to [0, 1] over its candidates, `(s - min) / (max - min)`; if all are equal,
also when there is only one, they count 1. A chunk that a leg did not find gets 0 from it. The fused score is
`(1 - w) * lexical + w * vector`.

`rrf`: reciprocal rank fusion, `sum of weight / (k + rank)` over the legs that found the chunk, with 1-based ranks and k = 60
(Cormack, Clarke and Büttcher, SIGIR 2009). It ignores scores, so it harms when one leg is much weaker than the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.protocol import Ranking
from outcrop.errors import InvalidQuery

FusionMethod = Literal["weighted", "rrf"]
RRF_K = 60
_RRF_K_MAX = 1_000_000


class Fusion(msgspec.Struct, frozen=True):
    """How to fuse. `vector_weight` in [0, 1] is the vector leg's share, the lexical leg has the rest; None takes the generation's
    own for `weighted` (it comes with the embedder) and equal weights for `rrf`. `rrf_k` is used by `rrf` only.

    Raises `InvalidQuery`.
    """

    method: FusionMethod = "weighted"
    vector_weight: float | None = None
    rrf_k: int = RRF_K

    def __post_init__(self) -> None:
        if self.method not in ("weighted", "rrf"):
            raise InvalidQuery(f"fusion {self.method!r} is unknown; use 'weighted' or 'rrf'", parameter="fusion")
        if isinstance(self.vector_weight, bool) or not isinstance(self.vector_weight, int | float | None):
            raise InvalidQuery(f"vector_weight is {self.vector_weight!r}; it must be a number between 0 and 1", parameter="fusion")
        if self.vector_weight is not None and not 0.0 <= self.vector_weight <= 1.0:
            raise InvalidQuery(f"vector_weight is {self.vector_weight}; it must lie between 0 and 1", parameter="fusion")
        if isinstance(self.rrf_k, bool) or not isinstance(self.rrf_k, int) or not 1 <= self.rrf_k <= _RRF_K_MAX:
            raise InvalidQuery(f"rrf_k is {self.rrf_k}; it must be a whole number from 1 to {_RRF_K_MAX}", parameter="fusion")


@lru_cache(16)
def usual(method: FusionMethod, vector_weight: float | None) -> Fusion:
    """The fusion of a search that names none, where this is configured; made once."""
    return Fusion(method=method, vector_weight=vector_weight)


class Leg(msgspec.Struct, frozen=True, eq=False):
    """One leg's part in a fused ranking: arrays parallel to the leg's own ranking."""

    ranking: Ranking
    normalized: NDArray[np.float64]
    weight: float


class Fused(msgspec.Struct, frozen=True, eq=False):
    """A fused ranking, best first: `slots` int64 and `scores` float64 of shape (n,); and the legs it came from."""

    slots: NDArray[np.int64]
    scores: NDArray[np.float64]
    lexical: Leg | None
    vector: Leg | None


def fuse(lexical: Ranking, vector: Ranking, fusion: Fusion, default_vector_weight: float) -> Fused:
    """Fuse the two legs of a hybrid search."""
    if fusion.method == "rrf":
        share = 0.5 if fusion.vector_weight is None else fusion.vector_weight
        legs = [
            Leg(ranking=ranking, normalized=1.0 / (fusion.rrf_k + np.arange(1, len(ranking) + 1)), weight=weight)
            for ranking, weight in ((lexical, 2 * (1 - share)), (vector, 2 * share))  # equal weights are 1 and 1, as in the paper
        ]
    else:
        share = default_vector_weight if fusion.vector_weight is None else fusion.vector_weight
        legs = [
            Leg(ranking=ranking, normalized=min_max(ranking.scores), weight=weight)
            for ranking, weight in ((lexical, 1 - share), (vector, share))
        ]
    slots, scores = _added_up(
        np.concatenate([leg.ranking.slots for leg in legs]), np.concatenate([leg.normalized * leg.weight for leg in legs])
    )
    return Fused(slots=slots, scores=scores, lexical=legs[0], vector=legs[1])


def _added_up(slots: NDArray[np.int64], contributions: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each slot once with the sum of its contributions, best first, equal sums by slot. A slot occurs at most twice: once a leg."""
    by_slot = slots.argsort(kind="stable")
    slots, scores = slots.take(by_slot), contributions.take(by_slot)
    twice = (slots[1:] == slots[:-1]).nonzero()[0]
    if len(twice):
        scores[twice] += scores[twice + 1]
        scores[twice + 1] = -np.inf  # to the end, which is cut off
    order = np.negative(scores).argsort(kind="stable")[: len(slots) - len(twice)]
    return slots.take(order), scores.take(order)


def single(ranking: Ranking, leg: Literal["lexical", "vector"]) -> Fused:
    """A search with one leg: its own scores, as they are."""
    scores = ranking.scores.astype(np.float64)
    only = Leg(ranking=ranking, normalized=scores, weight=1.0)
    return Fused(
        slots=ranking.slots, scores=scores, lexical=only if leg == "lexical" else None, vector=only if leg == "vector" else None
    )


def min_max(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores, best first, scaled to [0, 1]; all 1 if they are all equal."""
    if not len(scores):
        return np.empty(0, np.float64)
    scaled: NDArray[np.float64] = scores.astype(np.float64)
    low, high = float(scaled[-1]), float(scaled[0])
    if high <= low:
        return np.ones(len(scaled), np.float64)
    scaled -= low
    scaled /= high - low
    return scaled
