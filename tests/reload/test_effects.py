"""What takes effect with another configuration, and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Fusion
from outcrop.builds import gating
from outcrop.config import SERVED, with_values
from outcrop.engines.fallback import Breaker, FallbackIndex
from outcrop.errors import CollectionLocked
from outcrop.insights.segments import Reading
from outcrop.retrieval.generation import pinned
from tests.reload.conftest import ROCKS, write


def test_searches_follow_the_configured_fusion_and_no_answer_of_another_is_given(db: Database, rocks: Collection) -> None:
    def asked(**options: Any) -> dict[str, float]:
        return {hit.document_id: round(hit.score, 9) for hit in rocks.search("limestone layers", **options)}

    write(db, 'mode = "test"\nquery_cache_seconds = 60\n')
    db.reload()
    weighted, rrf = asked(fusion="weighted"), asked(fusion="rrf")
    lexical_first = asked(fusion=Fusion(vector_weight=0.0))
    assert weighted != rrf != lexical_first != weighted
    assert asked() == weighted
    for text, expected in (
        ('fusion = "rrf"', rrf),
        ("vector_weight = 0.0", lexical_first),
        ("", weighted),
        ('fusion = "rrf"\nvector_weight = 0.9', asked(fusion=Fusion("rrf", 0.9))),
    ):
        write(db, f'mode = "test"\nquery_cache_seconds = 60\n{text}\n')
        db.reload()
        assert asked() == asked() == asked(cache=False) == expected
        assert [round(hit.score, 9) for hit in rocks.search_many(["limestone layers"])[0]] == list(expected.values())
        assert asked(fusion="weighted") == weighted  # what is named is not changed by the configuration


def test_gates_ask_as_searches_do(db: Database, rocks: Collection) -> None:
    write(db, 'mode = "test"\nfusion = "rrf"\nvector_weight = 0.9\n')
    db.reload()
    with pinned(rocks._open.pin(None)) as opened:
        asked = gating.side(rocks._open.stage, db._shared.executor, opened).search("limestone layers")

    expected = rocks.search("limestone layers", fusion=Fusion("rrf", 0.9))
    assert [hit.score for hit in asked] == [hit.score for hit in expected]


def test_caches_give_back_memory_at_once(db: Database, rocks: Collection) -> None:
    write(db, 'mode = "test"\nquery_cache_seconds = 60\nmemory_budget = "1GB"\n')
    db.reload()
    for number in range(3000):
        rocks.search(f"limestone layers {number}")
    shared = db._shared
    held = shared.memory.account("query cache").used_bytes
    write(db, 'mode = "test"\nquery_cache_seconds = 60\nmemory_budget = "16MB"\n')
    db.reload()

    account = shared.memory.account("query cache")
    assert account.limit_bytes == 3_200_000
    assert account.used_bytes <= 3_200_000 < held or held <= 3_200_000
    answers = rocks.stats().query_cache
    assert answers is not None
    assert answers.size_bytes <= answers.size_bytes_max == 3_200_000

    write(db, 'mode = "test"\nquery_cache_seconds = 0\n')
    db.reload()
    assert shared.memory.account("query cache").used_bytes == 0
    assert not rocks.search("limestone layers 1").cached
    assert not rocks.search("limestone layers 1").cached
    assert rocks.stats().query_cache is None


def test_a_search_that_began_before_the_cache_was_turned_off_leaves_nothing_in_it(db: Database) -> None:
    cached = db._shared.cached
    cached.keep_for(60)
    cached.keep_for(0)
    cached._answers.put(b"key", b"value")
    assert db._shared.memory.account("query cache").used_bytes == 0


def test_the_embedding_cache_is_bounded_anew_and_turned_off(db: Database, rocks: Collection) -> None:
    cache = db._shared.embedding_cache
    before = cache.count()
    write(db, 'mode = "test"\nembedding_cache_bytes_max = 0\n')
    db.reload()
    rocks.upsert(Document(id="shale", text="shale is laminated"))
    assert (before, cache.enabled, cache.count()) == (4, False, 0)
    write(db, 'mode = "test"\n')
    db.reload()
    rocks.upsert(Document(id="tuff", text="tuff is made of ash"))
    assert (cache.enabled, cache.count()) == (True, 5)


def test_a_writer_waits_as_long_as_is_configured_now(db: Database, rocks: Collection) -> None:
    write(db, 'mode = "test"\nlock_timeout_seconds = 0.01\n')
    db.reload()
    with (
        outcrop.open(db.path) as other,
        other.collection("rocks")._open.stage.writing(),
        pytest.raises(CollectionLocked, match=r"0\.01"),
    ):
        rocks.delete("slate")


def test_what_has_begun_goes_on_with_its_configuration(db: Database, rocks: Collection) -> None:
    stage = rocks._open.stage
    write(db, 'mode = "test"\ncandidates = 50\nlock_timeout_seconds = 0.25\n')
    db.reload()

    assert (stage.config.candidates, rocks._open.stage.config.candidates) == (100, 50)
    assert rocks._open.stage.ingredients.config is rocks._open.stage.config is db.config
    assert rocks._open.stage is rocks._open.stage


def test_an_embedder_given_before_a_reload_is_known_after_it(db: Database, rocks: Collection) -> None:
    class Own:
        identity = outcrop.EmbedderIdentity("custom:own", "custom", "own", "1", 2, normalized=True)
        vector_weight = 0.5

        def embed_documents(self, texts: Any) -> Any:
            return [[1.0, 0.0] for _ in texts]

        def embed_query(self, text: str) -> Any:  # noqa: ARG002
            return [1.0, 0.0]

    own = Own()
    rocks._open.stage.ingredients.embedder(own)  # type: ignore[arg-type]
    write(db, 'mode = "test"\ncandidates = 50\n')
    db.reload()
    assert rocks._open.stage.ingredients.embedder("custom:own") is own


def test_background_work_begins_and_ends(db: Database, rocks: Collection) -> None:
    def watching() -> int:
        return sum(thread.name == "outcrop-watch" for thread in threading.enumerate())

    rocks.search("slate")
    before = watching()
    write(db, 'mode = "test"\nbackground = true\n')
    db.reload()
    assert watching() == before + 1
    rocks.upsert(Document(id="tuff", text="tuff is made of ash"))
    write(db, 'mode = "test"\n')
    db.reload()
    while watching() > before:
        threading.Event().wait(0.01)
    write(db, 'mode = "test"\nbackground = true\n')
    db.reload()
    assert watching() == before + 1


def test_a_share_of_searches_is_run_again_from_then_on(db: Database, rocks: Collection) -> None:
    rocks.search("slate")
    assert rocks.stats().live_recall is None
    write(db, 'mode = "test"\nlive_recall_share = 1.0\n')
    db.reload()
    rocks.search("slate")
    db._shared.executor.reruns.settle()
    found = rocks.stats().live_recall
    assert found is not None
    assert (found.share, found.searches) == (1.0, 1)


def test_searches_are_logged_from_then_on_as_the_configuration_wants(db: Database, rocks: Collection) -> None:
    def logged() -> list[str | None]:
        rocks._open.queries.flush()
        return [line.query for line in Reading(rocks._open.folder.queries, 0.0)]

    rocks.search("before")
    write(db, 'mode = "test"\nquery_log_share = 1.0\n')
    db.reload()
    rocks.search("in words")
    assert logged() == ["in words"]
    write(db, 'mode = "test"\nquery_log_share = 1.0\nquery_log_text = "hashed"\n')
    rocks.search("on its way")  # noted before, and written after
    db.reload()
    rocks.search("as a hash")
    assert len(logged()) == 3
    assert not {"on its way", "as a hash"} & set(logged())
    write(db, 'mode = "test"\n')
    db.reload()
    rocks.search("after")
    assert len(logged()) == 3
    rocks.close()
    write(db, 'mode = "test"\nquery_log_share = 1.0\n')
    db.reload()
    assert rocks._open.queries.stats() is None


def test_a_default_of_the_server_yields_to_the_file_and_comes_back(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=with_values(None, SERVED, query_log_share=1.0)) as db:
        found = [db.config.query_log_share]
        for text in ("query_log_share = 0.5", "candidates = 50"):
            write(db, text)
            db.reload()
            found.append(db.config.query_log_share)
        assert found == [1.0, 0.5, 1.0]
        assert {one.key: one.origin for one in db.config.settings()}["query_log_share"] == SERVED
        assert db.mode == "default"


def test_new_collections_get_the_embedder_of_now(db: Database) -> None:
    write(db, 'mode = "test"\nembedder = "hashing:16"\n')
    db.reload()
    made = db.create_collection("gems")
    made.upsert(ROCKS)
    assert made.active is not None
    assert made.active.recipe.dimension == 16


def test_queries_are_embedded_at_the_endpoint_of_now(db: Database, rocks: Collection) -> None:
    opened = rocks._open.openings.pin_active()
    assert opened is not None
    opened.unpin()
    before = opened.embedder
    opened._embedder = object()  # type: ignore[assignment]  # one for the endpoint of before
    write(db, 'mode = "test"\nopenai_base_url = "http://localhost:1/v1"\n')
    db.reload()
    assert opened.embedder is before


def test_the_breaker_of_an_open_generation_follows(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    with outcrop.open(tmp_path / "kb", config=Config.production(background=False)) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.upsert(ROCKS)
        opened = rocks._open.openings.pin_active()
        assert opened is not None
        opened.unpin()
        index = opened.index
        assert isinstance(index, FallbackIndex)
        breaker: Breaker = index._breaker
        assert not breaker.failed("disk")
        breaker.succeeded()
        write(db, "breaker_failures_max = 1\nbreaker_open_seconds = 0\n")
        db.reload()
        assert breaker.failed("disk")
        assert breaker.state == "half-open"
        assert index._policy.apply_seconds == 2.0


def test_a_reload_under_load_mixes_nothing(db: Database, rocks: Collection) -> None:
    """Two configurations that differ in two settings, which both show in the scores: each search must show both of one of them."""
    texts = ['mode = "test"\nfusion = "rrf"\nvector_weight = 0.9\n', 'mode = "test"\nvector_weight = 0.1\n']
    expected = set()
    for text in texts:
        write(db, text)
        db.reload()
        expected.add(tuple(round(hit.score, 9) for hit in rocks.search("limestone layers")))
    assert len(expected) == 2
    ended = threading.Event()

    def search() -> set[tuple[float, ...]]:
        found = set()
        while not ended.is_set():
            found.add(tuple(round(hit.score, 9) for hit in rocks.search("limestone layers")))
        return found

    with ThreadPoolExecutor(4) as threads:
        searches = [threads.submit(search) for _ in range(4)]
        for number in range(60):
            write(db, texts[number % 2])
            db.reload()
        ended.set()
        assert set().union(*(one.result() for one in searches)) == expected


def test_a_collection_that_is_made_while_the_configuration_changes_has_the_new_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Database._make_folder

    def reloaded_meanwhile(self: Database, made: Any) -> None:
        write(db, 'mode = "test"\nopenai_base_url = "https://there.example/v1"\n')
        db.reload()
        make(self, made)

    monkeypatch.setattr(Database, "_make_folder", reloaded_meanwhile)
    stage = db.create_collection("rocks", embedder="none")._open.stage
    assert stage.config.openai_base_url == stage.ingredients.config.openai_base_url == "https://there.example/v1"


def test_where_the_system_has_no_thread_to_give_the_reload_is_whole_and_searches_go_on(
    db: Database, rocks: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    rocks.search("slate", mode="lexical")
    with monkeypatch.context() as refused:
        refused.setattr(threading.Thread, "start", refuse)
        write(db, 'mode = "test"\nbackground = true\nquery_log_share = 1.0\n')
        assert [one.key for one in db.reload().changed] == ["background", "query_log_share"]
        assert len(rocks.search("slate", mode="lexical")) == 1
    assert "is not watched: can't start new thread" in caplog.text
    before = threading.active_count()
    db.reload()  # asks again
    assert threading.active_count() == before + 1
