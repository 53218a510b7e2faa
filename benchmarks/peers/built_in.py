"""Outcrop on its built-in engine, as `outcrop.open` gives it, with given vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import outcrop
from benchmarks.peers.protocol import Corpus, K, Query, Rows
from outcrop import Config, Document

_NAME = "rows"


class Side:
    """A collection without an embedder. `kind` is for the curves: a kind of vector index, and how many candidates."""

    def __init__(self, kind: str = "auto 100") -> None:
        self._index, candidates = kind.split()
        self._candidates = int(candidates)

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Build one generation and promote it."""
        with outcrop.open(folder / "db", config=Config.mvp_only(background=False)) as db:
            rows = (document for batch in corpus.batches(1000) for document in _documents(batch))
            db.create_collection(_NAME, embedder="none", chunker="none", index=self._index).build(rows, promote=True)

    def open(self, folder: Path) -> None:
        """Open the database and its collection."""
        self._db = outcrop.open(folder / "db", config=Config.mvp_only(background=False))
        self._collection = self._db.collection(_NAME)

    def lexical(self, query: Query) -> list[int]:
        """Ten hits by words."""
        return self._found(query, "lexical", 100)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:  # noqa: ARG002 -- the sealed effort is used
        """The nearest; of more than ten no texts are wanted, and they are fetched all the same."""
        return self._found(query, "vector", max(depth, self._candidates), k=depth, vector=query.vector)

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:  # noqa: ARG002 -- as in nearest
        """Ten hits, fused."""
        return self._found(query, "hybrid", depth, vector=query.vector)

    def upsert(self, rows: Rows) -> None:
        """One write."""
        self._collection.upsert(list(_documents(rows)))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _found(self, query: Query, mode: str, candidates: int, *, k: int = K, **more: Any) -> list[int]:
        where = None if query.below is None else f"bucket < {query.below}"
        hits = self._collection.search(query.text, k=k, mode=mode, candidates=candidates, where=where, cache=False, **more)
        return [int(hit.document_id) for hit in hits]


def _documents(rows: Rows) -> Iterator[Document]:
    for number, title, text, bucket, vector in zip(*rows, strict=True):
        yield Document(str(number), text, title=title, metadata={"bucket": bucket}, vector=vector)
