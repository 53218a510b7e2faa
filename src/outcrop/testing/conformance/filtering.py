"""Filters in both legs against their definition, `outcrop.filters.matches`."""

from __future__ import annotations

import random

import numpy as np
import pytest

from outcrop.engines.protocol import Ranking
from outcrop.filters import Compare, Filter, matches, parse
from outcrop.testing import samples
from outcrop.testing.conformance.generation import (
    DIMENSION,
    EVERYTHING,
    WORD,
    Generation,
    Generations,
    gaussian,
    item,
    slots,
)
from outcrop.testing.conformance.suite import Suite
from outcrop.testing.conformance.vectors import RECALL_MIN, clustered, nearest_rows

_SHARES = (0.001, 0.01, 0.1, 0.5, 1.0)
_COUNT = 3000
_FILTERS = 250


class Filtering(Suite):
    """`where`, in `lexical` and in `nearest`."""

    def test_random_filters_select_by_the_text_what_they_mean(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = _with_random_metadata(generations)
        for where, expected in _random_filters(generation):
            found = generation.index.snapshot().lexical(WORD, EVERYTHING, where)
            assert set(slots(found)) == expected, samples.as_text(where)

    def test_random_filters_select_by_the_vector_what_they_mean(self, generations: Generations) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        generation = _with_random_metadata(generations)
        query = np.ones(DIMENSION, np.float32)
        for where, expected in _random_filters(generation):
            found = generation.index.snapshot().nearest(query, EVERYTHING, where)
            assert set(slots(found)) == expected, samples.as_text(where)

    @pytest.mark.parametrize("leg", ["lexical", "nearest"])
    def test_a_filter_follows_what_was_replaced_absorbed_and_deleted(self, generations: Generations, leg: str) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        vector = gaussian(1)[0]
        generation = generations.built([item(f"d{n}", vector=vector, year=2000 + n) for n in range(6)])
        generation.write([item("d1", vector=vector, year=1990), item("d6", vector=vector, year=2006)], ["d4"])
        where = parse("year >= 2001 AND year < 2010")
        assert where is not None
        for _ in range(2):
            snapshot = generation.index.snapshot()
            found = snapshot.lexical(WORD, 9, where) if leg == "lexical" else snapshot.nearest(vector, 9, where)
            assert {chunk.document_id for chunk in snapshot.fetch(slots(found))} == {"d2", "d3", "d5", "d6"}
            generation.index.absorb(generation.publishing)

    def test_a_filter_of_any_share_selects_exactly_that_by_the_text(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        order = _order()
        put = [item(f"d{n}", f"{WORD} basalt {'slate ' * (n % 7)}", place=int(order[n])) for n in range(_COUNT)]
        snapshot = generations.built(put, dimension=None).index.snapshot()
        every = dict(zip(*_lists(snapshot.lexical(WORD, EVERYTHING, None)), strict=True))
        for share in _SHARES:
            chosen = {n + 1 for n in range(_COUNT) if order[n] < share * _COUNT}
            where = Compare("place", "<", int(share * _COUNT))
            assert set(slots(snapshot.lexical(WORD, EVERYTHING, where))) == chosen, share
            ten = snapshot.lexical(WORD, 10, where)
            assert len(ten) == min(10, len(chosen)), share
            best = sorted((every[slot] for slot in chosen), reverse=True)[:10]
            np.testing.assert_allclose(ten.scores, best, rtol=1e-4, err_msg=f"the best of {share}")

    def test_a_filter_of_any_share_finds_the_nearest_of_it(self, generations: Generations) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        order = _order()
        held, queries = clustered(_COUNT, 32)
        put = [item(f"d{n}", vector=held[n], place=int(order[n])) for n in range(_COUNT)]
        snapshot = generations.built(put, dimension=32).index.snapshot()
        for share in _SHARES:
            rows = np.flatnonzero(order < share * _COUNT)
            where = Compare("place", "<", int(share * _COUNT))
            found_count, wanted_count = 0, 0
            for query in queries:
                found = set(slots(snapshot.nearest(query, 10, where)))
                assert len(found) == min(10, len(rows)), f"{share}: too few"
                assert found <= set((rows + 1).tolist()), f"{share}: not selected"
                wanted = set((rows[nearest_rows(held[rows], query, 10, "cosine")] + 1).tolist())
                found_count, wanted_count = found_count + len(found & wanted), wanted_count + len(wanted)
            assert found_count >= RECALL_MIN * wanted_count, share


def _with_random_metadata(generations: Generations) -> Generation:
    """200 chunks with metadata of every awkward kind: half built, a quarter absorbed, a quarter written."""
    rng = random.Random(12)
    put = [item(f"d{n}", vector=vector, **samples.metadata(rng)) for n, vector in enumerate(gaussian(200))]
    generation = generations.built(put[:100])
    generation.write(put[100:150])
    generation.index.absorb(generation.publishing)
    generation.write(put[150:])
    return generation


def _random_filters(generation: Generation) -> list[tuple[Filter, set[int]]]:
    """Filters, each with the slots that it selects. Most of them select some chunks and leave some out."""
    rng = random.Random(13)
    made = [samples.condition(rng) for _ in range(_FILTERS)]
    expected = [{slot for slot, chunk in generation.living.items() if matches(where, chunk.metadata)} for where in made]
    assert sum(0 < len(selected) < len(generation.living) for selected in expected) > _FILTERS / 2
    return list(zip(made, expected, strict=True))


def _order() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A random order of the chunks, so that what is selected lies everywhere."""
    return np.random.default_rng(9).permutation(_COUNT)


def _lists(ranking: Ranking) -> tuple[list[int], list[float]]:
    return ranking.slots.tolist(), ranking.scores.tolist()
