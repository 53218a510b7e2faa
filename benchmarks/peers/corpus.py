"""The prepared corpus as every process of the comparison reads it: rows, queries and true answers in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import K, Rows

_TOLERANCE = 1e-5


class Files:
    """A prepared folder. What is large is mapped or streamed, so that it does not count as a peer's memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vectors: NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
        self.buckets: NDArray[np.int64] = np.load(folder / "buckets.npy")
        self.query_texts: list[str] = msgspec.json.decode((folder / "queries.json").read_bytes())
        self.query_vectors: NDArray[np.float32] = np.load(folder / "query_vectors.npy")
        self.row_count, self.dimension = self.vectors.shape

    def batches(self, size: int) -> Iterator[Rows]:
        """The rows in order, at most `size` at a time."""
        with (self.folder / "texts.jsonl").open("rb") as lines:
            for start in range(0, self.row_count, size):
                pairs = [msgspec.json.decode(line) for line in islice(lines, size)]
                end = start + len(pairs)
                titles, texts = [title for title, _ in pairs], [text for _, text in pairs]
                yield Rows(list(range(start, end)), titles, texts, self.buckets[start:end].tolist(), self.vectors[start:end])

    def least_scores(self, below: int | None) -> NDArray[np.float32]:
        """For each query, the score that a row must have to be among the true ten nearest."""
        name = "all" if below is None else f"below-{below}"
        found: NDArray[np.float32] = np.load(self.folder / f"least-{name}.npy")
        return found

    def recall(self, query_index: int, found: list[int], below: int | None = None) -> float:
        """The share of the true ten nearest among the first ten found, by score: equal texts have equal vectors."""
        wanted = min(K, self.row_count if below is None else int((self.buckets < below).sum()))
        rows = [row for row in dict.fromkeys(found[:K]) if below is None or self.buckets[row] < below]
        scores = self.vectors[rows] @ self.query_vectors[query_index] if rows else np.empty(0, np.float32)
        return float((scores >= self.least_scores(below)[query_index] - _TOLERANCE).sum()) / wanted
