"""The tools: what a model is told of each, what it takes and gives, and which function does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from mcp import types

from outcrop.surfaces.mcp import reading, writing
from outcrop.surfaces.mcp.answers import CollectionAnswer, CollectionsAnswer, DocumentAnswer, SearchAnswer, WriteAnswer
from outcrop.surfaces.mcp.arguments import (
    CollectionArguments,
    DeleteArguments,
    DocumentArguments,
    NoArguments,
    SearchArguments,
    UpsertArguments,
)
from outcrop.surfaces.mcp.reach import Reach
from outcrop.surfaces.mcp.schemas import schema_of


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool. Repeating a call changes nothing more with any of them, and none reaches beyond the database."""

    name: str
    title: str
    description: str
    takes: type[msgspec.Struct]
    gives: type[msgspec.Struct]
    run: Callable[[Reach, Any], msgspec.Struct]
    writes: bool = False

    def declared(self) -> types.Tool:
        """The tool as a client sees it."""
        return types.Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schema_of(self.takes),
            output_schema=schema_of(self.gives),
            annotations=types.ToolAnnotations(
                title=self.title,
                read_only_hint=not self.writes,
                destructive_hint=self.writes,
                idempotent_hint=True,
                open_world_hint=False,
            ),
        )


READING = (
    Tool(
        name="search",
        title="Search documents",
        description="Find passages of documents by words and by meaning. Gives the best hits with a snippet, a score and a citation"
        " (title, source, heading, page). Cite what you use. For more of a document call get_document with the hit's document_id.",
        takes=SearchArguments,
        gives=SearchAnswer,
        run=reading.search,
    ),
    Tool(
        name="get_document",
        title="Read a document",
        description="Read a document by its id. A long text comes in parts: go on with next_offset. To read around a hit begin a"
        " little before the start in its citation.",
        takes=DocumentArguments,
        gives=DocumentAnswer,
        run=reading.get_document,
    ),
    Tool(
        name="list_collections",
        title="List collections",
        description="Which collections of documents there are, how large each is, and how it can be searched.",
        takes=NoArguments,
        gives=CollectionsAnswer,
        run=reading.list_collections,
    ),
    Tool(
        name="collection_stats",
        title="Describe a collection",
        description="The state of one collection: its size, the metadata fields that a filter can use, what answers its searches.",
        takes=CollectionArguments,
        gives=CollectionAnswer,
        run=reading.collection_stats,
    ),
)

WRITING = (
    Tool(
        name="upsert",
        title="Write documents",
        description="Put documents into a collection. One whose id is there already is replaced whole: text, title, source and"
        " metadata. All are written or none; afterwards they are durable and found.",
        takes=UpsertArguments,
        gives=WriteAnswer,
        run=writing.upsert,
        writes=True,
    ),
    Tool(
        name="delete",
        title="Delete documents",
        description="Take documents out of a collection by their ids. They cannot be brought back. An id that is not there does"
        " nothing.",
        takes=DeleteArguments,
        gives=WriteAnswer,
        run=writing.delete,
        writes=True,
    ),
)
