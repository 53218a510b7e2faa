"""What programs get: one JSON shape of answers and documents, whichever surface they ask.

The structs say what the shapes are; the functions make them, as plain values.
"""

from __future__ import annotations

from typing import Any

import msgspec

from outcrop import Citation, Degraded, Document, Explanation, FoundBy, Hits, TookMs
from outcrop.model import SearchMode


class HitObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hit: `outcrop.Hit` with its snippet and citation."""

    id: str
    document_id: str
    rank: int
    score: float
    text: str
    snippet: str
    title: str | None
    citation: Citation
    metadata: dict[str, Any]
    explanation: Explanation | None


class SearchAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search's answer: the query, everything that `outcrop.Hits` knows, and the hits, best first."""

    query: str | None
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
    cached: bool
    found_by: FoundBy
    hits: tuple[HitObject, ...]


class DocumentObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document; it has a vector where it brought one."""

    id: str
    text: str
    title: str | None
    source: str | None
    metadata: dict[str, Any]
    vector: tuple[float, ...] | None = None


_ABOUT = tuple(name for name in SearchAnswer.__struct_fields__ if name not in ("query", "hits"))


def search_answer(query: str | None, hits: Hits) -> dict[str, Any]:
    """A search's answer, as `SearchAnswer` has it."""
    about = {name: msgspec.to_builtins(getattr(hits, name)) for name in _ABOUT}
    return {"query": query, **about, "hits": hits.to_dicts()}


def document_object(document: Document) -> dict[str, Any]:
    """A document, as `DocumentObject` has it."""
    values = msgspec.structs.asdict(document)
    vector = values.pop("vector")
    return values if vector is None else {**values, "vector": [float(number) for number in vector]}
