"""Putting generations live and taking them back."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.errors import Damaged, NothingToRollBack, ReadOnly, StorageFailed, UnknownGeneration
from outcrop.generations import pointer
from outcrop.generations.journal import Journal
from tests.damage import overwrite


@pytest.fixture(params=["auto", "never"], ids=["symlink", "pointer file"])
def db(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    with outcrop.open(tmp_path / "kb", config=Config.test(symlinks=request.param)) as opened:
        yield opened


def stamped(number: int, count: int = 30) -> list[Document]:
    """Documents that say which generation they belong to."""
    return [Document(f"d{i}", f"granite of generation {number}", metadata={"stamp": number}) for i in range(count)]


@pytest.fixture
def rocks(db: Database) -> Collection:
    collection = db.create_collection("rocks", embedder="hashing:16")
    for number in (1, 2, 3):
        collection.build(stamped(number))
    return collection


def stamps(collection: Collection) -> set[int]:
    return {hit.metadata["stamp"] for hit in collection.search("granite", k=20)}


def test_the_status_follows_the_promotions(rocks: Collection) -> None:
    rocks.promote(1)
    rocks.promote(2)
    assert [(info.number, info.status, info.promoted_from) for info in rocks.generations()] == [
        (1, "archived", None),
        (2, "active", 1),
        (3, "ready", None),
    ]
    assert stamps(rocks) == {2}


def test_a_rollback_goes_to_where_the_active_one_came_from_and_a_second_one_forward(rocks: Collection) -> None:
    rocks.promote(1)
    rocks.promote(3)
    rocks.promote(2)
    assert rocks.rollback().number == 3
    assert stamps(rocks) == {3}
    assert rocks.rollback().number == 2
    assert stamps(rocks) == {2}


def test_there_is_nothing_to_roll_back_at_first(rocks: Collection) -> None:
    with pytest.raises(NothingToRollBack, match="nothing was ever promoted"):
        rocks.rollback()
    rocks.promote(1)
    with pytest.raises(NothingToRollBack, match="generation 1 was the first"):
        rocks.rollback()
    rocks.promote(1)
    with pytest.raises(NothingToRollBack):
        rocks.rollback()


def test_a_generation_is_named_by_info_number_or_uuid(rocks: Collection) -> None:
    first, second, third = rocks.generations()
    for wanted in (first, second.number, third.uuid):
        active = rocks.promote(wanted)
        assert active.status == "active"
    for unknown in (17, "0" * 32, True):
        with pytest.raises(UnknownGeneration, match="there are: 1, 2, 3"):
            rocks.promote(unknown)


def test_every_answer_during_promotions_comes_from_one_generation(rocks: Collection) -> None:
    rocks.promote(1)
    stop = threading.Event()
    faults: list[object] = []
    answers: set[int] = set()

    def search() -> None:
        while not stop.is_set():
            try:
                hits = rocks.search("granite", k=20)
                found = {hit.metadata["stamp"] for hit in hits}
                if found != {hits.generation} or len(hits) != 20:
                    faults.append((hits.generation, found, len(hits)))
                answers.add(hits.generation)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                faults.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        for number in (2, 3, 1):
            rocks.promote(number)
            assert rocks.search("granite").generation == number
        rocks.rollback()
    stop.set()
    for thread in threads:
        thread.join()

    assert faults == []
    assert len(answers) >= 2


def test_a_search_that_has_begun_ends_on_its_generation(rocks: Collection) -> None:
    rocks.promote(1)
    rocks.search("granite")
    scan = rocks.scan()
    first = next(scan)
    rocks.promote(2)
    assert stamps(rocks) == {2}
    assert {document.metadata["stamp"] for document in [first, *scan]} == {1}


ASK = """
import json, sys, outcrop
with outcrop.open(sys.argv[1], read_only=True) as db:
    rocks = db.collection("rocks")
    for line in sys.stdin:
        hits = rocks.search("granite", k=5)
        print(json.dumps([hits.generation, sorted({hit.metadata["stamp"] for hit in hits})]), flush=True)
