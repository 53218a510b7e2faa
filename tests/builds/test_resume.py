"""Interrupted builds: what they had prepared is not prepared again, and what comes out is as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import BadRecord, Collection, Document, Piece, Progress
from outcrop.builds.vector_log import FILE_NAME
from outcrop.errors import DuplicateDocument, EmbeddingFailed, InvalidSource
from outcrop.generations.journal import Journal
from tests.builds.interrupted import (
    BATCH,
    IN_FLIGHT_MAX,
    NO_CACHE,
    Telling,
    build_and_kill,
    close_all,
    collection,
    documents,
    failing_after,
)


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    return tmp_path / "kb"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def folders(kb: Path) -> list[Path]:
    return sorted((kb / "rocks" / "generations").iterdir())


def holds(kb: Path) -> list[int]:
    return [hold.generation for hold in Journal(kb / "rocks" / "journal.sqlite").holds()]


def written(tmp_path: Path, of: list[Document]) -> Path:
    file = tmp_path / "rocks.jsonl"
    rows = [{"id": one.id, "text": one.text, "title": one.title, "metadata": one.metadata} for one in of]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def interrupt(kb: Path, source: object, calls: int = 5, **build: object) -> Telling:
    """A build whose embedder fails at the call after so many, each of a batch."""
    embedder = Telling(failing_after(calls))
    rocks = collection(kb, embedder)
    with pytest.raises(EmbeddingFailed):
        rocks.build(source, **build)  # type: ignore[arg-type]
    return embedder


def contents(rocks: Collection, number: int) -> list[tuple[Document, bytes]]:
    """The documents of a generation with their vectors, in order."""
    opened = rocks._open.pin(number)
    try:
        found = list(opened.documents.scan())
        stored = opened.documents.stored([one.id for one in found])
        snapshot = opened.index.snapshot()
        vectors = [snapshot.vectors([chunk.slot for chunk in one.chunks]) for one in stored]
        return [(one, b"".join(np.asarray(v).tobytes() for v in some)) for one, some in zip(found, vectors, strict=True)]
    finally:
        opened.unpin()


@pytest.mark.parametrize("kind", ["file", "iterator", "own documents"])
def test_a_killed_build_embeds_again_at_most_what_was_under_way(tmp_path: Path, kb: Path, kind: str) -> None:
    rng = random.Random(kind)
    source: Path | str = written(tmp_path, documents()) if kind == "file" else "list"
    if kind == "own documents":
        with outcrop.open(kb, config=NO_CACHE) as db:
            db.create_collection("rocks", embedder=Telling()).build(documents(), promote=True, embedder="none")
        source = ""
    embedded, kills, done = Counter[str](), 0, False
    while not done:
        groups = rng.randint(1, 9) if kills < 5 else 0
        numbers, done = build_and_kill(kb, source, groups, waiting=rng.random() < 0.3)
        embedded.update(numbers)
        kills += not done
    assert kills > 1
    assert set(embedded) == {str(n) for n in range(200)}
    assert embedded.total() <= 200 + kills * IN_FLIGHT_MAX
    uninterrupted = collection(tmp_path / "other", Telling())
    uninterrupted.build(documents())
    resumed = collection(kb, Telling())
    last = resumed.generations()[-1].number
    assert contents(resumed, last) == contents(uninterrupted, 1)
    assert len(folders(kb)) == len(resumed.generations()), "nothing else is left"
    assert not list(kb.rglob(FILE_NAME))
    assert holds(kb) == []


def test_a_failing_embedder_loses_one_call_only(kb: Path) -> None:
    failed = interrupt(kb, documents())
    assert len(failed.texts) == 5 * BATCH
    going_on = Telling()
    rocks = collection(kb, going_on)
    assert rocks.generations() == []
    info = rocks.build(documents())
    assert sorted(failed.texts + going_on.texts) == sorted(f"{one.title}\n{one.text}" for one in documents())
    assert (info.document_count, info.chunk_count) == (200, 200)


def test_an_interrupted_build_keeps_only_what_the_next_one_can_use(kb: Path) -> None:
    interrupt(kb, documents())
    (left,) = folders(kb)
    assert {path.name for path in left.iterdir()} <= {FILE_NAME, "documents.sqlite", "documents.sqlite-wal", "documents.sqlite-shm"}


def test_what_changed_is_prepared_anew_and_what_is_gone_is_dropped(kb: Path) -> None:
    interrupt(kb, documents(100), calls=8)
    changed = documents(100)
    changed[3] = Document("d3", "granite of another kind", title="Rock 3", metadata={"n": 3})
    changed[5] = Document("d5", changed[5].text, title="Rock 5", metadata={"n": 5.0, "odd": True})
    del changed[7]
    changed.reverse()
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.build(changed, promote=True)
    assert [one for one in embedder.texts if int(one.split("\n")[0][5:]) < 80] == ["Rock 3\ngranite of another kind"]
    assert list(rocks.scan()) == changed
    assert rocks.get(["d7"]) == []
    (five,) = rocks.get(["d5"])
    assert type(five.metadata["n"]) is float, "equal in Python, and another value in JSON"
    hit = rocks.search(vector=embedder.embed_query("Rock 5\ngranite number 5"), k=1)[0]
    assert (hit.document_id, hit.score) == ("d5", pytest.approx(1.0))


def test_a_build_with_another_recipe_begins_anew_and_removes_the_interrupted_one(kb: Path) -> None:
    interrupt(kb, documents())
    embedder = Telling()
    info = collection(kb, embedder).build(documents(), chunker="none")
    assert len(embedder.texts) == 200
    assert [folder.name for folder in folders(kb)] == [Path(info.path).name]


@pytest.mark.parametrize("changed", [{"analyzer": "simple"}, {"index": "flat"}])
def test_a_build_that_only_indexes_otherwise_embeds_nothing_again(kb: Path, changed: dict[str, str]) -> None:
    interrupt(kb, documents())
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.build(documents(), promote=True, **changed)  # type: ignore[arg-type]
    assert len(embedder.texts) == 150
    assert rocks.search("granite number 7", k=1)[0].document_id == "d7"


def test_resume_false_begins_anew(kb: Path) -> None:
    interrupt(kb, documents())
    embedder = Telling()
    collection(kb, embedder).build(documents(), resume=False)
    assert len(embedder.texts) == 200
    assert len(folders(kb)) == 1


def test_an_interrupted_build_of_last_week_is_not_taken_up(kb: Path) -> None:
    interrupt(kb, documents())
    (left,) = folders(kb)
    long_ago = time.time() - 8 * 86_400
    for path in [*left.iterdir(), left]:
        os.utime(path, (long_ago, long_ago))
    embedder = Telling()
    collection(kb, embedder).build(documents())
    assert len(embedder.texts) == 200
    assert len(folders(kb)) == 1


def test_a_build_that_fails_at_once_leaves_the_interrupted_one_alone(kb: Path, tmp_path: Path) -> None:
    interrupt(kb, documents())
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no json\n" * 20)
    embedder = Telling()
    rocks = collection(kb, embedder)
    with pytest.raises(InvalidSource):
        rocks.build(bad, chunker="none")
    assert len(folders(kb)) == 1
    rocks.build(documents())
    assert len(embedder.texts) == 150


def test_faults_of_the_data_leave_nothing_behind(kb: Path) -> None:
    rocks = collection(kb, Telling())
    with pytest.raises(DuplicateDocument):
        rocks.build([*documents(), Document("d0", "again")])
    assert folders(kb) == []
    assert holds(kb) == []


def test_an_exception_of_the_source_itself_interrupts_only(kb: Path) -> None:
    def broken() -> Iterator[Document]:
        yield from documents(100)
        raise ConnectionError("the line is dead")

    embedder = Telling()
    rocks = collection(kb, embedder)
    with pytest.raises(ConnectionError):
        rocks.build(broken())
    rocks.build(documents(100))
    assert len(embedder.texts) <= 100 + IN_FLIGHT_MAX


def test_a_document_deleted_in_between_stays_deleted_if_the_files_are_the_same(kb: Path, tmp_path: Path) -> None:
    file = written(tmp_path, documents(100))
    rocks = collection(kb, Telling())
    rocks.build(file, promote=True, chunker="none")
    interrupt(kb, file, calls=4)
    rocks.delete("d1")
    rocks.upsert(Document("d2", "granite of today"))
    info = rocks.build(file, promote=True)
    assert info.document_count == 99
    assert [one.text for one in rocks.get(["d1", "d2"])] == ["granite of today"]


def test_a_file_that_was_written_to_is_another_source_and_is_read_as_of_now(kb: Path, tmp_path: Path) -> None:
    file = written(tmp_path, documents(100))
    collection(kb, Telling()).build(file, promote=True, chunker="none")
    interrupt(kb, file, calls=4)
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.delete("d1")
    written(tmp_path, documents(100))
    info = rocks.build(file, promote=True)
    assert (info.document_count, info.revived, info.vanished) == (100, 1, 0)
    assert len(embedder.texts) == 60, "what was embedded is taken over all the same"


def test_the_writes_that_an_interrupted_build_needs_are_held(kb: Path, tmp_path: Path) -> None:
    file = written(tmp_path, documents(100))
    rocks = collection(kb, Telling())
    rocks.build(file, promote=True, chunker="none")
    interrupt(kb, file, calls=4)
    assert holds(kb) == [2]
    rocks.delete("d1")
    rocks.gc()
    assert holds(kb) == [2]
    rocks.build(file, promote=True)
    assert holds(kb) == []
    assert rocks.get(["d1"]) == []


class Lines:
    """A chunker of one's own, which counts."""

    spec = "mine:lines"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def pieces(self, document: Document) -> list[Piece]:
        self.seen.append(document.id)
        half = len(document.text) // 2
        return [Piece(document.text[:half], 0, half), Piece(document.text[half:], half, len(document.text))]


