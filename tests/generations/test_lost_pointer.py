"""A collection that was copied without its pointer: what it held is there, and nobody begins anew."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Config, Document, Gate
from outcrop.errors import Closed, Damaged, GateFailed, NoActiveGeneration
from outcrop.generations import pointer
from outcrop.generations.journal import Journal

ANYTHING = Gate(vanished_share_max=1.0)


@pytest.fixture(params=["auto", "never"], ids=["symlink", "pointer file"])
def rocks(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Collection]:
    """Generation 2 is active; the pointer is gone."""
    config = Config.test(symlinks=request.param)
    with outcrop.open(tmp_path / "kb", config=config) as db:
        made = db.create_collection("rocks", embedder="none")
        made.build([Document(f"d{n}", f"granite {n}") for n in range(5)], promote=True)
        made.promote(made.build([Document(f"d{n}", f"basalt {n}") for n in range(6)]), gate=ANYTHING)
        made.build([Document("d0", "chalk")])
    (tmp_path / "kb" / "rocks" / "active").unlink()
    with outcrop.open(tmp_path / "kb", config=config) as db:
        yield db.collection("rocks")


def test_a_search_restores_it_loudly(rocks: Collection, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "outcrop"):
        assert rocks.search("basalt").generation == 2
    assert "the journal says that generation 2 is active" in caplog.text
    assert rocks.active is not None
    assert rocks.active.number == 2


def test_a_write_goes_where_it_belongs(rocks: Collection) -> None:
    rocks.upsert(Document("new", "schist"))
    assert (rocks.count(), rocks.active.number) == (7, 2)  # type: ignore[union-attr]
    assert rocks.rollback().number == 1
    assert rocks.count() == 6


def test_a_build_and_a_promotion_go_on(rocks: Collection) -> None:
    assert rocks.promote(3, gate=ANYTHING).number == 3
    assert rocks.rollback().number == 2


def test_a_database_that_is_open_read_only_answers_and_changes_nothing(rocks: Collection, tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", read_only=True) as reading:
        hits = reading.collection("rocks").search("basalt")
        assert (hits.generation, len(hits)) == (2, 6)
        assert hits.degraded
        assert "is missing" in hits.degraded.reason
    assert not (tmp_path / "kb" / "rocks" / "active").exists()
    assert rocks.count() == 6


def test_where_the_generation_is_gone_too_the_newest_healthy_one_serves(rocks: Collection, tmp_path: Path) -> None:
    Path(rocks._open.folder.generation(rocks._open.folder.names()[1])).rename(tmp_path / "elsewhere")
    hits = rocks.search("granite")
    assert (hits.generation, len(hits)) == (1, 5)
    assert hits.degraded
    rocks.upsert(Document("new", "schist"))
    assert rocks.count() == 6


@pytest.mark.usefixtures("rocks")
def test_garbage_is_collected_as_if_the_pointer_were_there(tmp_path: Path) -> None:
    config = Config.test(kept_generations=0, kept_days=0)
    with outcrop.open(tmp_path / "kb", config=config) as db:
        collection = db.collection("rocks")
        assert [item.generation for item in collection.gc(dry_run=True).removed] == [1]
        assert [item.generation for item in collection.gc().removed] == [1]
        assert (collection.count(), collection.active.number) == (6, 2)  # type: ignore[union-attr]


def test_a_named_promotion_asks_its_gate_whatever_else_is_wrong(rocks: Collection) -> None:
    (Path(rocks.generations()[1].path) / "manifest.json").write_text("{")
    with pytest.raises(GateFailed):
        rocks.promote(3, gate=Gate(documents_min=10, vanished_share_max=1.0))
    assert "quarantine" not in [one.kind for one in rocks.history()]


def test_many_searches_that_meet_a_lost_pointer_to_damage_all_come_back(rocks: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pointer.swap
    monkeypatch.setattr(pointer, "swap", lambda *a, **k: (time.sleep(0.1), real(*a, **k))[1])
    (Path(rocks.generations()[1].path) / "manifest.json").write_text("{")
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(rocks.search("granite").generation), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [1] * 8


def test_a_collection_in_which_nothing_was_ever_promoted_is_as_before(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "new", config=Config.test()) as db:
        empty = db.create_collection("empty", embedder="none")
        with pytest.raises(NoActiveGeneration):
            empty.search("basalt")
        empty.upsert(Document("first", "basalt"))
        assert empty.count() == 1


def test_a_damaged_journal_keeps_nobody_from_searching(rocks: Collection, tmp_path: Path) -> None:
    rocks.search("basalt")
    Journal(tmp_path / "kb" / "rocks" / "journal.sqlite").close()
    rocks.close()
    (tmp_path / "kb" / "rocks" / "journal.sqlite").write_bytes(b"")
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        again = db.collection("rocks")
        assert len(again.search("basalt")) == 6
        (journal,) = [report for report in again.verify() if report.generation is None]
        assert not journal.healthy
        with pytest.raises(Damaged, match=r"journal\.sqlite"):
            again.upsert(Document("new", "schist"))


def test_an_old_handle_never_answers_from_a_collection_that_took_the_name(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db, outcrop.open(tmp_path / "kb", config=Config.test()) as other:
        old = db.create_collection("rocks", embedder="none")
        old.upsert(Document("x", "granite"))
        assert len(old.search("granite")) == 1
        other.drop_collection("rocks")
        with pytest.raises(Closed, match="dropped meanwhile"):
            old.search("granite")
        other.create_collection("rocks", embedder="none").upsert(Document("y", "granite"))
        for attempt in (lambda: old.search("granite"), old.count, lambda: old.upsert(Document("z", "granite"))):
            with pytest.raises(Closed, match="dropped meanwhile"):
                attempt()
