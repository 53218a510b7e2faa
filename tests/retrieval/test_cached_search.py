"""What is asked again is not searched again, and whoever asks cannot tell, but by the time it takes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

import outcrop
from outcrop import Collection, Config, Database, Degraded, Fusion, evaluation
from outcrop.engines.fallback.snapshot import First, Second
from outcrop.engines.protocol import IndexSnapshot, Ranking
from outcrop.errors import EmbeddingFailed
from outcrop.filters import Compare, Filter
from outcrop.memory import CacheStats
from outcrop.model import SearchMode
from outcrop.retrieval.cached_search import CachedSearch
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.retrieval.request import Options, Request, prepare
from tests.retrieval.caching import LIMIT_SECONDS, Telling, answer, config, opened, rocks


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of two collections, `stones` and `told`."""
    folder = tmp_path_factory.mktemp("built")
    with opened(folder) as db:
        db.create_collection("stones", embedder="hashing:16").build(rocks(20), promote=True)
        db.create_collection("told", embedder=Telling()).build(rocks(20), promote=True)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built, tmp_path / "copy", symlinks=True))


@pytest.fixture
def db(folder: Path) -> Iterator[Database]:
    with opened(folder) as found:
        yield found


@pytest.fixture
def stones(db: Database) -> Collection:
    return db.collection("stones")


@pytest.fixture
def telling() -> Telling:
    return Telling()


@pytest.fixture
def told(db: Database, telling: Telling) -> Collection:
    """A collection whose embedder tells what it was asked."""
    return db.collection("told", embedder=telling)


def caches(collection: Collection) -> tuple[CacheStats, CacheStats]:
    stats = collection.stats()
    assert stats.query_cache is not None
    assert stats.query_embeddings is not None
    return stats.query_cache, stats.query_embeddings


@pytest.mark.parametrize("mode", get_args(SearchMode))
def test_what_is_asked_again_is_answered_alike_and_says_that_it_was_cached(stones: Collection, mode: str) -> None:
    asked: dict[str, Any] = {"mode": mode, "k": 5, "offset": 2, "explain": True, "where": "n < 15"}
    first, again = (stones.search("granite of number7", **asked) for _ in range(2))
    assert (len(first), first.cached, again.cached) == (5, False, True)
    assert answer(again) == answer(first) == answer(stones.search("granite of number7", **asked, cache=False))
    assert again.to_dicts() == first.to_dicts()


def test_a_cached_answer_tells_its_own_time_and_no_steps(stones: Collection) -> None:
    first, again = (stones.search("granite") for _ in range(2))
    assert again.took_ms == outcrop.TookMs(total=again.took_ms.total)
    assert 0 < again.took_ms.total < first.took_ms.total


def test_warnings_are_cached_too(stones: Collection) -> None:
    first, again = (stones.search("granite", where="nn = 1") for _ in range(2))
    assert again.cached
    assert again.warnings == first.warnings != ()


def test_white_space_around_a_query_makes_no_difference_to_anybody(told: Collection, telling: Telling) -> None:
    first = told.search("  granite number3\n")
    again = told.search("granite number3")
    assert (again.cached, answer(again)) == (True, answer(first))
    assert telling.queries == ["granite number3"]


@pytest.mark.parametrize("other", ["Granite", "granite ", "granité", "granite  x", "granite x."])
def test_any_other_difference_in_a_query_is_another_query(stones: Collection, other: str) -> None:
    stones.search("granite x")
    assert not stones.search(other).cached


def test_what_is_changed_in_an_answer_is_not_changed_for_others(stones: Collection) -> None:
    first = stones.search("granite")
    expected = answer(stones.search("granite", cache=False))
    for hits in (first, stones.search("granite"), stones.search("granite")):
        assert answer(hits) == expected
        hits[0].metadata["kind"]["of"].append("changed")
        hits[0].metadata["n"] = "changed"
        del hits[1].metadata["kind"]


