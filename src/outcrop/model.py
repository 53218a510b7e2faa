"""The values that Outcrop takes and gives. All are frozen; none knows how to do anything but describe itself."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop.errors import InvalidDocument

SearchMode = Literal["lexical", "vector", "hybrid"]
Metric = Literal["cosine", "dot", "l2"]
Status = Literal["building", "ready", "active", "archived", "damaged"]

ID_BYTES_MAX = 512
METADATA_DEPTH_MAX = 8
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


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
        _check_id(self.id)
        _check_texts(self)
        _set(self, "metadata", _checked_metadata(self.id, self.metadata))
        if self.vector is not None:
            _set(self, "vector", _checked_vector(self.id, self.vector))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        same = all(getattr(self, name) == getattr(other, name) for name in ("id", "text", "title", "source", "metadata"))
        if self.vector is None or other.vector is None:
            return same and self.vector is other.vector
        return same and bool(np.array_equal(self.vector, other.vector))

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
            lines.append(
                f"  {leg.leg}: rank {leg.rank}, raw {leg.raw_score:.4f}{share if leg.contribution != leg.raw_score else ''}"
            )
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


IndexKind = Literal["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"]


class IndexSpec(msgspec.Struct, frozen=True):
    """Which vector index to build. `auto` chooses by size; a parameter that is None is chosen from the data.

    `m`, `ef_construction`, `ef_search` are HNSW's; `nlist`, `nprobe` are IVF's; `pq_bytes` is the code size of `ivf_pq` in bytes.
    """

    kind: IndexKind = "auto"
    m: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None
    nlist: int | None = None
    nprobe: int | None = None
    pq_bytes: int | None = None


class Recipe(msgspec.Struct, frozen=True):
    """How a generation is made. It never changes; another recipe is another generation.

    `dimension` is None when there is no vector leg; `embedder` is None when vectors are given by the caller or there are none.
    `vector_weight` is the vector leg's weight in the default fusion.
    """

    engine: str
    embedder: EmbedderIdentity | None
    dimension: int | None
    metric: Metric
    chunker: str
    analyzer: str
    index: IndexSpec
    vector_weight: float


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do."""

    filters: bool
    metrics: tuple[Metric, ...]
    index_kinds: tuple[str, ...]
    distributed: bool = False


class Running(msgspec.Struct, frozen=True):
    """What really serves: the engine, whether there is a fallback, and why another engine than the configured one runs."""

    engine: str
    fallback: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        name = "built-in" if self.engine == "builtin" else self.engine
        if self.reason:
            return f"{name} (fell back: {self.reason})"
        return f"{name} with {self.fallback} fallback" if self.fallback else name


class GenerationInfo(msgspec.Struct, frozen=True):
    """One generation of a collection, as it stands on disk. Times are UTC in ISO 8601, sizes in bytes, durations in seconds.

    `recall` is recall@10 of the vector index against exact search, measured when the generation was sealed (1.0 for an exact index,
    None without vectors). `skipped` counts records that a build with `on_error="skip"` left out.
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


class Stats(msgspec.Struct, frozen=True):
    """The state of a collection. `fields` are the metadata fields that a filter can use in the active generation."""

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


def _check_id(document_id: object) -> None:
    if not isinstance(document_id, str):
        raise InvalidDocument(
            f"a document id must be text, found {type(document_id).__name__}: {document_id!r:.60}", document_id=document_id
        )
    if not document_id:
        raise InvalidDocument("a document id must not be empty", document_id=document_id)
    try:
        size_bytes = len(document_id.encode())
    except UnicodeEncodeError:
        raise InvalidDocument(
            f"document id {document_id!r:.60} is not valid Unicode (it holds a lone surrogate)", document_id=document_id
        ) from None
    if size_bytes > ID_BYTES_MAX:
        raise InvalidDocument(
            f"document id {document_id[:40]!r}... is {size_bytes} bytes long; the limit is {ID_BYTES_MAX}", document_id=document_id
        )
    if not document_id.isprintable() and any(unicodedata.category(character) == "Cc" for character in document_id):
        raise InvalidDocument(
            f"document id {document_id!r:.60} holds a control character; ids may hold any other Unicode text",
            document_id=document_id,
        )


def _check_texts(document: Document) -> None:
    for name in ("text", "title", "source"):
        value = getattr(document, name)
        if value is None and name != "text":
            continue
        if not isinstance(value, str):
            raise InvalidDocument(
                f"document {document.id!r}: {name} must be text, found {type(value).__name__}", document_id=document.id
            )
        if not _encodable(value):
            raise InvalidDocument(
                f"document {document.id!r}: {name} is not valid Unicode (it holds a lone surrogate)", document_id=document.id
            )


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked_metadata(document_id: str, metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidDocument(
            f"document {document_id!r}: metadata must be a mapping, found {type(metadata).__name__}", document_id=document_id
        )
    copied: dict[str, Any] = _copied(document_id, metadata, "metadata", 1)
    return copied


def _copied(document_id: str, value: Any, path: str, depth: int) -> Any:
    """A deep copy of a JSON value, checked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not _encodable(value):
            raise InvalidDocument(f"document {document_id!r}: {path} is not valid Unicode", document_id=document_id)
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        return _checked_number(document_id, value, path)
    if depth > METADATA_DEPTH_MAX:
        raise InvalidDocument(
            f"document {document_id!r}: {path} is nested deeper than {METADATA_DEPTH_MAX} levels", document_id=document_id
        )
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not key or not _encodable(key):
                raise InvalidDocument(
                    f"document {document_id!r}: {path} has the key {key!r}; keys must be non-empty text", document_id=document_id
                )
        return {key: _copied(document_id, item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_copied(document_id, item, f"{path}[{position}]", depth + 1) for position, item in enumerate(value)]
    raise InvalidDocument(
        f"document {document_id!r}: {path} is a {type(value).__name__};"
        " metadata holds text, numbers, booleans, null, lists and objects",
        document_id=document_id,
    )


def _checked_number(document_id: str, value: float | np.integer | np.floating, path: str) -> int | float:
    if isinstance(value, int | np.integer):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise InvalidDocument(
                f"document {document_id!r}: {path} is {value}, which does not fit in 64 bits; store it as text",
                document_id=document_id,
            )
        return int(value)
    if not math.isfinite(value):
        raise InvalidDocument(f"document {document_id!r}: {path} is {value}; numbers must be finite", document_id=document_id)
    return float(value)


def _checked_vector(document_id: str, vector: ArrayLike | Sequence[float]) -> NDArray[np.float32]:
    try:
        array = np.array(vector, dtype=np.float32)  # a copy: the caller may change theirs
    except (TypeError, ValueError) as error:
        raise InvalidDocument(
            f"document {document_id!r}: the vector is not a sequence of numbers ({error})", document_id=document_id
        ) from None
    if array.ndim != 1 or not len(array):
        raise InvalidDocument(
            f"document {document_id!r}: the vector must have one dimension and at least one number, found shape {array.shape}",
            document_id=document_id,
        )
    if not np.isfinite(array).all():
        raise InvalidDocument(f"document {document_id!r}: the vector holds NaN or infinity", document_id=document_id)
    array.flags.writeable = False
    return array


def _set(value: msgspec.Struct, name: str, content: object) -> None:
    msgspec.structs.force_setattr(value, name, content)