@pytest.mark.parametrize("embedder", ["none", "telling"])
def test_a_chunker_of_ones_own_is_not_asked_again(kb: Path, embedder: str) -> None:
    def interrupted(progress: Progress) -> None:
        if progress.documents >= 300:
            raise KeyboardInterrupt

    chunker = Lines()
    rocks = collection(kb, Telling())
    recipe = {"chunker": chunker} if embedder == "telling" else {"chunker": chunker, "embedder": "none"}
    with pytest.raises(KeyboardInterrupt):
        rocks.build(documents(400), progress=interrupted, **recipe)  # type: ignore[arg-type]
    first = len(chunker.seen)
    info = rocks.build(documents(400), **recipe)  # type: ignore[arg-type]
    assert info.chunk_count == 800
    assert len(chunker.seen) - first <= 100 + IN_FLIGHT_MAX


def test_given_vectors_are_kept_as_they_are(kb: Path) -> None:
    given = [Document(f"g{n}", "granite", vector=np.full(8, n + 1.0)) for n in range(50)]
    interrupt(kb, [*given, *documents(100)], calls=3)
    rocks = collection(kb, Telling())
    rocks.build([*given, *documents(100)], promote=True)
    assert list(rocks.scan()) == [*given, *documents(100)]


def test_a_given_vector_is_not_taken_for_the_embedding_of_its_text(kb: Path) -> None:
    before = [Document(f"d{n}", f"granite number {n}", vector=np.ones(8)) for n in range(50)]
    interrupt(kb, [*before, *documents(100)[50:]], calls=3)
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.build([Document(one.id, one.text) for one in before], promote=True)
    assert len(embedder.texts) == 50
    assert rocks.search(vector=embedder.embed_query("granite number 7"), k=1)[0].document_id == "d7"


