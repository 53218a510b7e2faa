"""The limit: Tantivy and FAISS called directly, both legs at once, their ranks fused, and nothing else."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import tantivy
from numpy.typing import NDArray

from benchmarks.peers.protocol import Corpus, K, Query, Rows
from outcrop.analysis import analyzer
from outcrop.engines.builtin.text import TITLE_BOOST

_SPARE = 16  # so many more than are asked for are scored again by the vectors themselves
_RANK_CONSTANT = 60


class Side:
    """The same query on the same fields as the built-in engine's, over indexes of its own."""

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Both indexes, one after the other, on all cores."""
        text = tantivy.SchemaBuilder()
        for field in ("title", "text"):
            text.add_text_field(field, tokenizer_name="english", index_option="freq")
        text.add_integer_field("row", fast=True)
        (folder / "text").mkdir()
        index = tantivy.Index(text.build(), str(folder / "text"))
        index.register_tokenizer("english", analyzer("english").tantivy)
        writer = index.writer(heap_size=256_000_000)
        with (folder / "vectors.f32").open("wb") as vectors:
            for rows in corpus.batches(5000):
                for number, title, searched in zip(rows.numbers, rows.titles, rows.searched(), strict=True):
                    writer.add_document(tantivy.Document(title=title, text=searched, row=number))
                rows.vectors.tofile(vectors)
        writer.commit()
        writer.wait_merging_threads()
        graph = faiss.IndexHNSWSQ(corpus.dimension, faiss.ScalarQuantizer.QT_8bit, 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 100
        stored = _mapped(folder, corpus.dimension)
        graph.train(stored)
        graph.add(stored)
        faiss.write_index(graph, str(folder / "graph.faiss"))

    def open(self, folder: Path) -> None:
        """Map the files."""
        index = tantivy.Index.open(str(folder / "text"))
        index.register_tokenizer("english", analyzer("english").tantivy)
        self._schema, self._searcher = index.schema, index.searcher()
        self._terms = analyzer("english").tantivy.analyze
        self._graph = faiss.read_index(str(folder / "graph.faiss"), faiss.IO_FLAG_MMAP_IFC)
        self._stored = _mapped(folder, self._graph.d)
        self._pool = ThreadPoolExecutor(8)
        faiss.omp_set_num_threads(1)

    def lexical(self, query: Query) -> list[int]:
        """Tantivy alone."""
        return self._words(query.text, K)

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """FAISS alone, the best scored again."""
        faiss.omp_set_num_threads(1)  # of this thread
        fetched = depth + _SPARE
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, fetched))
        rows = self._graph.search(query.vector[None, :], fetched, params=parameters)[1][0]
        rows = rows[rows >= 0]
        best = rows[np.argsort(-(self._stored[rows] @ query.vector))[:depth]]
        found: list[int] = best.tolist()
        return found

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """Both at once, and reciprocal ranks."""
        words = self._pool.submit(self._words, query.text, depth)
        near = self.nearest(query, depth, effort)
        scores: dict[int, float] = {row: 1 / (_RANK_CONSTANT + rank) for rank, row in enumerate(near, 1)}
        for rank, row in enumerate(words.result(), 1):
            scores[row] = scores.get(row, 0.0) + 1 / (_RANK_CONSTANT + rank)
        return sorted(scores, key=scores.__getitem__, reverse=True)[:K]

    def upsert(self, rows: Rows) -> None:
        """Not measured: FAISS's graph takes no replacement."""
        raise NotImplementedError(len(rows.numbers))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _words(self, text: str, k: int) -> list[int]:
        parts: list[Any] = []
        for term, count in Counter(self._terms(text)).items():
            for field, boost in (("text", 1.0), ("title", TITLE_BOOST)):
                part = tantivy.Query.term_query(self._schema, field, term, "freq")
                scored = part if count * boost == 1.0 else tantivy.Query.boost_query(part, count * boost)
                parts.append((tantivy.Occur.Should, scored))
        if not parts:
            return []
        hits = self._searcher.search(tantivy.Query.boolean_query(parts), k, count=False).hits
        rows: list[int] = self._searcher.fast_field_values("row", [address for _, address in hits])
        return rows


def _mapped(folder: Path, dimension: int) -> NDArray[np.float32]:
    return np.memmap(folder / "vectors.f32", np.float32, "r").reshape(-1, dimension)
