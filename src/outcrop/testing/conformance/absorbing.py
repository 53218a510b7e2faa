"""Absorbing: nothing is lost, nothing is shown twice, and one does it at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np

from outcrop.testing.conformance import elsewhere
from outcrop.testing.conformance.generation import DIMENSION, PATIENCE_SECONDS, Generation, Generations, items
from outcrop.testing.conformance.snapshots import answers
from outcrop.testing.conformance.suite import Suite

_MOMENT_SECONDS = 0.3
_DEATHS = 4


class Absorbing(Suite):
    """`absorb`."""

    def test_what_was_absorbed_is_found_as_before(self, generations: Generations) -> None:
        """Put what is searched one by one into the vector index, tidy up, and say how many chunks were put in."""
        generation = _written(generations)
        before = generation.index.snapshot()
        count = generation.index.absorb(generation.publishing)
        after = generation.index.snapshot()
        assert count == before.lag
        assert (after.lag, generation.index.stats().unindexed_count) == (0, 0)
        assert after.sequence == before.sequence
        assert generation.seen() == generation.expected()
        assert generations.again(generation).seen() == generation.expected()
        assert generation.index.absorb(generation.publishing) == 0

    def test_snapshots_taken_before_stay_as_they_were(self, generations: Generations) -> None:
        """Snapshots taken before stay as they were."""
        generation = _written(generations)
        before = generation.index.snapshot()
        expected = answers(before)
        generation.index.absorb(generation.publishing)
        assert answers(before) == expected
        assert expected[2]

    def test_writes_go_on_between_the_moments_that_the_lock_is_held(self, generations: Generations) -> None:
        """`publishing` gives a context manager that holds the generation's apply lock; it is taken for moments only, several
        times."""
        generation = _written(generations)
        inside = 0

        @contextmanager
        def publishing() -> Iterator[None]:
            nonlocal inside
            generation.write(items(range(200 + inside, 201 + inside)), [f"d{inside + 5}"])  # deadlocks if the lock is held
            with generation.publishing():
                inside += 1
                yield

        generation.index.absorb(publishing)
        assert generation.seen() == generation.expected()
        assert generation.index.snapshot().sequence == 2 + inside

    def test_chunks_that_ended_of_late_or_after_the_floor_can_still_be_fetched(self, generations: Generations) -> None:
        """Chunks that ended at least `keep_seconds` ago, and not after the write `floor`, may be forgotten."""
        generation = generations.built(items(range(3)))
        generation.write(items(range(3, 6)))
        ended = [generation.slot_of("d3"), generation.slot_of("d1")]
        shows = generation.index.snapshot()
        generation.write([], ["d3", "d1"])
        generation.index.absorb(generation.publishing)
        assert [chunk.slot for chunk in shows.fetch(ended)] == ended
        generation.index.absorb(generation.publishing, keep_seconds=-1.0, floor=1)
        assert [chunk.slot for chunk in shows.fetch(ended)] == ended

    def test_what_was_forgotten_is_left_out_and_what_lives_stays(self, generations: Generations) -> None:
        """Use it for one search and let go of it: what it was made of is kept as long as it is referenced, but chunks that ended
        are forgotten some minutes later, and `fetch` leaves those out."""
        generation = generations.built(items(range(3)))
        generation.write(items(range(3, 6)))
        shows = generation.index.snapshot()
        ended, living = generation.slot_of("d3"), generation.slot_of("d4")
        generation.write([], ["d3"])
        for _ in range(2):
            generation.index.absorb(generation.publishing, keep_seconds=-1.0)
        assert [chunk.slot for chunk in shows.fetch([ended, living])][-1:] == [living]
        assert len(shows.nearest(np.ones(DIMENSION, np.float32), 9, None)) == 6
        assert generation.seen() == generation.expected()
        assert generations.again(generation).seen() == generation.expected()

    def test_one_absorbs_at_a_time_and_another_does_not_wait_or_waits_for_it(self, generations: Generations) -> None:
        """Only one caller at a time does it, over all processes: another waits up to `timeout_seconds`, then does nothing and
        returns 0."""
        generation = _written(generations)
        other, lag = generations.again(generation), generation.index.snapshot().lag
        inside, go_on = threading.Event(), threading.Event()

        @contextmanager
        def waiting() -> Iterator[None]:
            inside.set()
            assert go_on.wait(PATIENCE_SECONDS)
            with generation.publishing():
                yield

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(generation.index.absorb, waiting)
            first.add_done_callback(lambda _: inside.set())  # an engine that has nothing to publish
            try:
                assert inside.wait(PATIENCE_SECONDS)
                if not first.done():
                    assert other.index.absorb(other.publishing) == 0
                patient = threads.submit(other.index.absorb, other.publishing, timeout_seconds=PATIENCE_SECONDS)
                if not first.done():
                    assert not wait([patient], _MOMENT_SECONDS).done, "another does not wait for it"
            finally:
                go_on.set()
            assert first.result() + patient.result() == lag
        assert other.index.snapshot().lag == 0
        assert other.seen() == generation.expected()

    def test_an_absorber_that_dies_loses_nothing(self, generations: Generations) -> None:
        """After a crash anywhere in it nothing is lost, and the next call removes what it left."""
        generation = _written(generations)
        for entered in range(1, _DEATHS + 1):
            generation.write(items(range(100 + entered, 103 + entered), seed=entered), [f"d{entered + 5}"])
            died = elsewhere.absorb_and_die(generation, entered)
            assert generation.seen() == generation.expected()
            assert generations.again(generation).seen() == generation.expected()
            generation.index.absorb(generation.publishing, keep_seconds=-1.0)
            assert generation.index.snapshot().lag == 0
            assert generation.seen() == generation.expected()
            if not died:
                break
        self.engine.verify(generation.recipe, generation.directory)

    def test_an_absorption_that_fails_loses_nothing(self, generations: Generations) -> None:
        """After a crash anywhere in it nothing is lost, and the next call removes what it left."""
        generation = _written(generations)
        for entered in range(1, _DEATHS + 1):
            left = entered

            @contextmanager
            def failing() -> Iterator[None]:
                nonlocal left
                left -= 1
                with generation.publishing():
                    if not left:
                        raise MemoryError
                    yield

            try:
                generation.index.absorb(failing, keep_seconds=-1.0)
            except MemoryError:
                assert left == 0
            assert generation.seen() == generation.expected()
            generation.write(items(range(100 + entered, 103 + entered), seed=entered), [f"d{entered + 5}"])
        assert generation.index.absorb(generation.publishing) >= 0
        assert generation.index.snapshot().lag == 0
        assert generation.seen() == generation.expected()


def _written(generations: Generations) -> Generation:
    """20 chunks from the build, of which two ended, and 29 of those that were written."""
    generation = generations.built(items(range(20)))
    generation.write(items(range(20, 40)), ["d0"])
    generation.write(items(range(40, 52)), ["d1", "d21", "d22"])
    return generation
