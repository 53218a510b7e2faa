"""LanceDB: one table, searched through the asynchronous interface, which takes less time than the synchronous one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from lancedb.index import FTS, BTree, HnswSq
from lancedb.rerankers import RRFReranker

from benchmarks.lance_table import LanceTable
from benchmarks.peers.protocol import Corpus, K, Query, Rows

_NAME = "rows"
_SHOWN = ["row", "title", "text"]


class Side:
    """A table with a graph, a full-text index and an index on the bucket."""

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Add the rows, build the indexes, optimize."""
        table = None
        for rows in corpus.batches(5000):
            made = _table(rows, corpus.dimension)
            if table is None:
                table = lancedb.connect(folder).create_table(_NAME, made)
            else:
                table.add(made)
        if table is None:
            raise SystemExit("the corpus is empty")
        table.create_index("searched", config=FTS(stem=True, remove_stop_words=True, with_position=False))
        table.create_index("bucket", config=BTree())
        table.create_index("row", config=BTree())
        table.create_index("vector", config=HnswSq(distance_type="dot", num_partitions=1, m=20, ef_construction=150))
        table.optimize()

    def open(self, folder: Path) -> None:
        """Open the table and read its indexes into memory."""
        self._reranker = RRFReranker()
        self._table = LanceTable(folder, _NAME)

    def lexical(self, query: Query) -> list[int]:
        """Its full-text search."""
        return self._table.waited(
            _rows(_where(self._table.asynchronous.query().nearest_to_text(query.text, columns="searched"), query), K, _SHOWN)
        )

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its vector search."""
        shown = _SHOWN if depth == K else ["row"]
        return self._table.waited(_rows(self._near(query, depth, effort), depth, shown))

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """Its hybrid search with its own fusion; it shows what it fuses."""
        both = self._near(query, depth, effort).nearest_to_text(query.text, columns="searched")
        return self._table.waited(_rows(both.rerank(self._reranker), depth, _SHOWN))[:K]

    def upsert(self, rows: Rows) -> None:
        """Merge by id, and take the new rows into the indexes."""
        made = _table(rows, rows.vectors.shape[1])
        self._table.synchronous.merge_insert("row").when_matched_update_all().when_not_matched_insert_all().execute(made)
        self._table.synchronous.optimize()

    def close(self) -> None:
        """Stop the loop."""
        self._table.close()

    def _near(self, query: Query, depth: int, effort: int) -> Any:
        refined = 2 if depth == K else 1  # as many times the rows asked for are scored again by the vectors themselves
        near = self._table.asynchronous.query().nearest_to(query.vector).distance_type("dot").nprobes(1)
        return _where(near.ef(max(effort, refined * depth)).refine_factor(refined), query)


def _where(search: Any, query: Query) -> Any:
    return search if query.below is None else search.where(f"bucket < {query.below}")


async def _rows(search: Any, k: int, shown: list[str]) -> list[int]:
    return [one["row"] for one in await search.select(shown).limit(k).to_list()]


def _table(rows: Rows, dimension: int) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.ravel()), dimension)
    columns = {"row": rows.numbers, "title": rows.titles, "text": rows.texts, "searched": rows.searched(), "bucket": rows.buckets}
    return pa.table({**columns, "vector": vectors})
