"""What a search answers. Snippets and citations are made on first look: most callers need only some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import msgspec

from outcrop.analysis import analyzer
from outcrop.errors import MissingExtra
from outcrop.model import Citation, Degraded, Explanation, SearchMode
from outcrop.retrieval.snippets import snippet

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Passage(msgspec.Struct, frozen=True):
    """Makes snippets for a query, whose terms are found only when a snippet is looked at."""

    query: str
    analyzer: str

    def __call__(self, text: str) -> str:
        """The best passage of a text."""
        terms = _kept_terms if len(self.query) <= _KEPT_CHARACTERS_MAX else _terms
        return snippet(text, terms(self.query, self.analyzer), analyzer(self.analyzer))


def _terms(query: str, name: str) -> frozenset[str]:
    return frozenset(analyzer(name).terms(query))


# The snippets of an answer are made one after the other. No budget counts what is kept, so it is little.
_KEPT_CHARACTERS_MAX = 1024
_kept_terms = lru_cache(64)(_terms)


class Hit(msgspec.Struct, frozen=True, eq=False):
    """One chunk that a search found.

    `rank` is 1-based and counts from the first hit of all, so that the first hit of a second page continues the first page.
    `score` is the fused score of a hybrid search, else the leg's own (BM25; cosine similarity, dot product or negative euclidean
    distance); higher is better. `text` is the chunk's text. `explanation` is there if the search asked for it.
    """

    id: str
    document_id: str
    rank: int
    score: float
    text: str
    title: str | None
    metadata: dict[str, Any]
    source: str | None
    heading: str | None
    page: int | None
    start: int
    end: int
    explanation: Explanation | None
    _snippet: Passage

    @property
    def snippet(self) -> str:
        """The best passage of the text, with the query's terms between `<mark>` and `</mark>`. The text itself is not escaped."""
        return self._snippet(self.text)

    @property
    def citation(self) -> Citation:
        """Where the hit comes from."""
        return Citation(title=self.title, source=self.source, heading=self.heading, page=self.page, start=self.start, end=self.end)

    def to_dict(self) -> dict[str, Any]:
        """The hit as JSON values, with snippet and citation."""
        return {
            "id": self.id,
            "document_id": self.document_id,
            "rank": self.rank,
            "score": self.score,
            "text": self.text,
            "snippet": self.snippet,
            "title": self.title,
            "citation": msgspec.to_builtins(self.citation),
            "metadata": self.metadata,
            "explanation": msgspec.to_builtins(self.explanation),
        }

    def __repr__(self) -> str:
        return f"Hit(rank={self.rank}, score={self.score:.4f}, id={self.id!r}, title={self.title!r})"


class TookMs(msgspec.Struct, frozen=True):
    """How long each step of a search took, in milliseconds; None for a step that did not run. The two legs of a hybrid overlap."""

    total: float
    embed: float | None = None
    lexical: float | None = None
    vector: float | None = None
    fuse: float | None = None
    fetch: float | None = None


class FoundBy(msgspec.Struct, frozen=True):
    """What each leg brought into an answer.

    `lexical_candidates` and `vector_candidates` count the chunks that a leg found, None if it did not run. Of the hits shown,
    `lexical` and `vector` were found by that leg alone, and `both` by the two. `no_term`: the query has nothing to search for by
    words (only stop words or punctuation). `no_vector`: the embedder knows no word of it.
    """

    lexical_candidates: int | None = None
    vector_candidates: int | None = None
    lexical: int = 0
    vector: int = 0
    both: int = 0
    no_term: bool = False
    no_vector: bool = False


NOBODY = FoundBy()


class Hits(msgspec.Struct, frozen=True, eq=False):
    """The answer of a search: a sequence of hits, best first, and how it came about.

    `generation` is the number of the generation that answered, `sequence` the last write it holds, `engine` the engine's name.
    `index_lag` counts writes that the index has accepted but does not show yet. `total_candidates` counts the different chunks
    that the legs found before the cut. `warnings` are sentences for people. `cached`: nothing was searched, because the same
    search was answered before, from the same generation as of the same write; only `took_ms` is this call's own. `found_by` says
    what each leg brought.
    """

    hits: tuple[Hit, ...]
    mode: SearchMode
    generation: int
    generation_uuid: str
    sequence: int
    engine: str
    degraded: Degraded | None
    took_ms: TookMs
    index_lag: int
    total_candidates: int
    warnings: tuple[str, ...]
    cached: bool = False
    found_by: FoundBy = NOBODY

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def index(self, hit: Hit) -> int:
        """The 0-based place of a hit of this answer."""
        return self.hits.index(hit)

    def count(self, hit: Hit) -> int:
        """1 if the hit is one of these, else 0."""
        return self.hits.count(hit)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Every hit as JSON values."""
        return [hit.to_dict() for hit in self.hits]

    def to_arrow(self) -> pyarrow.Table:
        """A table with a row per hit: id, document_id, rank, score, title, text, snippet, source and metadata (as JSON text).

        Needs the extra `arrow`.
        """
        try:
            import pyarrow
        except ImportError as error:
            raise _missing("arrow", "pyarrow") from error
        columns = self._columns()
        types = {"rank": pyarrow.int64(), "score": pyarrow.float64()}
        schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in columns])
        return pyarrow.table(columns, schema=schema)

    def to_pandas(self) -> pandas.DataFrame:
        """A frame with a row per hit and the columns of `to_arrow`; metadata stays a dict. Needs the extra `pandas`."""
        try:
            import pandas
        except ImportError as error:
            raise _missing("pandas", "pandas") from error
        return pandas.DataFrame({**self._columns(), "metadata": [hit.metadata for hit in self.hits]})

    def __repr__(self) -> str:
        return f"Hits({len(self.hits)} of {self.total_candidates}, {self.mode}, generation {self.generation}, {self.engine})"

    def _columns(self) -> dict[str, list[Any]]:
        names = ("id", "document_id", "rank", "score", "title", "text", "snippet", "source")
        columns: dict[str, list[Any]] = {name: [getattr(hit, name) for hit in self.hits] for name in names}
        columns["metadata"] = [msgspec.json.encode(hit.metadata).decode() for hit in self.hits]
        return columns


Sequence.register(Hits)  # a Struct cannot derive from it: their metaclasses differ


def _missing(extra: str, package: str) -> MissingExtra:
    remedy = f"pip install 'outcrop[{extra}]'"
    return MissingExtra(f"{package} is not installed; {remedy}", extra=extra, remedy=remedy)
