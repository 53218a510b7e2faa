"""zvec: one collection with a quantized graph and a full-text index. Asked for ten, its hybrid search fuses ten of each leg."""

from __future__ import annotations

from pathlib import Path

import zvec

from benchmarks.peers.protocol import Corpus, K, Query, Rows

_SHOWN = ["title", "text"]
_BATCH = 1000


class Side:
    """A collection in a folder."""

    def __init__(self) -> None:
        zvec.init(log_level=zvec.LogLevel.ERROR)

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Insert the rows and optimize."""
        collection = zvec.create_and_open(str(folder / "rows"), _schema(corpus.dimension))
        for rows in corpus.batches(_BATCH):
            _checked(collection.insert(_documents(rows)))
        collection.optimize()
        collection.flush()
        collection.close()

    def open(self, folder: Path) -> None:
        """Open it for reading and writing."""
        self._collection = zvec.open(str(folder / "rows"))
        self._fusion = zvec.RrfReRanker()

    def lexical(self, query: Query) -> list[int]:
        """Its full-text search."""
        return self._found(_words(query), K, query, _SHOWN)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its vector search."""
        return self._found(_near(query, effort), depth, query, _SHOWN if depth == K else [])

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its hybrid search; of more than ten, the ten texts are fetched afterwards, which takes less time."""
        both = [_near(query, effort), *([_words(query)] if any(one.isalnum() for one in query.text) else [])]
        if depth == K:
            return self._found(both, K, query, _SHOWN)
        found = self._found(both, depth, query, [])[:K]
        self._collection.fetch([str(row) for row in found], output_fields=_SHOWN, include_vector=False)
        return found

    def upsert(self, rows: Rows) -> None:
        """In calls of a thousand at most."""
        _checked(self._collection.upsert(_documents(rows)))
        self._collection.flush()

    def close(self) -> None:
        """Close it."""
        self._collection.close()

    def _found(self, asked: object, k: int, query: Query, shown: list[str]) -> list[int]:
        where = None if query.below is None else f"bucket < {query.below}"
        hits = self._collection.query(asked, topk=k, filter=where, output_fields=shown, reranker=self._fusion)
        return [int(hit.id) for hit in hits]


def _schema(dimension: int) -> zvec.CollectionSchema:
    words = zvec.FtsIndexParam(tokenizer_name="standard", filters=["lowercase", "stemmer"])
    graph = zvec.HnswIndexParam(
        metric_type=zvec.MetricType.IP,
        m=16,
        ef_construction=200,
        quantize_type=zvec.QuantizeType.INT8,
        use_contiguous_memory=True,
    )
    return zvec.CollectionSchema(
        "rows",
        fields=[
            zvec.FieldSchema("title", zvec.DataType.STRING),
            zvec.FieldSchema("text", zvec.DataType.STRING),
            zvec.FieldSchema("bucket", zvec.DataType.INT64, index_param=zvec.InvertIndexParam(enable_range_optimization=True)),
            zvec.FieldSchema("searched", zvec.DataType.STRING, index_param=words),
        ],
        vectors=[zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, dimension, index_param=graph)],
    )


def _documents(rows: Rows) -> list[zvec.Doc]:
    values = zip(rows.numbers, rows.titles, rows.texts, rows.buckets, rows.searched(), rows.vectors, strict=True)
    return [
        zvec.Doc(
            str(row), vectors={"vector": vector}, fields={"title": title, "text": text, "bucket": bucket, "searched": searched}
        )
        for row, title, text, bucket, searched, vector in values
    ]


def _checked(statuses: list[zvec.Status]) -> None:
    failed = next((status for status in statuses if not status.ok()), None)
    if failed is not None:
        raise SystemExit(f"zvec refused a row: {failed}")


def _near(query: Query, effort: int) -> zvec.Query:
    return zvec.Query("vector", vector=query.vector, param=zvec.HnswQueryParam(ef=effort, is_using_refiner=True))


def _words(query: Query) -> zvec.Query:
    return zvec.Query("searched", fts=zvec.Fts(match_string=query.text))
