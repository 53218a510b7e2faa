"""Whatever is written, promoted or taken back, here or elsewhere: what is cached is never what was true before."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Collection, Document, Gate
from outcrop.errors import NothingToRollBack
from tests.retrieval.caching import answer, config, opened, rocks

ANYTHING = Gate(vanished_share_max=1.0)
WORDS = ("granite", "basalt", "chalk")


def found(collection: Collection, query: str = "granite", **options: Any) -> set[str]:
    """The documents found; asked twice, so that what is found is cached from then on."""
    first, again = (collection.search(query, k=50, mode="lexical", **options) for _ in range(2))
    assert again.cached
    assert answer(again) == answer(first)
    return {hit.document_id for hit in again}


@pytest.fixture
def stones(tmp_path: Path) -> Iterator[Collection]:
    with opened(tmp_path) as db:
        collection = db.create_collection("stones", embedder="hashing:16")
        collection.build(rocks(3), promote=True)
        yield collection


def test_a_write_is_seen_at_once(stones: Collection) -> None:
    assert found(stones) == {"d0", "d1", "d2"}
    stones.upsert(rocks(1, begin=3))
    assert found(stones) == {"d0", "d1", "d2", "d3"}
    stones.delete(["d0"])
    assert found(stones) == {"d1", "d2", "d3"}
    assert found(stones, where="n = 1") == {"d1"}
    stones.update_metadata(["d1", "d2"], {"n": 7})
    assert found(stones, where="n = 1") == set()
    assert {hit.metadata["n"] for hit in stones.search("granite", k=50, mode="lexical")} == {3, 7}


def test_a_write_of_another_handle_is_seen_at_once(stones: Collection, tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        other = db.collection("stones")
        assert found(other) == {"d0", "d1", "d2"}
        stones.delete(["d1"])
        assert found(other) == {"d0", "d2"}


def test_a_promotion_and_a_rollback_are_seen_at_once(stones: Collection, tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        other = db.collection("stones")
        second = stones.build(rocks(2, begin=10))
        assert (found(stones), found(stones, generation=second)) == ({"d0", "d1", "d2"}, {"d10", "d11"})
        stones.promote(second, gate=ANYTHING)
        assert found(stones) == found(other) == {"d10", "d11"}
        assert stones.search("granite").generation == 2
        stones.rollback()
        assert found(stones) == found(other) == {"d0", "d1", "d2"}
        stones.upsert(rocks(1, begin=20))
        stones.rollback()
        assert found(stones) == found(other) == {"d10", "d11", "d20"}


_ELSEWHERE = """
import sys
import outcrop
from outcrop import Document, Gate
with outcrop.open(sys.argv[1], config=outcrop.Config.test()) as db:
    stones = db.collection("stones")
    for line in sys.stdin:
        if line.strip() == "write":
            stones.upsert(Document("new", "granite"))
        else:
            stones.build([Document("only", "granite")], promote=True, gate=Gate(vanished_share_max=1.0))
        print("done", flush=True)
"""


def test_a_write_and_a_promotion_of_another_process_are_seen_at_once(stones: Collection, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ELSEWHERE, str(tmp_path / "kb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as elsewhere:
        assert elsewhere.stdin is not None
        assert elsewhere.stdout is not None
        for doing, expected in (("write", {"d0", "d1", "d2", "new"}), ("promote", {"only"})):
            found(stones)
            print(doing, file=elsewhere.stdin, flush=True)
            assert elsewhere.stdout.readline() == "done\n"
            assert found(stones) == expected
        elsewhere.stdin.close()


def test_after_a_restart_nothing_is_cached(stones: Collection, tmp_path: Path) -> None:
    found(stones)
    with opened(tmp_path) as db:
        assert not db.collection("stones").search("granite", k=50, mode="lexical").cached


def test_a_collection_of_the_same_name_has_none_of_the_answers_of_the_one_before(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        for begin in (0, 10):
            made = db.create_collection("stones", embedder="hashing:16")
            made.build(rocks(2, begin=begin), promote=True)
            assert found(made) == {f"d{begin}", f"d{begin + 1}"}
            db.drop_collection("stones")


def test_how_far_the_index_lags_is_told_as_it_is_now(stones: Collection) -> None:
    stones.upsert(rocks(2, begin=3))
    found(stones)
    assert stones.search("granite", k=50, mode="lexical").index_lag == 2
    stones.optimize()
    assert stones.search("granite", k=50, mode="lexical").index_lag == 0


class Interleaving:
    """Two handles on one collection, both with caches; every step is drawn with a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.did: Counter[str] = Counter()
        with opened(folder) as db:
            db.create_collection("stones", embedder="hashing:16", chunker="none").build(rocks(6), promote=True)
        self.open()

    def open(self) -> None:
        self.handles = [outcrop.open(self.folder / "kb", config=config(tail_chunks_max=4)) for _ in range(2)]
        self.collections = [db.collection("stones") for db in self.handles]

    def close(self) -> None:
        for db in self.handles:
            db.close()

    def documents(self) -> list[Document]:
        numbers = self.rng.sample(range(12), self.rng.randint(1, 3))
        return [rocks(1, self.rng.choice(WORDS), begin=number)[0] for number in numbers]

    def change(self) -> None:
        collection = self.rng.choice(self.collections)
        step = self.rng.choice(("upsert", "upsert", "delete", "update", "build", "promote", "roll back", "optimize", "reopen"))
        self.did[step] += 1
        if step == "upsert":
            collection.upsert(self.documents())
        elif step == "delete":
            collection.delete([f"d{self.rng.randrange(12)}"])
        elif step == "update":
            collection.update_metadata([f"d{self.rng.randrange(12)}"], {"n": self.rng.randrange(3)})
        elif step == "build":
            collection.build(None if self.rng.random() < 0.5 else self.documents(), analyzer=self.rng.choice(("english", "simple")))
        elif step == "promote":
            collection.promote(self.rng.choice(collection.generations()), gate=ANYTHING)
        elif step == "roll back":
            try:
                collection.rollback()
            except NothingToRollBack:
                self.did["nothing to roll back"] += 1
        elif step == "optimize":
            collection.optimize()
        else:
            self.close()
            self.open()

    def ask(self) -> None:
        """The cached answer is the one that is found anew."""
        for collection in self.collections:
            for query in WORDS[:2]:
                options = self.rng.choice(({}, {"k": 3}, {"where": "n < 3"}, {"mode": "lexical", "explain": True}))
                cached, anew = (collection.search(query, **options, cache=cache) for cache in (True, False))
                assert answer(cached) == answer(anew), self.did
                self.did["cached" if cached.cached else "searched"] += 1


@pytest.mark.parametrize("seed", range(2))
def test_in_any_order_of_changes_a_cached_answer_is_what_a_search_finds(tmp_path: Path, seed: int) -> None:
    interleaving = Interleaving(tmp_path, seed)
    for _ in range(30):
        interleaving.change()
        for _ in range(interleaving.rng.randint(1, 4)):
            interleaving.ask()
    interleaving.close()
    assert min(interleaving.did["cached"], interleaving.did["searched"]) > 30, interleaving.did
