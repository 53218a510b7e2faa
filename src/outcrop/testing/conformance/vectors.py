"""The vector leg against brute force."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.filters import parse
from outcrop.index_values import IndexKind, IndexSpec
from outcrop.model import Metric
from outcrop.testing import oracle
from outcrop.testing.conformance.generation import DIMENSION, EVERYTHING, Generations, gaussian, item, slots, types
from outcrop.testing.conformance.suite import Suite

RECALL_MIN = 0.9


class Vectors(Suite):
    """`nearest`."""

    @pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
    def test_the_nearest_are_those_of_the_oracle(self, generations: Generations, metric: Metric) -> None:
        """`scores` is float32 of shape (n,), higher is better: BM25 for the lexical leg; cosine similarity, dot product or the
        negative euclidean distance for the vector leg."""
        assert metric in self.engine.capabilities.metrics, f"its capabilities lack {metric}"
        held = gaussian(80) * np.linspace(0.5, 3, 80, dtype=np.float32)[:, np.newaxis]
        generation = generations.built([item(f"d{n}", vector=held[n]) for n in range(50)], metric=metric)
        generation.write([item(f"d{n}", vector=held[n]) for n in range(50, 80)])
        for absorbed in (False, True):
            snapshot = generation.index.snapshot()
            for query in gaussian(8, seed=1):
                ranking, expected = snapshot.nearest(query, 10, None), oracle.nearest(held, query, 10, metric)
                assert slots(ranking) == [row + 1 for row, _ in expected], f"absorbed: {absorbed}"
                np.testing.assert_allclose(ranking.scores, [score for _, score in expected], rtol=1e-4, atol=1e-5)
            generation.index.absorb(generation.publishing)

    def test_exact_search_finds_what_an_index_may_miss(self, generations: Generations) -> None:
        """As `nearest`, past every approximate index: what recall is measured against, at whatever cost."""
        held = gaussian(700)
        kinds = [kind for kind in ("ivf_flat", "hnsw") if kind in self.engine.capabilities.index_kinds]
        spec = IndexSpec(kind=kinds[0], nprobe=1, ef_search=1) if kinds else IndexSpec()
        put = [item(f"d{n}", vector=held[n], even=n % 2 == 0) for n in range(700)]
        generation = generations.built(put[:690], index=spec)
        generation.write(put[690:], ["d7"])
        snapshot = generation.index.snapshot()
        rows = np.setdiff1d(np.arange(700), [7])
        for query in gaussian(8, seed=1):
            for selected, where in ((rows, None), (rows[rows % 2 == 0], parse("even"))):
                expected = oracle.nearest(held[selected], query, 10, "cosine")
                ranking = snapshot.nearest_exact(query, 10, where)
                assert slots(ranking) == [int(selected[row]) + 1 for row, _ in expected]
                np.testing.assert_allclose(ranking.scores, [score for _, score in expected], rtol=1e-4, atol=1e-5)

    def test_a_ranking_of_vectors_is_two_arrays_with_the_best_first(self, generations: Generations) -> None:
        """The answer of one leg: parallel arrays, best first. `slots` is int64 of shape (n,): the chunks' slots."""
        generation = generations.built([item(f"d{n}", vector=vector) for n, vector in enumerate(gaussian(30))])
        generation.write([item(f"n{n}", vector=vector) for n, vector in enumerate(gaussian(5, seed=2))])
        for k in (0, 1, 7, 35, 10**9):
            ranking = generation.index.snapshot().nearest(gaussian(1, seed=1)[0], k, None)
            assert types(ranking) == ("int64", "float32")
            assert ranking.slots.shape == ranking.scores.shape == (min(k, 35),)
            assert (ranking.scores[1:] <= ranking.scores[:-1]).all()

    def test_the_length_of_a_query_does_not_matter_to_cosine(self, generations: Generations) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        generation = generations.built([item(f"d{n}", vector=vector) for n, vector in enumerate(gaussian(30))])
        query = gaussian(1, seed=1)[0]
        short, long = (generation.index.snapshot().nearest(query * length, 10, None) for length in (0.01, 100))
        assert slots(short) == slots(long)
        np.testing.assert_allclose(short.scores, long.scores, rtol=1e-4)
        assert abs(short.scores).max() <= 1 + 1e-5

    def test_a_vector_of_zeros_has_the_cosine_0(self, generations: Generations) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        axis = np.eye(DIMENSION, dtype=np.float32)[0]
        generation = generations.built([item("plus", vector=axis), item("zero", vector=0 * axis), item("minus", vector=-axis)])
        ranking = generation.index.snapshot().nearest(axis, 5, None)
        assert slots(ranking) == [1, 2, 3]
        np.testing.assert_allclose(ranking.scores, [1, 0, -1], atol=1e-6)
        assert generation.index.snapshot().nearest(0 * axis, 5, None).scores.tolist() == [0, 0, 0]

    def test_chunks_without_a_vector_are_found_by_their_text_only(self, generations: Generations) -> None:
        """Chunks without a vector are never among them."""
        generation = generations.built([item("d0", vector=gaussian(1)[0]), item("d1")])
        generation.write([item("d2"), item("d3", vector=gaussian(1)[0])])
        for _ in range(2):
            assert sorted(slots(generation.index.snapshot().nearest(gaussian(1)[0], EVERYTHING, None))) == [1, 4]
            assert len(generation.seen().lexical) == 4
            generation.index.absorb(generation.publishing)

    def test_what_ended_does_not_take_the_place_of_what_lives(self, generations: Generations) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        held = gaussian(300)
        generation = generations.built([item(f"d{n}", vector=vector) for n, vector in enumerate(held)])
        query = gaussian(1, seed=1)[0]
        best = slots(generation.index.snapshot().nearest(query, 100, None))
        generation.write([], [f"d{slot - 1}" for slot in best[:90]])
        assert slots(generation.index.snapshot().nearest(query, 10, None)) == best[90:]

    @pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
    def test_nine_of_ten_nearest_are_found_by_every_kind_of_index(self, generations: Generations, metric: Metric) -> None:
        """At most `k` nearest chunks among those that `where` selects."""
        assert metric in self.engine.capabilities.metrics, f"its capabilities lack {metric}"
        held, queries = clustered(3000, 32)
        put = [item(f"d{n}", vector=vector) for n, vector in enumerate(held)]
        known: tuple[IndexKind, ...] = get_args(IndexKind)
        for kind in [kind for kind in known if kind == "auto" or kind in self.engine.capabilities.index_kinds]:
            generation = generations.built(put, name=kind, metric=metric, dimension=32, index=IndexSpec(kind=kind))
            snapshot = generation.index.snapshot()
            shares = [
                len(set(slots(snapshot.nearest(query, 10, None))) & set((nearest_rows(held, query, 10, metric) + 1).tolist())) / 10
                for query in queries
            ]
            assert np.mean(shares) >= RECALL_MIN, kind


def clustered(count: int, dimension: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors around 40 centres, float32 of shape (count, dimension), and 40 queries near them."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((40, dimension))
    near = [centres[rng.integers(0, 40, size)] + 0.4 * rng.standard_normal((size, dimension)) for size in (count, 40)]
    return near[0].astype(np.float32), near[1].astype(np.float32)


def nearest_rows(held: NDArray[np.float32], query: NDArray[np.float32], k: int, metric: Metric) -> NDArray[np.int64]:
    """The rows that `oracle.nearest` gives, computed all at once."""
    rows, wanted = held.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        scores = -np.linalg.norm(rows - wanted, axis=1)
    else:
        scores = rows @ wanted / (np.linalg.norm(rows, axis=1) if metric == "cosine" else 1)
    return np.argsort(-scores, kind="stable")[:k]
