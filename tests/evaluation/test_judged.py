"""Evaluating a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outcrop.errors import InvalidInput, NoActiveGeneration, UnknownGeneration
from outcrop.evaluation import JudgedQueries, evaluate, load

JUDGED = JudgedQueries(name="tiny", queries={"q1": "wing", "q2": "flutter"}, judgements={"q1": {"d1": 1}, "q2": {"d2": 1}})
ANSWERS = {
    "lexical": {"wing": ["d9", "d1"], "flutter": []},
    "vector": {"wing": ["d9"], "flutter": ["d2"]},
    "hybrid": {"wing": ["d1"], "flutter": ["d2"]},
}


def test_every_mode_is_measured_and_the_hybrid_compared_with_its_better_leg(table_collection: Any) -> None:
    evaluation = evaluate(table_collection(ANSWERS), JUDGED)
    assert [found.mode for found in evaluation.modes] == ["lexical", "vector", "hybrid"]
    assert evaluation.mode("lexical").mrr_at_10 == 0.25
    assert evaluation.mode("vector").ndcg_at_10 == 0.5
    assert evaluation.mode("hybrid").ndcg_at_10 == 1.0
    assert evaluation.mode("hybrid").query_count == 2
    assert evaluation.verdict is not None
    assert (evaluation.verdict.baseline, evaluation.verdict.difference) == ("vector", 0.5)
    assert evaluation.notes == ()
    assert "hybrid against vector: +0.500 nDCG@10" in str(evaluation)


def test_searches_stay_on_one_generation_and_go_deep_enough(table_collection: Any, generation: Any) -> None:
    collection = table_collection(ANSWERS, generation(7))
    evaluation = evaluate(collection, JUDGED, modes=["hybrid"], k=200, fusion="rrf")
    assert evaluation.generation == 7
    assert evaluation.verdict is None
    assert [asked["query"] for asked in collection.asked] == ["wing", "flutter"]
    for asked in collection.asked:
        assert (asked["generation"], asked["k"], asked["candidates"], asked["fusion"]) == (
            7,
            200,
            200,
            "rrf",
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dimension": None, "embedder": None}, "generation 1 has no vectors"),
        ({"embedder": None}, "vectors of generation 1 were given"),
    ],
)
def test_modes_that_the_generation_cannot_do_are_left_out_with_a_note(
    table_collection: Any, generation: Any, changes: dict[str, None], reason: str
) -> None:
    collection = table_collection(ANSWERS, generation(**changes))
    evaluation = evaluate(collection, JUDGED)
    assert [found.mode for found in evaluation.modes] == ["lexical"]
    assert {asked["mode"] for asked in collection.asked} == {"lexical"}
    assert len(evaluation.notes) == 1
    assert evaluation.notes[0].startswith("vector and hybrid left out: ")
    with pytest.raises(InvalidInput, match=reason):
        evaluate(collection, JUDGED, modes=["vector"])
    with pytest.raises(InvalidInput, match="'hybrid' was not evaluated"):
        evaluation.mode("hybrid")


def test_a_generation_is_named_by_number_uuid_or_value(table_collection: Any, generation: Any) -> None:
    collection = table_collection(ANSWERS, generation(2), generation(1))
    for named in (1, "uuid-1", generation(1)):
        assert evaluate(collection, JUDGED, modes=["lexical"], generation=named).generation == 1
    assert evaluate(collection, JUDGED, modes=["lexical"]).generation == 2
    with pytest.raises(UnknownGeneration, match=r"no generation 5; there are \[2, 1\]"):
        evaluate(collection, JUDGED, generation=5)


def test_a_collection_without_an_active_generation_is_a_clear_error(table_collection: Any) -> None:
    class Empty(table_collection):  # type: ignore[misc]
        active = None

    with pytest.raises(NoActiveGeneration, match="no active generation to evaluate"):
        evaluate(Empty(ANSWERS), JUDGED)


@pytest.mark.parametrize("modes", [[], ["fuzzy"], ["lexical", "lexical"]])
def test_modes_must_be_known_and_different(table_collection: Any, modes: list[str]) -> None:
    with pytest.raises(InvalidInput, match="modes must be different ones of lexical, vector, hybrid"):
        evaluate(table_collection(ANSWERS), JUDGED, modes=modes)  # type: ignore[arg-type]


def test_notes_say_what_was_left_out_or_looks_wrong(table_collection: Any) -> None:
    judged = JudgedQueries(
        name="tiny", queries={"q1": "wing", "q2": "flutter", "q3": "x"}, judgements={"q1": {"other#1": 1}, "q2": {"d2": 0}}
    )
    notes = evaluate(table_collection(ANSWERS), judged, modes=["lexical"], k=10).notes
    assert any("1 of 3 queries have no judgements" in note for note in notes)
    assert any("1 judged queries have no relevant document" in note for note in notes)
    assert any("computed from 10 documents" in note for note in notes)
    assert any("are the ids in the judgements those" in note for note in notes)


def test_a_document_with_the_query_s_own_id_is_dropped_only_when_asked(table_collection: Any) -> None:
    judged = JudgedQueries(name="arguments", queries={"d9": "wing"}, judgements={"d9": {"d1": 1}})
    collection = table_collection(ANSWERS)
    assert evaluate(collection, judged, modes=["lexical"]).mode("lexical").mrr_at_10 == 0.5
    assert evaluate(collection, judged, modes=["lexical"], drop_identical_ids=True).mode("lexical").mrr_at_10 == 1.0


def test_a_loaded_folder_can_be_evaluated(table_collection: Any, beir_folder: Path) -> None:
    answers = {"lexical": {"wing": ["d1", "d2"], "flutter": ["d1"]}}
    found = evaluate(table_collection(answers), load(beir_folder), modes=["lexical"]).mode("lexical")
    assert (found.ndcg_at_10, found.recall_at_100) == (0.5, 0.5)
