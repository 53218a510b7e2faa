"""bm25s: scores of all words of all texts as a sparse matrix in memory, and the texts in its own file of JSON lines."""

from __future__ import annotations

from pathlib import Path

import bm25s
import numpy as np
import Stemmer

from benchmarks.peers.protocol import Corpus, K, Query, Rows


class Side:
    """An index of all texts; a change means building it anew."""

    def __init__(self) -> None:
        self._stemmer = Stemmer.Stemmer("english")

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Tokenize, index, save."""
        texts = [text for rows in corpus.batches(5000) for text in rows.searched()]
        made = bm25s.BM25(method="lucene", backend="numba")
        made.index(bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False), show_progress=False)
        made.save(folder / "rows", corpus=texts)

    def open(self, folder: Path) -> None:
        """Load the matrix; the texts are read where they lie."""
        self._index = bm25s.BM25.load(folder / "rows", load_corpus=False)
        self._index.backend = "numba"
        self._texts = bm25s.utils.corpus.JsonlCorpus(folder / "rows" / "corpus.jsonl")

    def lexical(self, query: Query) -> list[int]:
        """Its search."""
        tokens = bm25s.tokenize(query.text, stopwords="en", stemmer=self._stemmer, show_progress=False)
        if not tokens.ids[0]:  # only stop words: it refuses to search for nothing
            return []
        found, scores = self._index.retrieve(tokens, k=min(K, len(self._texts)), n_threads=1, show_progress=False)
        rows = found[0][np.asarray(scores[0]) > 0].tolist()
        _ = [self._texts[row] for row in rows]
        return rows

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def upsert(self, rows: Rows) -> None:
        """It has none."""
        raise NotImplementedError(len(rows.numbers))

    def close(self) -> None:
        """Nothing is held."""