"""


def test_another_process_sees_a_promotion_at_its_next_query(db: Database, rocks: Collection) -> None:
    rocks.promote(1)
    other = subprocess.Popen(
        [sys.executable, "-c", ASK, str(db.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        for number in (1, 2, 3, 1):
            rocks.promote(number)
            other.stdin.write("ask\n")
            other.stdin.flush()
            assert json.loads(other.stdout.readline()) == [number, [number]]
    finally:
        other.stdin.close()
        other.wait(30)
        other.stdout.close()
    assert other.returncode == 0


def test_a_damaged_generation_cannot_go_live(rocks: Collection) -> None:
    rocks.promote(1)
    manifest = Path(rocks.generations()[1].path) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"chunk_count": 30', '"chunk_count": 31'))
    with pytest.raises(Damaged, match=r"manifest\.json"):
        rocks.promote(2)
    assert [info.number for info in rocks.generations()] == [1, 3]
    assert [damage.name.number for damage in rocks.damaged()] == [2]
    assert stamps(rocks) == {1}


def test_a_part_that_was_cut_off_is_noticed_at_open(rocks: Collection) -> None:
    rocks.promote(1)
    vectors = next(Path(rocks.generations()[1].path).rglob("vectors.f32"))
    overwrite(vectors, vectors.read_bytes()[:-4])
    with pytest.raises(Damaged, match=r"vectors\.f32 has"):
        rocks.promote(2)
    assert stamps(rocks) == {1}


@pytest.mark.parametrize("name", ["vectors.f32", "slots.npy", "data.bin"])
def test_one_changed_byte_is_noticed_before_going_live(rocks: Collection, name: str) -> None:
    rocks.promote(1)
    path = next(Path(rocks.generations()[1].path).rglob(name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(path, content)
    with pytest.raises(Damaged, match=rf"{name.replace('.', '[.]')} was changed"):
        rocks.promote(2)
    assert stamps(rocks) == {1}


def test_a_read_only_database_refuses_to_change(db: Database, rocks: Collection) -> None:
    rocks.promote(1)
    with outcrop.open(db.path, read_only=True) as other:
        same = other.collection("rocks")
        assert stamps(same) == {1}
        for change in (
            lambda: same.promote(2),
            same.rollback,
            lambda: same.build(stamped(4)),
            lambda: other.drop_collection("rocks"),
        ):
            with pytest.raises(ReadOnly):
                change()
    assert rocks.active is not None
    assert rocks.active.number == 1


def test_a_rollback_to_a_damaged_generation_is_refused(rocks: Collection) -> None:
    rocks.promote(1)
    rocks.promote(2)
    next(Path(rocks.generations()[0].path).rglob("vectors.f32")).unlink()
    with pytest.raises(Damaged, match=r"vectors\.f32"):
        rocks.rollback()
    assert stamps(rocks) == {2}
    assert rocks.rollback(to=3).number == 3
    assert stamps(rocks) == {3}


def test_a_changed_byte_of_the_text_index_is_noticed_before_going_live(rocks: Collection) -> None:
    rocks.promote(1)
    path = next((Path(rocks.generations()[1].path) / "builtin" / "text").glob("*.term"))
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    overwrite(path, content)
    with pytest.raises(Damaged):
        rocks.promote(2)
    assert stamps(rocks) == {1}


def test_a_pointer_to_a_generation_that_is_gone_is_mended_by_the_next_search(db: Database, rocks: Collection) -> None:
    rocks.promote(1)
    active = db.path / "rocks" / "active"
    active.unlink()
    active.write_text("generations/000009-" + "0" * 32)
    hits = rocks.search("granite")
    assert hits.generation == 1
    assert hits.degraded
    assert rocks.active.status == "active"


def test_a_pointer_that_cannot_be_read_is_mended_by_a_promotion(db: Database, rocks: Collection) -> None:
    rocks.promote(1)
    active = db.path / "rocks" / "active"
    active.unlink()
    active.write_text("nonsense")
    assert "rocks" in repr(rocks)
    assert [info.number for info in rocks.generations()] == [1, 2, 3]
    for use in (lambda: rocks.search("granite"), rocks.stats, lambda: rocks.active):
        with pytest.raises(Damaged):
            use()
    assert rocks.promote(2).status == "active"
    assert stamps(rocks) == {2}


def test_a_sole_damaged_generation_can_be_replaced_by_a_build(db: Database) -> None:
    alone = db.create_collection("alone", embedder="hashing:16")
    only = alone.build(stamped(1), promote=True)
    (Path(only.path) / "manifest.json").write_text("{")
    with pytest.raises(Damaged):
        alone.stats()
    assert alone.build(stamped(2), promote=True).number == 2
    assert stamps(alone) == {2}


@pytest.mark.parametrize(
    "failure", [StorageFailed("the disk is full", path="x", errno_name="ENOSPC"), KeyboardInterrupt()], ids=repr
)
def test_a_swap_that_fails_leaves_no_trace(db: Database, rocks: Collection, monkeypatch: pytest.MonkeyPatch, failure: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    def unfinished() -> list[Any]:
        found = [Journal(db.path / name / "journal.sqlite").promotions() for name in ("rocks", "empty")]
        return [one for promotions in found for one in promotions if one.done_at is None]

    rocks.promote(1)
    empty = db.create_collection("empty", embedder="none")
    monkeypatch.setattr(pointer, "swap", fail)
    with pytest.raises(type(failure)):
        rocks.promote(2)
    with pytest.raises(type(failure)):
        empty.upsert(Document("first", "granite"))
    assert rocks.active.number == 1
    assert unfinished() == []
    monkeypatch.undo()
    assert rocks.promote(2).number == 2
    assert empty.upsert(Document("first", "granite")).upserted == 1
    assert unfinished() == []


def test_a_generation_that_is_being_promoted_is_not_collected(db: Database, rocks: Collection) -> None:
    rocks.promote(1)
    rocks.promote(2)

    def collects(_: outcrop.GateContext) -> bool:
        with outcrop.open(db.path, config=Config.test(kept_generations=0, kept_days=0)) as other:
            report = other.collection("rocks").gc()
        return report.removed == () and "open in a process" in report.kept[0].reason

    assert rocks.promote(1, gate=Gate(vanished_share_max=1.0, checks=(collects,))).number == 1


def test_a_promotion_cut_short_after_its_swap_counts(db: Database, rocks: Collection) -> None:
    """As a crash leaves it: the pointer is swapped, the end not recorded; then another promotion is intended and never happens."""
    journal = Journal(db.path / "rocks" / "journal.sqlite")
    rocks.promote(1)
    rocks.promote(2)
    with sqlite3.connect(journal.path) as connection:
        connection.execute("UPDATE promotions SET done_at = NULL WHERE generation = 2")
    connection.close()
    assert [info.status for info in rocks.generations()] == ["archived", "active", "ready"]
    rocks.promote(3)
    assert [info.status for info in rocks.generations()] == ["archived", "archived", "active"]
    journal.intend(1, 3, "promote", source="a test")
    assert rocks.rollback().number == 2
    assert rocks.rollback().number == 3
