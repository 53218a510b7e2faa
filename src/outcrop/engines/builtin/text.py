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
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tantivy
from tantivy import Occur, Query

from outcrop import analysis
from outcrop.analysis import Analyzer, normalize
from outcrop.engines.builtin.text_filter import compile_filter, filter_values
from outcrop.engines.builtin.text_folder import FIELDS, MARKER, create_index, damaged, open_index, tantivy_errors, verify_files
from outcrop.engines.protocol import IndexedChunk, Ranking
from outcrop.errors import Closed, IllegalState
from outcrop.files import storage_errors, sync_folder
from outcrop.filters import Filter
from outcrop.model import TermScore

TITLE_BOOST = 0.25
QUERY_TERMS_MAX = 1024
"""Of a query with more distinct terms the rarest this many count."""

# One thread and one large buffer give one segment for about half a million short texts, and fewer segments are faster queries.
_BULK_HEAP_BYTES = 200_000_000
_HEAP_BYTES = 50_000_000


class TextWriter:
    """Writes one text index; one at a time for a folder, used by one thread at a time. Get one by `create` or `open`.

    Nothing is visible or durable before `commit`. After a failed call everything since the last commit is forgotten: add it again.
    """

    def __init__(self, directory: Path, index: tantivy.Index, heap_bytes: int, *, fresh: bool) -> None:
        self._directory = directory
        self._index = index
        self._schema = index.schema
        self._heap_bytes = heap_bytes
        self._fresh = fresh  # a slot that cannot be there need not be deleted first
        self._writer: tantivy.IndexWriter | None = None
        self._closed = False
        self._live()

    @classmethod
    def create(cls, directory: Path, analyzer: str) -> TextWriter:
        """Begin an empty index in `directory`, which is made if absent. Each slot may be added once.

        For a generation's build: memory is bounded by about 200 MB, whatever is added. Raises `IllegalState` if there is an index
        already, `InvalidConfig` for an unknown analyzer, `StorageFailed`.
        """
        chosen = analysis.analyzer(analyzer)
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            if (directory / "meta.json").exists():
                raise IllegalState(f"{directory} holds a text index already; open it, or build in an empty folder", path=directory)
        return cls(directory, create_index(directory, chosen), _BULK_HEAP_BYTES, fresh=True)

    @classmethod
    def open(cls, directory: Path, analyzer: str) -> TextWriter:
        """Go on writing an index that was committed before. A slot that is there already is replaced.

        Raises `Damaged`, `CollectionLocked` if there is another writer, `StorageFailed`.
        """
        return cls(directory, open_index(directory, analysis.analyzer(analyzer)), _HEAP_BYTES, fresh=False)

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """Take chunks in. Idempotent in a writer from `open`; one from `create` takes each slot once."""
        writer = self._live()
        with self._failing_whole("add to"):
            for chunk in chunks:
                if not self._fresh:
                    writer.delete_documents_by_term("slot", chunk.slot)
                writer.add_document(self._document(chunk))

    def delete(self, slots: Sequence[int]) -> None:
        """Take slots out; unknown ones are ignored."""
        writer = self._live()
        with self._failing_whole("delete from"):
            for slot in slots:
                writer.delete_documents_by_term("slot", slot)

    def commit(self, sequence: int) -> None:
        """Make all adds and deletes, with `sequence`, visible and durable in one step. Raises `StorageFailed`; then none is."""
        writer = self._live()
        with self._failing_whole("commit to"):
            writer.delete_documents_by_term("marker", MARKER)
            marker = tantivy.Document()
            marker.add_integer("marker", MARKER)
            marker.add_integer("sequence", sequence)
            writer.add_document(marker)
            writer.commit()
        sync_folder(self._directory)  # Tantivy syncs its files, but not the folder after its last rename

    def close(self) -> None:
        """Wait for running merges, then let go of the folder. What was not committed is forgotten. Idempotent."""
        self._closed = True
        writer, self._writer = self._writer, None
        if writer is not None:
            # A writer that is dropped at once abandons its merges, and segments pile up.
            with tantivy_errors(self._directory, "merge"):
                writer.wait_merging_threads()
            sync_folder(self._directory)

    def _live(self) -> tantivy.IndexWriter:
        """The writer, opened again if the last one failed."""
        if self._closed:
            raise Closed(f"the text index in {self._directory} is closed for writing")
        if self._writer is None:
            with tantivy_errors(self._directory, "write"):
                self._writer = self._index.writer(self._heap_bytes, 1)
                # Files of a commit that was cut short would make a later one fail for ever: they have the names that it needs.
                self._writer.garbage_collect_files()
        return self._writer

    @contextmanager
    def _failing_whole(self, action: str) -> Iterator[None]:
        """On any failure drop the writer: a Tantivy writer that has failed once never works again."""
        try:
            with tantivy_errors(self._directory, action):
                yield
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            # Consuming it frees the lock now; the traceback would keep it alive. The failure that matters is already on its way.
            with suppress(Exception):
                writer.wait_merging_threads()

    def _document(self, chunk: IndexedChunk) -> tantivy.Document:
        title = normalize(chunk.title) if chunk.title is not None else ""
        text = normalize(chunk.text)
        fields: dict[str, Any] = filter_values(chunk.metadata)
        fields |= {"slot": chunk.slot, "text": f"{title}\n{text}" if title else text}
        if title:
            fields["title"] = title
        return tantivy.Document.from_dict(fields, self._schema)


