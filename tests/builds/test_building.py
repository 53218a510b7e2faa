"""Building generations: from what, into what, and what happens when something is wrong."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import BadRecord, Config, Database, Document, IndexSpec, Piece, Progress
from outcrop.errors import (
    Closed,
    CollectionLocked,
    DuplicateDocument,
    InvalidConfig,
    InvalidDocument,
    InvalidSource,
    NothingToBuild,
    OutcropError,
    UnknownEmbedder,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with outcrop.open(tmp_path / "kb", config=Config.test(lock_timeout_seconds=0.2)) as opened:
        yield opened


def documents(count: int = 20) -> list[Document]:
    return [Document(f"d{number}", f"text number {number} about rocks", metadata={"n": number}) for number in range(count)]


def snapshot(folder: Path) -> dict[str, int]:
    """Every file but SQLite's own side files and the locks, with its size."""
    left_out = ("-wal", "-shm", ".lock", ".queue")
    return {
        str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.name.endswith(left_out)
    }


def test_a_build_is_ready_but_not_active(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:32")
    info = rocks.build(documents())
    assert (info.number, info.status, info.document_count, info.chunk_count) == (1, "ready", 20, 20)
    assert rocks.active is None
    assert rocks.promote(info).status == "active"
    assert rocks.active is not None
    assert rocks.active.uuid == info.uuid


def test_the_manifest_says_what_the_generation_consists_of(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:32", chunker="tokens:50/5", analyzer="german")
    info = rocks.build(documents())
    held = json.loads((Path(info.path) / "manifest.json").read_text())["manifest"]
    assert held["recipe"]["embedder"]["spec"] == "hashing:32"
    assert (held["recipe"]["chunker"], held["recipe"]["analyzer"]) == ("tokens:50/5", "german")
    assert len(held["probes"]) >= 2
    files = held["parts"][0]["files"]
    assert {Path(one["path"]).name for one in files} >= {"slots.npy", "vectors.f32"}
    assert all(len(one["sha256"]) == 64 for one in files)


def test_without_a_source_the_active_generations_documents_are_built_anew(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:32")
    rocks.build(documents(), promote=True)
    second = rocks.build(embedder="hashing:16", chunker="none", promote=True)
    assert (second.number, second.document_count, second.recipe.dimension) == (2, 20, 16)
    assert second.source == "the documents of generation 1"
    assert list(rocks.scan()) == documents()
    third = rocks.build(analyzer="simple")
    assert third.recipe.embedder == second.recipe.embedder, "what is not given stays as it is"


def test_given_vectors_are_carried_over(db: Database) -> None:
    vectors = np.eye(4, dtype=np.float32)
    given = db.create_collection("given", embedder="none")
    given.build([Document(f"d{i}", "same text", vector=vectors[i] * 3) for i in range(4)], promote=True)
    given.build(analyzer="simple", promote=True)
    assert given.search(vector=vectors[2], k=1)[0].document_id == "d2"
    given.build(embedder="hashing:8", promote=True)
    assert given.search("same text", mode="vector", k=4)[0].score == pytest.approx(1.0), "another embedder's space: embedded anew"


def test_the_same_text_is_never_embedded_twice(db: Database) -> None:
    class Counting:
        identity = outcrop.EmbedderIdentity("custom:counting", "test", "counting", "1", 4, normalized=True)
        vector_weight = 0.3

        def __init__(self) -> None:
            self.texts: list[str] = []

        def embed_documents(self, texts: list[str]) -> np.ndarray:
            self.texts.extend(texts)
            return np.tile(np.array([1, 0, 0, 0], np.float32), (len(texts), 1))

        def embed_query(self, _: str) -> np.ndarray:
            return np.array([1, 0, 0, 0], np.float32)

    embedder = Counting()
    rocks = db.create_collection("rocks", embedder=embedder)
    rocks.build(documents(), promote=True)
    rocks.build(analyzer="simple")
    rocks.build(documents(25))
    embedded = [text for text in embedder.texts if "about rocks" in text]
    assert len(embedded) == len(set(embedded)) == 25


def test_progress_is_told_by_phases(db: Database) -> None:
    seen: list[Progress] = []
    db.create_collection("rocks", embedder="none").build(documents(), progress=seen.append)
    phases = list(dict.fromkeys(one.phase for one in seen))
    assert phases == ["read, chunk, embed, write", "index", "verify", "catch up"]
    assert max(one.documents for one in seen) == 20


def test_progress_tells_how_busy_each_stage_is(db: Database) -> None:
    seen: list[Progress] = []
    db.create_collection("rocks", embedder="hashing:16").build(documents(), progress=seen.append)
    last = [one for one in seen if one.stages][-1]
    assert [stage.name for stage in last.stages] == ["read", "chunk", "embed", "write"]
    assert all(0 <= stage.busy <= 1 for stage in last.stages)
    assert last.slowest in last.stages
    assert seen[-1].stages == (), "only where stages overlap"


def test_a_bad_record_stops_the_build_with_its_place(db: Database, tmp_path: Path) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": \n{"id": "c", "text": "three"}\n')
    before = snapshot(db.path)
    with pytest.raises(OutcropError, match=r"corpus\.jsonl:2"):
        rocks.build(corpus)
    assert rocks.generations() == []
    assert list((db.path / "rocks" / "generations").iterdir()) == []
    assert snapshot(db.path) == before


def test_bad_records_can_be_skipped_and_are_counted_and_told(db: Database, tmp_path: Path) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    corpus = tmp_path / "corpus.jsonl"
    lines = [
        '{"id": "a", "text": "one"}',
        "not json",
        '{"id": "a", "text": "again"}',
        '{"id": "", "text": "x"}',
        '{"id": "z", "text": "end"}',
    ]
    corpus.write_text("\n".join(lines))
    told: list[BadRecord] = []
    info = rocks.build(corpus, on_error="skip", on_skip=told.append, promote=True)
    assert (info.document_count, info.skipped) == (2, 3)
    assert sorted(int(bad.origin.rsplit(":", 1)[1]) for bad in told) == [2, 3, 4]
    assert [document.text for document in rocks.scan()] == ["one", "end"]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([Document("a", "x"), Document("a", "y")], DuplicateDocument, "item 2: document id 'a' occurs a second time"),
        ([Document("a", "x", vector=[1.0, 2.0]), Document("b", "y", vector=[1.0])], InvalidDocument, "has 1 numbers"),
        ([Document("a", "x"), Document("b", "y", vector=[1.0])], InvalidDocument, "the first document has none"),
        ([Document("a", "x", vector=[1.0]), Document("b", "y")], InvalidDocument, "has no vector"),
        ([{"id": "a" * 513, "text": "x"}], InvalidDocument, "the limit is 512"),
        ([{"id": "a\u0007b", "text": "x"}], InvalidDocument, "control character"),
        ([{"id": "a", "text": "x", "vector": [float("nan")]}], InvalidDocument, "NaN"),
        ([{"id": "a", "text": "x", "metadata": {"n": [[[[[[[[[[1]]]]]]]]]]}}], InvalidDocument, "deeper than 8 levels"),
        ([{"id": "a"}], InvalidDocument, "text"),
        ([], NothingToBuild, "no documents"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(db: Database, bad: list[object], error: type[OutcropError], message: str) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    rocks.build(documents(), promote=True)
    before = snapshot(db.path)
    with pytest.raises(error, match=message):
        rocks.build(bad)  # type: ignore[arg-type]
    assert [info.number for info in rocks.generations()] == [1]
    assert snapshot(db.path) == before
    assert rocks.search("rocks", k=1).generation == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"source": "no-such-file.jsonl"}, InvalidSource),
        ({"source": documents(), "embedder": "minilmm"}, UnknownEmbedder),
        ({"source": documents(), "chunker": "sentences"}, InvalidConfig),
        ({"source": documents(), "analyzer": "klingon"}, InvalidConfig),
        ({"source": documents(), "on_error": "ignore"}, InvalidConfig),
        ({}, NothingToBuild),
    ],
)
def test_a_build_that_cannot_be_is_refused_before_it_begins(
    db: Database, arguments: dict[str, object], error: type[OutcropError]
) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    before = snapshot(db.path)
    with pytest.raises(error):
        rocks.build(**arguments)  # type: ignore[arg-type]
    assert snapshot(db.path) == before


