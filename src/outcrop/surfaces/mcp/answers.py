"""What the tools give: the part of the JSON shape of all surfaces that a model can use. The output schemas are made of these.

What is null or empty in an answer is left out, but for what a reader must not miss.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outcrop import Citation, Degraded, SearchMode


class FoundPassage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hit."""

    rank: int
    score: Annotated[float, Meta(description="Higher is better. Comparable within one answer only.")]
    id: Annotated[str, Meta(description="The passage: its document's id, # and a number.")]
    document_id: str
    uri: Annotated[str, Meta(description="The document as a resource.")]
    title: str | None = None
    citation: Annotated[Citation, Meta(description="Where it stands: start and end are characters of the document's text.")]
    snippet: Annotated[
        str, Meta(description="The best part of the passage, with the words of the query between <mark> and </mark>.")
    ]
    text: Annotated[str | None, Meta(description="The passage, if passages was true.")] = None
    text_cut: Annotated[bool, Meta(description="The passage is longer than the text given here.")] = False
    metadata: dict[str, Any] = {}
    metadata_left_out: Annotated[bool, Meta(description="There are metadata, too long to be given here.")] = False


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `search` gives."""

    query: str
    mode: SearchMode
    generation: Annotated[int, Meta(description="The generation of the collection that answered.")]
    engine: Annotated[str, Meta(description="The engine that answered.")]
    degraded: Annotated[Degraded | None, Meta(description="Why something else answered than was wanted; null if all is well.")]
    warnings: list[str]
    total_candidates: Annotated[int, Meta(description="How many passages were considered.")]
    hits: list[FoundPassage]
    note: str | None = None


class DocumentAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `get_document` gives."""

    collection: str
    id: str
    uri: str
    title: str | None = None
    source: str | None = None
    metadata: dict[str, Any] = {}
    offset: Annotated[int, Meta(description="Where in the document's text this text begins, in characters.")]
    text: str
    total_characters: int
    next_offset: Annotated[int | None, Meta(description="Where the rest begins; null at the end.")]
    note: str | None = None


class ListedCollection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A collection, in brief."""

    name: str
    uri: str
    documents: int = 0
    passages: int = 0
    generation: Annotated[int | None, Meta(description="The active generation; without one there is nothing to search.")] = None
    search_modes: list[SearchMode] = []
    error: Annotated[str | None, Meta(description="Why it cannot be used.")] = None


class CollectionsAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `list_collections` gives."""

    collections: list[ListedCollection]
    note: str | None = None


class CollectionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `collection_stats` gives."""

    collection: str
    documents: int
    passages: int
    generation: Annotated[int | None, Meta(description="The active generation.")]
    generations: Annotated[int, Meta(description="How many there are, the active one and those that can be promoted.")]
    search_modes: list[SearchMode]
    fields: Annotated[list[str], Meta(description="Metadata fields that a filter can use.")]
    more_fields: Annotated[int, Meta(description="How many fields are left out.")] = 0
    engine: str
    degraded: Annotated[str | None, Meta(description="Why something else serves than was wanted; null if all is well.")]
    embedder: str | None = None
    analyzer: str | None = None
    recall: Annotated[float | None, Meta(description="The share of the true nearest passages that the vector index finds.")] = None
    promoted_at: str | None = None
    last_write: Annotated[int, Meta(description="The number of the last write.")]
    size_bytes: int


class WriteAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `upsert` and `delete` give. What was written is durable, and found by the next search."""

    collection: str
    sequence: Annotated[int, Meta(description="The number of the write.")]
    upserted: int = 0
    replaced: Annotated[int, Meta(description="How many of those put in were there before.")] = 0
    deleted: int = 0
    note: str | None = None
