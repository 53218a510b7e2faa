"""Fusion by its formulas."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.engines.protocol import Ranking
from outcrop.errors import InvalidQuery
from outcrop.retrieval.fusion import Fusion, fuse, min_max


def ranking(**scores: float) -> Ranking:
    slots = [int(name[1:]) for name in scores]
    return Ranking(slots=np.array(slots, np.int64), scores=np.array(list(scores.values()), np.float32))


LEXICAL = ranking(s1=10.0, s2=6.0, s3=2.0)
VECTOR = ranking(s3=0.9, s4=0.5)


def scores(fusion: Fusion, lexical: Ranking = LEXICAL, vector: Ranking = VECTOR, default: float = 0.25) -> dict[int, float]:
    fused = fuse(lexical, vector, fusion, default)
    assert (np.diff(fused.scores) <= 0).all()
    return dict(zip(fused.slots.tolist(), fused.scores.tolist(), strict=True))


def test_weighted_adds_scaled_scores_by_the_embedders_weight() -> None:
    assert scores(Fusion()) == pytest.approx({1: 0.75, 2: 0.375, 3: 0.25, 4: 0.0})


def test_a_weight_given_with_the_query_wins() -> None:
    assert scores(Fusion(vector_weight=1.0)) == pytest.approx({3: 1.0, 1: 0.0, 2: 0.0, 4: 0.0})


def test_a_leg_with_one_hit_counts_it_fully() -> None:
    assert scores(Fusion(), vector=ranking(s9=0.001))[9] == pytest.approx(0.25)


def test_a_leg_whose_hits_all_score_the_same_counts_them_fully() -> None:
    assert min_max(np.array([2.0, 2.0], np.float32)).tolist() == [1.0, 1.0]


def test_an_empty_leg_leaves_the_other_ones_order() -> None:
    assert list(scores(Fusion(), vector=ranking())) == [1, 2, 3]
    assert scores(Fusion(), lexical=ranking(), vector=ranking()) == {}


def test_reciprocal_ranks_are_one_based_with_k_60() -> None:
    assert scores(Fusion(method="rrf")) == pytest.approx({3: 1 / 63 + 1 / 61, 1: 1 / 61, 2: 1 / 62, 4: 1 / 62})


def test_reciprocal_ranks_take_weights() -> None:
    assert scores(Fusion(method="rrf", vector_weight=1.0, rrf_k=1)) == pytest.approx({3: 2 / 2, 4: 2 / 3, 1: 0.0, 2: 0.0})


@pytest.mark.parametrize("bad", [{"method": "sum"}, {"vector_weight": 1.1}, {"vector_weight": -0.1}, {"rrf_k": 0}])
def test_a_fusion_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidQuery):
        Fusion(**bad)  # type: ignore[arg-type]
