"""The answers stay as good as they were: judged collections, default settings. The figures are those of docs/quality.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Config, evaluation
from outcrop.evaluation import Evaluation

pytest.importorskip("ir_measures", reason="measuring needs outcrop[eval]")


def evaluated(folder: Path, tmp_path: Path) -> Evaluation:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        collection = db.create_collection("judged", embedder="static")
        collection.build(folder, promote=True)
        return evaluation.evaluate(collection, evaluation.load(folder))


@pytest.mark.parametrize(("name", "least"), [("scifact", 0.68), ("cranfield", 0.50), ("cisi", 0.38)])
def test_bm25_is_as_good_as_published_and_the_hybrid_not_below_its_better_leg(
    shared_data: Path, tmp_path: Path, name: str, least: float
) -> None:
    pytest.importorskip("wordllama", reason="the table of outcrop[static] is not installed")
    found = evaluated(shared_data / name, tmp_path)
    lexical, vector, hybrid = (found.mode(mode).ndcg_at_10 for mode in ("lexical", "vector", "hybrid"))
    assert lexical >= least
    assert hybrid >= max(lexical, vector)
    assert vector > 0.3, "the vector leg finds things too"


def test_the_default_vector_index_finds_what_an_exact_search_finds(shared_data: Path, tmp_path: Path) -> None:
    """Recall@10 on real texts, with queries that are shorter than the texts: first words of every hundredth."""
    pytest.importorskip("wordllama", reason="the table of outcrop[static] is not installed")
    with outcrop.open(tmp_path / "kb", config=Config.default()) as db:
        collection = db.create_collection("wordnet", embedder="static")
        source = outcrop.ingest.open_source(shared_data / "text" / "wordnet" / "corpus.jsonl.gz").records()
        texts = [next(source).document for _ in range(20_000)]
        approximate = collection.build(texts, promote=True)
        exact = collection.build(index="flat")
        assert approximate.vector_index is not None
        assert not approximate.vector_index.startswith("flat")
        assert approximate.recall is not None
        assert approximate.recall >= 0.97
        shares = []
        for document in texts[::100]:
            query = " ".join(document.text.split()[:5])
            found = {hit.id for hit in collection.search(query, mode="vector")}
            right = collection.search(query, mode="vector", generation=exact)
            shares.append(np.mean([hit.id in found or hit.score <= right[-1].score for hit in right]))
    assert np.mean(shares) >= 0.97
