"""upsert_many: a stream of documents, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

import outcrop
from outcrop import BadRecord, Collection, Config, Database, Document, Progress, WrittenBatch
from outcrop.embedding import HashingEmbedder
from outcrop.errors import InvalidDocument, InvalidInput, NotYetVisible
from outcrop.writes import accepting


@pytest.fixture
def rocks(db: Database) -> Collection:
    collection = db.create_collection("rocks", embedder="hashing:16")
    collection.build([Document("d0", "granite"), Document("d1", "granite")], promote=True)
    return collection


def stream(count: int) -> Iterator[Document]:
    for number in range(count):
        yield Document(f"d{number}", f"gabbro number{number}")


def test_each_batch_is_a_write_and_all_are_counted(rocks: Collection) -> None:
    batches: list[WrittenBatch] = []
    done = rocks.upsert_many(stream(7), batch_documents=3, on_batch=batches.append)
    assert (done.documents, done.upserted, done.replaced, done.chunks) == (7, 7, 2, 7)
    assert (done.write_count, done.sequence) == (3, rocks.stats().sequence)
    assert [(batch.sequence, batch.documents) for batch in batches] == [(1, 3), (2, 3), (3, 1)]
    assert rocks.search("number6", mode="lexical")[0].document_id == "d6"
    assert rocks.count() == 7


def test_the_first_stream_into_an_empty_collection_makes_a_generation(db: Database) -> None:
    given = db.create_collection("given", embedder="none", metric="dot")
    vectors = np.eye(4)
    done = given.upsert_many(({"id": str(n), "text": "x", "vector": vectors[n]} for n in range(4)), batch_documents=2)
    assert (done.upserted, done.sequence) == (4, 2)
    assert given.search(vector=[0, 0, 1, 0])[0].document_id == "2"
    assert given.upsert_many([]).sequence is None


def test_the_next_batch_is_prepared_while_one_is_written(rocks: Collection) -> None:
    read_on = Event()
    waited: list[bool] = []

    def source() -> Iterator[Document]:
        yield from stream(2)
        yield Document("d2", "schist")
        read_on.set()
        yield Document("d3", "schist")

    def told(_: WrittenBatch) -> None:
        waited.append(read_on.wait(30))

    rocks.upsert_many(source(), batch_documents=1, on_batch=told)
    assert waited == [True] * 4


def test_what_was_written_before_an_error_stays_and_skip_goes_on_after_it(rocks: Collection) -> None:
    documents: list[object] = [*stream(4), {"id": "bad"}, Document("d5", "late")]
    batches: list[WrittenBatch] = []
    with pytest.raises(InvalidDocument, match="item 5: the record 'bad' has no text"):
        rocks.upsert_many(documents, batch_documents=2, on_batch=batches.append)  # type: ignore[arg-type]
    read = sum(batch.documents for batch in batches)
    assert (read, rocks.count()) == (4, 4)
    documents[4] = Document("bad", "mended")
    assert rocks.upsert_many(documents, skip=read).upserted == 2  # type: ignore[arg-type]
    assert rocks.count() == 6


def test_bad_records_are_skipped_counted_and_told(rocks: Collection) -> None:
    told: list[BadRecord] = []
    documents = [{"id": "a"}, {"id": "b", "text": "x"}, {"id": "c", "text": "y", "vector": [1.0]}]
    done = rocks.upsert_many(documents, on_error="skip", on_skip=told.append)
    assert (done.documents, done.upserted, done.skipped) == (3, 1, 2)
    assert [bad.origin for bad in told] == ["item 1", "item 3"]


def test_of_documents_with_one_id_the_last_counts_whatever_the_batches(rocks: Collection) -> None:
    documents = [Document("a", "first"), Document("b", "x"), Document("a", "last")]
    for size, superseded in ((1, 0), (2, 0), (3, 1)):
        done = rocks.upsert_many(documents, batch_documents=size)
        assert done.superseded == superseded
        assert [one.text for one in rocks.get("a")] == ["last"]


def test_a_batch_that_was_prepared_for_a_generation_that_is_active_no_more_is_prepared_anew(rocks: Collection) -> None:
    other = rocks.build(embedder=HashingEmbedder(32))
    promoted: list[int] = []

    def told(_: WrittenBatch) -> None:
        if not promoted:
            promoted.append(rocks.promote(other).number)

    rocks.upsert_many(stream(6), batch_documents=2, on_batch=told)
    assert rocks.count() == 6
    assert rocks.search("number5", mode="vector")[0].document_id == "d5"
    assert rocks.active is not None
    assert rocks.active.number == other.number


def test_a_batch_that_is_in_and_cannot_be_seen_is_told_before_the_error(rocks: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen(*_: object) -> None:
        raise NotYetVisible("write 1 is accepted and durable, but not yet visible", sequence=1)

    monkeypatch.setattr(accepting, "put", unseen)
    batches: list[WrittenBatch] = []
    with pytest.raises(NotYetVisible):
        rocks.upsert_many(stream(4), batch_documents=2, on_batch=batches.append)
    assert [(batch.documents, batch.sequence, batch.visible) for batch in batches] == [(2, 1, False)]


def test_what_is_under_way_stays_within_the_budget_and_is_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    with outcrop.open(tmp_path / "small", config=Config.test(memory_budget="16MB")) as db:
        rocks = db.create_collection("rocks", embedder="hashing:16")
        texts = ({"id": str(number), "text": f"{number} " + "lava " * 10_000} for number in range(200))
        rocks.upsert_many(texts, progress=told.append)
        memory = db._shared.memory.account("ingestion")
    assert memory.used_bytes == 0
    assert 0 < memory.peak_bytes < 2 * memory.limit_bytes
    assert told[-1].held_bytes_max == memory.limit_bytes == 1_600_000
    assert {stage.name for stage in told[-1].stages} == {"read", "chunk", "embed", "write"}


@pytest.mark.parametrize("wrong", [{"batch_documents": 0}, {"skip": -1}])
def test_numbers_that_make_no_sense_are_refused(rocks: Collection, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="use at least 1 and 0"):
        rocks.upsert_many(stream(1), **wrong)
