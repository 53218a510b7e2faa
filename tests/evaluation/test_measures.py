"""nDCG, recall and MRR against values worked out by hand."""

from __future__ import annotations

import builtins
import importlib
import math
from typing import Any

import pytest

from outcrop.errors import InvalidInput, MissingExtra
from outcrop.evaluation import (
    JudgedQueries,
    QueryScores,
    RankedDocument,
    Run,
    measure,
    paired_bootstrap,
)


def run_of(**rankings: list[str]) -> Run:
    return Run(
        name="x",
        rankings={
            query_id: tuple(RankedDocument(document_id=document_id, score=1.0) for document_id in documents)
            for query_id, documents in rankings.items()
        },
    )


def judged(**judgements: dict[str, int]) -> JudgedQueries:
    return JudgedQueries(name="x", queries=dict.fromkeys(judgements, "text"), judgements=judgements)


def test_gains_are_linear() -> None:
    found = measure(run_of(q1=["other", "a", "b"]), judged(q1={"a": 1, "b": 3}))
    ideal = 3 + 1 / math.log2(3)
    assert found.ndcg_at_10 == pytest.approx((1 / math.log2(3) + 3 / math.log2(4)) / ideal)
    assert found.mrr_at_10 == 0.5
    assert found.recall_at_100 == 1.0


def test_the_order_of_the_run_decides_though_all_scores_tie() -> None:
    assert measure(run_of(q1=["a", "z"]), judged(q1={"a": 1})).ndcg_at_10 == 1.0
    assert measure(run_of(q1=["z", "a"]), judged(q1={"a": 1})).mrr_at_10 == 0.5


def test_a_query_without_results_counts_as_zero() -> None:
    found = measure(run_of(q1=["a"], q2=[]), judged(q1={"a": 1}, q2={"b": 1}, q3={"c": 1}, q4={"d": 0}))
    assert found.ndcg_at_10 == found.recall_at_100 == found.mrr_at_10 == 0.25
    assert found.per_query[1] == QueryScores(query_id="q2", ndcg_at_10=0.0, recall_at_100=0.0, mrr_at_10=0.0)
    assert [scores.query_id for scores in found.per_query] == ["q1", "q2", "q3", "q4"]


def test_queries_of_the_run_that_are_not_judged_are_ignored() -> None:
    found = measure(run_of(q1=["a"], q9=["a"]), judged(q1={"a": 1}))
    assert (found.ndcg_at_10, len(found.per_query)) == (1.0, 1)


def test_the_cut_offs_are_10_and_100() -> None:
    documents = [f"d{rank}" for rank in range(1, 121)]
    found = measure(run_of(q1=documents, q2=documents), judged(q1={"d11": 1, "d100": 1}, q2={"d10": 1, "d101": 1}))
    first, second = found.per_query
    assert (first.ndcg_at_10, first.mrr_at_10, first.recall_at_100) == (0.0, 0.0, 1.0)
    assert (second.mrr_at_10, second.recall_at_100) == (pytest.approx(0.1), 0.5)
    assert second.ndcg_at_10 > 0


def test_a_negative_grade_counts_as_zero() -> None:
    found = measure(run_of(q1=["spam", "a"]), judged(q1={"spam": -2, "a": 1}))
    assert found.mrr_at_10 == 0.5
    assert found.ndcg_at_10 == pytest.approx(1 / math.log2(3))


def test_nothing_judged_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no query has judgements"):
        measure(run_of(q1=["a"]), JudgedQueries(name="x", queries={"q1": "a"}, judgements={}))


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *rest: Any) -> Any:
        if name == "ir_measures":
            raise ImportError(name)
        return builtins.__import__(name, *rest)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtra, match=r"pip install 'outcrop\[eval\]'") as caught:
        measure(run_of(q1=["a"]), judged(q1={"a": 1}))
    assert caught.value.extra == "eval"


def scores(values: list[float]) -> list[QueryScores]:
    return [
        QueryScores(query_id=f"q{index}", ndcg_at_10=value, recall_at_100=0.0, mrr_at_10=0.0) for index, value in enumerate(values)
    ]


def test_a_steady_difference_is_a_clear_one() -> None:
    base = [0.1, 0.5, 0.3, 0.8] * 10
    verdict = paired_bootstrap("hybrid", scores([value + 0.1 for value in base]), "lexical", scores(base))
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.low == pytest.approx(0.1)
    assert verdict.high == pytest.approx(0.1)
    assert verdict.conclusion == "better"
    assert paired_bootstrap("lexical", scores(base), "hybrid", scores([value + 0.1 for value in base])).conclusion == "worse"


def test_a_difference_that_comes_from_few_queries_is_not_clear() -> None:
    ours, theirs = [0.5] * 30, [0.5] * 30
    ours[0], theirs[1] = 1.0, 0.9
    verdict = paired_bootstrap("hybrid", scores(ours), "lexical", scores(theirs))
    assert verdict.low < 0 < verdict.difference < verdict.high
    assert verdict.conclusion == "no clear difference"
    assert "no clear difference" in str(verdict)


def test_the_interval_agrees_with_the_normal_approximation_and_repeats_with_its_seed() -> None:
    ours = [((index * 37) % 101) / 100 for index in range(400)]
    theirs = [((index * 53) % 101) / 100 for index in range(400)]
    verdict = paired_bootstrap("a", scores(ours), "b", scores(theirs))
    differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    mean = sum(differences) / 400
    error = math.sqrt(sum((value - mean) ** 2 for value in differences) / 400 / 400)
    assert verdict.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert verdict.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert paired_bootstrap("a", scores(ours), "b", scores(theirs)) == verdict
    assert paired_bootstrap("a", scores(ours), "b", scores(theirs), seed=18) != verdict


def test_different_queries_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="2 queries and b has 1"):
        paired_bootstrap("a", scores([0.1, 0.2]), "b", scores([0.1]))
