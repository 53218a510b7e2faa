"""Drills with the real LanceDB: what breaks, who answers meanwhile, that nothing is lost, and that it heals by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Collection
from outcrop.engines.fallback import index as fallback_index
from outcrop.engines.lancedb import library
from outcrop.engines.lancedb.snapshot import LanceSnapshot
from outcrop.engines.lancedb.table import Tables
from tests.fallback.drilling import (
    answered_by,
    assert_honest,
    config,
    eventually,
    found,
    generation,
    opened,
    recovers,
    rocks,
)

pytest.importorskip("lancedb")


def failing_searches(monkeypatch: pytest.MonkeyPatch, share: float) -> list[int]:
    """Let this share of LanceDB's legs raise; the list says how many have."""
    dice, raised, search = random.Random(7), [], LanceSnapshot._retried

    def retried(self: LanceSnapshot, read: Callable[..., Any]) -> Any:
        if dice.random() < share:
            raised.append(1)
            raise RuntimeError("injected")
        return search(self, read)

    monkeypatch.setattr(LanceSnapshot, "_retried", retried)
    return raised


def test_a_healthy_collection_answers_from_lancedb_and_keeps_up_with_writes(tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as collection:
        info = collection.generations()[0]
        assert info.recipe.engine == "lancedb+builtin"
        assert "(LanceDB)" in str(info.vector_index)
        for turn in range(5):
            collection.upsert(rocks(2, "basalt", begin=100 + 2 * turn))
            collection.delete([f"d{turn}"])
            assert answered_by(collection) == "lancedb"
        assert found(collection, "basalt", mode="lexical") == {f"d{n}" for n in range(100, 110)}
        assert found(collection, "granite", mode="lexical") == {f"d{n}" for n in range(5, 30)}
        stats = collection.stats()
        assert (str(stats.running), stats.degraded, stats.answers, stats.fallback_rate) == (
            "LanceDB with built-in fallback",
            None,
            {"lancedb": 7},
            0.0,
        )
        assert stats.serving is not None
        assert (stats.serving.engine, stats.serving.state, stats.serving.failures) == ("lancedb", "closed", 0)
        assert (stats.serving.reason, stats.serving.writes_behind) == (None, 0)
        assert collection.optimize().absorbed > 0
        assert collection.search("basalt").index_lag == 0
        assert all(one.healthy for one in collection.verify())


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_exceptions_in_queries_never_reach_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    with opened(tmp_path / "kb", config(breaker_open_seconds=0.02)) as collection:
        expected = found(collection, "quarry", mode="lexical", where="n < 20")
        with monkeypatch.context() as broken:
            raised = failing_searches(broken, share)
            for number in range(150):
                hits = collection.search(f"quarry number{number % 30}", mode=("lexical", "vector", "hybrid")[number % 3], k=30)
                assert hits[0].document_id == f"d{number % 30}"
                assert_honest(hits)
                assert found(collection, "quarry", mode="lexical", where="n < 20") == expected
                if number % 50 == 10:
                    collection.upsert(rocks(1, "basalt", begin=200 + number))
                    assert found(collection, "basalt", where=f"n = {200 + number}") == {f"d{200 + number}"}
            assert raised
        stats = collection.stats()
        assert stats.serving is not None
        assert stats.serving.failures
        assert stats.fallback_rate is not None
        assert stats.fallback_rate == pytest.approx(1 - stats.answers.get("lancedb", 0) / sum(stats.answers.values()))
        assert stats.fallback_rate > 0
        assert share > 0.01 or stats.fallback_rate < 0.3
        if share == 1.0:
            assert str(stats.running).startswith("built-in (fell back: LanceDB: RuntimeError: injected")
            assert stats.answers["lancedb"] == 1  # before it
            assert len(raised) < 150, "the breaker does not open"
        recovers(collection)
        assert found(collection, "basalt", mode="lexical") == {"d210", "d260", "d310"}


def test_what_fails_in_one_leg_always_opens_the_breaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "kb", config(breaker_open_seconds=600.0)) as collection:
        with monkeypatch.context() as broken:

            def lexical(*_: object) -> None:
                raise RuntimeError("no words today")

            broken.setattr(LanceSnapshot, "lexical", lexical)
            for _ in range(8):
                assert answered_by(collection) == "builtin"
        stats = collection.stats()
        assert stats.serving is not None
        assert (stats.serving.state, stats.serving.failures) == ("open", 3)


