"""upsert, delete and update_metadata, as one process and as several see them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.builds import promotion
from outcrop.embedding import HashingEmbedder
from outcrop.errors import (
    CatchUpFailed,
    DuplicateDocument,
    EmbedderGone,
    InvalidDocument,
    InvalidInput,
    NotYetVisible,
    OutcropError,
    ReadOnly,
    StorageFailed,
    WritesMissing,
)
from outcrop.generations import journal
from outcrop.sqlite_files import readable
from outcrop.writes.catching_up import catch_up

ANYTHING = Gate(vanished_share_max=1.0)


@pytest.fixture
def rocks(db: Database) -> Collection:
    collection = db.create_collection("rocks", embedder="hashing:16")
    collection.build([Document(f"d{n}", f"granite number{n}", metadata={"n": n}) for n in range(10)], promote=True)
    return collection


def found(collection: Collection, query: str) -> list[str]:
    return [hit.document_id for hit in collection.search(query, mode="lexical", k=20)]


def test_a_write_says_what_it_did(rocks: Collection) -> None:
    first = rocks.upsert([Document("d1", "schist"), Document("new", "schist")])
    assert (first.upserted, first.replaced, first.chunks) == (2, 1, 2)
    second = rocks.delete(["new", "unknown"])
    assert (second.sequence, second.deleted) == (first.sequence + 1, 1)
    assert rocks.update_metadata(["d2", "unknown"], {"n": 99}).updated == 1
    assert rocks.upsert([]).sequence == rocks.delete([]).sequence == second.sequence + 1


def test_a_write_is_searchable_when_it_returns_here_and_elsewhere(rocks: Collection, db: Database) -> None:
    with outcrop.open(db.path, config=Config.test()) as other_db:
        other = other_db.collection("rocks")
        assert found(other, "gabbro") == []
        sequence = rocks.upsert(Document("late", "gabbro", metadata={"n": 100})).sequence
        for seen in (rocks, other):
            hits = seen.search("gabbro", where="n = 100", k=3)
            assert [hit.document_id for hit in hits] == ["late"]
            assert hits.sequence == sequence
            assert hits.index_lag == 1
        rocks.optimize()
        assert other.search("gabbro").index_lag == 0


def test_another_process_sees_a_write_at_its_next_query(rocks: Collection, db: Database) -> None:
    program = (
        "import sys, outcrop\n"
        "rocks = outcrop.open(sys.argv[1]).collection('rocks')\n"
        "for line in sys.stdin:\n"
        "    print(len(rocks.search(line.strip(), mode='lexical')), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(db.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def asked(query: str) -> int:
            reader.stdin.write(f"{query}\n")
            reader.stdin.flush()
            return int(reader.stdout.readline())

        assert asked("gabbro") == 0
        for number in range(1, 6):
            rocks.upsert(Document(f"g{number}", "gabbro"))
            assert asked("gabbro") == number
        rocks.delete(["g1", "g2"])
        assert asked("gabbro") == 3
        reader.stdin.close()


def test_the_first_write_makes_a_generation(db: Database) -> None:
    fresh = db.create_collection("fresh", embedder="hashing:16")
    assert fresh.delete("nothing").deleted == 0
    assert fresh.active is None
    assert fresh.upsert({"id": "a", "text": "granite"}).upserted == 1
    assert fresh.active.number == 1
    assert found(fresh, "granite") == ["a"]
    assert fresh.history()[0].source == "the first write"


def test_given_vectors_settle_the_dimension_of_the_first_generation(db: Database) -> None:
    fresh = db.create_collection("fresh", embedder="none")
    fresh.upsert([Document("x", "one", vector=[1, 0, 0]), Document("y", "two", vector=[0, 1, 0])])
    assert [hit.document_id for hit in fresh.search(vector=[0, 2, 0])] == ["y", "x"]
    with pytest.raises(InvalidDocument, match="has 2 numbers"):
        fresh.upsert(Document("z", "three", vector=[1, 0]))
    fresh.update_metadata("x", {"kept": True})
    assert [hit.document_id for hit in fresh.search(vector=[1, 0, 0], where="kept = true")] == ["x"]
    assert fresh.get("x")[0].vector.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ([Document("a", "one"), {"id": "", "text": "two"}], InvalidDocument),
        ([Document("a", "one"), {"id": "b"}], InvalidDocument),
        ([Document("a", "one"), Document("a", "two")], DuplicateDocument),
        ([Document("a", "one"), Document("b", "two", vector=[1.0, 2.0])], InvalidDocument),
        (7, OutcropError),
    ],
)
def test_a_bad_batch_changes_nothing(rocks: Collection, batch: object, error: type[OutcropError]) -> None:
    before = rocks.stats().sequence
    with pytest.raises(error):
        rocks.upsert(batch)  # type: ignore[arg-type]
    assert rocks.stats().sequence == before
    assert rocks.get(["a", "b"]) == []


def test_delete_takes_either_ids_or_a_filter(rocks: Collection) -> None:
    for arguments in ({}, {"ids": ["a"], "where": "n = 1"}, {"where": {}}, {"ids": [1]}):
        with pytest.raises(InvalidInput):
            rocks.delete(**arguments)
    assert rocks.delete(where="n >= 5").deleted == 5
    assert sorted(one.id for one in rocks.scan()) == [f"d{n}" for n in range(5)]


def test_metadata_is_merged_and_everything_else_stays(rocks: Collection) -> None:
    rocks.update_metadata("d3", {"colour": "red", "tags": ["a"]})
    rocks.update_metadata("d3", {"colour": "blue"})
    assert rocks.get("d3") == [Document("d3", "granite number3", metadata={"n": 3, "colour": "blue", "tags": ["a"]})]
    assert [hit.document_id for hit in rocks.search("granite", where="colour = 'blue'", mode="vector")] == ["d3"]
    with pytest.raises(InvalidDocument):
        rocks.update_metadata("d3", {"bad": object()})


def test_metadata_of_many_documents_is_set_with_few_openings_of_the_journal(
    rocks: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"m{n}" for n in range(300)]
    rocks.upsert([Document(one, "schist") for one in ids])
    rocks.update_metadata(ids, {"a": 1})
    opened: list[Path] = []
    monkeypatch.setattr(journal, "readable", lambda path: (opened.append(path), readable(path))[1])
    assert rocks.update_metadata([*ids, "unknown"], {"b": 2}).updated == 300
    assert 0 < len(opened) < 20
    assert rocks.get("m299")[0].metadata == {"a": 1, "b": 2}


def test_a_catch_up_that_goes_on_does_not_apply_a_write_before_its_writer(
    rocks: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been about to make this generation the active one."""
    opened = rocks._open.stage.openings.pin_active()
    catching_up = Thread(target=catch_up, args=(rocks._open.stage.journal, rocks._open.stage.live(opened)))

    def accepted(entries: object, real: Callable[[object], int] = rocks._open.stage.journal.accept) -> int:
        sequence = real(entries)
        catching_up.start()
        catching_up.join(timeout=0.3)  # it waits for the lock
        return sequence

    monkeypatch.setattr(rocks._open.stage.journal, "accept", accepted)
    result = rocks.upsert([Document("new", "gabbro"), Document("d1", "gabbro")])
    catching_up.join()
    opened.unpin()
    assert (result.upserted, result.replaced, result.chunks) == (2, 1, 2)
    assert sorted(found(rocks, "gabbro")) == ["d1", "new"]
    assert opened.documents.head().next_slot == 13


