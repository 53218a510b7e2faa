"""What a peer of the comparison does: build an index of the same rows in a folder, open it, and search it with the same queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

K = 10


class Rows(NamedTuple):
    """Some rows of the corpus. A row's id is its number; its vector has length 1."""

    numbers: list[int]
    titles: list[str]
    texts: list[str]
    buckets: list[int]
    vectors: NDArray[np.float32]

    def searched(self) -> list[str]:
        """Title and text in one, for peers that search one field."""
        return [f"{title}\n{text}" if title else text for title, text in zip(self.titles, self.texts, strict=True)]


class Query(NamedTuple):
    """What is asked for. With `below`, only rows whose bucket (0 to 999) is less may be found."""

    text: str
    vector: NDArray[np.float32]
    below: int | None = None


class Corpus(Protocol):
    """All rows, in batches; nothing is held between them."""

    row_count: int
    dimension: int

    def batches(self, size: int) -> Iterator[Rows]:
        """The rows in order, at most `size` at a time."""
        ...


class Peer(Protocol):
    """One way to search, in a process of its own. It has the methods for the kinds of search that its entry names."""

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Make the index of the corpus in an empty folder, as good as it gets: optimized, and on disk when this returns."""
        ...

    def open(self, folder: Path) -> None:
        """Open what `build` has left, for searching and writing."""
        ...

    def lexical(self, query: Query) -> Sequence[int]:
        """The ten best rows by their words; their titles and texts have been read."""
        ...

    def nearest(self, query: Query, depth: int, effort: int) -> Sequence[int]:
        """The `depth` nearest rows, looked for as hard as `effort` says; where `depth` is ten, titles and texts have been read."""
        ...

    def hybrid(self, query: Query, depth: int, effort: int) -> Sequence[int]:
        """Ten rows, fused from the `depth` best of each leg; their titles and texts have been read."""
        ...

    def upsert(self, rows: Rows) -> None:
        """Put the rows in place of those with their ids, if there are any; searches find them when this returns."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
