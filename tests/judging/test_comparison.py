"""Comparisons, against brute force and by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop import Collection, Comparison, Database, Document
from outcrop.errors import InvalidInput, InvalidSource, MissingExtra, UnknownGeneration
from outcrop.evaluation import golden, measures, overlap, rank_biased_overlap
from outcrop.judging import Side, compare
from outcrop.judging.differences import document_changes, marked

WORDS = "granite slate shale basalt marble chalk pumice gneiss schist tuff".split()


def random_documents(seed: int, count: int = 60) -> list[Document]:
    chosen = random.Random(seed)
    return [Document(f"d{number:02}", " ".join(chosen.choices(WORDS, k=8))) for number in range(count)]


@pytest.fixture
def varied(db: Database) -> Collection:
    """1: documents 0 to 59. 2: documents 3 to 63, of which some have another text, title, source or metadata; other vectors."""
    collection = db.create_collection("varied", embedder="hashing:16")
    before = random_documents(1, 60)
    after = [*before[3:], *(Document(f"d{number:02}", "tuff and slate") for number in range(60, 64))]
    changed = {
        "d10": {"text": "chalk chalk chalk"},
        "d11": {"title": "Schist"},
        "d12": {"source": "schist.md"},
        "d13": {"metadata": {"year": 2026}},
        "d14": {"text": "gneiss", "metadata": {"year": 2026}},
    }
    after = [msgspec.structs.replace(one, **changed.get(one.id, {})) for one in after]
    collection.build(before, promote=True)
    collection.build(after, embedder="hashing:64")
    return collection


def test_documents_are_compared_as_brute_force_compares_them(varied: Collection) -> None:
    found = varied.compare(1, 2).documents
    assert found.appeared.examples == ("d60", "d61", "d62", "d63")
    assert found.vanished.examples == ("d00", "d01", "d02")
    assert found.text_changed.examples == ("d10", "d11", "d14")
    assert found.metadata_changed.examples == ("d12", "d13", "d14")
    assert [one.count for one in (found.appeared, found.vanished, found.text_changed, found.metadata_changed)] == [4, 3, 3, 3]


def test_answers_are_compared_as_brute_force_compares_them(varied: Collection) -> None:
    queries = [" ".join(pair) for pair in pairwise(WORDS)]
    found = varied.compare(1, 2, queries, k=5).queries
    assert found is not None
    by_query = {one.query: one for one in found.per_query}
    for query in queries:
        before, after = ([hit.document_id for hit in varied.search(query, k=5, generation=number)] for number in (1, 2))
        one = by_query[query]
        assert one.overlap == len({*before} & {*after}) / 5
        assert one.rbo == rank_biased_overlap(before, after)
        assert one.unchanged == (before == after)
        assert set(one.moved_in) == {*after} - {*before}
        assert set(one.moved_out) == {*before} - {*after}
        assert (one.ndcg_at_10_a, one.ndcg_at_10_b) == (None, None)
    assert found.overlap == pytest.approx(sum(one.overlap for one in by_query.values()) / len(queries))
    assert found.rbo == pytest.approx(sum(one.rbo for one in by_query.values()) / len(queries))
    rbos = [one.rbo for one in found.per_query]
    assert rbos == sorted(rbos)
    assert 0 < found.overlap < 1
    assert found.verdict is None


def test_judged_queries_are_measured_ten_deep_whatever_k_is(
    db: Database, rocks_documents: list[Document], judged: list[dict[str, Any]]
) -> None:
    collection = db.create_collection("rocks", embedder="none")
    collection.build(rocks_documents, promote=True)
    collection.build(analyzer="simple")
    found = collection.compare(1, 2, [*judged, "layers"], k=1)
    assert found.queries is not None
    assert found.queries.verdict is not None
    assert found.b.ndcg_at_10 == pytest.approx(0.2)  # of five queries only `dark` is found without stems
    assert found.a.ndcg_at_10 == pytest.approx(found.b.ndcg_at_10 - found.queries.verdict.difference)
    assert found.queries.verdict.conclusion == "worse"
    by_query = {one.query: one for one in found.queries.per_query}
    assert (by_query["dark mineral"].ndcg_at_10_a, by_query["dark mineral"].ndcg_at_10_b) == (1.0, 1.0)
    assert (by_query["shell"].ndcg_at_10_b, by_query["shell"].moved_out) == (0.0, ("chalk",))
    # slate alone, which is all that k=1 compares, would be 2 of 2 + 1/log2(3): 0.76
    assert (by_query["splitting layer"].ndcg_at_10_a or 0) > 0.9
    assert by_query["layers"].ndcg_at_10_a is None


def test_a_generation_is_the_same_as_itself(varied: Collection, tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    lines = [{"query": "granite slate", "relevant": {"d01": 1}}, {"query": "tuff"}, {"query": "limestone"}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = varied.compare(1, 1, file)
    assert found.recipe == found.notes == ()
    assert all(one.count == 0 for one in msgspec.structs.astuple(found.documents))
    assert found.queries is not None
    assert (found.queries.overlap, found.queries.rbo, found.queries.unchanged_share) == (1.0, 1.0, 1.0)
    assert found.queries.verdict is not None
    assert (found.queries.verdict.difference, found.queries.verdict.low, found.queries.verdict.high) == (0.0, 0.0, 0.0)
    assert (found.a.document_count, found.a.chunk_count, found.a.size_bytes) == (
        found.b.document_count,
        found.b.chunk_count,
        found.b.size_bytes,
    )


def test_ids_of_every_script_are_matched(db: Database) -> None:
    names = ["z", "Z", "e\u0301", "\u00e9", "\uffff", "\ue000", "\U0001f600", "\U00010000", "\u4e00", "a b"]
    collection = db.create_collection("scripts", embedder="none")
    collection.build([Document(name, "granite") for name in names], promote=True)
    collection.build([Document(name, "granite") for name in reversed(names[::2])])
    found = collection.compare(1, 2).documents
    assert set(found.vanished.examples) == set(names[1::2])
    assert found.appeared.count == 0


def test_without_queries_nothing_is_searched(db: Database, timed: Callable[..., Any]) -> None:
    embedder = timed("counting")
    collection = db.create_collection("timed", embedder=embedder)
    collection.build(random_documents(2), promote=True)
    found = collection.compare(1, 1)
    assert embedder.queries == []
    assert (found.queries, found.a.latency, found.a.ndcg_at_10) == (None, None, None)
    (info,) = collection.generations()
    assert (found.a.number, found.a.document_count, found.a.chunk_count) == (1, 60, 60)
    assert found.a.size_bytes == info.size_bytes > 0


def test_generations_are_named_as_everywhere(varied: Collection) -> None:
    first, second = varied.generations()
    assert varied.compare(first, second.uuid).documents == varied.compare(1, 2).documents
    with pytest.raises(UnknownGeneration, match="no generation 7"):
        varied.compare(1, 7)


@pytest.mark.parametrize("k", [0, -1, True, 2.0])
def test_a_k_that_is_no_number_of_documents_is_refused(varied: Collection, k: Any) -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        varied.compare(1, 2, ["slate"], k=k)


def test_queries_that_cannot_be_read_are_refused_before_anything(varied: Collection, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="no such file"):
        varied.compare(1, 2, tmp_path / "missing.jsonl")
    with pytest.raises(InvalidSource, match="query 2"):
        varied.compare(1, 2, ["slate", ""])


def test_judged_queries_need_the_extra(varied: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(measures.importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"outcrop\[eval\]"):
        varied.compare(1, 2, [{"query": "slate", "relevant": {"d01": 1}}])
    assert varied.compare(1, 2, ["slate"]).queries is not None


def test_k_may_be_more_than_the_usual_candidates(varied: Collection) -> None:
    found = varied.compare(1, 1, ["granite"], k=500).queries
    assert found is not None
    assert found.overlap == 1.0


def test_recipes_differ_in_words(db: Database) -> None:
    collection = db.create_collection("recipes", embedder="hashing:16")
    collection.build(random_documents(3), promote=True)
    collection.build(embedder="hashing:32", chunker="tokens:16/4", analyzer="german", index="hnsw")
    collection.build(embedder="none")
    assert collection.compare(1, 2).recipe == (
        "embedder: hashing:16 -> hashing:32",
        "chunker: auto -> tokens:16/4"
        if collection.generations()[0].recipe.chunker == "auto"
        else collection.compare(1, 2).recipe[1],
        "analyzer: english -> german",
        "index: auto -> hnsw",
        "dimension: 16 -> 32",
    )
    assert collection.compare(1, 3).recipe[:2] == ("embedder: hashing:16 -> none", "dimension: 16 -> none")


def test_another_revision_of_the_same_embedder_is_a_difference(db: Database, side: Callable[[Collection, int], Side]) -> None:
    collection = db.create_collection("revisions", embedder="hashing:16")
    collection.build(random_documents(4), promote=True)
    one = side(collection, 1)
    identity = one.info.recipe.embedder
    assert identity is not None
    recipe = msgspec.structs.replace(one.info.recipe, embedder=msgspec.structs.replace(identity, revision="2", query_prefix="q: "))
    other = msgspec.structs.replace(one, info=msgspec.structs.replace(one.info, recipe=recipe))
    assert compare(one, other, None).recipe == ("embedder's revision: 1 -> 2", "embedder's query prefix:  -> q: ")


def test_given_vectors_cannot_be_searched_with_a_text_and_a_note_says_so(db: Database) -> None:
    collection = db.create_collection("given", embedder="none")
    collection.build([Document("x", "first", vector=[1.0, 0.0]), Document("y", "second", vector=[0.6, 0.8])], promote=True)
    (note, again) = collection.compare(1, 1, ["first"]).notes
    assert note == again == "the vectors of generation 1 were given with its documents, so the queries searched its words only"
    assert collection.compare(1, 1).notes == ()


def test_a_generation_that_is_behind_is_compared_as_it_is_and_a_note_says_so(varied: Collection) -> None:
    varied.upsert([Document("new", "granite")])
    found = varied.compare(2, 1)
    assert "new" in found.documents.appeared.examples
    (note,) = found.notes
    assert note.startswith("generation 2 holds the writes up to 0, generation 1 those up to 1: ")


def test_a_comparison_is_a_table_and_comes_back_from_json(varied: Collection) -> None:
    found = varied.compare(1, 2, ["granite slate", {"query": "tuff", "relevant": {"d60": 1}}])
    again = msgspec.convert(json.loads(json.dumps(found.to_dict())), Comparison)
    assert again == found
    shown = str(found)
    for said in (
        "documents         60       61",
        "recipe     embedder: hashing:16 -> hashing:64",
        "documents  4 appeared (d60, d61, d62, d63)",
        "documents  3 vanished (d00, d01, d02)",
        "queries    2, the best 10: mean overlap 0.",
        "judged     generation 2 against generation 1: +",
        "p95 latency",
        "granite slate",
    ):
        assert said in shown, said
    same = str(varied.compare(1, 1, ["granite"]))
    assert "recipe     the same\ndocuments  the same" in same
    assert "moved in" not in same


def held(documents: list[Document]) -> Any:
    """Documents as a generation holds them: ids ascend."""
    by_id = {one.id: one for one in documents}
    return SimpleNamespace(ids=lambda: iter(sorted(by_id)), get=lambda ids: [by_id[one] for one in ids if one in by_id])


ids = st.sets(st.text("ab\u00e9\uffff\U0001f600", min_size=1, max_size=3))


@given(ids, ids)
def test_merging_ids_is_set_arithmetic(first: set[str], second: set[str]) -> None:
    expected = [(one, one in second) for one in sorted(first)]
    assert list(marked(sorted(first), sorted(second))) == expected


@given(st.dictionaries(st.integers(0, 40), st.integers(0, 2)), st.dictionaries(st.integers(0, 40), st.integers(0, 2)))
def test_changes_are_those_of_two_dictionaries(first: dict[int, int], second: dict[int, int]) -> None:
    before, after = (held([Document(f"d{key}", f"text {value}") for key, value in side.items()]) for side in (first, second))
    found = document_changes(before, after)
    assert found.appeared.count == len(second.keys() - first.keys())
    assert found.vanished.count == len(first.keys() - second.keys())
    assert set(found.text_changed.examples) <= {f"d{key}" for key in first.keys() & second.keys() if first[key] != second[key]}
    assert found.text_changed.count == sum(first[key] != second[key] for key in first.keys() & second.keys())
    assert len(found.vanished.examples) == min(20, found.vanished.count)


def test_a_document_that_goes_while_it_is_compared_is_left_out() -> None:
    before, after = held([Document("a", "x"), Document("b", "x")]), held([Document("a", "y"), Document("b", "y")])
    after.get = lambda ids: [Document("a", "y") for one in ids if one == "a"]
    assert document_changes(before, after).text_changed.examples == ("a",)


def test_large_documents_are_read_a_few_at_a_time() -> None:
    documents = [Document(f"d{number:03}", "x" * 1_000_000) for number in range(30)]
    asked: list[int] = []
    both = held(documents)
    read = both.get
    both.get = lambda ids: asked.append(len(ids)) or read(ids)
    assert document_changes(both, both).text_changed.count == 0
    assert max(asked) == 4
    assert sum(asked) == 2 * len(documents)


def test_overlap_and_rbo_of_a_query_are_those_of_evaluation(varied: Collection) -> None:
    found = varied.compare(1, 2, golden(["slate"])).queries
    assert found is not None
    before, after = ([hit.document_id for hit in varied.search("slate", generation=number)] for number in (1, 2))
    assert found.per_query[0].overlap == overlap(before, after)
