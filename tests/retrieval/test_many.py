"""Many searches in one call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import outcrop
from outcrop import Collection, Document, Hits
from outcrop.embedding.hashing import HashingEmbedder
from outcrop.errors import EmbeddingFailed, InvalidFilter, InvalidQuery
from outcrop.retrieval import many

WORDS = ("slate", "basalt", "granite", "chalk", "shale", "gneiss", "marble")
QUERIES = [f"{one} {other}" for one in WORDS for other in WORDS]


class Counting(HashingEmbedder):
    """Counts its calls, and fails at a word."""

    def __init__(self) -> None:
        super().__init__(64)
        self.calls: list[int] = []
        self.fails_at: str | None = None

    def embed_query(self, text: str) -> NDArray[np.float32]:
        if self.fails_at is not None and self.fails_at in text:
            raise RuntimeError("no connection")
        return self.embed_documents([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(len(texts))
        return self.embed_documents(texts)


class OneByOne(Counting):
    """An embedder that takes one query at a time."""

    embed_queries = None  # type: ignore[assignment]


def made(path: Path, embedder: HashingEmbedder) -> Iterator[Collection]:
    with outcrop.open(path, config=outcrop.Config.test()) as db:
        collection = db.create_collection("rocks", embedder=embedder)
        texts = [f"{first} {second} number {n}" for n, (first, second) in enumerate(zip(WORDS * 8, WORDS[3:] * 14, strict=True))]
        collection.build([Document(f"d{n}", text, metadata={"n": n}) for n, text in enumerate(texts)], promote=True)
        yield collection


@pytest.fixture(scope="module")
def embedder() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def rocks(tmp_path_factory: pytest.TempPathFactory, embedder: Counting) -> Iterator[Collection]:
    yield from made(tmp_path_factory.mktemp("kb"), embedder)


def answer(hits: Hits) -> tuple[object, ...]:
    about = (hits.mode, hits.generation, hits.sequence, hits.engine, hits.total_candidates, hits.warnings)
    return (*about, [(hit.id, hit.rank, hit.score, hit.text, hit.metadata, hit.explanation) for hit in hits])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "lexical", "k": 3},
        {"mode": "vector", "where": "n >= 20"},
        {"fusion": "rrf", "explain": True, "offset": 2, "where": {"n": {"$lt": 30}}},
    ],
)
def test_each_answer_is_what_search_gives(rocks: Collection, options: dict[str, object]) -> None:
    found = rocks.search_many(QUERIES, **options)  # type: ignore[arg-type]
    assert [answer(hits) for hits in found] == [answer(rocks.search(query, **options)) for query in QUERIES]  # type: ignore[arg-type]
    assert len({hits[0].id for hits in found if hits}) > 3


def test_vectors_are_searched_with_their_queries_or_alone(rocks: Collection, embedder: Counting) -> None:
    vectors = embedder.embed_documents(QUERIES)
    alone = [answer(rocks.search(vector=vector)) for vector in vectors]
    assert [answer(hits) for hits in rocks.search_many(vectors=vectors)] == alone
    swapped = [answer(rocks.search(query, vector=vector)) for query, vector in zip(QUERIES, vectors[::-1], strict=True)]
    assert [answer(hits) for hits in rocks.search_many(QUERIES, vectors=vectors[::-1])] == swapped
    mixed = rocks.search_many([QUERIES[0], None], vectors=[None, vectors[1]])
    assert [answer(hits) for hits in mixed] == [answer(rocks.search(QUERIES[0])), alone[1]]


def test_the_queries_of_a_window_are_embedded_in_one_call(
    rocks: Collection, embedder: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_WINDOW", 20)
    embedder.calls.clear()
    found = rocks.search_many(QUERIES, vectors=[embedder.embed_query("slate"), *[None] * 48])
    assert embedder.calls == [19, 20, 9]
    assert answer(found[48]) == answer(rocks.search(QUERIES[48]))


def test_an_embedder_that_takes_one_query_at_a_time_is_asked_for_each(tmp_path: Path) -> None:
    for collection in made(tmp_path, OneByOne()):
        assert [answer(hits) for hits in collection.search_many(QUERIES)] == [answer(collection.search(one)) for one in QUERIES]


def test_an_error_names_its_query_before_any_is_run(rocks: Collection, embedder: Counting) -> None:
    embedder.calls.clear()
    with pytest.raises(InvalidQuery, match=r"^query 2: the query is empty") as raised:
        rocks.search_many(["slate", "chalk", "", " "])
    assert (raised.value.query_index, raised.value.parameter, embedder.calls) == (2, "query", [])
    with pytest.raises(InvalidQuery, match=r"^query 1: the vector has shape \(3,\)"):
        rocks.search_many(vectors=[np.ones(64), np.ones(3)])
    with pytest.raises(InvalidFilter, match="query 0"):
        rocks.search_many(["slate"], where="n >")


def test_an_error_of_a_search_names_its_query(tmp_path: Path) -> None:
    embedder = OneByOne()
    for collection in made(tmp_path, embedder):
        embedder.fails_at = "marble"
        first = next(place for place, query in enumerate(QUERIES) if "marble" in query)
        with pytest.raises(EmbeddingFailed, match=f"^query {first}: .*no connection") as raised:
            collection.search_many(QUERIES)
        assert raised.value.query_index == first


def test_what_cannot_be_paired_is_refused(rocks: Collection) -> None:
    with pytest.raises(InvalidQuery, match="one text; give a list"):
        rocks.search_many("slate")
    with pytest.raises(InvalidQuery, match="2 queries and 1 vectors"):
        rocks.search_many(["slate", "chalk"], vectors=[np.ones(64)])
    with pytest.raises(InvalidQuery, match="nothing to search for"):
        rocks.search_many()
    with pytest.raises(TypeError, match="limit"):
        rocks.search_many(["slate"], limit=3)  # type: ignore[call-arg]
    assert rocks.search_many([]) == []


def test_every_core_takes_part_and_the_first_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "cores", lambda: 2)
    meeting = threading.Barrier(2, timeout=30)

    def run(place: int) -> int:
        if place < 2:
            meeting.wait()  # passed only if both are being run
        if place in (2, 3):
            raise ValueError(place)
        return place * place

    with pytest.raises(ValueError, match="2"):
        many.on_all_cores(run, 1000)
    assert many.on_all_cores(lambda place: place, 5) == [0, 1, 2, 3, 4]
