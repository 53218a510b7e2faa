"""LanceDB without Outcrop: one table with a full-text and a vector index, searched as its documentation recommends.

The vector index is of the kind and has the parameters that Outcrop's engine has chosen, indexes are in memory before the first
query (`prewarm_index`), and only the columns that are shown are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.lance_table import LanceTable
from outcrop import Document, Embedder

SHOWN = ["id", "title", "text"]
_NAME, _SEARCHED, _VECTOR = "texts", "searched", "vector"
_BATCH = 5000
_REFINED = 2  # as many times the rows asked for are scored again by the vectors themselves


class Chosen(NamedTuple):
    """The kind of vector index, `ivf_flat` or `hnsw`, and its parameters by the names that Outcrop gives them."""

    kind: str
    parameters: dict[str, int]


class RawLance:
    """The table in a folder, through the synchronous and the asynchronous interface."""

    def __init__(self, folder: Path, chosen: Chosen) -> None:
        from lancedb.rerankers import RRFReranker

        self._chosen = chosen
        self._reranker = RRFReranker()
        self._table = LanceTable(folder, _NAME)

    def lexical(self, text: str, k: int = 10) -> list[dict[str, Any]]:
        """The best `k` rows by BM25."""
        return self._table.waited(self._rows(self._table.asynchronous.query().nearest_to_text(text, columns=_SEARCHED), k))

    def nearest(self, vector: NDArray[np.float32], k: int = 10) -> list[dict[str, Any]]:
        """The nearest `k` rows."""
        return self._table.waited(self._rows(self._as_hard(self._table.asynchronous.query().nearest_to(vector), k), k))

    def hybrid(self, text: str, vector: NDArray[np.float32], depth: int = 10) -> list[dict[str, Any]]:
        """Ten rows, of `depth` of each leg, ordered by LanceDB's own reciprocal rank fusion."""
        query = self._as_hard(self._table.asynchronous.query().nearest_to(vector), depth).nearest_to_text(text, columns=_SEARCHED)
        return self._table.waited(self._rows(query.rerank(self._reranker), depth))[:10]

    def hybrid_synchronous(self, text: str, vector: NDArray[np.float32]) -> list[dict[str, Any]]:
        """The same through the interface that the documentation's examples use first."""
        query = self._table.synchronous.search(query_type="hybrid", vector_column_name=_VECTOR, fts_columns=_SEARCHED)
        query = self._as_hard(query.vector(vector).text(text), 10)
        found: list[dict[str, Any]] = query.rerank(self._reranker).select(SHOWN).limit(10).to_list()
        return found

    def _as_hard(self, query: Any, k: int) -> Any:
        query = query.distance_type("dot").nprobes(self._chosen.parameters.get("nprobe", 1))
        if self._chosen.kind == "hnsw":
            query = query.ef(max(self._chosen.parameters["ef_search"], _REFINED * k)).refine_factor(_REFINED)
        return query

    async def _rows(self, query: Any, k: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await query.select(SHOWN).limit(k).to_list()
        return found


def build(folder: Path, documents: Iterator[Document], embedder: Embedder, chosen: Chosen) -> None:
    """Embed the documents, add them to a new table, and build both indexes."""
    import lancedb
    import pyarrow as pa
    from lancedb.index import FTS, HnswSq, IvfFlat

    dimension = len(embedder.embed_query("a"))
    schema = pa.schema([(name, pa.string()) for name in (*SHOWN, _SEARCHED)] + [(_VECTOR, pa.list_(pa.float32(), dimension))])
    table = lancedb.connect(folder).create_table(_NAME, schema=schema)
    while batch := list(islice(documents, _BATCH)):
        searched = [searched_text(one) for one in batch]
        vectors = embedder.embed_documents(searched)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        columns = [[one.id for one in batch], [one.title for one in batch], [one.text for one in batch], searched]
        table.add(pa.table([*columns, pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)], schema=schema))
    table.create_index(_SEARCHED, config=FTS(stem=True, remove_stop_words=True, with_position=False))
    parameters = chosen.parameters
    if chosen.kind == "hnsw":
        graph = {name: parameters[name] for name in ("m", "ef_construction")}
        table.create_index(_VECTOR, config=HnswSq(distance_type="dot", num_partitions=1, **graph))
    else:
        table.create_index(_VECTOR, config=IvfFlat(distance_type="dot", num_partitions=parameters.get("nlist", 1)))
    table.optimize()


def searched_text(document: Document) -> str:
    """Title and text, as Outcrop embeds them too."""
    return f"{document.title}\n{document.text}" if document.title else document.text
