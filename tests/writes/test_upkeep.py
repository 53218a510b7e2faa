"""What a process does beside its writes keeps nobody waiting, and leaks nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Collection, Config, Database, Document
from outcrop.embedding import HashingEmbedder


class Hanging(HashingEmbedder):
    """Answers not before it is told to."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.set()
        self.answers.wait(60)
        return super().embed_documents(texts)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with outcrop.open(tmp_path / "kb", config=Config.default(lock_timeout_seconds=5.0)) as opened:
        yield opened


def with_a_warm_generation(db: Database, embedder: HashingEmbedder) -> Collection:
    rocks = db.create_collection("rocks", embedder=embedder)
    rocks.build([Document("a", "granite")], promote=True)
    rocks.promote(rocks.build(embedder="none"))
    return rocks


def test_a_dead_endpoint_of_an_earlier_generation_keeps_no_write_and_no_close_waiting(db: Database) -> None:
    embedder = Hanging(8)
    rocks = with_a_warm_generation(db, embedder)
    embedder.asked.clear()
    embedder.answers.clear()
    rocks.upsert(Document("b", "basalt"))
    assert embedder.asked.wait(30)  # the background is at it
    rocks.upsert(Document("c", "chalk"))
    assert len(rocks.search("chalk", mode="lexical")) == 1
    began = time.monotonic()
    rocks.close()
    waited = time.monotonic() - began
    embedder.answers.set()
    assert waited < 30


def test_an_earlier_generation_that_cannot_embed_is_left_alone_for_a_while(db: Database) -> None:
    class Failing(HashingEmbedder):
        fails, calls = False, 0

        def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
            type(self).calls += 1
            if self.fails:
                raise ConnectionError("no route")
            return super().embed_documents(texts)

    embedder = Failing(8)
    rocks = with_a_warm_generation(db, embedder)
    Failing.fails, Failing.calls = True, 0
    for number in range(5):
        rocks.upsert(Document(f"b{number}", "basalt"))
        rocks._open.upkeep._thread.join(30)  # type: ignore[union-attr]
    assert Failing.calls == 1
    assert len(rocks.search("basalt", mode="lexical")) == 5


def test_a_collection_that_is_asked_for_again_with_its_embedder_is_the_one_that_is_open(db: Database) -> None:
    embedder = Hanging(8)
    rocks = with_a_warm_generation(db, embedder)
    assert db.collection("rocks", embedder=embedder) is rocks
    threads = threading.active_count()
    for _ in range(10):
        db.collection("rocks", embedder=embedder).search("granite", mode="lexical")
    assert threading.active_count() <= threads + 1
    other = Hanging(8)
    assert db.collection("rocks", embedder=other) is rocks
    rocks.rollback()
    other.asked.clear()
    rocks.upsert(Document("b", "basalt"))
    assert other.asked.is_set()  # the last one that was brought is used


def test_what_this_process_has_open_and_does_not_need_is_collected(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test(kept_generations=1, kept_days=0)) as db:
        rocks = db.create_collection("rocks", embedder="none")
        for number in range(4):
            rocks.build([Document("a", f"granite {number}")], promote=True)
            rocks.search("granite")
        assert [item.generation for item in rocks.gc().removed] == [1, 2]
        assert rocks.rollback().number == 3


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_opening_with_other_embedders_again_and_again_leaves_no_more_open_than_the_last(db: Database) -> None:
    with_a_warm_generation(db, Hanging(8))
    counts = []
    for _ in range(6):
        db.collection("rocks", embedder=Hanging(8)).search("granite", mode="lexical")
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[1] + 2
