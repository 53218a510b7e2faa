"""Evaluation against the real facade and engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop import Document
from outcrop.evaluation import JudgedQueries, evaluate, load, read_trec, write_trec

DOCUMENTS = [
    Document(id="rocks/slate 1.md", text="Slate splits into thin layers."),
    Document(id="granite", text="Granite cools slowly and has large crystals."),
    Document(id="basalt", text="Basalt cools fast, so that its crystals are small."),
]
JUDGED = JudgedQueries(
    name="rocks",
    queries={"q1": "a rock that splits into layers", "q2": "large crystals", "q3": "the of"},
    judgements={"q1": {"rocks/slate 1.md": 1}, "q2": {"granite": 2, "basalt": 1}, "q3": {"basalt": 1}},
)


def test_a_collection_with_vectors_is_evaluated_in_all_modes(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "db") as db:
        collection = db.create_collection("rocks", embedder="hashing")
        collection.build(DOCUMENTS, promote=True)
        evaluation = evaluate(collection, JUDGED)
    assert [found.mode for found in evaluation.modes] == ["lexical", "vector", "hybrid"]
    lexical = evaluation.mode("lexical")
    assert [scores.ndcg_at_10 for scores in lexical.per_query] == [1.0, 1.0, 0.0]
    assert evaluation.verdict is not None
    write_trec(lexical.run, tmp_path / "lexical.trec")
    assert read_trec(tmp_path / "lexical.trec").rankings["q1"][0].document_id == "rocks/slate 1.md"


def test_a_collection_without_vectors_is_evaluated_lexically_and_an_older_generation_on_request(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "db") as db:
        collection = db.create_collection("rocks", embedder="none")
        collection.build(DOCUMENTS[:1], promote=True)
        collection.build(DOCUMENTS, promote=True)
        active, older = evaluate(collection, JUDGED), evaluate(collection, JUDGED, generation=1)
    assert active.notes == ("vector and hybrid left out: generation 2 has no vectors",)
    assert active.mode("lexical").recall_at_100 == pytest.approx(2 / 3)
    assert older.mode("lexical").recall_at_100 == pytest.approx(1 / 3)


def test_bm25_on_the_judged_collections_is_as_good_as_elsewhere(tmp_path: Path, shared_data: Path) -> None:
    with outcrop.open(tmp_path / "db") as db:
        collection = db.create_collection("cranfield", embedder="none")
        collection.build(shared_data / "cranfield", promote=True)
        found = evaluate(collection, load(shared_data / "cranfield")).mode("lexical")
    assert found.ndcg_at_10 >= 0.50
    assert found.recall_at_100 >= 0.74
