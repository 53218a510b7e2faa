"""What goes back: JSON, and headers that say which generation answered and where the time went."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response

from outcrop import GenerationInfo, HistoryEntry, Hits
from outcrop.surfaces.wire import DocumentObject, SearchAnswer, search_answer

JSON = "application/json"


class Answers(msgspec.Struct, frozen=True):
    """The answers of a batch, in the order of the queries."""

    answers: tuple[SearchAnswer, ...]


class Documents(msgspec.Struct, frozen=True):
    """The documents that are there."""

    documents: tuple[DocumentObject, ...]


class Names(msgspec.Struct, frozen=True):
    """The collections' names."""

    collections: tuple[str, ...]


class Made(msgspec.Struct, frozen=True):
    """A collection that was made."""

    name: str
    uuid: str


class Generations(msgspec.Struct, frozen=True):
    """A collection's generations, by their numbers."""

    generations: tuple[GenerationInfo, ...]


class History(msgspec.Struct, frozen=True):
    """A collection's promotions, the oldest first."""

    history: tuple[HistoryEntry, ...]


_STEPS = ("embed", "lexical", "vector", "fuse", "fetch", "total")


def json(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
    """A value as JSON; what JSON has no kind for is its text."""
    return Response(msgspec.json.encode(value, enc_hook=str), media_type=JSON, status_code=status, headers=headers)


def answer(query: str | None, hits: Hits) -> Response[Any]:
    """A search's answer."""
    return json(search_answer(query, hits), headers=about(hits))


def answers(found: list[Hits], queries: list[str | None]) -> Response[Any]:
    """The answers of a batch, which one generation gave."""
    headers = about(found[0]) if found else None
    return json({"answers": [search_answer(query, hits) for query, hits in zip(queries, found, strict=True)]}, headers=headers)


def unchanged(headers: dict[str, str]) -> Response[Any]:
    """The client has this answer already."""
    return Response(None, status_code=304, headers=headers)


def about(hits: Hits) -> dict[str, str]:
    """The headers of an answer. The tag changes with the generation, with every write, and with the engine that answers."""
    took = ((name, getattr(hits.took_ms, name)) for name in _STEPS)
    return {
        "Outcrop-Generation": str(hits.generation),
        "Outcrop-Sequence": str(hits.sequence),
        "ETag": f'"{hits.generation_uuid[:12]}.{hits.sequence}.{hits.engine}"',
        "Server-Timing": ", ".join(f"{name};dur={value:.3f}" for name, value in took if value is not None),
    }
