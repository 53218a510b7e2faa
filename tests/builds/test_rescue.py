"""A damaged active generation: which other one takes its place, and which must not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate, Piece, sqlite_files
from outcrop.builds import quarantine
from outcrop.embedding import HashingEmbedder
from outcrop.errors import (
    CollectionLocked,
    Damaged,
    EmbedderGone,
    GateFailed,
    InvalidConfig,
    OutcropError,
    StorageFailed,
    WritesMissing,
)
from outcrop.generations import journal, locks
from outcrop.generations.journal import Journal

ANYTHING = Gate(vanished_share_max=1.0)


AS_NOBODY = """
import os, pathlib, sys, outcrop
path, part = map(pathlib.Path, sys.argv[1:])
with outcrop.open(path) as db:
    db.collection("rocks").search("granite")  # imports what nobody may not read
for one in [path, *path.rglob("*")]:
    os.chown(one, 65534, 65534, follow_symlinks=False)
os.chown(part, 0, 0)
part.chmod(0o700)
os.setgid(65534)
os.setuid(65534)
try:
    outcrop.open(path).collection("rocks").search("granite")
except outcrop.errors.StorageFailed:
    print("StorageFailed")
"""


class Lines:
    """A chunker of one's own."""

    spec = "custom:lines"

    def pieces(self, document: Document) -> Sequence[Piece]:
        return [Piece(document.text, 0, len(document.text), None, None)]


def documents(count: int) -> list[Document]:
    return [Document(f"d{n}", f"granite {n}") for n in range(count)]


def damage(collection: Collection) -> None:
    assert collection.active is not None
    (Path(collection.active.path) / "manifest.json").write_text("{")


def reopened(db: Database) -> Database:
    db.close()
    return outcrop.open(db.path, config=Config.test())


def test_the_next_candidate_is_tried_when_one_cannot_take_the_writes(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3), chunker=Lines()))
    rocks.promote(rocks.build(documents(3), chunker="none"))
    rocks.upsert(Document("late", "gabbro"))
    damage(rocks)
    with reopened(db) as again:  # without the chunker of its own, so 2 cannot cut what was written
        hits = again.collection("rocks").search("gabbro")
        assert (hits.generation, len(hits)) == (1, 1)


