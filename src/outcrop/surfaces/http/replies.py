"""What goes back: JSON, and headers that say which generation answered and where the time went."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec
from litestar import Response

from outcrop import Document, GenerationInfo, HistoryEntry, Hits
from outcrop.surfaces.http.problems import AnswerTooLarge
from outcrop.surfaces.wire import DocumentObject, SearchAnswer, document_object, search_answer

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


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether searches are answered as fast as they can be, and if not, why not yet."""

    ready: bool
    reason: str | None = None


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


class Access(msgspec.Struct, frozen=True):
    """What a request may do. Without keys `key` and `scope` are None and everything is let in; `collections` None: all of them.

    `read_only`: the server refuses writes, whoever asks.
    """

    version: str
    mode: str
    read_only: bool
    key: str | None
    scope: str | None
    collections: tuple[str, ...] | None


_ANSWER_CHARACTERS_MAX = 32_000_000
_TAG = re.compile(r'"[^"]*"')
_STEPS = ("embed", "lexical", "vector", "fuse", "fetch", "total")


def json(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
    """A value as JSON; what JSON has no kind for is its text."""
    return encoded(_encoded(value), status=status, headers=headers)


def encoded(content: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
    """What is JSON already."""
    return Response(content, media_type=JSON, status_code=status, headers=headers)


def answer(query: str | None, hits: Hits) -> bytes:
    """A search's answer, as JSON. Raises `AnswerTooLarge`."""
    _check_size(sum(len(hit.text) for hit in hits))
    return _encoded(search_answer(query, hits))


def answers(found: list[Hits], queries: list[str | None]) -> Response[Any]:
    """The answers of a batch, which one generation gave. Raises `AnswerTooLarge`."""
    _check_size(sum(len(hit.text) for hits in found for hit in hits))
    headers = about(found[0]) if found else None
    return json({"answers": [search_answer(query, hits) for query, hits in zip(queries, found, strict=True)]}, headers=headers)


def documents(found: Iterable[Document]) -> Response[Any]:
    """Documents, which are asked for one after the other. Raises `AnswerTooLarge`."""
    listed, size = [], 0
    for one in found:
        size += len(one.text)
        _check_size(size)
        listed.append(document_object(one))
    return json({"documents": listed})


def is_known(tag: str, asked: str | None) -> bool:
    """Whether a header `If-None-Match` names this tag, strong or weak.

    >>> is_known('W/"a"', 'W/"b", "a"'), is_known('W/"a"', "*"), is_known('W/"a"', 'W/"aa"'), is_known('W/"a"', None)
    (True, True, False, False)
    """
    if asked is None:
        return False
    return asked.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(asked)


def unchanged(headers: dict[str, str]) -> Response[Any]:
    """The client has this answer already."""
    return Response(None, status_code=304, headers=headers)


def about(hits: Hits) -> dict[str, str]:
    """The headers of an answer."""
    took = ((name, getattr(hits.took_ms, name)) for name in _STEPS)
    return {
        "Outcrop-Generation": str(hits.generation),
        "Outcrop-Sequence": str(hits.sequence),
        "ETag": _tag(hits),
        "Server-Timing": ", ".join(f"{name};dur={value:.3f}" for name, value in took if value is not None),
    }


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _tag(hits: Hits) -> str:
    """Changes with the generation, every write, the engine, and whatever else ranks otherwise. It is weak, because times differ."""
    ranking = blake2b(msgspec.json.encode([(hit.id, hit.score) for hit in hits]), digest_size=4).hexdigest()
    return f'W/"{hits.generation_uuid[:12]}.{hits.sequence}.{hits.engine}.{ranking}"'


def _check_size(characters: int) -> None:
    if characters > _ANSWER_CHARACTERS_MAX:
        raise AnswerTooLarge(
            f"the texts of the answer have more than {_ANSWER_CHARACTERS_MAX} characters; ask for fewer hits or documents at once"
        )
