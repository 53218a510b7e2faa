"""The lexical leg: a Tantivy index of one generation, in one folder.

A hit's score is BM25(text) + 0.25 x BM25(title), each summed over the query's terms, repeated ones counted (k1 1.2, b 0.75;
Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009). The field `text` holds the title too: a
word that occurs only in the title then counts in full, and a chunk without a title is not at a disadvantage. This was the best of
the forms tried on each judged collection (nDCG@10 on SciFact, Cranfield and CISI: .695, .524, .397; with the title in its own field
only, at its best boost: .694, .513, .390; without that field: .684, .508, .383).

Each commit replaces the one *marker*, a document that holds nothing but the sequence of the last write in the index, so data and
sequence become visible in one step. It is never a hit (it has no terms), but counts as one document more in N and in the
average length. Like every deleted document until its segment is merged, that shifts scores by about 1/N and no ranking.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tantivy
from tantivy import Occur, Query

from outcrop import analysis, forking
from outcrop.analysis import Analyzer
from outcrop.engines.builtin.text_filter import CompiledFilters
from outcrop.engines.builtin.text_folder import FIELDS, MARKER, damaged, open_index, tantivy_errors, verify_files
from outcrop.engines.protocol import Ranking
from outcrop.errors import Closed
from outcrop.filters import Filter
from outcrop.model import TermScore

TITLE_BOOST = 0.25
QUERY_TERMS_MAX = 1024
"""Of a query with more distinct terms the rarest this many count."""


class _Part(NamedTuple):
    term: str
    field: str
    query: Query


class TextReader:
    """Opens one text index for searching. Safe to use from many threads; what they search are its snapshots."""

    def __init__(self, directory: Path, index: tantivy.Index, chosen: Analyzer) -> None:
        self.directory = directory
        self.analyzer = chosen
        self.filters = CompiledFilters(index.schema)
        self._index = index
        self._reloading = forking.lock()
        self._closed = False

    @classmethod
    def open(cls, directory: Path, analyzer: str) -> TextReader:
        """Open an index. Raises `Damaged` if it is missing or cannot be read."""
        chosen = analysis.analyzer(analyzer)
        index = open_index(directory, chosen)
        return cls(directory, index, chosen)

    def newest(self) -> TextSnapshot:
        """The index as of its last commit. Raises `Closed`, and `Damaged` if it cannot be read or was never committed."""
        self.check_open()
        with self._reloading, tantivy_errors(self.directory, "open"):
            self._index.reload()
            searcher = self._index.searcher()
        return TextSnapshot(self, self._index.schema, searcher, self._sequence_of(searcher))

    def verify(self) -> None:
        """Read every file and compare its checksum; raise `Damaged` for the first that differs. Others may write meanwhile."""
        self.check_open()
        verify_files(self.directory)

    def close(self) -> None:
        """Searches raise `Closed` from now on; the files are let go with the last snapshot. Idempotent."""
        self._closed = True

    def check_open(self) -> None:
        """Raise `Closed` after `close`."""
        if self._closed:
            raise Closed(f"the text index in {self.directory} is closed")

    def _sequence_of(self, searcher: tantivy.Searcher) -> int:
        with tantivy_errors(self.directory, "open"):
            markers = searcher.search(Query.term_query(self._index.schema, "marker", MARKER), 2, count=False).hits
            if len(markers) != 1:
                raise damaged(self.directory, f"it holds {len(markers)} sequence markers instead of 1 (an unfinished build?)")
            sequence = searcher.fast_field_values("sequence", [markers[0][1]])[0]
        if not isinstance(sequence, int):
            raise damaged(self.directory, "its marker holds no sequence")
        return sequence


class TextSnapshot:
    """A text index as of one commit. It never changes; safe to use from many threads.

    `sequence` is the last write that searches see, `chunk_count` how many chunks they see.
    """

    def __init__(self, reader: TextReader, schema: tantivy.Schema, searcher: tantivy.Searcher, sequence: int) -> None:
        self._reader = reader
        self._schema = schema
        self._searcher = searcher
        self.sequence = sequence
        self.chunk_count: int = searcher.num_docs - 1
        self.check_open = reader.check_open

    def search(self, query: str, k: int, where: Filter | None) -> Ranking:
        """At most `k` chunks by BM25 among those that `where` selects; equal scores by slot.

        Any text is a legal query: it is analyzed, never parsed. Empty when no term of it is indexed. Raises `Closed`, `Damaged`.
        """
        self.check_open()
        limit = min(k, self.chunk_count)
        with tantivy_errors(self._reader.directory, "search"):
            scored = self._query(query)
            if scored is None or limit < 1:
                return _ranking([], [])
            if where is not None:
                selected = Query.const_score_query(self._reader.filters.query(where), 0.0)
                scored = Query.boolean_query([(Occur.Must, scored), (Occur.Must, selected)])
            hits = self._searcher.search(scored, limit, count=False).hits
            slots = self._searcher.fast_field_values("slot", [address for _, address in hits])
        try:
            return _ranking([score for score, _ in hits], slots)
        except TypeError:  # None among the slots
            raise damaged(self._reader.directory, "a hit has no slot") from None

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """For each slot, what each of the query's terms adds to its score in each field; they add up to the BM25 score.

        `idf` and `score` include the field's boost and how often the term occurs in the query. Nothing for an unknown slot.
        """
        self.check_open()
        with tantivy_errors(self._reader.directory, "explain"):
            parts = self._term_queries(query)
            return [self._explained(self._searcher, parts, slot) for slot in slots]

    def _query(self, query: str) -> Query | None:
        should = Occur.Should
        parts = [(should, self._term_query(term, field, count)) for term, count in self._counts(query).items() for field in FIELDS]
        return Query.boolean_query(parts) if parts else None

    def _term_queries(self, query: str) -> list[_Part]:
        """Term, field and weighted query for every distinct term and field."""
        return [
            _Part(term, field, self._term_query(term, field, count))
            for term, count in self._counts(query).items()
            for field in FIELDS
        ]

    def _counts(self, query: str) -> Counter[str]:
        """The query's terms, and how often each occurs in it."""
        counts = Counter(self._reader.analyzer.terms(query))
        return counts if len(counts) <= QUERY_TERMS_MAX else _rarest(counts, self._searcher)

    def _term_query(self, term: str, field: str, count: int) -> Query:
        plain = Query.term_query(self._schema, field, term, "freq")
        weight = count * (TITLE_BOOST if field == "title" else 1.0)
        return plain if weight == 1.0 else Query.boost_query(plain, weight)

    def _explained(self, searcher: tantivy.Searcher, parts: list[_Part], slot: int) -> tuple[TermScore, ...]:
        hits = searcher.search(Query.term_query(self._schema, "slot", slot), 1, count=False).hits
        if not hits:
            return ()
        found = (_term_score(part, searcher, hits[0][1]) for part in parts)
        return tuple(score for score in found if score is not None)


