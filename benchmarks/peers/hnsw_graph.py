"""hnswlib: a graph of float32 vectors in memory; it holds no texts."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from benchmarks.peers.protocol import Corpus, Query, Rows


class Side:
    """A graph with room for as many rows again. `ef` is a setting of the graph."""

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Add everything on all cores, and save."""
        graph = hnswlib.Index("ip", corpus.dimension)
        graph.init_index(corpus.row_count, M=16, ef_construction=200)
        buckets: list[int] = []
        for rows in corpus.batches(5000):
            graph.add_items(rows.vectors, rows.numbers)
            buckets += rows.buckets
        graph.save_index(str(folder / "rows.hnsw"))
        np.save(folder / "shape.npy", np.array([corpus.row_count, corpus.dimension]))
        np.save(folder / "buckets.npy", np.array(buckets))

    def open(self, folder: Path) -> None:
        """Read the graph."""
        count, dimension = np.load(folder / "shape.npy").tolist()
        self._graph = hnswlib.Index("ip", dimension)
        self._graph.load_index(str(folder / "rows.hnsw"), max_elements=2 * count + 10_000)
        self._buckets: list[int] = np.load(folder / "buckets.npy").tolist()
        self._effort = 0

    def lexical(self, query: Query) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its search, on one thread."""
        if effort != self._effort:
            self._graph.set_ef(effort)
            self._effort = effort
        below, buckets = query.below, self._buckets
        if below is None:
            rows, _ = self._graph.knn_query(query.vector, depth, num_threads=1)
            return rows[0].tolist()
        try:
            rows, _ = self._graph.knn_query(query.vector, depth, num_threads=1, filter=lambda row: buckets[row] < below)
        except RuntimeError:  # it finds fewer than asked for
            return []
        return rows[0].tolist()

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def upsert(self, rows: Rows) -> None:
        """In memory only."""
        self._graph.add_items(rows.vectors, rows.numbers)

    def close(self) -> None:
        """Nothing is held."""