def requests_that_differ(recipe: outcrop.Recipe) -> dict[str, list[Request]]:
    """For each field of a request, requests that differ in nothing else."""
    usual = prepare("granite", np.eye(1, 16)[0], Options(), recipe)
    others: dict[str, list[Any]] = {
        "query": ["Granite"],
        "vector": [None, np.eye(1, 16, 3, dtype=np.float32)[0]],
        "mode": ["vector", "lexical"],
        "k": [11],
        "offset": [1],
        "candidates": [101],
        "per_document": [2],
        "where": [Compare("n", "=", 1), Compare("n", "=", True), Compare("n", "=", "1"), Compare("n", "!=", 1)],
        "fusion": [Fusion(method="rrf"), Fusion(vector_weight=0.25), Fusion(method="rrf", rrf_k=61)],
        "explain": [True],
        "warnings": [("a warning",)],
    }
    return {
        name: [usual, *(msgspec.structs.replace(usual, **{name: value}) for value in values)] for name, values in others.items()
    }


def test_a_request_that_differs_in_any_field_is_another_one(stones: Collection) -> None:
    cached = stones._open.shared.cached
    with pinned(stones._open.pin(None)) as generation:
        differing = requests_that_differ(generation.manifest.recipe)
        assert set(differing) == set(Request.__struct_fields__), "a new field needs a case here"
        for name, requests in differing.items():
            cached.close()
            assert [cached.search(generation, one, None).cached for one in requests] == [False] * len(requests), name
            assert [cached.search(generation, one, None).cached for one in requests] == [True] * len(requests), name


def test_a_given_vector_is_part_of_the_question(stones: Collection) -> None:
    one, another = np.eye(2, 16)
    first = stones.search(vector=one)
    assert not stones.search(vector=another).cached
    again = stones.search(vector=list(one))
    assert (again.cached, answer(again)) == (True, answer(first))


def test_a_filter_for_one_is_not_a_filter_for_true(db: Database) -> None:
    flags = db.create_collection("flags", embedder="none")
    values = {"a": True, "b": 1, "c": "1"}
    flags.build([outcrop.Document(name, "granite", metadata={"x": value}) for name, value in values.items()], promote=True)
    for name, value in values.items():
        assert [hit.document_id for hit in flags.search("granite", where={"x": value})] == [name]


def test_the_cache_can_be_passed_by(told: Collection, telling: Telling) -> None:
    hits = [told.search("granite", cache=False) for _ in range(2)]
    assert [one.cached for one in hits] == [False, False]
    assert telling.queries == ["granite"] * 2
    assert [(one.hits, one.misses, one.entries) for one in caches(told)] == [(0, 0, 0)] * 2


@pytest.mark.parametrize("chosen", [Config.test(), Config.default(query_cache_seconds=0, background=False)])
def test_mode_test_and_zero_seconds_cache_nothing(folder: Path, chosen: Config) -> None:
    with outcrop.open(folder / "kb", config=chosen) as db:
        collection = db.collection("stones")
        assert [collection.search("granite").cached for _ in range(2)] == [False, False]
        stats = collection.stats()
        assert (stats.query_cache, stats.query_embeddings) == (None, None)
        assert stats.memory["query cache"] == 0


def test_the_default_configuration_caches(folder: Path) -> None:
    with outcrop.open(folder / "kb", config=Config.default(background=False)) as db:
        assert [db.collection("stones").search("granite").cached for _ in range(2)] == [False, True]


def test_an_answer_is_kept_for_so_many_seconds(stones: Collection) -> None:
    now = [0.0]
    shared = stones._open.shared
    cached = CachedSearch(shared.executor, shared.memory, seconds=60.0, clock=lambda: now[0])
    with pinned(stones._open.pin(None)) as generation:
        request = prepare("granite", None, Options(), generation.manifest.recipe)
        found = []
        for now[0] in (0.0, 59.0, 60.0, 61.0):
            found.append(cached.search(generation, request, None).cached)
    assert found == [False, True, False, True]