def test_a_read_only_database_writes_nothing(rocks: Collection, db: Database) -> None:
    assert rocks.active is not None
    with outcrop.open(db.path, config=Config.test(), read_only=True) as other:
        reading = other.collection("rocks")
        for write in (lambda: reading.upsert([]), lambda: reading.delete("d1"), lambda: reading.update_metadata("d1", {})):
            with pytest.raises(ReadOnly):
                write()
        assert len(found(reading, "granite")) == 10


def test_what_is_accepted_and_not_visible_becomes_visible_with_the_next_write(
    rocks: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outcrop.engines.builtin.index import BuiltinIndex

    def refuse(*_: object) -> None:
        raise StorageFailed("the disk is full", path="disk", errno_name="ENOSPC")

    with monkeypatch.context() as patched:
        patched.setattr(BuiltinIndex, "apply", refuse)
        with pytest.raises(NotYetVisible, match="accepted and durable") as caught:
            rocks.upsert(Document("late", "gabbro"))
    assert caught.value.sequence == rocks.stats().sequence
    assert found(rocks, "gabbro") == []
    rocks.delete("nothing")
    assert found(rocks, "gabbro") == ["late"]


def test_many_threads_may_write_at_once(rocks: Collection, db: Database) -> None:
    patient = outcrop.open(db.path, config=Config.test(lock_timeout_seconds=60.0))
    writing = patient.collection("rocks")

    def write(number: int) -> None:
        for place in range(5):
            writing.upsert(Document(f"t{number}-{place}", f"thread{number} gabbro"))

    threads = [Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    patient.close()
    assert len(found(rocks, "gabbro")) == 20
    assert rocks.count() == 30


def test_what_is_written_or_deleted_during_a_build_is_so_in_what_it_built(rocks: Collection) -> None:
    def source() -> Iterator[Document]:
        yield Document("d1", "from the source")
        yield Document("d2", "from the source", metadata={"n": 2, "kept": True})
        rocks.upsert(Document("during", "gabbro"))
        rocks.delete(["d1", "d5"])
        rocks.update_metadata("d2", {"n": 22})
        yield Document("d5", "deleted before it was read")

    rocks.promote(rocks.build(source()), gate=ANYTHING)
    assert {one.id: one.metadata for one in rocks.scan()} == {"d2": {"n": 22, "kept": True}, "during": {}}


def test_a_rebuild_can_keep_the_writes_made_since_the_last_build(rocks: Collection) -> None:
    rocks.upsert([Document("extra", "gabbro"), Document("d1", "newer than the source")])
    rocks.delete("d2")
    source = [Document(f"d{n}", "from the source") for n in range(4)]
    without = rocks.build(source)
    kept = rocks.build(source, keep_writes=True)
    rocks.promote(without, gate=ANYTHING)
    assert {one.id: one.text for one in rocks.scan()} == {f"d{n}": "from the source" for n in range(4)}
    rocks.promote(kept, gate=ANYTHING)
    assert {one.id: one.text for one in rocks.scan()} == {
        "d0": "from the source",
        "d1": "newer than the source",
        "d3": "from the source",
        "extra": "gabbro",
    }


def test_a_rollback_embeds_what_was_written_since_with_its_own_embedder(rocks: Collection) -> None:
    rocks.promote(rocks.build(embedder="hashing:8"))
    rocks.upsert([Document("late", "gabbro"), Document("d1", "changed granite")])
    rocks.delete("d2")
    plan = rocks.rollback(dry_run=True)
    assert (plan.generation, plan.entries, plan.embedded_documents, plan.lexical_documents) == (1, 3, 2, 0)
    assert rocks.rollback().number == 1
    hits = rocks.search("gabbro", mode="vector", k=20)
    assert hits[0].document_id == "late"
    assert "d2" not in {hit.document_id for hit in hits}
    assert rocks.rollback().number == 2


def test_a_rollback_whose_embedder_is_gone_says_so_and_can_be_had_lexically(tmp_path: Path) -> None:
    class Own(HashingEmbedder):
        @property
        def identity(self) -> outcrop.EmbedderIdentity:
            import msgspec

            return msgspec.structs.replace(super().identity, spec="custom:own")

    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder=Own(16))
        rocks.build([Document("a", "granite")], promote=True)
        rocks.promote(rocks.build(embedder="hashing:8"))
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:  # without the embedder of its own
        rocks = db.collection("rocks")
        rocks.upsert(Document("late", "gabbro"))
        plan = rocks.rollback(dry_run=True)
        assert plan.lexical_documents == 1
        assert "custom:own" in plan.reason
        with pytest.raises(EmbedderGone, match="allow_lexical"):
            rocks.rollback()
        assert rocks.active.number == 2
        assert rocks.rollback(allow_lexical=True).unembedded == 1
        assert found(rocks, "gabbro") == ["late"]
        hits = rocks.search("gabbro", vector=[1.0] * 16)
        assert "no vector" in hits.warnings[-1]


def test_a_generation_older_than_the_journal_is_refused(rocks: Collection, db: Database) -> None:
    from outcrop.generations.journal import Journal

    second = rocks.build()
    rocks.upsert(Document("late", "gabbro"))
    Journal(db.path / "rocks" / "journal.sqlite").trim(rocks.stats().sequence)
    with pytest.raises(WritesMissing):
        rocks.promote(second)
    assert found(rocks, "gabbro") == ["late"]


def test_a_promotion_that_cannot_catch_up_changes_nothing_and_names_both_rates(
    rocks: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = rocks.build(embedder="hashing:8")
    rocks.upsert(Document("late", "gabbro"))
    with monkeypatch.context() as patched:
        patched.setattr(promotion, "is_simple", lambda *_: False)
        with pytest.raises(CatchUpFailed, match="entries a second are applied") as caught:
            rocks.promote(second)
    assert caught.value.generation == 2
    assert rocks.active.number == 1
    assert rocks.promote(second).number == 2
    assert found(rocks, "gabbro") == ["late"]


def test_a_steady_writer_does_not_keep_a_promotion_from_its_end(rocks: Collection) -> None:
    second = rocks.build(embedder="hashing:8")
    stop = Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            document_id = f"w{len(written)}"
            rocks.upsert(Document(document_id, "gabbro"))
            written.append(document_id)

    writer = Thread(target=write)
    writer.start()
    try:
        for number in (2, 1, 2):
            assert rocks.promote(number).number == number
    finally:
        stop.set()
        writer.join()
    assert second.number == 2
    assert {one.id for one in rocks.scan()} == {*written, *(f"d{n}" for n in range(10))}
