"""Collections and documents as resources, `outcrop://{collection}` and `outcrop://{collection}/{document_id}`."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
from mcp import types

from outcrop.errors import NotFound
from outcrop.surfaces.mcp import reading
from outcrop.surfaces.mcp.arguments import CollectionArguments, DocumentArguments
from outcrop.surfaces.mcp.reach import Reach
from outcrop.surfaces.mcp.reading import URI_SCHEME

MIME_TYPE = "application/json"
_PAGE = 100
_TEXT_CHARACTERS_MAX = 1_000_000

TEMPLATE = types.ResourceTemplate(
    name="document",
    title="A document",
    uri_template=URI_SCHEME + "{collection}/{document_id}",
    description="A document as JSON: text, title, source and metadata. Its id is percent-encoded.",
    mime_type=MIME_TYPE,
)


def page(db: Reach, cursor: str | None) -> types.ListResourcesResult:
    """The collections after the one that the cursor names, a page of them."""
    names = [name for name in db.collections() if cursor is None or name > cursor]
    shown = names[:_PAGE]
    return types.ListResourcesResult(
        resources=[_resource(db, name) for name in shown], next_cursor=shown[-1] if len(names) > _PAGE else None
    )


def read(db: Reach, uri: str) -> str:
    """What a resource holds, as JSON. Raises `NotFound`, and what opening the collection raises."""
    collection, slash, encoded_id = uri.removeprefix(URI_SCHEME).partition("/")
    if not uri.startswith(URI_SCHEME) or not collection:
        raise NotFound(f"there is no resource {uri!r:.200}: they are named {TEMPLATE.uri_template}")
    document_id = unquote(encoded_id)
    answer: msgspec.Struct
    if not slash or not document_id:
        answer = reading.collection_stats(db, CollectionArguments(collection=collection))
    else:
        asked = DocumentArguments(collection=collection, document_id=document_id, characters=_TEXT_CHARACTERS_MAX)
        answer = reading.get_document(db, asked)
    return msgspec.json.encode(answer).decode()


def _resource(db: Reach, name: str) -> types.Resource:
    brief = reading.listed(db, name)
    state = f"{brief.documents} documents" if brief.error is None else f"cannot be used: {brief.error}"
    return types.Resource(
        name=name, title=f"Collection {name}", uri=brief.uri, description=f"A collection of {state}.", mime_type=MIME_TYPE
    )
