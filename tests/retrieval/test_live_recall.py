"""Real searches, run again exactly in the background: the recall that is told is the recall that searches have."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import outcrop
from outcrop import Collection, Config, Database, Document, IndexSpec
from outcrop.engines.protocol import Ranking
from outcrop.errors import Closed
from outcrop.retrieval.live_recall import Asked, ExactReruns, recall_of

COUNT, DIMENSION = 2000, 16
CRIPPLED = IndexSpec(kind="ivf_flat", nlist=50, nprobe=1)
VECTORS = np.random.default_rng(0).standard_normal((COUNT, DIMENSION)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((40, DIMENSION)).astype(np.float32)


def opened(folder: Path, index: IndexSpec, **settings: Any) -> tuple[Database, Collection]:
    db = outcrop.open(folder, config=Config.test(part_bytes_max=2**30, **settings))
    collection = db.create_collection("points", embedder="none", index=index)
    source = [Document(f"d{n}", f"point {n}", metadata={"n": n}, vector=vector) for n, vector in enumerate(VECTORS)]
    collection.build(source, promote=True)
    return db, collection


def settled(db: Database, collection: Collection) -> outcrop.LiveRecall | None:
    db._shared.executor.reruns.settle()
    return collection.stats().live_recall


def exact_ids(query: NDArray[np.float32], selected: NDArray[np.int64]) -> set[str]:
    scores = VECTORS[selected] @ query / np.linalg.norm(VECTORS[selected], axis=1)
    return {f"d{row}" for row in selected[np.argsort(-scores)[:10]]}


def test_an_exact_index_has_a_live_recall_of_1(tmp_path: Path) -> None:
    db, collection = opened(tmp_path, IndexSpec(kind="flat"), live_recall_share=1.0)
    with db:
        for query in QUERIES:
            collection.search(vector=query)
        found = settled(db, collection)
    assert found is not None
    assert (found.searches, found.recall, found.lowest, found.k, found.share) == (len(QUERIES) - found.dropped, 1.0, 1.0, 10, 1.0)


@pytest.mark.parametrize("where", [None, "n < 1500"])
def test_an_index_that_misses_much_says_how_much(where: str | None, tmp_path: Path) -> None:
    selected = np.arange(COUNT if where is None else 1500)
    db, collection = opened(tmp_path, CRIPPLED, live_recall_share=1.0)
    shares = []
    with db:
        for query in QUERIES:
            hits = collection.search(vector=query, where=where, candidates=10)
            shares.append(len({hit.document_id for hit in hits} & exact_ids(query, selected)) / 10)
            found = settled(db, collection)
    assert found is not None
    assert found.recall == pytest.approx(np.mean(shares))
    assert found.recall < 0.8
    assert found.lowest == pytest.approx(min(shares))
    assert (found.searches, found.dropped) == (len(QUERIES), 0)


def test_searches_by_words_are_not_counted(tmp_path: Path) -> None:
    db, collection = opened(tmp_path, IndexSpec(kind="flat"), live_recall_share=1.0)
    with db:
        assert len(collection.search("point", mode="lexical")) == 10
        assert settled(db, collection) is None


def test_by_default_nothing_is_run_again(tmp_path: Path) -> None:
    db, collection = opened(tmp_path, IndexSpec(kind="flat"))
    with db:
        collection.search(vector=QUERIES[0])
        assert settled(db, collection) is None
        assert "outcrop-exact" not in {thread.name for thread in threading.enumerate()}


def test_each_generation_has_its_own(tmp_path: Path) -> None:
    db, collection = opened(tmp_path, CRIPPLED, live_recall_share=1.0)
    with db:
        collection.search(vector=QUERIES[0])
        assert settled(db, collection) is not None
        collection.build(index="flat", promote=True)
        assert settled(db, collection) is None
        collection.search(vector=QUERIES[0])
        found = settled(db, collection)
    assert found is not None
    assert (found.searches, found.recall) == (1, 1.0)


class Slow:
    """An index whose exact search waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def nearest_exact(self, vector: object, k: int, where: object) -> Ranking:  # noqa: ARG002
        self.begun.set()
        self.go_on.wait()
        return ranking([0.9, 0.8])


def ranking(scores: list[float]) -> Ranking:
    return Ranking(slots=np.arange(len(scores)), scores=np.array(scores, np.float32))


def asked(index: Any, scores: list[float]) -> Asked:
    return Asked("g", index, QUERIES[0], None, ranking(scores))


def test_what_does_not_fit_in_the_queue_is_dropped_and_counted() -> None:
    slow, reruns = Slow(), ExactReruns(1.0)
    reruns.offer(asked(slow, [0.9, 0.8]))
    slow.begun.wait()
    for _ in range(20):
        reruns.offer(asked(slow, [0.9, 0.1]))
    slow.go_on.set()
    reruns.settle()
    found = reruns.of("g")
    reruns.close()
    assert found is not None
    assert (found.searches, found.dropped) == (17, 4)
    assert found.recall == pytest.approx((1 + 16 * 0.5) / 17)


def test_what_was_closed_meanwhile_counts_as_dropped() -> None:
    class Shut:
        def nearest_exact(self, vector: object, k: int, where: object) -> Ranking:  # noqa: ARG002
            raise Closed("closed")

    reruns = ExactReruns(1.0)
    reruns.offer(asked(Shut(), [0.9]))
    reruns.settle()
    found = reruns.of("g")
    reruns.close()
    assert found is not None
    assert (found.searches, found.dropped, found.recall, found.lowest) == (0, 1, None, None)


def test_what_fails_unexpectedly_is_logged_and_the_next_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def nearest_exact(self, vector: object, k: int, where: object) -> Ranking:  # noqa: ARG002
            raise RuntimeError("not one of ours")

    class Whole:
        def nearest_exact(self, vector: object, k: int, where: object) -> Ranking:  # noqa: ARG002
            return ranking([0.9])

    reruns = ExactReruns(1.0)
    with caplog.at_level(logging.ERROR, "outcrop"):
        reruns.offer(asked(Broken(), [0.9]))
        reruns.offer(asked(Whole(), [0.9]))
        reruns.settle()
    found = reruns.of("g")
    reruns.close()
    assert found is not None
    assert (found.searches, found.dropped, found.recall) == (1, 1, 1.0)
    assert "not one of ours" in caplog.text


def test_an_empty_truth_tells_nothing() -> None:
    class Empty:
        def nearest_exact(self, vector: object, k: int, where: object) -> Ranking:  # noqa: ARG002
            return ranking([])

    assert recall_of(asked(Empty(), [])) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_counts_anew(tmp_path: Path) -> None:
    db, collection = opened(tmp_path, IndexSpec(kind="flat"), live_recall_share=1.0)
    with db:
        collection.search(vector=QUERIES[0])
        assert settled(db, collection) is not None
        child = os.fork()
        if not child:
            code = 1
            try:
                before = settled(db, collection)
                collection.search(vector=QUERIES[0])
                after = settled(db, collection)
                code = 0 if before is None and after is not None and after.searches == 1 else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0


def test_where_the_system_has_no_thread_to_give_searches_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    db, collection = opened(tmp_path, IndexSpec(kind="flat"), live_recall_share=1.0)
    with db:
        with monkeypatch.context() as refused:
            refused.setattr(threading.Thread, "start", refuse)
            assert len(collection.search(vector=QUERIES[0])) == 10
        collection.search(vector=QUERIES[1])
        found = settled(db, collection)
    assert found is not None
    assert (found.dropped, found.searches) == (1, 1)
