"""What the tools take. The input schemas that a model reads are made of these, and its arguments are checked against them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from outcrop.document_rules import ID_BYTES_MAX

K_MAX = 50
OFFSET_MAX = 200
DOCUMENTS_MAX = 50
IDS_MAX = 100
QUERY_CHARACTERS_MAX = 4_000
FILTER_CHARACTERS_MAX = 4_000
TEXT_CHARACTERS_MAX = 100_000
PART_CHARACTERS, PART_CHARACTERS_MAX = 20_000, 100_000
_OFFSET_OF_TEXT_MAX = 2**53 - 1  # what a program in any language can say exactly

_CollectionName = Annotated[
    str, Meta(min_length=1, max_length=64, description="A collection's name, as list_collections gives it.")
]
_DocumentId = Annotated[str, Meta(min_length=1, max_length=ID_BYTES_MAX)]


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


class SearchArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `search` takes."""

    collection: _CollectionName
    query: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=QUERY_CHARACTERS_MAX,
            description="What to look for: a question or a few words in the language of the documents.",
        ),
    ]
    k: Annotated[int, Meta(ge=1, le=K_MAX, description="How many hits, at most one of each document.")] = 10
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="Leave out so many of the best hits: the next page.")] = 0
    mode: Annotated[
        Literal["lexical", "vector", "hybrid"] | None,
        Meta(description="By words, by meaning, or both. Leave it out for the best that the collection can do."),
    ] = None
    where: Annotated[
        Annotated[str, Meta(max_length=FILTER_CHARACTERS_MAX)] | dict[str, Any] | None,
        Meta(
            description="Only documents whose metadata match, for example \"year >= 2015 AND lang IN ('en', 'de')\"."
            " collection_stats names the fields."
        ),
    ] = None
    passages: Annotated[
        bool, Meta(description="Also give the text of each hit's passage, and not only a snippet of it. Long passages are cut.")
    ] = False


class DocumentArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `get_document` takes."""

    collection: _CollectionName
    document_id: Annotated[_DocumentId, Meta(description="The document_id of a hit.")]
    offset: Annotated[
        int, Meta(ge=0, le=_OFFSET_OF_TEXT_MAX, description="Where in the text to begin, in characters: next_offset to read on.")
    ] = 0
    characters: Annotated[int, Meta(ge=1, le=PART_CHARACTERS_MAX, description="How much of the text to give.")] = PART_CHARACTERS


class CollectionArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `collection_stats` takes."""

    collection: _CollectionName


class NewDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document to put in."""

    id: Annotated[
        _DocumentId,
        Meta(description="Any text without control characters. A document with this id that is there is replaced whole."),
    ]
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, description="The text that is searched.")]
    title: Annotated[Annotated[str, Meta(max_length=1_000)] | None, Meta(description="A title, which is searched too.")] = None
    source: Annotated[
        Annotated[str, Meta(max_length=2_000)] | None, Meta(description="Where it comes from, for citations: a path or an address.")
    ] = None
    metadata: Annotated[dict[str, Any], Meta(description="Fields for filters: text, numbers, true or false, lists.")] = {}


class UpsertArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `upsert` takes."""

    collection: _CollectionName
    documents: Annotated[
        list[NewDocument], Meta(min_length=1, max_length=DOCUMENTS_MAX, description="All of them are written, or none.")
    ]


class DeleteArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `delete` takes."""

    collection: _CollectionName
    document_ids: Annotated[
        list[_DocumentId], Meta(min_length=1, max_length=IDS_MAX, description="Ids of documents, each the document_id of a hit.")
    ]