def test_two_builds_at_once_are_refused_and_the_owner_is_named(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Document]:
        yield Document("a", "x")
        begun.set()
        go_on.wait(30)

    building = threading.Thread(target=lambda: rocks.build(slow()))
    building.start()
    try:
        assert begun.wait(30)
        with pytest.raises(CollectionLocked, match="being built by process") as caught:
            rocks.build(documents())
        assert caught.value.owner.pid > 0
    finally:
        go_on.set()
        building.join()
    assert [info.document_count for info in rocks.generations()] == [1]


def test_what_a_killed_build_left_is_removed_by_the_next(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    left = db.path / "rocks" / "generations" / f"000001-{'0' * 32}"
    left.mkdir()
    (left / "documents.sqlite").write_bytes(b"half")
    other = db.path / "rocks" / "generations" / "notes"
    other.mkdir()
    rocks.build(documents())
    assert not left.exists()
    assert other.exists(), "what is not ours stays"


def test_a_promoted_generation_is_never_taken_for_the_remains_of_a_build(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none")
    first = rocks.build(documents(), promote=True)
    rocks.build(promote=True)
    (Path(first.path) / "manifest.json").rename(db.path / "kept")
    rocks.build(documents(5))
    (db.path / "kept").rename(Path(first.path) / "manifest.json")
    assert rocks.rollback().number == first.number


def test_many_small_parts_answer_like_one(db: Database) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    many = [Document(f"d{i}", f"text {i}", vector=vector, metadata={"n": i % 3}) for i, vector in enumerate(vectors)]
    with outcrop.open(db.path / "small", config=Config.test(part_bytes_max=70 * 8 * 4)) as small:
        parted = small.create_collection("parted", embedder="none")
        info = parted.build(many, promote=True)
        assert len(list((Path(info.path) / "parts").iterdir())) == 5
        query = rng.normal(size=8).astype(np.float32)
        similarity = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        allowed = [i for i in np.argsort(-similarity) if i % 3 == 1][:10]
        assert [hit.document_id for hit in parted.search(vector=query, where="n = 1")] == [f"d{i}" for i in allowed]


def test_an_empty_text_is_found_by_its_title(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="hashing:16")
    rocks.build([Document("a", "", title="Obsidian"), Document("b", "something else")], promote=True)
    assert rocks.search("obsidian", mode="lexical")[0].document_id == "a"


def test_texts_that_all_begin_alike_can_be_built(db: Database) -> None:
    notice = "Licensed under the Example License, Version 2; you may not use this file except in compliance with it. " * 4
    mails = db.create_collection("mails", embedder="none")
    info = mails.build([Document(f"m{i}", f"{notice} Message number {i}") for i in range(500)], promote=True)
    assert info.document_count == 500
    assert mails.search("message 77", k=1)[0].document_id == "m77"


@pytest.mark.parametrize("text", ["", "!!! ???", "to be or not to be", "x" * 300])
def test_texts_without_a_searchable_term_can_be_built(db: Database, text: str) -> None:
    bare = db.create_collection("bare", embedder="none")
    bare.build([Document(f"d{i}", text, vector=[1.0, float(i)]) for i in range(30)], promote=True)
    assert bare.search(vector=[1.0, 0.0], k=1)[0].document_id == "d0"
    assert list(bare.search("to be x", mode="lexical")) == []


@pytest.mark.parametrize(
    "index",
    ["hnws", {"kind": "nope"}, {"m": 0}, {"m": "16"}, {"ef_search": 2**40}, {"nlist": True}],
)
def test_an_index_that_cannot_be_is_refused_before_anything_is_written(db: Database, index: object) -> None:
    before = snapshot(db.path)
    with pytest.raises(InvalidConfig, match=r"index|ef_search|nlist|m is"):
        db.create_collection("rocks", index=IndexSpec(**index) if isinstance(index, dict) else index)  # type: ignore[arg-type]
    assert db.collections() == []
    rocks = db.create_collection("rocks", embedder="none")
    with pytest.raises(InvalidConfig):
        rocks.build(documents(), index=IndexSpec(**index) if isinstance(index, dict) else index)  # type: ignore[arg-type]
    assert rocks.generations() == []
    assert len(snapshot(db.path)) > len(before)


class Lines:
    """A chunker of one's own: a piece for every line."""

    spec = "mine:lines"

    def pieces(self, document: Document) -> list[Piece]:
        found, start = [], 0
        for line in document.text.splitlines(keepends=True):
            found.append(Piece(text=line, start=start, end=start + len(line), heading=None, page=None))
            start += len(line)
        return found


def test_a_chunker_of_ones_own_is_used_and_asked_for_again(db: Database) -> None:
    rocks = db.create_collection("rocks", embedder="none", chunker=Lines())
    assert rocks.build([Document("a", "one\ntwo\nthree")], promote=True).chunk_count == 3
    assert rocks.build().chunk_count == 3, "the same handle knows it still"
    with outcrop.open(db.path) as other:
        with pytest.raises(InvalidConfig, match="one of your own: pass it to build"):
            other.collection("rocks").build()
        assert other.collection("rocks").build(chunker=Lines()).chunk_count == 3


def test_given_vectors_are_dropped_with_the_embedder_whose_space_they_lie_in(db: Database) -> None:
    mixed = db.create_collection("mixed", embedder="hashing:8")
    mixed.build([Document("a", "one"), Document("b", "two", vector=np.ones(8))], promote=True)
    assert mixed.build(embedder="none").recipe.dimension is None


def test_large_documents_are_read_again_a_few_at_a_time(db: Database) -> None:
    large = db.create_collection("large", embedder="none", chunker="none")
    large.build((Document(f"d{i}", f"{i} " + "word " * 400_000) for i in range(8)), promote=True)
    sizes: list[int] = []
    with outcrop.open(db.path) as other:
        opened = other.collection("large")
        opened.count()
        documents_read = opened._open.pin(None)
        try:
            select = documents_read.documents._select
            documents_read.documents._select = lambda condition, values: (
                sizes.append(len(found := select(condition, values))) or found
            )
            assert sum(1 for _ in documents_read.documents.scan()) == 8
        finally:
            documents_read.unpin()
    assert max(sizes) <= 2


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a file's name be any bytes")
def test_a_source_whose_path_is_no_unicode_can_be_built(db: Database, tmp_path: Path) -> None:
    folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    Path(folder).mkdir()
    corpus = Path(folder) / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "one"}')
    info = db.create_collection("rocks", embedder="none").build(corpus)
    assert "corpus.jsonl" in info.source


def test_a_handle_to_a_dropped_collection_makes_nothing_anew(db: Database) -> None:
    with outcrop.open(db.path) as other:
        stale = other.create_collection("rocks", embedder="none")
        db.drop_collection("rocks")
        for use in (lambda: stale.build(documents()), stale.rollback, lambda: stale.promote(1)):
            with pytest.raises(Closed, match="dropped meanwhile"):
                use()
        assert not (db.path / "rocks").exists()
        fresh = db.create_collection("rocks", embedder="none", metric="dot")
        with pytest.raises(Closed, match="dropped meanwhile"):
            stale.build(documents())
        assert fresh.generations() == []


def test_many_bad_records_before_the_first_good_one_do_not_settle_the_recipe(db: Database) -> None:
    bad = [{"id": "", "text": "x"}] * 200
    info = db.create_collection("late", embedder="none").build([*bad, Document("a", "x", vector=[1.0, 2.0])], on_error="skip")
    assert (info.recipe.dimension, info.skipped) == (2, 200)
