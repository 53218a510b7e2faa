"""What programs get: one JSON shape of answers and documents, whichever surface they ask."""

from __future__ import annotations

from typing import Any

import msgspec

from outcrop import Document, Hits

_ABOUT = (
    "mode",
    "generation",
    "generation_uuid",
    "sequence",
    "engine",
    "degraded",
    "took_ms",
    "index_lag",
    "total_candidates",
    "warnings",
    "cached",
)


def search_answer(query: str | None, hits: Hits) -> dict[str, Any]:
    """A search's answer: the query, the hits, and everything that `Hits` knows."""
    about = {name: msgspec.to_builtins(getattr(hits, name)) for name in _ABOUT}
    return {"query": query, **about, "hits": hits.to_dicts()}


def document_object(document: Document) -> dict[str, Any]:
    """A document, with its vector as numbers where it brought one."""
    values = msgspec.structs.asdict(document)
    vector = values.pop("vector")
    return values if vector is None else {**values, "vector": [float(number) for number in vector]}