def test_a_query_is_embedded_once_for_all_that_is_asked_about_it(told: Collection, telling: Telling) -> None:
    for options in ({"k": 3}, {"k": 4}, {"where": "n < 3"}, {"mode": "vector"}, {"mode": "lexical"}):
        assert not told.search("granite of quarry", **options).cached
    told.search("another")
    assert telling.queries == ["granite of quarry", "another"]
    answers, embeddings = caches(told)
    assert (answers.hits, answers.misses, answers.entries, answers.hit_rate) == (0, 6, 6, 0.0)
    assert (embeddings.hits, embeddings.misses, embeddings.entries, embeddings.hit_rate) == (3, 2, 2, 0.6)


def test_a_query_without_a_known_word_is_remembered_as_such(told: Collection, telling: Telling) -> None:
    first, again = (told.search("...", mode="vector", k=k) for k in (1, 2))
    assert telling.queries == ["..."]
    assert first.warnings == again.warnings
    assert "no word that the embedder knows" in again.warnings[0]


def test_another_generation_is_not_searched_with_the_embeddings_of_this_one(told: Collection, telling: Telling) -> None:
    other = Telling("custom:other", dimension=24)
    second = told.build(embedder=other)
    for _ in range(2):
        for generation in (1, second):
            told.search("granite", generation=generation)
    assert (telling.queries, other.queries) == (["granite"], ["granite"])


def test_an_error_is_not_kept(told: Collection, telling: Telling) -> None:
    telling.errors.append(RuntimeError("the server is down"))
    with pytest.raises(EmbeddingFailed, match="the server is down"):
        told.search("granite")
    assert not told.search("granite").cached
    assert told.search("granite").cached
    assert telling.queries == ["granite"] * 2


def test_equal_searches_at_the_same_time_are_run_once(told: Collection, telling: Telling) -> None:
    telling.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(told.search, "granite") for _ in range(8)]
        assert telling.asked.wait(LIMIT_SECONDS)
        assert told.search("granite", cache=False, mode="lexical").mode == "lexical"  # what is not equal does not wait
        telling.gate.set()
        found = [one.result(LIMIT_SECONDS) for one in asked]
    assert telling.queries == ["granite"]
    assert sorted(one.cached for one in found) == [False, *[True] * 7]
    assert all(answer(one) == answer(found[0]) for one in found)
    assert len({id(one[0].metadata) for one in found}) == 8
    answers, _ = caches(told)
    assert (answers.hits, answers.misses) == (7, 1)


def test_an_engine_is_said_to_have_answered_only_what_it_has(stones: Collection) -> None:
    for _ in range(3):
        stones.search("granite")
    assert stones.stats().answers == {"builtin": 1}


def test_different_searches_for_one_query_at_the_same_time_embed_it_once(told: Collection, telling: Telling) -> None:
    telling.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(told.search, "granite", k=k) for k in (1, 2, 3, 4)]
        assert telling.asked.wait(LIMIT_SECONDS)
        telling.gate.set()
        assert [len(one.result(LIMIT_SECONDS)) for one in asked] == [1, 2, 3, 4]
    assert telling.queries == ["granite"]


def test_when_the_one_search_fails_every_caller_gets_an_error_of_his_own(told: Collection, telling: Telling) -> None:
    telling.gate.clear()
    telling.errors = [RuntimeError(f"failure {number}") for number in range(4)]
    raised: list[BaseException] = []

    def search() -> None:
        try:
            told.search("granite")
        except EmbeddingFailed as error:
            raised.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert telling.asked.wait(LIMIT_SECONDS)
    telling.gate.set()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    assert len({id(error) for error in raised}) == 4
    assert not told.search("granite").cached


