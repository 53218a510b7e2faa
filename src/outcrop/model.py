"""The values that Outcrop takes and gives. All are frozen; none knows how to do anything but describe itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from outcrop.document_rules import check_id, check_texts, checked_metadata, checked_vector
from outcrop.index_values import IndexChoice, IndexSpec, LiveRecall, RecallGoal
from outcrop.log_values import QueryLogStats
from outcrop.memory import CacheStats

SearchMode = Literal["lexical", "vector", "hybrid"]
Metric = Literal["cosine", "dot", "l2"]
Status = Literal["building", "ready", "active", "archived", "damaged"]


class Document(msgspec.Struct, frozen=True, eq=False):
    """What a user puts in: an id, a text and, if wanted, a title, a source, metadata and a vector.

    `id` is any non-empty Unicode text of up to 512 bytes without control characters. `metadata` maps text to JSON values (text,
    numbers, booleans, null, lists and objects up to 8 levels deep; integers fit in 64 bits, floats are finite). `vector` is one
    dimension of finite floats; a document with a given vector is searched as one chunk.

    Raises `InvalidDocument`.

    >>> Document(id="p-9", text="Rocks lie in layers.", metadata={"year": 2026}).metadata["year"]
    2026
    """

    id: str
    text: str
    title: str | None = None
    source: str | None = None
    metadata: dict[str, Any] = {}
    vector: Any = None

    def __post_init__(self) -> None:
        check_id(self.id)
        check_texts(self.id, text=self.text, title=self.title, source=self.source)
        _set(self, "metadata", checked_metadata(self.id, self.metadata))
        if self.vector is not None:
            _set(self, "vector", checked_vector(self.id, self.vector))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        same = all(getattr(self, name) == getattr(other, name) for name in ("id", "text", "title", "source", "metadata"))
        if self.vector is None or other.vector is None:
            return same and self.vector is other.vector
        return same and bool(np.array_equal(self.vector, other.vector))

    def __ne__(self, other: object) -> bool:  # a Struct has its own, which would not ask __eq__
        return not self == other

    __hash__ = None  # type: ignore[assignment]


class Chunk(msgspec.Struct, frozen=True):
    """A searchable piece of a document. `id` is the document's id, `#` and the ordinal; `start` and `end` are character offsets
    into the document's text; `slot` is its number in the generation."""

    slot: int
    document_id: str
    ordinal: int
    text: str
    title: str | None
    source: str | None
    metadata: dict[str, Any]
    heading: str | None
    page: int | None
    start: int
    end: int

    @property
    def id(self) -> str:
        """The document's id, `#` and the ordinal of the chunk in it."""
        return f"{self.document_id}#{self.ordinal}"


class Citation(msgspec.Struct, frozen=True):
    """Where a hit comes from. `str()` of it is fit for a reader.

    >>> str(Citation(title="Install", source="docs/install.md", heading="On Linux", page=None, start=0, end=9))
    'Install, “On Linux” (docs/install.md)'
    """

    title: str | None
    source: str | None
    heading: str | None
    page: int | None
    start: int
    end: int

    def __str__(self) -> str:
        parts = [self.title] if self.title else []
        if self.heading and self.heading != self.title:
            parts.append(f"“{self.heading}”")
        if self.page is not None:
            parts.append(f"p. {self.page}")
        if self.source:
            return f"{', '.join(parts)} ({self.source})" if parts else self.source
        return ", ".join(parts)


class TermScore(msgspec.Struct, frozen=True):
    """What one query term adds to a BM25 score in one field. `idf` and `score` include the field's boost where there is one."""

    term: str
    field: str
    term_frequency: float
    document_frequency: int
    idf: float
    score: float