class _Snapshot(NamedTuple):
    searcher: tantivy.Searcher
    sequence: int
    chunk_count: int


class _Part(NamedTuple):
    term: str
    field: str
    query: Query


class TextReader:
    """Searches one text index, as of its opening or its last `reload`. Safe to use from many threads."""

    def __init__(self, directory: Path, index: tantivy.Index, chosen: Analyzer) -> None:
        self._directory = directory
        self._index = index
        self._schema = index.schema
        self._analyzer = chosen
        self._reloading = threading.Lock()
        self._snapshot: _Snapshot | None = self._newest()

    @classmethod
    def open(cls, directory: Path, analyzer: str) -> TextReader:
        """Open the index as of its last commit. Raises `Damaged` if it is missing, was never committed or cannot be read."""
        chosen = analysis.analyzer(analyzer)
        index = open_index(directory, chosen)
        with tantivy_errors(directory, "open"):
            index.config_reader("manual")
        return cls(directory, index, chosen)

    @property
    def sequence(self) -> int:
        """The sequence of the last write that searches see."""
        return self._current().sequence

    @property
    def chunk_count(self) -> int:
        """How many chunks searches see."""
        return self._current().chunk_count

    def reload(self) -> None:
        """See the newest commit. Searches that run meanwhile finish on what they began with."""
        with self._reloading:
            self._current()
            self._snapshot = self._newest()

    def search(self, query: str, k: int, where: Filter | None) -> Ranking:
        """At most `k` chunks by BM25 among those that `where` selects; equal scores by slot.

        Any text is a legal query: it is analyzed, never parsed. Empty when no term of it is indexed. Raises `Closed`, `Damaged`.
        """
        snapshot = self._current()
        limit = min(k, snapshot.chunk_count)
        with tantivy_errors(self._directory, "search"):
            scored = self._query(snapshot, query)
            if scored is None or limit < 1:
                return _ranking([], [])
            if where is not None:
                selected = Query.const_score_query(compile_filter(where, self._schema), 0.0)
                scored = Query.boolean_query([(Occur.Must, scored), (Occur.Must, selected)])
            hits = snapshot.searcher.search(scored, limit, count=False).hits
            slots = snapshot.searcher.fast_field_values("slot", [address for _, address in hits])
        if None in slots:
            raise damaged(self._directory, "a hit has no slot")
        return _ranking([score for score, _ in hits], slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """For each slot, what each of the query's terms adds to its score in each field; they add up to the BM25 score.

        `idf` and `score` include the field's boost and how often the term occurs in the query. Nothing for an unknown slot.
        """
        snapshot = self._current()
        with tantivy_errors(self._directory, "explain"):
            parts = self._term_queries(snapshot, query)
            return [self._explained(snapshot.searcher, parts, slot) for slot in slots]

    def verify(self) -> None:
        """Read every file and compare its checksum; raise `Damaged` for the first that differs. Only while nobody writes."""
        self._current()
        verify_files(self._directory)

    def close(self) -> None:
        """Let go of the files. Idempotent; a search after it raises `Closed`."""
        self._snapshot = None

    def _current(self) -> _Snapshot:
        if self._snapshot is None:
            raise Closed(f"the text index in {self._directory} is closed")
        return self._snapshot

    def _newest(self) -> _Snapshot:
        with tantivy_errors(self._directory, "open"):
            self._index.reload()
            searcher = self._index.searcher()
            markers = searcher.search(Query.term_query(self._schema, "marker", MARKER), 2, count=False).hits
            if len(markers) != 1:
                raise damaged(self._directory, f"it holds {len(markers)} sequence markers instead of 1 (an unfinished build?)")
            sequence = searcher.fast_field_values("sequence", [markers[0][1]])[0]
        if not isinstance(sequence, int):
            raise damaged(self._directory, "its marker holds no sequence")
        return _Snapshot(searcher, sequence, searcher.num_docs - 1)

    def _query(self, snapshot: _Snapshot, query: str) -> Query | None:
        parts = self._term_queries(snapshot, query)
        return Query.boolean_query([(Occur.Should, part.query) for part in parts]) if parts else None

    def _term_queries(self, snapshot: _Snapshot, query: str) -> list[_Part]:
        """Term, field and weighted query for every distinct term and field."""
        counts = Counter(self._analyzer.terms(query))
        if len(counts) > QUERY_TERMS_MAX:
            counts = _rarest(counts, snapshot.searcher)
        return [_Part(term, field, self._term_query(term, field, count)) for term, count in counts.items() for field in FIELDS]

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
