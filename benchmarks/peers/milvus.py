"""Milvus Lite through pymilvus: a graph and its BM25 function, fused by its ranker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pymilvus import AnnSearchRequest, DataType, Function, FunctionType, MilvusClient, RRFRanker

from benchmarks.peers.protocol import Corpus, K, Query, Rows

_NAME = "rows"
_SHOWN = ["title", "text"]
_TEXT_MAX = 65_535


class Side:
    """A collection in a local file."""

    def __init__(self) -> None:
        logging.disable(logging.WARNING)

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Insert, flush, index, load."""
        client = MilvusClient(str(folder / "rows.db"))
        client.create_collection(_NAME, schema=_schema(corpus.dimension))
        for rows in corpus.batches(1000):
            client.insert(_NAME, _values(rows))
        client.flush(_NAME)
        client.create_index(_NAME, _indexes(client))
        client.load_collection(_NAME)
        client.close()

    def open(self, folder: Path) -> None:
        """Open the file and load the collection."""
        self._client = MilvusClient(str(folder / "rows.db"))
        self._client.load_collection(_NAME)

    def lexical(self, query: Query) -> list[int]:
        """Its BM25."""
        return self._search(query, [query.text], anns_field="words", limit=K, search_params={"metric_type": "BM25"})

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its graph."""
        return self._search(query, [query.vector.tolist()], anns_field="vector", limit=depth, search_params=_params(effort, depth))

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its hybrid search with its own fusion."""
        where = _where(query)
        legs = [
            AnnSearchRequest([query.vector.tolist()], "vector", _params(effort, depth), depth, expr=where),
            AnnSearchRequest([query.text], "words", {"metric_type": "BM25"}, depth, expr=where),
        ]
        found = self._client.hybrid_search(_NAME, legs, RRFRanker(60), limit=K, output_fields=_SHOWN)
        return [hit["row"] for hit in found[0]]

    def upsert(self, rows: Rows) -> None:
        """One call; what is not flushed is searched all the same."""
        self._client.upsert(_NAME, _values(rows))

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _search(self, query: Query, asked: list[Any], **more: Any) -> list[int]:
        shown = _SHOWN if more["limit"] == K else []
        found = self._client.search(_NAME, asked, filter=_where(query), output_fields=shown, **more)
        return [hit["row"] for hit in found[0]]


def _schema(dimension: int) -> Any:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=_TEXT_MAX)
    schema.add_field("text", DataType.VARCHAR, max_length=_TEXT_MAX)
    schema.add_field("searched", DataType.VARCHAR, max_length=_TEXT_MAX, enable_analyzer=True)
    schema.add_field("bucket", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    bm25 = {"name": "bm25", "function_type": FunctionType.BM25}
    schema.add_function(Function(**bm25, input_field_names=["searched"], output_field_names=["words"]))
    return schema


def _indexes(client: Any) -> Any:
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
    indexes.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={})
    indexes.add_index("bucket", index_type="INVERTED")
    return indexes


def _values(rows: Rows) -> list[dict[str, Any]]:
    names = ("row", "title", "text", "bucket", "vector", "searched")
    values = zip(rows.numbers, rows.titles, rows.texts, rows.buckets, rows.vectors.tolist(), rows.searched(), strict=True)
    return [dict(zip(names, one, strict=True)) for one in values]


def _params(effort: int, depth: int) -> dict[str, Any]:
    return {"metric_type": "IP", "params": {"ef": max(effort, depth)}}


def _where(query: Query) -> str:
    return "" if query.below is None else f"bucket < {query.below}"