class LegExplanation(msgspec.Struct, frozen=True):
    """One leg's part in a hit: its 1-based rank, its raw score, the score after normalisation, the weight, and their product."""

    leg: Literal["lexical", "vector"]
    rank: int
    raw_score: float
    normalized_score: float
    weight: float
    contribution: float
    terms: tuple[TermScore, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """Why a hit has its score: the fusion used and what each leg that found it contributed. The contributions add up to `score`."""

    score: float
    fusion: str
    legs: tuple[LegExplanation, ...]

    def __str__(self) -> str:
        lines = [f"{self.score:.4f} by {self.fusion}"]
        for leg in self.legs:
            share = f", normalised {leg.normalized_score:.4f} x weight {leg.weight:.3g} = {leg.contribution:.4f}"
            plain = (leg.weight, leg.normalized_score) == (1.0, leg.raw_score)  # a leg alone: nothing was scaled or weighted
            lines.append(f"  {leg.leg}: rank {leg.rank}, raw {leg.raw_score:.4f}{'' if plain else share}")
            lines += [
                f"    {term.term} in {term.field}: {term.score:.4f}"
                f" (tf {term.term_frequency:g}, df {term.document_frequency}, idf {term.idf:.3f})"
                for term in leg.terms
            ]
        return "\n".join(lines)


class EmbedderIdentity(msgspec.Struct, frozen=True):
    """Which embedder made a vector. Two vectors are comparable only if these agree exactly.

    `spec` is the name under which `outcrop.embedding.resolve` finds the embedder again, for example `minilm` or
    `openai:text-embedding-3-small`; a caller's own embedder has a spec that starts with `custom:`.
    `revision` changes whenever the same text would embed differently (a model file's SHA-256, a pipeline's version).
    """

    spec: str
    provider: str
    model: str
    revision: str
    dimension: int
    normalized: bool
    query_prefix: str = ""
    document_prefix: str = ""


class Recipe(msgspec.Struct, frozen=True):
    """How a generation is made. It never changes; another recipe is another generation.

    `dimension` is None when there is no vector leg; `embedder` is None when vectors are given by the caller or there are none.
    `vector_weight` is the vector leg's weight in the default fusion. `goal` is what the vector index is chosen for.
    """

    engine: str
    embedder: EmbedderIdentity | None
    dimension: int | None
    metric: Metric
    chunker: str
    analyzer: str
    index: IndexSpec
    vector_weight: float
    goal: RecallGoal = RecallGoal()


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do. `explains_terms`: it says what each term of a query contributes to a score."""

    filters: bool
    metrics: tuple[Metric, ...]
    index_kinds: tuple[str, ...]
    distributed: bool = False
    explains_terms: bool = True


class Degraded(msgspec.Struct, frozen=True):
    """Why something else answers than was configured, and since when (UTC, ISO 8601). True, so that `if hits.degraded` works.

    `cause` is "failing" if something does not work, and "behind" if it works and only lacks the newest writes, or is being opened.
    """

    reason: str
    since: str
    cause: Literal["failing", "behind"] = "failing"


BreakerState = Literal["closed", "open", "half-open"]


class ServingStats(msgspec.Struct, frozen=True):
    """How the first of two engines does in this process, for the active generation.

    `state` is its circuit breaker's: closed (it is asked), open (it is left alone for a while), half-open (it is tried once).
    `failures` counts since the generation was opened here; `reason` is that of the last, or None while it works. `writes_behind`:
    how many writes its index lacks, or None if that was never known.
    """

    engine: str
    state: BreakerState
    failures: int
    reason: str | None
    writes_behind: int | None


_FOR_PEOPLE = {"builtin": "built-in", "lancedb": "LanceDB"}


class Running(msgspec.Struct, frozen=True):
    """What really serves: the engine, the one to fall back to, and why another engine than the configured one runs, or why the only
    one that may does not.

    >>> str(Running("lancedb", "builtin")), str(Running("lancedb")), str(Running("builtin", reason="LanceDB: not installed"))
    ('LanceDB with built-in fallback', 'LanceDB only', 'built-in (fell back: LanceDB: not installed)')
    """

    engine: str
    fallback: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        name = _FOR_PEOPLE.get(self.engine, self.engine)
        if self.reason:
            return f"{name} only (failing: {self.reason})" if self.engine == "lancedb" else f"{name} (fell back: {self.reason})"
        if self.fallback:
            return f"{name} with {_FOR_PEOPLE.get(self.fallback, self.fallback)} fallback"
        return name if self.engine == "builtin" else f"{name} only"


class GenerationInfo(msgspec.Struct, frozen=True):
    """One generation of a collection, as it stands on disk. Times are UTC in ISO 8601, sizes in bytes, durations in seconds.

    `recall` is recall@10 of the vector index against exact search, measured when the generation was sealed (1.0 for an exact index,
    None without vectors). `skipped` counts records that a build with `on_error="skip"` left out. When the build ended, `vanished`
    documents of the active generation were not in this one, and `revived` ones were that had been deleted there (None if there was
    no active generation). `table_uri` says where its LanceDB table lies, if not in the generation's folder: a URI or a path.
    `index_choice` says how the vector index was chosen, with the curve (None without vectors, and of a generation that an older
    version built).
    """

    number: int
    uuid: str
    status: Status
    created_at: str
    recipe: Recipe
    document_count: int
    chunk_count: int
    skipped: int
    unembedded: int
    sequence: int
    source: str
    vector_index: str | None
    recall: float | None
    size_bytes: int
    build_seconds: float
    promoted_at: str | None
    promoted_from: int | None
    path: str
    vanished: int | None = None
    revived: int | None = None
    table_uri: str | None = None
    index_choice: IndexChoice | None = None


class WriteResult(msgspec.Struct, frozen=True):
    """What a write did. It is durable and searchable; `sequence` is its number, or the last write's if it had nothing to do.

    `upserted` counts the documents put in, `replaced` those of them that were there before, `deleted` those taken out, `updated`
    those whose metadata was changed; `chunks` the chunks written for them.
    """

    sequence: int
    upserted: int
    replaced: int
    deleted: int
    updated: int
    chunks: int


class RollbackPlan(msgspec.Struct, frozen=True):
    """What it would take to make a generation active again, found without doing it.

    `entries` of the journal are to be applied; `embedded_documents` of them must be embedded anew, which may cost money;
    `lexical_documents` cannot be embedded, for `reason` (None: their vectors would have to be given), so that they would be found
    by their words only. `seconds` is an estimate from how long the generation took to build.
    """

    generation: int
    kind: str
    entries: int
    embedded_documents: int
    lexical_documents: int
    reason: str | None
    seconds: float


class HistoryEntry(msgspec.Struct, frozen=True):
    """One change of the active generation: which one, from which one, when (UTC, ISO 8601) and by whom (user, host, process).

    `kind` is "promote", "rollback" or "quarantine" (a damaged one was replaced). `source` is what the generation was built from,
    `gate` the gate's report, or None where no gate was asked. `forced`: promoted although the gate refused or might have.
    """

    generation: int
    previous: int | None
    kind: str
    at: str
    actor: str
    source: str
    forced: bool
    gate: dict[str, Any] | None


class Stats(msgspec.Struct, frozen=True):
    """The state of a collection. `fields` are the metadata fields that a filter can use in the active generation.

    `index_lag` counts chunks that no index part holds yet, which are searched exactly; `sequence` is that of the last write
    accepted; `degraded` says why another generation or engine than the wanted one serves, or is None. `running` is what serves the
    active generation now. `serving`, where there is a fallback, says how LanceDB does. `answers` counts the searches that each
    engine has answered in this process, without those from the cache, and `fallback_rate` is the share of them that LanceDB should
    have answered and did not (None where there was none, or it should not). `fallbacks` says how many of those there were because
    it was "failing", and how many because it was "behind", which beside a steady writer is in order.
    `index_choice` is how the largest part of the vector index was chosen, which may be a later one than the generation was sealed
    with; `live_recall` what real searches of the active generation find (None unless the setting `live_recall_share` is above 0
    and some were taken).
    `query_cache` and `query_embeddings` say how the caches do, or are None where they are off; `memory` says how many bytes of
    `memory_budget` each owner holds now. Both are the database's, for all its collections. Besides, `memory["arrow"]` is what
    PyArrow's default pool holds in this process, whoever uses it; it is absent where PyArrow is not loaded. `query_log` is None
    where no searches are logged. A filter by one of `fields_without_column` may read more than it selects
    (LanceDB, beyond 200 fields).
    """

    collection: str
    mode: str
    running: Running
    active: int | None
    document_count: int
    chunk_count: int
    size_bytes: int
    index_lag: int
    fields: tuple[str, ...]
    generations: tuple[GenerationInfo, ...]
    sequence: int
    journal_bytes: int
    degraded: str | None
    serving: ServingStats | None = None
    answers: dict[str, int] = {}
    fallback_rate: float | None = None
    fallbacks: dict[str, int] = {}
    index_choice: IndexChoice | None = None
    live_recall: LiveRecall | None = None
    query_cache: CacheStats | None = None
    query_embeddings: CacheStats | None = None
    memory: dict[str, int] = {}
    query_log: QueryLogStats | None = None
    fields_without_column: tuple[str, ...] = ()


def _set(value: msgspec.Struct, name: str, content: object) -> None:
    msgspec.structs.force_setattr(value, name, content)
