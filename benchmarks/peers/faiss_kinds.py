"""FAISS's kinds of index called directly, for the curves. What is compressed is scored again by the mapped vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import Corpus, Query, Rows
from benchmarks.peers.registry import HNSW, HNSW_8_BIT, IVF, IVF_PQ

_REFINED = {HNSW_8_BIT: 2, IVF_PQ: 10}
_TRAINING_MAX = 100_000


class Side:
    """One index file of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._refined = _REFINED.get(kind, 1)

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Train and add, on all cores."""
        with (folder / "vectors.f32").open("wb") as vectors:
            for rows in corpus.batches(5000):
                rows.vectors.tofile(vectors)
        stored = _mapped(folder, corpus.dimension)
        index = _made(self._kind, *stored.shape)
        index.train(stored[:: max(1, len(stored) // _TRAINING_MAX)])
        index.add(stored)
        faiss.write_index(index, str(folder / "rows.faiss"))

    def open(self, folder: Path) -> None:
        """Read the index."""
        self._index = faiss.read_index(str(folder / "rows.faiss"))
        self._stored = _mapped(folder, self._index.d)

    def lexical(self, query: Query) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its search, on one thread."""
        faiss.omp_set_num_threads(1)  # of this thread
        wanted = self._refined * depth
        if self._kind in (HNSW, HNSW_8_BIT):
            parameters: Any = faiss.SearchParametersHNSW(efSearch=max(effort, wanted))
        else:
            parameters = faiss.SearchParametersIVF(nprobe=effort)
        rows = self._index.search(query.vector[None, :], wanted, params=parameters)[1][0]
        if self._refined > 1:
            rows = rows[rows >= 0]
            rows = rows[np.argsort(-(self._stored[rows] @ query.vector))[:depth]]
        found: list[int] = rows.tolist()
        return found

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def upsert(self, rows: Rows) -> None:
        """Not measured."""
        raise NotImplementedError(len(rows.numbers))

    def close(self) -> None:
        """Nothing is held."""


def _made(kind: str, count: int, dimension: int) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    lists = max(1, min(round(4 * count**0.5), count // 40))
    if kind == HNSW:
        index = faiss.IndexHNSWFlat(dimension, 32, metric)
    elif kind == HNSW_8_BIT:
        index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, 32, metric)
    elif kind == IVF:
        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, metric)
    else:
        return faiss.index_factory(dimension, f"IVF{lists},PQ{dimension // 2}x4fs", metric)
    index.hnsw.efConstruction = 100
    return index


def _mapped(folder: Path, dimension: int) -> NDArray[np.float32]:
    return np.memmap(folder / "vectors.f32", np.float32, "r").reshape(-1, dimension)
