"""Searching through the public API."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Collection, Document, Fusion
from outcrop.errors import Closed, EmbeddingFailed, InvalidFilter, InvalidInput, InvalidQuery, NoActiveGeneration, UnknownGeneration

ROCKS = [
    Document(
        "slate",
        "Slate splits into thin layers and covers roofs.",
        "Slate",
        "rocks/slate.md",
        {"kind": "metamorphic", "hardness": 3},
    ),
    Document(
        "granite", "Granite is hard and coarse; it cools slowly deep below.", "Granite", None, {"kind": "igneous", "hardness": 7}
    ),
    Document("basalt", "Basalt cools fast. Its columns are hard.", "Basalt", None, {"kind": "igneous", "hardness": 6}),
    Document("chalk", "Chalk is soft and white, made of tiny shells.", "Chalk", None, {"kind": "sedimentary", "hardness": 1}),
    Document("shale", "Shale is a soft rock of thin layers of mud.", "Shale", None, {"kind": "sedimentary"}),
]


@pytest.fixture(scope="module")
def rocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with outcrop.open(tmp_path_factory.mktemp("kb"), config=outcrop.Config.test()) as db:
        collection = db.create_collection("rocks", embedder="hashing:64")
        collection.build(ROCKS, promote=True)
        yield collection


def ids(hits: outcrop.Hits) -> list[str]:
    return [hit.document_id for hit in hits]


def test_each_mode_finds_what_the_query_asks_for(rocks: Collection) -> None:
    for mode in ("lexical", "vector", "hybrid"):
        hits = rocks.search("thin layers of mud", mode=mode)
        assert hits.mode == mode
        assert hits[0].document_id == "shale"


def test_hybrid_is_the_default_where_there_is_an_embedder(rocks: Collection) -> None:
    hits = rocks.search("roofs")
    assert hits.mode == "hybrid"
    assert (hits.generation, hits.engine, hits.degraded, hits.index_lag) == (1, "builtin", None, 0)
    assert hits.took_ms.total > 0
    assert hits.took_ms.lexical is not None
    assert hits.took_ms.vector is not None


def test_a_hit_says_where_it_comes_from(rocks: Collection) -> None:
    hit = rocks.search("roof", mode="lexical")[0]
    assert (hit.id, hit.rank, hit.title, hit.source) == ("slate#0", 1, "Slate", "rocks/slate.md")
    assert hit.snippet == "Slate splits into thin layers and covers <mark>roofs</mark>."
    assert str(hit.citation) == "Slate (rocks/slate.md)"
    assert hit.metadata == {"kind": "metamorphic", "hardness": 3}


@pytest.mark.parametrize("mode", ["lexical", "vector", "hybrid"])
def test_a_filter_selects_before_the_cut_in_every_mode(rocks: Collection, mode: str) -> None:
    hits = rocks.search("hard rock that cools", mode=mode, where="kind = 'igneous' AND hardness > 6")
    assert ids(hits) == ["granite"]
    assert ids(rocks.search("hard rock that cools", mode=mode, where={"hardness": {"$lt": 0}})) == []


@pytest.mark.parametrize("mode", ["lexical", "vector", "hybrid"])
def test_scores_and_order_do_not_change_with_k_or_offset(rocks: Collection, mode: str) -> None:
    whole = rocks.search("soft thin hard layers", mode=mode, k=5)
    assert len(whole) >= 3
    pages = [hit for offset in range(len(whole)) for hit in rocks.search("soft thin hard layers", mode=mode, k=1, offset=offset)]
    assert [(hit.id, hit.score, hit.rank) for hit in pages] == [(hit.id, hit.score, hit.rank) for hit in whole]


def test_looking_deeper_than_the_candidates_is_refused(rocks: Collection) -> None:
    with pytest.raises(InvalidQuery, match="candidates=101") as caught:
        rocks.search("rock", k=100, offset=1)
    assert caught.value.parameter == "candidates"


def test_an_explanation_adds_up_to_the_score(rocks: Collection) -> None:
    for fusion in ("weighted", "rrf"):
        hits = rocks.search("soft layers", fusion=fusion, explain=True)
        assert len(hits) >= 2
        for hit in hits:
            assert hit.explanation is not None
            assert sum(leg.contribution for leg in hit.explanation.legs) == pytest.approx(hit.score)
    terms = rocks.search("soft layers", mode="lexical", explain=True)[0].explanation
    assert terms is not None
    assert {term.term for term in terms.legs[0].terms} == {"soft", "layer"}
    assert sum(term.score for term in terms.legs[0].terms) == pytest.approx(terms.score, rel=1e-4)


def test_a_query_of_stop_words_finds_nothing_lexically_and_says_why(rocks: Collection) -> None:
    hits = rocks.search("the of and", mode="lexical")
    assert ids(hits) == []
    assert "only stop words" in hits.warnings[0]


def test_a_query_of_unknown_words_finds_nothing_lexically(rocks: Collection) -> None:
    assert ids(rocks.search("zzyzx", mode="lexical")) == []


def test_a_vector_given_with_the_query_is_used_instead_of_an_embedding(rocks: Collection) -> None:
    vector = np.zeros(64, np.float32)
    vector[0] = 1
    hits = rocks.search("chalk", vector=vector)
    assert (hits.mode, hits.took_ms.embed) == ("hybrid", None)
    assert rocks.search(vector=vector).mode == "vector"


def test_a_filter_on_a_field_that_nobody_has_is_answered_with_the_nearest_name(rocks: Collection) -> None:
    hits = rocks.search("rock", where="hardnes > 1")
    assert ids(hits) == []
    assert "'hardnes'" in hits.warnings[0]
    assert "did you mean 'hardness'?" in hits.warnings[0]


def test_fusion_takes_a_weight(rocks: Collection) -> None:
    assert rocks.search("soft layers", fusion=Fusion(vector_weight=0.0))[0].score == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "the query is empty"),
        ({"query": "   "}, "the query is empty"),
        ({"query": 7}, "must be text"),
        ({"query": "x", "k": 0}, "k is 0"),
        ({"query": "x", "k": True}, "k is True"),
        ({"query": "x", "offset": -1}, "offset is -1"),
        ({"query": "x", "mode": "semantic"}, "'lexical', 'vector' or 'hybrid'"),
        ({"query": "x", "fusion": "borda"}, "'weighted' or 'rrf'"),
        ({"query": "x", "per_document": 0}, "per_document is 0"),
        ({"vector": [1.0, 2.0]}, r"shape \(2,\); this generation's vectors have shape \(64,\)"),
        ({"vector": [float("nan")] * 64}, "NaN"),
        ({"vector": [0.0] * 64}, "all zeros"),
        ({"vector": ["x"] * 64}, "not a sequence of numbers"),
        ({"vector": [1.0] * 64, "mode": "hybrid"}, "needs a text query"),
    ],
)
def test_a_search_that_makes_no_sense_says_what_to_do(rocks: Collection, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidQuery, match=message):
        rocks.search(**arguments)  # type: ignore[arg-type]


def test_a_broken_filter_shows_its_place(rocks: Collection) -> None:
    with pytest.raises(InvalidFilter) as caught:
        rocks.search("rock", where="hardness > ")
    assert caught.value.text == "hardness > "
    assert isinstance(caught.value.position, int)


def test_another_generation_can_be_searched(rocks: Collection) -> None:
    with pytest.raises(UnknownGeneration, match="no generation 99"):
        rocks.search("rock", generation=99)
    assert rocks.search("slate", generation=1).generation == 1


def test_documents_are_got_counted_and_scanned(rocks: Collection) -> None:
    assert rocks.get(["chalk", "nope", "slate"]) == [ROCKS[3], ROCKS[0]]
    assert rocks.count() == 5
    assert rocks.count("NOT hardness >= 3") == 2
    assert [document.id for document in rocks.scan({"kind": "igneous"})] == ["granite", "basalt"]


def test_hits_become_dicts_arrow_and_pandas(rocks: Collection) -> None:
    hits = rocks.search("soft layers", k=2)
    assert [row["document_id"] for row in hits.to_dicts()] == ids(hits)
    assert hits.to_dicts()[0]["citation"]["title"] == hits[0].title
    table = pytest.importorskip("pyarrow") and hits.to_arrow()
    assert table.column("id").to_pylist() == [hit.id for hit in hits]
    frame = pytest.importorskip("pandas") and hits.to_pandas()
    assert list(frame["score"]) == [hit.score for hit in hits]
    assert frame["metadata"][0] == hits[0].metadata


def test_ties_are_ordered_by_document_id(tmp_path: Path) -> None:
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        same = db.create_collection("same", embedder="none")
        same.build([Document(name, "one and the same text") for name in ("d", "b", "a", "c")], promote=True)
        assert ids(same.search("same text")) == ["a", "b", "c", "d"]
        assert ids(same.search("same text", k=1, offset=1)) == ["b"]


def test_at_most_one_hit_a_document_unless_more_are_asked_for(tmp_path: Path) -> None:
    text = "\n\n".join(
        f"## Part {number}\n\nGranite number {number} is hard. " + "More words follow here. " * 20 for number in range(4)
    )
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        long = db.create_collection("long", embedder="none", chunker="markdown:60/0")
        long.build([Document("a", text), Document("b", "Granite again.")], promote=True)
        assert ids(long.search("granite")) == sorted(["a", "b"], key=ids(long.search("granite")).index)
        assert sorted(ids(long.search("granite"))) == ["a", "b"]
        many = long.search("granite", per_document=3)
        assert ids(many).count("a") == 3
        assert len({hit.id for hit in many}) == len(many)


def test_a_collection_without_vectors_is_searched_lexically(tmp_path: Path) -> None:
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        plain = db.create_collection("plain", embedder="none")
        with pytest.raises(NoActiveGeneration, match="build one and promote it"):
            plain.search("x")
        plain.build(ROCKS, promote=True)
        assert plain.search("slate").mode == "lexical"
        with pytest.raises(InvalidQuery, match="has none"):
            plain.search("slate", mode="hybrid")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_given_vectors_are_searched_by_every_metric(tmp_path: Path, metric: outcrop.model.Metric) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        given = db.create_collection("given", embedder="none", metric=metric)
        given.build((Document(f"d{i}", f"text {i}", vector=vector) for i, vector in enumerate(vectors)), promote=True)
        query = rng.normal(size=8).astype(np.float32)
        expected = {
            "cosine": vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
            "dot": vectors @ query,
            "l2": -np.linalg.norm(vectors - query, axis=1),
        }[metric]

        hits = given.search(vector=query, k=5)

        assert ids(hits) == [f"d{i}" for i in np.argsort(-expected)[:5]]
        assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1][:5].tolist(), abs=1e-4)
        alone = given.search("text 7")
        assert alone.mode == "lexical"
        assert "no embedder" in alone.warnings[0]


class Odd:
    """An embedder whose queries come out as the test wants."""

    identity = outcrop.EmbedderIdentity("custom:odd", "test", "odd", "1", 4, normalized=False)
    vector_weight = 0.5

    def __init__(self, query: object) -> None:
        self.query = query

    def embed_documents(self, texts: list[str]) -> np.ndarray:
        return np.tile(np.array([1, 2, 0, 0], np.float32), (len(texts), 1))

    def embed_query(self, _: str) -> object:
        return self.query


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("query", [np.ones(2, np.float32), np.ones((1, 4), np.float32), [1, 2, 3, float("nan")], None, "abc"])
def test_an_embedder_that_fails_at_a_query_is_named(tmp_path: Path, query: object, metric: str) -> None:
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        odd = db.create_collection("odd", embedder=Odd(query), metric=metric)  # type: ignore[arg-type]
        odd.build(ROCKS, promote=True)
        with pytest.raises(EmbeddingFailed, match="'custom:odd'"):
            odd.search("granite")
        assert odd.search("granite", mode="lexical")[0].document_id == "granite"


def test_a_query_that_the_embedder_does_not_know_is_answered_lexically_and_says_so(tmp_path: Path) -> None:
    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        odd = db.create_collection("odd", embedder=Odd([0, 0, 0, 0]))
        odd.build(ROCKS, promote=True)
        hits = odd.search("granite", explain=True)
        assert hits[0].document_id == "granite"
        assert 0 < hits[0].score <= 1, "a hybrid's scores, with an empty leg"
        assert "no word that the embedder knows" in hits.warnings[0]
        assert len(odd.search("granite", mode="vector")) == 0


def test_many_short_lived_threads_leave_no_files_open(rocks: Collection) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted where /proc says them")

    def search() -> None:
        rocks.search("thin layers")
        rocks.count()

    def run_threads() -> int:
        for _ in range(30):
            thread = threading.Thread(target=search)
            thread.start()
            thread.join()
        return len(list(Path("/proc/self/fd").iterdir()))

    run_threads()
    assert run_threads() <= run_threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_search_and_build(tmp_path: Path) -> None:
    """In a process of its own, which has searched and built with all its threads before it forks."""
    program = """
