"""Whether a difference between two evaluations is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from outcrop.errors import InvalidInput
from outcrop.evaluation.measures import QueryScores

_BATCH_CELLS = 2_000_000


class Verdict(msgspec.Struct, frozen=True):
    """How `mode` compares with `baseline` in nDCG@10 on the same queries.

    `difference` is the mean of the per-query differences; `low` and `high` bound it with `confidence` (a paired percentile
    bootstrap over the queries: Efron and Tibshirani, 1993; for retrieval: Sakai, 2006).
    """

    mode: str
    baseline: str
    difference: float
    low: float
    high: float
    confidence: float
    query_count: int
    resample_count: int
    seed: int

    @property
    def conclusion(self) -> str:
        """`better`, `worse`, or `no clear difference` when the interval holds zero."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no clear difference"

    def __str__(self) -> str:
        queries = "1 query" if self.query_count == 1 else f"{self.query_count} queries"
        return (
            f"{self.mode} against {self.baseline}: {self.difference:+.3f} nDCG@10 "
            f"({self.confidence:.0%} interval {self.low:+.3f} to {self.high:+.3f}, {queries}): {self.conclusion}"
        )


def paired_bootstrap(
    mode: str,
    scores: Sequence[QueryScores],
    baseline: str,
    baseline_scores: Sequence[QueryScores],
    *,
    resample_count: int = 10_000,
    confidence: float = 0.95,
    seed: int = 17,
) -> Verdict:
    """The verdict on `mode` against `baseline`, from their per-query nDCG@10. The same seed gives the same interval.

    Raises `InvalidInput` when the two were not measured on the same queries.
    """
    ours = {score.query_id: score.ndcg_at_10 for score in scores}
    theirs = {score.query_id: score.ndcg_at_10 for score in baseline_scores}
    if ours.keys() != theirs.keys() or not ours:
        raise InvalidInput(
            f"{mode} has {len(ours)} queries and {baseline} has {len(theirs)}, and they must be the same ones: "
            "a paired comparison needs both measured on the same judged queries"
        )
    differences = np.array([ours[query_id] - theirs[query_id] for query_id in ours])
    means = _resampled_means(differences, resample_count, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Verdict(
        mode=mode,
        baseline=baseline,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        query_count=len(differences),
        resample_count=resample_count,
        seed=seed,
    )


def _resampled_means(differences: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Float64 of shape (count,): the means of `count` samples drawn with replacement, in batches that bound the memory."""
    batch = max(1, _BATCH_CELLS // len(differences))
    means = [
        differences[rng.integers(len(differences), size=(min(batch, count - start), len(differences)))].mean(axis=1)
        for start in range(0, count, batch)
    ]
    return np.concatenate(means)
