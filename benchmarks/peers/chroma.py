"""Chroma: a persistent collection with given vectors. Its effort is a setting of the collection, changed before searching."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from benchmarks.peers.protocol import Corpus, K, Query, Rows

_NAME = "rows"


class Side:
    """A collection without an embedding function."""

    def __init__(self) -> None:
        logging.getLogger("chromadb").setLevel(logging.ERROR)
        self._effort = 0

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Add the rows in calls as large as it takes."""
        client = _client(folder)
        graph = {"space": "ip", "max_neighbors": 16, "ef_construction": 200}
        collection = client.create_collection(_NAME, configuration={"hnsw": graph}, embedding_function=None)
        for rows in corpus.batches(min(5000, client.get_max_batch_size())):
            collection.add(**_values(rows))

    def open(self, folder: Path) -> None:
        """Open the collection."""
        self._collection = _client(folder).get_collection(_NAME, embedding_function=None)

    def lexical(self, query: Query) -> list[int]:
        """It has none that ranks."""
        raise NotImplementedError(query.text)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its vector search."""
        if effort != self._effort:
            self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
            self._effort = effort
        where: Any = None if query.below is None else {"bucket": {"$lt": query.below}}
        shown: Any = ["documents", "metadatas"] if depth == K else []
        found = self._collection.query(query_embeddings=query.vector[None, :], n_results=depth, where=where, include=shown)
        return [int(one) for one in found["ids"][0]]

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def upsert(self, rows: Rows) -> None:
        """One call."""
        self._collection.upsert(**_values(rows))

    def close(self) -> None:
        """Nothing is held that the process's end does not free."""


def _client(folder: Path) -> Any:
    return chromadb.PersistentClient(str(folder / "rows"), settings=Settings(anonymized_telemetry=False))


def _values(rows: Rows) -> dict[str, Any]:
    metadatas = [{"title": title, "bucket": bucket} for title, bucket in zip(rows.titles, rows.buckets, strict=True)]
    return {"ids": [str(row) for row in rows.numbers], "embeddings": rows.vectors, "documents": rows.texts, "metadatas": metadatas}
