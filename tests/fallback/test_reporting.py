"""What a collection with two engines says of who answers, why, and whether LanceDB works."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop import Config
from outcrop.engines.lancedb.snapshot import LanceSnapshot
from outcrop.engines.lancedb.table import Tables
from outcrop.errors import EngineUnavailable
from tests.fallback.drilling import answered_by, config, opened, recovers, rocks

pytest.importorskip("lancedb")


def fail_once(collection: object, query: str = "granite") -> None:
    """One search whose lexical leg raises in LanceDB."""
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(LanceSnapshot, "lexical", _raise)
        collection.search(query, mode="lexical")  # type: ignore[attr-defined]


def _raise(*_: object) -> None:
    raise RuntimeError("a hiccup")


def test_an_answer_without_hits_counts_as_success(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", config(breaker_failures_max=2, breaker_open_seconds=600.0)) as collection:
        for failures in (1, 2, 3):
            fail_once(collection)
            hits = collection.search("marzipan", mode="lexical")
            assert (len(hits), hits.engine, hits.degraded) == (0, "lancedb", None)
            stats = collection.stats()
            assert stats.serving is not None
            assert (stats.serving.state, stats.serving.reason, stats.serving.failures) == ("closed", None, failures)


def test_without_a_fallback_stats_say_what_fails_and_that_it_works_again(tmp_path: Path) -> None:
    with opened(tmp_path / "kb"):
        pass
    with opened(tmp_path / "kb", config(fallback_to_mvp=False)) as collection:
        assert answered_by(collection) == "lancedb"
        with pytest.raises(EngineUnavailable, match="LanceDB failed: RuntimeError: a hiccup"):
            fail_once(collection)
        stats = collection.stats()
        assert str(stats.running) == "LanceDB only (failing: RuntimeError: a hiccup)"
        assert stats.degraded == "RuntimeError: a hiccup"
        assert not collection.search("marzipan", mode="lexical")
        stats = collection.stats()
        assert (str(stats.running), stats.degraded) == ("LanceDB only", None)


def test_a_reader_says_who_brings_lancedb_up_to_date(tmp_path: Path) -> None:
    with opened(tmp_path / "kb"):
        pass
    with opened(tmp_path / "kb", Config.default(background=False)) as collection:
        collection.upsert(rocks(1, "basalt", begin=100))
    with opened(tmp_path / "kb", read_only=True) as reader:
        hits = reader.search("basalt", mode="lexical")
        assert [hit.document_id for hit in hits] == ["d100"]
        assert hits.engine == "builtin"
        assert hits.degraded is not None
        assert hits.degraded.cause == "behind"
        assert hits.degraded.reason.endswith("a process that writes in mode production does, or outcrop optimize")
        assert str(reader.stats().running).startswith("built-in (fell back: LanceDB: its index holds the writes up to 0 of ")
        with opened(tmp_path / "kb") as writer:
            writer.optimize()
        recovers(reader)


def test_answers_of_the_fallback_are_counted_by_their_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "kb", config(lancedb_apply_seconds=0.0)) as collection:
        assert answered_by(collection) == "lancedb"
        fail_once(collection)
        assert collection.stats().fallbacks == {"failing": 1}
        recovers(collection)
        before = collection.stats().fallbacks.get("behind", 0)
        with monkeypatch.context() as held:
            held.setattr(Tables, "change", _raise)
            collection.upsert(rocks(1, "basalt", begin=100))
            hits = collection.search("basalt", mode="lexical")
        assert hits.degraded is not None
        stats = collection.stats()
        assert stats.fallbacks["failing"] + stats.fallbacks.get("behind", 0) >= 2 + before
        assert sum(stats.fallbacks.values()) == stats.answers["builtin"]
        recovers(collection)
