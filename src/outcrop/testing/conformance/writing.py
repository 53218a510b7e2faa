"""Building and applying: what is there afterwards, and what is not there before."""

from __future__ import annotations

import random
from contextlib import closing

import numpy as np
import pytest

from outcrop.documents import DocumentsWriter
from outcrop.errors import IllegalState, InvalidInput
from outcrop.testing.conformance import elsewhere
from outcrop.testing.conformance.generation import (
    DIMENSION,
    PATIENCE_SECONDS,
    Generation,
    Generations,
    Item,
    add,
    gaussian,
    indexed,
    item,
    items,
    rows_of,
)
from outcrop.testing.conformance.suite import Suite


class Writing(Suite):
    """`create`, `apply` and `seal`."""

    def test_a_new_index_is_empty(self, generations: Generations) -> None:
        """An empty index for a new generation in `directory`, which exists and holds its documents.sqlite."""
        generation = generations.built(sequence=4)
        assert generation.seen() == generation.expected()
        assert generation.index.snapshot().sequence == 4
        assert generation.index.stats().chunk_count == 0
        generation.write(items(range(2)))
        assert len(generation.seen().lexical) == 2

    def test_what_was_built_is_there_with_its_sequence(self, generations: Generations) -> None:
        """Build the final index structures and make everything durable. Called once, by the build, after the last `apply`."""
        generation = generations.built(items(range(1200)), sequence=7)
        assert generation.seen() == generation.expected()
        assert len(generation.living) == 1200
        assert generation.index.snapshot().sequence == 7

    def test_a_build_shows_nothing_and_deletes_nothing_and_is_sealed_once(self, generations: Generations) -> None:
        """While building: visible and durable after `seal`, and nothing is deleted. Raises `IllegalState` the second time."""
        recipe = generations.recipe()
        with closing(DocumentsWriter.create(generations.folder)) as documents:
            index = generations.engine.create(recipe, generations.folder)
            with closing(index):
                rows = rows_of(items(range(5)), 1, 1)
                add(documents, rows, 3)
                index.apply(indexed(rows), (), 3)
                with pytest.raises(IllegalState):
                    index.snapshot()
                with pytest.raises(IllegalState):
                    index.apply((), (1,), 3)
                documents.seal(3)
                stats = index.seal()
                assert stats == index.stats()
                assert stats.chunk_count == 5
                assert index.snapshot().sequence == 3
                with pytest.raises(IllegalState):
                    index.seal()
        with closing(Generation(generations.engine, recipe, generations.folder)) as opened:
            assert opened.seen().lexical == opened.seen().nearest == {1, 2, 3, 4, 5}

    @pytest.mark.parametrize("vector", ["too long", "too short", "nan", "infinite"])
    def test_a_build_refuses_a_vector_that_cannot_be_one(self, generations: Generations, vector: str) -> None:
        """One chunk as an index takes it. Raises, while building, `InvalidInput` for a vector of another length or that is not
        finite, and `IllegalState` for deletes."""
        wrong = {
            "too long": np.ones(DIMENSION + 1),
            "too short": np.ones(DIMENSION - 1),
            "nan": np.full(DIMENSION, np.nan),
            "infinite": np.full(DIMENSION, np.inf),
        }
        with pytest.raises(InvalidInput):
            generations.built([item("d0", vector=wrong[vector])])

    def test_a_generation_without_vectors_is_built_and_written(self, generations: Generations) -> None:
        """`vector` is float32 of shape (dimension,), or None when there is no vector leg."""
        generation = generations.built(items(range(4), dimension=None), dimension=None)
        generation.write(items(range(4, 6), dimension=None), ["d0"])
        assert generation.seen() == generation.expected()
        assert len(generation.seen().lexical) == 5
        assert len(generation.index.snapshot().nearest(np.ones(DIMENSION, np.float32), 5, None)) == 0

    def test_a_write_puts_replaces_and_deletes_at_once(self, generations: Generations) -> None:
        """Take chunks in and slots out, after documents.sqlite has committed their rows."""
        generation = generations.built(items(range(10)), sequence=2)
        before = generation.slot_of("d3"), generation.slot_of("d4")
        generation.write([item("d3", "basalt granite", gaussian(1)[0]), item("new", vector=gaussian(1)[0])], ["d4", "absent"])
        found = generation.seen()
        assert found == generation.expected()
        assert found.nearest.isdisjoint(before)
        assert found.lexical.isdisjoint(before)
        assert len(found.nearest) == 10
        snapshot = generation.index.snapshot()
        assert snapshot.sequence == 3
        assert snapshot.lexical("basalt", 10, None).slots.tolist() == [generation.slot_of("d3")]

    def test_whoever_has_written_has_what_lags_brought_up_to_date(self, generations: Generations) -> None:
        """For whoever has just written. Bring up to date what lags behind the rows by design, outside of every lock, for at most so
        long; whether that is done. An index that `apply` has brought up to date returns True at once."""
        generation = generations.built(items(range(5)))
        for number in range(5, 8):
            generation.write(items(range(number, number + 1)), [f"d{number - 4}"])
            assert generation.index.follow(PATIENCE_SECONDS) is True
            assert generation.index.snapshot().degraded is None
            assert generation.seen() == generation.expected()
        assert generation.index.follow(0.0) in (True, False)

    def test_a_document_of_several_chunks_goes_with_all_of_them(self, generations: Generations) -> None:
        """Take chunks in and slots out, after documents.sqlite has committed their rows."""
        many = Item("many", ("granite one", "granite two", "granite three"), {}, gaussian(3))
        generation = generations.built([many, item("one", vector=gaussian(1)[0])])
        generation.write([Item("more", many.texts, {}, many.vectors)])
        assert len(generation.seen().nearest) == 7
        generation.write([], ["many", "more"])
        assert generation.seen() == generation.expected()
        assert len(generation.seen().nearest) == 1

    def test_what_was_deleted_can_be_put_again(self, generations: Generations) -> None:
        """Take chunks in and slots out, after documents.sqlite has committed their rows."""
        generation = generations.built(items(range(3)))
        generation.write([], ["d1"])
        assert len(generation.seen().lexical) == 2
        generation.write(items(range(1, 2)))
        assert generation.seen() == generation.expected()
        assert len(generation.seen().lexical) == 3

    def test_a_write_of_nothing_moves_the_sequence(self, generations: Generations) -> None:
        """`sequence` is the last write that it shows."""
        generation = generations.built(items(range(3)))
        generation.write()
        assert generation.index.snapshot().sequence == 1
        assert generation.seen() == generation.expected()

    def test_slots_that_are_not_there_are_deleted_without_a_word(self, generations: Generations) -> None:
        """May be done again after a crash."""
        generation = generations.built(items(range(3)))
        write = generation.write(items(range(3, 5)), ["d0"])
        generation.index.apply(write.upserts, (*write.deletes, 999), write.sequence)
        assert generation.seen() == generation.expected()

    def test_a_write_that_is_applied_again_changes_nothing(self, generations: Generations) -> None:
        """May be done again after a crash."""
        generation = generations.built(items(range(6)))
        write = generation.write([*items(range(6, 8)), *items(range(2, 3))], ["d0"])
        once = generation.index.stats()
        for _ in range(2):
            generation.index.apply(write.upserts, write.deletes, write.sequence)
            snapshot, stats = generation.index.snapshot(), generation.index.stats()
            assert generation.seen() == generation.expected()
            assert snapshot.sequence == 1
            assert (stats.chunk_count, stats.unindexed_count) == (once.chunk_count, once.unindexed_count)

    def test_a_write_that_reached_the_rows_only_is_not_seen_until_it_is_recovered(self, generations: Generations) -> None:
        """Once sealed: visible to the next `snapshot` of every process, and durable, together with `sequence`, when this returns;
        nothing of it before that."""
        generation = generations.built(items(range(6)))
        before = generation.seen()
        for number in range(2):
            generation.write(items(range(10 + number, 12 + number)), [f"d{number}"], index_too=False)
            assert generation.seen() == before
            assert generation.index.snapshot().sequence == 0
        generation.recover()
        assert generation.index.snapshot().sequence == 2
        assert generation.seen() == generation.expected()
        assert generations.again(generation).seen() == generation.expected()

    def test_another_opening_sees_a_write_at_its_next_snapshot(self, generations: Generations) -> None:
        """The index as of the last write whose `apply` had returned when this was called, in whatever process; or a later one."""
        here = generations.built(items(range(4)))
        there = generations.again(here)
        for number in range(4):
            here.write(items(range(10 + number, 11 + number)), [f"d{number}"])
            assert there.index.snapshot().sequence == number + 1
            assert there.seen() == here.expected()

    def test_another_process_sees_a_write_at_its_next_snapshot(self, generations: Generations) -> None:
        """Once sealed: visible to the next `snapshot` of every process, and durable, together with `sequence`, when this returns;
        nothing of it before that."""
        generation = generations.built(items(range(4)))
        with closing(elsewhere.Reader(generation)) as reader:
            for number in range(4):
                generation.write(items(range(10 + number, 11 + number)), [f"d{number}"])
                if number == 2:
                    generation.index.absorb(generation.publishing)
                expected = generation.expected()
                assert reader.seen() == (number + 1, sorted(expected.lexical), sorted(expected.nearest))

    def test_a_writer_that_dies_has_written(self, generations: Generations) -> None:
        """Once sealed: visible to the next `snapshot` of every process, and durable, together with `sequence`, when this returns;
        nothing of it before that."""
        generation = generations.built(items(range(4)))
        elsewhere.write_and_die(generation, items(range(4, 7)))
        assert generation.index.snapshot().sequence == 1
        assert generation.seen() == generations.again(generation).seen()
        assert len(generation.seen().lexical) == len(generation.seen().nearest) == 7

    def test_many_writes_leave_what_a_dictionary_would_hold(self, generations: Generations) -> None:
        """The index as of the last write whose `apply` had returned when this was called, in whatever process; or a later one."""
        rng = random.Random(3)
        generation = generations.built(items(range(20)))
        for number in range(1, 16):
            chosen = rng.sample(range(40), rng.randint(1, 6))
            put = [item(f"d{n}", f"granite basalt{number}", rng.choice((None, gaussian(1, seed=n)[0]))) for n in chosen[::2]]
            generation.write(put, [f"d{n}" for n in chosen[1::2]])
            assert generation.index.snapshot().sequence == number
            assert generation.seen() == generation.expected()
            if number % 5 == 0:
                generation.index.absorb(generation.publishing, keep_seconds=-1.0)
                generation = generations.again(generation)
                assert generation.seen() == generation.expected()
        assert generation.living
