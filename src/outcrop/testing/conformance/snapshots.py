"""Snapshots: whole, unchanging, and shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from outcrop.engines.protocol import IndexSnapshot
from outcrop.testing.conformance.generation import DIMENSION, EVERYTHING, WORD, Generation, Generations, item, items, seen
from outcrop.testing.conformance.suite import Suite

_WRITES = 25
_BETWEEN_LOOKS_SECONDS, _BETWEEN_ABSORPTIONS_SECONDS = 0.01, 0.05  # or the writes wait for the interpreter most of the time


class Snapshots(Suite):
    """`snapshot`, and what it gives while others write."""

    def test_a_snapshot_never_changes(self, generations: Generations) -> None:
        """It never changes, and is safe to use from many threads at once."""
        generation = generations.built(items(range(20)))
        generation.write(items(range(20, 25)), ["d0"])
        snapshot = generation.index.snapshot()
        before = answers(snapshot)
        generation.write([*items(range(25, 30)), *items(range(3, 6))], ["d7", "d21"])
        assert answers(snapshot) == before
        generation.index.absorb(generation.publishing)
        generation.write(items(range(30, 35)), ["d8", "d26"])
        assert answers(snapshot) == before
        assert answers(generation.index.snapshot()) != before

    def test_a_snapshot_names_the_engine_that_answers(self, generations: Generations) -> None:
        """`engine` is the name of the engine that answers, and `degraded` says why it is another one than was wanted, or is
        None."""
        generation = generations.built(items(range(20)))
        for _ in range(2):
            snapshot = generation.index.snapshot()
            assert isinstance(snapshot.engine, str)
            assert snapshot.engine
            assert snapshot.degraded is None
            generation.write(items(range(20, 25)), ["d0"])

    def test_a_snapshot_serves_many_threads_at_once(self, generations: Generations) -> None:
        """It never changes, and is safe to use from many threads at once."""
        generation = generations.built(items(range(200)))
        generation.write(items(range(200, 240)), [f"d{n}" for n in range(10)])
        snapshot = generation.index.snapshot()
        expected = answers(snapshot)
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(lambda _: answers(snapshot) == expected, range(80))) == {True}

    def test_without_a_write_the_next_snapshot_shows_the_same(self, generations: Generations) -> None:
        """The index as of the last write whose `apply` had returned when this was called, in whatever process; or a later one."""
        generation = generations.built(items(range(10)))
        generation.write(items(range(10, 12)))
        expected = answers(generation.index.snapshot())
        for _ in range(3):
            assert answers(generation.index.snapshot()) == expected

    def test_lag_counts_what_no_vector_index_has(self, generations: Generations) -> None:
        """`lag` counts the chunks that are searched one by one, because no vector index has them yet."""
        generation = generations.built(items(range(10)))
        assert generation.index.snapshot().lag == 0
        generation.write([*items(range(10, 14)), item("bare")])
        lag = generation.index.snapshot().lag
        assert 0 <= lag <= 4
        assert generations.again(generation).index.snapshot().lag == lag
        generation.write([], ["d10", "d11"])
        assert 0 <= generation.index.snapshot().lag <= 2

    def test_every_snapshot_is_whole_while_another_thread_writes_and_absorbs(self, generations: Generations) -> None:
        """Any number of threads may ask for snapshots; who applies holds the generation's apply lock (or builds it)."""
        here = generations.built(items(range(20)))
        there = generations.again(here)
        done = threading.Event()
        wrong: list[object] = []
        readers = [_running(partial(_search_until, done, one, wrong), wrong) for one in (here, here, there)]
        absorbing = _running(partial(_absorb_until, done, there), wrong)
        try:
            for number in range(1, _WRITES + 1):
                here.write([*items(range(20 + number, 22 + number), seed=number), *items(range(5, 6))], [f"d{number + 5}"])
                assert here.index.snapshot().sequence == number
        finally:
            done.set()
            for thread in (*readers, absorbing):
                thread.join()
        assert wrong == []
        assert there.seen() == here.expected()


def answers(snapshot: IndexSnapshot) -> tuple[object, ...]:
    """Everything that a snapshot says, to be compared with what it says at another time."""
    query = np.ones(DIMENSION, np.float32)
    legs = snapshot.lexical(WORD, EVERYTHING, None), snapshot.nearest(query, EVERYTHING, None)
    rankings = [(leg.slots.tolist(), leg.scores.tolist()) for leg in legs]
    vectors = [None if vector is None else vector.tolist() for vector in snapshot.vectors(legs[1].slots.tolist())]
    return snapshot.sequence, snapshot.lag, rankings, vectors, snapshot.fetch(legs[0].slots.tolist())


def _search_until(done: threading.Event, generation: Generation, wrong: list[object]) -> None:
    """Compare what snapshots show with what was there after the write that they name, at once and when others have followed."""
    while not done.is_set():
        snapshot = generation.index.snapshot()
        for _ in range(2):
            if seen(snapshot) != generation.expected(snapshot.sequence):
                wrong.append((snapshot.sequence, seen(snapshot), generation.expected(snapshot.sequence)))
                return
            done.wait(_BETWEEN_LOOKS_SECONDS)


def _absorb_until(done: threading.Event, generation: Generation) -> None:
    while not done.is_set():
        generation.index.absorb(generation.publishing)
        done.wait(_BETWEEN_ABSORPTIONS_SECONDS)


def _running(run: Callable[[], None], wrong: list[object]) -> threading.Thread:
    def noting() -> None:
        try:
            run()
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            wrong.append(error)

    thread = threading.Thread(target=noting)
    thread.start()
    return thread