def test_one_that_is_older_than_the_journal_is_passed_over(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    rocks.upsert(Document("late", "gabbro"))
    rocks.build()
    Journal(db.path / "rocks" / "journal.sqlite").trim(rocks.stats().sequence)
    damage(rocks)
    with reopened(db) as again:
        assert again.collection("rocks").search("gabbro").generation == 3


def test_what_passes_is_no_reason_to_take_a_worse_one(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    first = rocks.build(documents(50), promote=True)
    rocks.promote(rocks.build(documents(50)))
    rocks.build(documents(2))
    damage(rocks)
    with reopened(db) as again, locks.applying(Path(first.path), 0), pytest.raises(CollectionLocked):
        again.collection("rocks").search("granite")
    with outcrop.open(db.path, config=Config.test()) as again:
        assert again.collection("rocks").search("granite").generation == 1


def test_rescues_that_come_to_nothing_are_not_tried_by_every_search(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    damage(rocks)
    rescued: list[int] = []
    real = quarantine.rescue
    monkeypatch.setattr(quarantine, "rescue", lambda *a, **k: (rescued.append(1), real(*a, **k))[1])
    with reopened(db) as again:
        for _ in range(5):
            with pytest.raises(Damaged):
                again.collection("rocks").search("granite")
    assert len(rescued) == 1


def test_an_index_that_is_ahead_of_its_documents_is_damage(db: Database, tmp_path: Path) -> None:
    """The folder was copied while it was written: the documents first, the text index later."""
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    db.close()
    shutil.copytree(db.path, tmp_path / "copy", symlinks=True)
    with outcrop.open(db.path, config=Config.test()) as writing:
        writing.collection("rocks").upsert(Document("late", "gabbro"))
    text = next((db.path / "rocks" / "generations").glob("*/builtin/text"))
    there = tmp_path / "copy" / text.relative_to(db.path)
    shutil.rmtree(there)
    shutil.copytree(text, there)
    with outcrop.open(tmp_path / "copy", config=Config.test()) as copied:
        collection = copied.collection("rocks")
        (report, _) = collection.verify()
        assert not report.healthy
        with pytest.raises(Damaged, match="copied while it was written"):
            collection.upsert(Document("other", "chalk"))


def test_one_that_a_gate_refused_never_serves(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(40), promote=True)
    bad = rocks.build(documents(1))
    with pytest.raises(GateFailed):
        rocks.promote(bad)
    damage(rocks)
    with reopened(db) as again:
        collection = again.collection("rocks")
        with pytest.raises(Damaged, match=r"manifest\.json"):
            collection.search("granite")
        assert collection.promote(bad, force=True).number == 2  # a person may
        assert not (Path(bad.path) / "refused").exists()


def test_many_searches_that_meet_the_damage_rescue_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    damage(rocks)
    rescued: list[int] = []
    real = quarantine.rescue
    monkeypatch.setattr(quarantine, "rescue", lambda *a, **k: (rescued.append(1), real(*a, **k))[1])
    with reopened(db) as again:
        collection = again.collection("rocks")
        threads = [threading.Thread(target=collection.search, args=("granite",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(rescued) == 1
        assert [one.kind for one in collection.history()] == ["promote", "promote", "quarantine"]


def test_a_stand_in_serves_only_as_long_as_it_holds_every_write(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    damage(rocks)
    db.close()
    with outcrop.open(db.path, read_only=True) as reading:
        standing_in = reading.collection("rocks")
        assert standing_in.search("granite").degraded
        Journal(db.path / "rocks" / "journal.sqlite").accept([("delete", "d1", b"")])
        with pytest.raises(Damaged):
            standing_in.search("granite")


def test_a_stand_in_keeps_the_journal_open_between_searches(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    damage(rocks)
    db.close()
    opened: list[str] = []
    reading_from = sqlite_files.readable

    def counting(path: Path) -> sqlite3.Connection:
        opened.append(path.name)
        return reading_from(path)

    with outcrop.open(db.path, config=Config.test(), read_only=True) as reading:
        standing_in = reading.collection("rocks")
        assert standing_in.search("granite").degraded
        for module in (sqlite_files, journal):
            monkeypatch.setattr(module, "readable", counting)
        for _ in range(5):
            assert standing_in.search("granite").degraded
    assert opened.count("journal.sqlite") == 1


def test_a_flipped_bit_in_a_manifest_is_damage_wherever_it_is(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(3), promote=True)
    path = Path(rocks.generations()[0].path) / "manifest.json"
    record = db.path / "rocks" / "collection.json"
    db.close()
    for file in (path, record):
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
            with outcrop.open(db.path, read_only=True) as reading, pytest.raises(OutcropError):
                reading.collection("rocks").search("granite")
        changed = whole.replace(b"english", b"simple ") if file == record else whole.replace(b'"english"', b'"german" ')
        assert changed != whole
        file.write_bytes(changed)
        with outcrop.open(db.path, read_only=True) as reading, pytest.raises(Damaged, match="checksum"):
            reading.collection("rocks").search("granite")
        file.write_bytes(whole)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser can become another user")
def test_what_one_may_not_read_is_not_damaged(db: Database, tmp_path: Path) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:8")
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    part = next((Path(rocks.generations()[1].path) / "parts").glob("part-*"))
    db.close()
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to(tempfile.gettempdir()) and not path.stat().st_mode & stat.S_ISVTX:
            path.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, db.path, part], capture_output=True, text=True, check=False)
    assert done.stdout == "StorageFailed\n", done.stderr
    with outcrop.open(db.path, config=Config.test()) as again:
        assert [info.status for info in again.collection("rocks").generations()] == ["archived", "active"]


def test_a_restored_generation_that_lacks_writes_stays_set_aside(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    first = rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(documents(3)))
    mark = Path(first.path) / "quarantined"
    mark.write_text("{}")
    rocks.upsert(Document("late", "gabbro"))
    Journal(db.path / "rocks" / "journal.sqlite").trim(rocks.stats().sequence)
    with pytest.raises(WritesMissing):
        rocks.promote(first)
    assert mark.exists()
    with pytest.raises(WritesMissing):
        rocks.rollback(dry_run=True)


def test_a_rollback_to_a_generation_whose_embedder_is_gone_is_refused_also_if_nothing_was_written(db: Database) -> None:
    class Own(HashingEmbedder):
        @property
        def identity(self) -> outcrop.EmbedderIdentity:
            import msgspec

            return msgspec.structs.replace(super().identity, spec="custom:own")

    rocks = db.create_collection("rocks", embedder=Own(16))
    rocks.build(documents(3), promote=True)
    rocks.promote(rocks.build(embedder="hashing:8"))
    with reopened(db) as again:
        collection = again.collection("rocks")
        plan = collection.rollback(dry_run=True)
        assert (plan.entries, plan.lexical_documents) == (0, 0)
        assert plan.reason is not None
        assert "custom:own" in plan.reason
        with pytest.raises(EmbedderGone, match="cannot be used"):
            collection.rollback()
        assert collection.rollback(allow_lexical=True).number == 1
        assert len(collection.search("granite", mode="lexical")) == 3


def test_a_rollback_to_a_generation_whose_chunker_is_not_known_here_asks_for_the_chunker(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:8")
    rocks.build(documents(3), promote=True, chunker=Lines())
    rocks.promote(rocks.build(chunker="none"))
    rocks.upsert(Document("late", "gabbro"))
    with reopened(db) as again:
        collection = again.collection("rocks")
        for allow_lexical in (False, True):
            with pytest.raises(InvalidConfig, match=r"generation 1 .*custom:lines.*chunker=") as raised:
                collection.rollback(allow_lexical=allow_lexical)
            assert "allow_lexical" not in raised.value.message
        assert again.collection("rocks", chunker=Lines()).rollback().number == 1
        collection.upsert(Document("later", "basalt"))
        assert {hit.document_id for hit in collection.search("gabbro basalt", mode="lexical")} == {"late", "later"}


def test_an_error_after_a_write_is_in_is_no_error_of_the_write(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from outcrop.builds import maintenance

    rocks = db.create_collection("rocks", embedder="none")

    def full(*_: object) -> None:
        raise StorageFailed("the disk is full", path="x", errno_name="ENOSPC")

    monkeypatch.setattr(maintenance, "_tidy", full)
    assert rocks.upsert(Document("a", "granite")).upserted == 1
    assert rocks.count() == 1