def test_a_record_is_logged_once_for_each_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "kb") as collection, caplog.at_level(logging.WARNING, "outcrop"):
        with monkeypatch.context() as broken:
            failing_searches(broken, 1.0)
            for _ in range(20):
                assert answered_by(collection) == "builtin"
        recovers(collection)
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert events == ["engine_failed", "engine_left_alone", "engine_recovered"]


def removed(table: Path) -> None:
    shutil.rmtree(table)


def data_removed(table: Path) -> None:
    for path in (table / "data").iterdir():
        path.unlink()


def truncated(table: Path) -> None:
    for path in (path for path in table.rglob("*") if path.is_file()):
        os.truncate(path, path.stat().st_size // 2)


def indexes_removed(table: Path) -> None:
    shutil.rmtree(table / "_indices")


@pytest.mark.parametrize("harm", [removed, data_removed, truncated, indexes_removed])
@pytest.mark.parametrize("while_serving", [True, False])
def test_a_table_that_is_harmed_is_built_anew(tmp_path: Path, harm: Callable[[Path], None], while_serving: bool) -> None:
    kb = tmp_path / "kb"
    with opened(kb) as collection:
        collection.upsert(rocks(3, "basalt", begin=100))
        table = generation(kb) / "lancedb" / "chunks.lance"
        if while_serving:
            harm(table)
            for number in range(30):
                hits = collection.search(f"number{number}", mode="lexical")
                assert_honest(hits)
                assert [hit.document_id for hit in hits] == [f"d{number}"]
            collection.upsert(rocks(1, "marble", begin=500))
            assert found(collection, "marble", mode="lexical") == {"d500"}
    if not while_serving:
        harm(table)
    with opened(kb) as collection:
        collection.delete(["d1"])
        assert found(collection, "granite", mode="lexical") == {f"d{n}" for n in range(30) if n != 1}
        assert found(collection, "basalt", mode="lexical") == {"d100", "d101", "d102"}
        assert "d100" in found(collection, "basalt of quarry number100", mode="vector")
        recovers(collection)
        assert all(one.healthy for one in collection.verify())
        assert collection.generations()[0].status == "active"


def test_a_table_that_cannot_be_written_lags_and_catches_up_when_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "kb") as collection:
        with monkeypatch.context() as broken:

            def change(self: Tables, *_: object) -> None:
                raise OSError(30, "Read-only file system", str(self.place))

            broken.setattr(Tables, "change", change)
            for turn in range(4):
                collection.upsert(rocks(1, "basalt", begin=100 + turn))
                hits = collection.search("basalt", mode="lexical", k=50)
                assert_honest(hits)
                assert len(hits) == turn + 1
                assert hits.engine == "builtin"
            collection.delete(["d0"])
            assert "Read-only file system" in str(collection.stats().running)
        recovers(collection)
        assert len(found(collection, "basalt", mode="lexical")) == 4
        assert "d0" not in found(collection, "granite")


def test_a_write_that_hangs_in_lancedb_stops_no_writer_and_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, change = threading.Event(), Tables.change

    def hanging(self: Tables, *arguments: Any) -> None:
        assert go_on.wait(120)
        change(self, *arguments)

    with opened(tmp_path / "kb", config(lancedb_apply_seconds=0.3, breaker_open_seconds=600.0)) as collection:
        monkeypatch.setattr(Tables, "change", hanging)
        began = time.monotonic()
        for turn in range(20):
            collection.upsert(rocks(1, "basalt", begin=100 + turn))
            hits = collection.search("basalt", mode="lexical", k=50)
            assert (hits.engine, len(hits)) == ("builtin", turn + 1)
            assert "did not take a write within 0.3 s" in str(hits.degraded)
        assert time.monotonic() - began < 3 * 0.3 + 15, "writers wait for LanceDB although it hangs"
        stats = collection.stats()
        assert stats.serving is not None
        assert stats.serving.state == "open"
        go_on.set()
        recovers(collection)
        assert len(found(collection, "basalt", mode="lexical")) == 20