def test_a_write_while_a_search_runs_is_not_hidden_by_what_that_search_finds(told: Collection, telling: Telling) -> None:
    telling.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(told.search, "granite of number0", k=20)
        assert telling.asked.wait(LIMIT_SECONDS)
        told.delete(["d0"])
        telling.gate.set()
        before = asked.result(LIMIT_SECONDS)
    after = told.search("granite of number0", k=20)
    assert (after.cached, after.sequence) == (False, before.sequence + 1)
    assert "d0" not in {hit.document_id for hit in after}


class Switched:
    """An open generation whose snapshots a test chooses."""

    def __init__(self, opened: OpenGeneration) -> None:
        self._opened = opened
        self.index = self
        self.now: IndexSnapshot = opened.index.snapshot()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def snapshot(self) -> IndexSnapshot:
        return self.now


class Failing:
    """A snapshot whose lexical leg fails."""

    def __init__(self, snapshot: IndexSnapshot) -> None:
        self._snapshot = snapshot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshot, name)

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:  # noqa: ARG002 - the protocol
        raise RuntimeError("injected")


def test_an_answer_that_is_degraded_is_kept_for_that_degradation_alone(stones: Collection) -> None:
    cached = stones._open.shared.cached
    with pinned(stones._open.pin(None)) as generation:
        switched: Any = Switched(generation)
        request = prepare("granite", None, Options(), generation.manifest.recipe)
        healthy = generation.index.snapshot()
        states = [None, Degraded("LanceDB: down", "10:00"), Degraded("LanceDB: slow", "10:00"), Degraded("LanceDB: down", "10:05")]
        for expected in (False, True):
            for state in states:
                switched.now = healthy if state is None else Second(healthy, state)
                hits = cached.search(switched, request, None)
                assert (hits.cached, hits.degraded) == (expected, state)
                hits = cached.search(switched, request, Degraded("generation 2 is damaged", "09:00"))
                assert hits.degraded == state or (state is None and hits.degraded is not None)


def test_what_another_engine_answered_after_a_failure_is_not_kept_for_the_first(stones: Collection) -> None:
    cached = stones._open.shared.cached
    with pinned(stones._open.pin(None)) as generation:
        switched: Any = Switched(generation)
        request = prepare("granite", None, Options(), generation.manifest.recipe)
        healthy = generation.index.snapshot()
        for _ in range(2):
            failing: Any = Failing(healthy)
            switched.now = First(failing, healthy, lambda error: error and Degraded("LanceDB: injected", "10:00"))
            hits = cached.search(switched, request, None)
            assert hits.degraded == Degraded("LanceDB: injected", "10:00")
            assert not hits.cached
        switched.now = First(healthy, healthy, lambda _: None)
        assert cached.search(switched, request, None).degraded is None


def test_statistics_tell_the_bytes_of_each_owner(stones: Collection) -> None:
    for number in range(5):
        stones.search(f"granite {number}")
    stats = stones.stats()
    answers, embeddings = caches(stones)
    assert {owner: held for owner, held in stats.memory.items() if owner != "arrow"} == {
        "ingestion": 0,
        "indexing": 0,
        "query cache": answers.size_bytes,
        "embedding cache": embeddings.size_bytes,
        "buffers": 0,
    }
    assert answers.size_bytes > 5 * 1000
    assert answers.size_bytes_max == int(config().memory_budget * 0.2)


def test_a_closed_database_holds_nothing(db: Database, stones: Collection) -> None:
    stones.search("granite")
    memory = db._shared.memory
    assert memory.used_bytes()["query cache"] > 0
    db.close()
    assert set(memory.used_bytes().values()) == {0}


def test_a_comparison_of_generations_searches_anew(told: Collection, telling: Telling) -> None:
    told.search("granite")
    second = told.build(rocks(20))
    told.compare(1, second, queries=["granite"])
    assert telling.queries.count("granite") > 2


def test_an_evaluation_searches_anew(told: Collection, telling: Telling, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"query": "granite number3", "relevant": {"d3": 1}}\n', encoding="utf-8")
    for _ in range(2):
        evaluation.evaluate(told, evaluation.load(golden), modes=("vector",))
    assert telling.queries == ["granite number3"] * 2
