"""Fetching chunks and vectors, and what the statistics say."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.model import Metric
from outcrop.testing.conformance.generation import DIMENSION, Generations, Item, gaussian, item, items
from outcrop.testing.conformance.suite import Suite

_UNKNOWN = 999_999


class Reading(Suite):
    """`fetch`, `vectors` and `stats`."""

    def test_chunks_come_in_the_order_asked_and_unknown_ones_are_left_out(self, generations: Generations) -> None:
        """The chunks of these slots in the order asked; unknown slots are left out."""
        generation = generations.built(items(range(5)))
        generation.write(items(range(5, 8)))
        snapshot = generation.index.snapshot()
        asked = [8, 2, _UNKNOWN, 5, 1]
        assert [chunk.slot for chunk in snapshot.fetch(asked)] == [8, 2, 5, 1]
        assert [chunk.document_id for chunk in snapshot.fetch(asked)] == ["d7", "d1", "d4", "d0"]
        assert snapshot.fetch([]) == []
        assert snapshot.fetch([_UNKNOWN]) == []

    def test_a_chunk_comes_back_as_it_was_put(self, generations: Generations) -> None:
        """The chunks of these slots in the order asked; unknown slots are left out."""
        metadata = {"year": 2015, "tags": ["a", "b"], "place": {"country": "Türkiye"}, "ok": True, "none": None, "half": 0.5}
        one = Item("\N{MOUNTAIN} 1", ("granite first", "second"), metadata, gaussian(2), "A title")
        generation = generations.built([one])
        generation.write([Item("written", one.texts, metadata, one.vectors, one.title)])
        chunks = generation.index.snapshot().fetch([1, 2, 3, 4])
        assert [chunk.id for chunk in chunks] == ["\N{MOUNTAIN} 1#0", "\N{MOUNTAIN} 1#1", "written#0", "written#1"]
        for chunk, text in zip(chunks, one.texts * 2, strict=True):
            assert (chunk.text, chunk.title, chunk.metadata) == (text, "A title", metadata)
        assert [(chunk.start, chunk.end) for chunk in chunks[:2]] == [(0, 13), (14, 20)]

    @pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
    def test_vectors_come_back_as_the_metric_keeps_them(self, generations: Generations, metric: Metric) -> None:
        """For each slot its vector, float32 of shape (dimension,), as the index keeps it: for cosine at length 1."""
        assert metric in self.engine.capabilities.metrics, f"its capabilities lack {metric}"
        given = gaussian(6) * 3
        generation = generations.built([item(f"d{n}", vector=given[n]) for n in range(4)], metric=metric)
        generation.write([item(f"d{n}", vector=given[n]) for n in range(4, 6)])
        kept = given / np.linalg.norm(given, axis=1, keepdims=True) if metric == "cosine" else given
        for _ in range(2):
            found = generation.index.snapshot().vectors([6, 1, 3, 5])
            for vector, expected in zip(found, kept[[5, 0, 2, 4]], strict=True):
                assert vector is not None
                assert (str(vector.dtype), vector.shape) == ("float32", (DIMENSION,))
                np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)
            generation.index.absorb(generation.publishing)

    def test_there_is_no_vector_for_a_chunk_without_one_and_for_an_unknown_slot(self, generations: Generations) -> None:
        """None for a chunk without a vector and for an unknown slot."""
        generation = generations.built([item("d0", vector=gaussian(1)[0]), item("d1")])
        generation.write([item("d2"), item("d3", vector=gaussian(1)[0])])
        found = generation.index.snapshot().vectors([2, 1, _UNKNOWN, 3, 4])
        assert [vector is None for vector in found] == [True, False, True, True, False]
        assert generation.index.snapshot().vectors([]) == []

    def test_statistics_say_what_is_there_now(self, generations: Generations) -> None:
        """What the index holds now."""
        generation = generations.built(
            [item(f"d{n}", vector=vector, year=n, place={"lang": "en"}) for n, vector in enumerate(gaussian(6))]
        )
        built = generation.index.stats()
        assert (built.chunk_count, built.unindexed_count) == (6, 0)
        assert set(built.fields) == {"year", "place.lang"}
        generation.write([item("new", vector=gaussian(1)[0], author="Lyell"), item("bare")], ["d0", "d1", "d2"])
        written = generation.index.stats()
        assert written.chunk_count == 5
        assert set(written.fields) == {"year", "place.lang", "author"}
        assert written.unindexed_count == generation.index.snapshot().lag
        assert generations.again(generation).index.stats() == written

    def test_statistics_say_how_large_and_how_good_the_index_is(self, generations: Generations) -> None:
        """What an index holds. Sizes are in bytes; `recall` is recall@10 against exact search, measured when it was sealed."""
        small = generations.built(items(range(2)), name="small").index.stats()
        large = generations.built(items(range(2000)), name="large").index.stats()
        assert large.size_bytes - small.size_bytes > 1998 * DIMENSION * 4
        assert large.vector_index
        assert large.recall is not None
        assert 0.9 <= large.recall <= 1.0  # noqa: PLR2004 - the share that the recall test asks for
        without = generations.built(items(range(2), dimension=None), name="without", dimension=None).index.stats()
        assert (without.vector_index, without.recall) == (None, None)