def _rarest(counts: Counter[str], searcher: tantivy.Searcher) -> Counter[str]:
    """The rarest terms that occur at all; among equally rare ones those that the query names first."""
    frequencies = {term: searcher.doc_freq("text", term) for term in counts}  # `text` holds the title's terms too
    kept = sorted((term for term in counts if frequencies[term]), key=frequencies.__getitem__)[:QUERY_TERMS_MAX]
    return Counter({term: counts[term] for term in kept})


def _ranking(scores: Sequence[Any], slots: Sequence[Any]) -> Ranking:
    ranking = Ranking(slots=np.array(slots, dtype=np.int64), scores=np.array(scores, dtype=np.float32))
    if not (ranking.scores[1:] == ranking.scores[:-1]).any():
        return ranking
    order = np.lexsort((ranking.slots, -ranking.scores))
    return Ranking(slots=ranking.slots[order], scores=ranking.scores[order])


def _term_score(part: _Part, searcher: tantivy.Searcher, address: tantivy.DocAddress) -> TermScore | None:
    """Read Tantivy's explanation of one term query: a product, in a boost unless that is 1. None if the term does not occur."""
    try:
        explanation = json.loads(part.query.explain(searcher, address).to_json())
    except ValueError as error:
        if "does not match" in str(error):
            return None
        raise
    score = explanation["value"]
    product = explanation["details"][0] if explanation["description"].startswith("Boost") else explanation
    factors = {factor["description"].split()[0].rstrip(","): factor for factor in product["details"]}
    boost = score / product["value"] if product["value"] else 1.0
    return TermScore(
        term=part.term,
        field=part.field,
        term_frequency=factors["freq"]["details"][0]["value"],
        document_frequency=int(factors["idf"]["details"][0]["value"]),
        idf=factors["idf"]["value"] * boost,
        score=score,
    )