import os, sys, warnings
import numpy as np
import outcrop
from outcrop import Config, Document
warnings.simplefilter("ignore", DeprecationWarning)
rng = np.random.default_rng(1)
db = outcrop.open(sys.argv[1], config=Config.default())
rocks = db.create_collection("rocks", embedder="none", index="hnsw")
vectors = enumerate(rng.normal(size=(12_000, 16)))
documents = [Document(f"d{i}", f"granite {i}", metadata={"n": i % 2}, vector=vector) for i, vector in vectors]
rocks.build(documents, promote=True)
query = rng.normal(size=16)
ask = lambda: [hit.id for where in (None, "n = 1") for hit in rocks.search("granite 7", vector=query, where=where)]
expected = ask()
child = os.fork()
if not child:
    ok = ask() == expected and rocks.build(documents[:11_000]).document_count == 11_000
    os._exit(0 if ok else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert ask() == expected
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "kb")], timeout=120, check=False)
    assert done.returncode == 0


def test_a_search_that_runs_while_the_database_closes_ends_well(tmp_path: Path) -> None:
    db = outcrop.open(tmp_path, config=outcrop.Config.test())
    many = db.create_collection("many", embedder="hashing:16")
    many.build(ROCKS, promote=True)
    begun = threading.Event()
    ended: list[object] = []

    def search() -> None:
        try:
            while True:
                many.search("thin layers")
                begun.set()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    db.close()
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in ended] == [Closed] * 4