def test_a_search_that_hangs_in_lancedb_is_given_up_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(self: LanceSnapshot, _: object) -> Any:
        with library.calling(self._place, "read"):
            return library.run(asyncio.sleep(120), seconds_max=0.1)

    with opened(tmp_path / "kb") as collection:
        with monkeypatch.context() as broken:
            broken.setattr(LanceSnapshot, "_retried", hanging)
            hits = collection.search("number7", mode="lexical")
            assert_honest(hits)
            assert (hits[0].document_id, hits.engine) == ("d7", "builtin")
            assert "LanceDB did not answer within 0.1 s" in str(hits.degraded)
        recovers(collection)


def test_closing_waits_for_a_hung_lancedb_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    with opened(tmp_path / "kb", config(lancedb_apply_seconds=0.3)) as collection:
        monkeypatch.setattr(Tables, "change", lambda *_: go_on.wait(120))
        collection.upsert(rocks(1, "basalt", begin=100))
        began = time.monotonic()
    assert time.monotonic() - began < 10
    go_on.set()


def test_what_is_beyond_what_is_remembered_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback_index, "_LAG_CHUNKS_MAX", 5)
    kb = tmp_path / "kb"
    with opened(kb) as collection:
        identity = (generation(kb) / "lancedb" / "identity").read_text()
        with monkeypatch.context() as broken:
            broken.setattr(Tables, "change", broken_change)
            forget(collection)
            for turn in range(4):
                collection.upsert(rocks(10, f"basalt{turn}", begin=100))
                forget(collection)
            collection.delete(["d0", "d100"])
            assert answered_by(collection) == "builtin"
        recovers(collection)
        assert (generation(kb) / "lancedb" / "identity").read_text() != identity
        assert found(collection, "basalt3", mode="lexical") == {f"d{n}" for n in range(101, 110)}
        assert found(collection, "basalt2", mode="lexical") == set()
        assert "d0" not in found(collection, "quarry number0", mode="vector")


def test_what_is_remembered_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kb = tmp_path / "kb"
    with opened(kb) as collection:
        identity = (generation(kb) / "lancedb" / "identity").read_text()
        with monkeypatch.context() as broken:
            broken.setattr(Tables, "change", broken_change)
            for turn in range(4):
                collection.upsert(rocks(10, f"basalt{turn}", begin=100))
                forget(collection)
            collection.delete(["d0", "d100"])
        recovers(collection)
        assert (generation(kb) / "lancedb" / "identity").read_text() == identity
        assert found(collection, "basalt3", mode="lexical") == {f"d{n}" for n in range(101, 110)}


def broken_change(self: Tables, *_: object) -> None:
    raise OSError(5, "Input/output error", str(self.place))


def forget(collection: Collection) -> None:
    """Absorb, and forget what ended as if it were long ago."""
    with collection._open.stage.opened(collection._open.folder.names()[-1]) as (generation, live):
        for _ in range(2):
            generation.index.absorb(live.applying, keep_seconds=-1.0)


def test_the_first_write_of_a_collection_makes_both_indexes(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        collection = db.create_collection("rocks", embedder="hashing:32")
        collection.upsert(rocks(3))
        assert answered_by(collection) == "lancedb"
        collection.delete(["d0"])
        assert found(collection, "granite") == {"d1", "d2"}
        assert answered_by(collection) == "lancedb"
        assert all(one.healthy for one in collection.verify())


@pytest.mark.parametrize("background", [False, True])
def test_searches_beside_a_busy_writer_are_right_whoever_answers(tmp_path: Path, background: bool) -> None:
    with opened(tmp_path / "kb", config(background=background, tail_chunks_max=8)) as collection:
        stop, wrong, engines = threading.Event(), [], []

        def search() -> None:
            while not stop.is_set():
                hits = collection.search("pair", mode="lexical", k=90)
                engines.append(hits.engine)
                if len(hits) % 2 or (hits.engine == "builtin") != bool(hits.degraded):
                    wrong.append((len(hits), hits.engine, hits.degraded))

        readers = [threading.Thread(target=search) for _ in range(2)]
        for reader in readers:
            reader.start()
        for turn in range(15):
            collection.upsert(rocks(2, "pair", begin=1000 + 2 * turn))
        stop.set()
        for reader in readers:
            reader.join()
        assert not wrong
        eventually(lambda: answered_by(collection, "pair") == "lancedb")
        assert len(found(collection, "pair", mode="lexical")) == 30
        assert "lancedb" in engines