def test_vectors_that_a_power_cut_spoiled_are_made_again(kb: Path) -> None:
    failed = interrupt(kb, documents())
    (log,) = kb.rglob(FILE_NAME)
    content = bytearray(log.read_bytes())
    content[2 * len(content) // 5 + 50] ^= 1  # in the frame of the third batch
    content[-100:] = b""
    log.write_bytes(content)
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.build(documents())
    again = set(embedder.texts) & set(failed.texts)
    assert again == set(failed.texts[20:30]) | set(failed.texts[40:50])
    other = collection(kb.with_name("other"), Telling())
    other.build(documents())
    assert contents(rocks, 2) == contents(other, 1)


def test_an_interrupted_build_whose_rows_cannot_be_read_is_no_obstacle(kb: Path) -> None:
    interrupt(kb, documents())
    (rows,) = kb.rglob("documents.sqlite")
    rows.write_bytes(b"\0" * 5000)
    embedder = Telling()
    collection(kb, embedder).build(documents())
    assert len(embedder.texts) == 200
    assert len(folders(kb)) == 1


def test_a_build_that_is_interrupted_early_again_and_again_loses_nothing(kb: Path) -> None:
    total = len(interrupt(kb, documents(), calls=10).texts)
    for calls in (0, 1, 1, 2):
        total += len(interrupt(kb, documents(), calls=calls).texts)
        assert len(folders(kb)) <= 2, "copies are not kept"
    embedder = Telling()
    collection(kb, embedder).build(documents())
    assert total + len(embedder.texts) == 200


def test_sources_in_any_order_lose_nothing(kb: Path) -> None:
    rng = random.Random(5)
    total, many = 0, documents()
    for _ in range(3):
        rng.shuffle(many)
        total += len(interrupt(kb, many, calls=2).texts)
    embedder = Telling()
    collection(kb, embedder).build(many)
    assert total + len(embedder.texts) == 200
    assert len(folders(kb)) == 1


def test_skipped_records_are_told_and_counted_again(kb: Path, tmp_path: Path) -> None:
    file = written(tmp_path, documents(100))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:5], "no json\n", *lines[5:], lines[0]]))
    interrupt(kb, file, calls=6, on_error="skip")
    told: list[BadRecord] = []
    info = collection(kb, Telling()).build(file, on_error="skip", on_skip=told.append)
    assert (info.document_count, info.skipped) == (100, 2)
    assert [bad.origin for bad in told] == ["rocks.jsonl:6", "rocks.jsonl:102"]


def test_progress_tells_what_was_taken_over(kb: Path) -> None:
    interrupt(kb, documents())
    reused: list[int] = []
    collection(kb, Telling()).build(documents(), progress=lambda progress: reused.append(progress.reused))
    assert max(reused) == 50


def test_the_interrupted_build_of_an_earlier_day_is_collected(kb: Path) -> None:
    interrupt(kb, documents())
    (left,) = folders(kb)
    rocks = collection(kb, Telling())
    assert rocks.gc().removed == (), "kept to be resumed"
    long_ago = time.time() - 8 * 86_400
    for path in [*left.iterdir(), left]:
        os.utime(path, (long_ago, long_ago))
    assert [item.kind for item in rocks.gc().removed] == ["build"]
    assert holds(kb) == []
