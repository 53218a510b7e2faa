"""Qdrant Edge: one shard with a quantized graph and BM25 as sparse vectors, fused inside the shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from benchmarks.peers.protocol import Corpus, K, Query, Rows

_SHOWN = ["title", "text"]
_RANK_CONSTANT = 60


class Side:
    """A shard in a folder."""

    def __init__(self) -> None:
        self._bm25 = qdrant.Bm25(qdrant.Bm25Config(language="english", avg_len=20.0))

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Put the points in and optimize."""
        (folder / "rows").mkdir()
        shard = qdrant.EdgeShard.create(str(folder / "rows"), _config(corpus.dimension))
        numbers = qdrant.IntegerIndexParams(lookup=False, range=True)
        shard.update(qdrant.UpdateOperation.create_field_index("bucket", numbers))
        for rows in corpus.batches(1000):
            shard.update(qdrant.UpdateOperation.upsert_points(self._points(rows)))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path) -> None:
        """Load the shard."""
        self._shard = qdrant.EdgeShard.load(str(folder / "rows"))

    def lexical(self, query: Query) -> list[int]:
        """Its sparse vectors."""
        return self._found(limit=K, query=self._words(query), filter=_filter(query), with_payload=_SHOWN)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its graph."""
        shown = _SHOWN if depth == K else False
        return self._found(limit=depth, query=_near(query), params=_params(effort), filter=_filter(query), with_payload=shown)

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """Both as prefetches, fused by their ranks."""
        legs = [
            qdrant.Prefetch(limit=depth, query=_near(query), params=_params(effort), filter=_filter(query)),
            qdrant.Prefetch(limit=depth, query=self._words(query), filter=_filter(query)),
        ]
        return self._found(limit=K, prefetches=legs, query=qdrant.Fusion.Rrf(_RANK_CONSTANT), with_payload=_SHOWN)

    def upsert(self, rows: Rows) -> None:
        """One operation, flushed."""
        self._shard.update(qdrant.UpdateOperation.upsert_points(self._points(rows)))
        self._shard.flush()

    def close(self) -> None:
        """Close the shard."""
        self._shard.close()

    def _found(self, **request: Any) -> list[int]:
        return [point.id for point in self._shard.query(qdrant.QueryRequest(**request))]

    def _words(self, query: Query) -> Any:
        return qdrant.Query.Nearest(self._bm25.embed_query(query.text), "words")

    def _points(self, rows: Rows) -> list[Any]:
        values = zip(rows.numbers, rows.titles, rows.texts, rows.buckets, rows.searched(), rows.vectors.tolist(), strict=True)
        return [
            qdrant.Point(
                row,
                {"vector": vector, "words": self._bm25.embed_document(searched)},
                {"title": title, "text": text, "bucket": bucket},
            )
            for row, title, text, bucket, searched, vector in values
        ]


def _config(dimension: int) -> Any:
    codes = qdrant.ScalarQuantizationConfig(type=qdrant.ScalarType.Int8, memory=qdrant.Memory.Pinned)
    return qdrant.EdgeConfig(
        vectors={"vector": qdrant.EdgeVectorParams(dimension, qdrant.Distance.Dot, quantization_config=codes)},
        sparse_vectors={"words": qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        hnsw_config=qdrant.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1),
    )


def _near(query: Query) -> Any:
    return qdrant.Query.Nearest(query.vector.tolist(), "vector")


def _params(effort: int) -> Any:
    again = qdrant.QuantizationSearchParams(rescore=True, oversampling=2.0)
    return qdrant.SearchParams(hnsw_ef=effort, quantization=again)


def _filter(query: Query) -> Any:
    if query.below is None:
        return None
    return qdrant.Filter(must=[qdrant.FieldCondition("bucket", range=qdrant.RangeFloat(lt=query.below))])