def test_hits_can_be_sent_to_another_process(rocks: Collection) -> None:
    hits = rocks.search("thin layers", explain=True)
    again = pickle.loads(pickle.dumps(hits))
    assert again.to_dicts() == hits.to_dicts()


@pytest.mark.parametrize("ids", [None, 7, [7], ["\ud800"], [None]])
def test_get_takes_ids(rocks: Collection, ids: object) -> None:
    with pytest.raises(InvalidInput, match="ids, which are text"):
        rocks.get(ids)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_query_vector_of_any_length_is_compared_by_its_direction(rocks: Collection, scale: float) -> None:
    direction = np.arange(64, dtype=np.float64)
    assert ids(rocks.search(vector=direction * scale)) == ids(rocks.search(vector=direction))


def test_an_embedder_with_a_new_revision_does_not_take_the_place_of_the_old(tmp_path: Path) -> None:
    class Newer(Odd):
        identity = outcrop.EmbedderIdentity("custom:odd", "test", "odd", "2", 4, normalized=False)

    with outcrop.open(tmp_path, config=outcrop.Config.test()) as db:
        odd = db.create_collection("odd", embedder=Odd([1, 0, 0, 0]))
        odd.build(ROCKS, promote=True)
        odd.build(embedder=Newer([0, 1, 0, 0]), promote=True)
        assert odd.search("granite").mode == "hybrid"
        odd.rollback()
        assert odd.search("granite").mode == "hybrid"
