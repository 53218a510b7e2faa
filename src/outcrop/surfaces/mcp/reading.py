"""What the tools that only read do: a database and what was asked, in; an answer, out."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from outcrop import GenerationInfo, OutcropError, SearchMode
from outcrop.errors import NotFound
from outcrop.surfaces.mcp.answers import (
    CollectionAnswer,
    CollectionsAnswer,
    DocumentAnswer,
    ListedCollection,
    SearchAnswer,
)
from outcrop.surfaces.mcp.arguments import CollectionArguments, DocumentArguments, NoArguments, SearchArguments
from outcrop.surfaces.mcp.reach import Reach
from outcrop.surfaces.wire import document_object, search_answer

URI_SCHEME = "outcrop://"
COLLECTIONS_LISTED_MAX = 200

_PASSAGE_CHARACTERS_MAX = 2_000
_ANSWER_CHARACTERS_MAX = 30_000
_NAME_CHARACTERS_MAX = 500
_METADATA_BYTES_MAX = 1_000
_FIELDS_MAX = 100
_CHUNK = re.compile(r"#[0-9]+$")


def search(db: Reach, asked: SearchArguments) -> SearchAnswer:
    """The best passages, each as short as it can be used."""
    hits = db.collection(asked.collection).search(
        asked.query,
        k=asked.k,
        offset=asked.offset,
        mode=asked.mode,
        where=asked.where,
        candidates=max(db.config.candidates, asked.k + asked.offset),
    )
    db.searched(asked.collection, hits)
    searched = asked.query.encode(errors="replace").decode()  # as the search itself takes what is not valid Unicode
    answer = search_answer(searched, hits)
    room = min(_PASSAGE_CHARACTERS_MAX, _ANSWER_CHARACTERS_MAX // max(1, len(hits))) if asked.passages else None
    answer["hits"] = [_shortened(hit, asked.collection, room) for hit in answer["hits"]]
    return msgspec.convert({**answer, "note": _note(answer["hits"], asked)}, SearchAnswer)


def get_document(db: Reach, asked: DocumentArguments) -> DocumentAnswer:
    """A document, or the part of its text that was asked for. Raises `NotFound`."""
    found = db.collection(asked.collection).get([asked.document_id])
    if not found:
        hint = "; the id of a passage is its document's with # and a number: leave those out" if _is_passage(asked) else ""
        raise NotFound(
            f"collection {asked.collection!r} has no document {asked.document_id!r}{hint}. search gives each hit's document_id."
        )
    whole = document_object(found[0])
    characters, end = len(whole["text"]), asked.offset + asked.characters
    rest = end < characters
    note = f"The text goes on: get_document with offset {end} gives the rest." if rest else None
    if asked.offset >= characters > 0:
        note = f"The text has {characters} characters, so there is nothing from {asked.offset} on."
    return msgspec.convert(
        whole
        | {
            "collection": asked.collection,
            "uri": uri_of(asked.collection, found[0].id),
            "text": whole["text"][asked.offset : end],
            "offset": asked.offset,
            "total_characters": characters,
            "next_offset": end if rest else None,
            "note": note,
        },
        DocumentAnswer,
    )


def list_collections(db: Reach, _asked: NoArguments) -> CollectionsAnswer:
    """The collections, each in brief."""
    names = db.collections()
    shown = [listed(db, name) for name in names[:COLLECTIONS_LISTED_MAX]]
    note = None
    if len(names) > len(shown):
        note = f"There are {len(names)} collections; these are the first {len(shown)} by name."
    elif not names:
        note = "There is no collection yet. People make one with: outcrop build NAME SOURCE --promote"
    return CollectionsAnswer(collections=shown, note=note)


def listed(db: Reach, name: str) -> ListedCollection:
    """A collection in brief. One that is damaged must not hide the others, so it says what is wrong."""
    try:
        active = db.collection(name).active
    except OutcropError as error:
        return ListedCollection(name=name, uri=uri_of(name), error=str(error))
    return ListedCollection(
        name=name,
        uri=uri_of(name),
        documents=0 if active is None else active.document_count,
        passages=0 if active is None else active.chunk_count,
        generation=None if active is None else active.number,
        search_modes=_search_modes(active),
    )


def collection_stats(db: Reach, asked: CollectionArguments) -> CollectionAnswer:
    """The state of a collection: what a filter can use, what answers, how good it is."""
    found = db.collection(asked.collection).stats()
    active = next((one for one in found.generations if one.number == found.active), None)
    return CollectionAnswer(
        collection=found.collection,
        documents=found.document_count,
        passages=found.chunk_count,
        generation=found.active,
        generations=len(found.generations),
        search_modes=_search_modes(active),
        fields=list(found.fields[:_FIELDS_MAX]),
        more_fields=max(0, len(found.fields) - _FIELDS_MAX),
        engine=str(found.running),
        degraded=found.degraded,
        embedder=None if active is None or active.recipe.embedder is None else active.recipe.embedder.spec,
        analyzer=None if active is None else active.recipe.analyzer,
        recall=None if active is None else active.recall,
        promoted_at=None if active is None else active.promoted_at,
        last_write=found.sequence,
        size_bytes=found.size_bytes,
    )


def uri_of(collection: str, document_id: str | None = None) -> str:
    """The resource of a collection, or of a document in it.

    >>> uri_of("papers", "docs/a b.md"), uri_of("papers")
    ('outcrop://papers/docs%2Fa%20b.md', 'outcrop://papers')
    """
    return URI_SCHEME + collection + ("" if document_id is None else "/" + quote(document_id, safe=""))


def _shortened(hit: dict[str, Any], collection: str, room: int | None) -> dict[str, Any]:
    """A hit without what is too long for an answer; with at most `room` characters of its text, or none."""
    citation = {key: _cut(value) for key, value in hit["citation"].items()}
    short = hit | {"uri": uri_of(collection, hit["document_id"]), "title": _cut(hit["title"]), "citation": citation}
    short |= (
        {"text": None, "text_cut": False} if room is None else {"text": hit["text"][:room], "text_cut": len(hit["text"]) > room}
    )
    if len(msgspec.json.encode(hit["metadata"])) > _METADATA_BYTES_MAX:
        short |= {"metadata": {}, "metadata_left_out": True}
    return short


def _cut(value: Any) -> Any:
    """A title, a heading or a source that is no longer than one is."""
    if isinstance(value, str) and len(value) > _NAME_CHARACTERS_MAX:
        return value[:_NAME_CHARACTERS_MAX] + "…"
    return value


def _note(shown: list[dict[str, Any]], asked: SearchArguments) -> str | None:
    """What a reader of the answer should know to go on."""
    if not shown:
        return "Nothing was found. Try other words" + ("" if asked.where is None else ", or a wider filter") + "."
    if any(hit["text_cut"] or hit.get("metadata_left_out") for hit in shown):
        return "What is too long was cut or left out; get_document gives the whole."
    return None


def _search_modes(active: GenerationInfo | None) -> list[SearchMode]:
    """What a text query can search by."""
    if active is None:
        return []
    return ["lexical"] if active.recipe.embedder is None else ["lexical", "vector", "hybrid"]


def _is_passage(asked: DocumentArguments) -> bool:
    return _CHUNK.search(asked.document_id) is not None
