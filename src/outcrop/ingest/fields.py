"""From a mapping (a JSON object, a CSV row, a Parquet row, a dict) to a Document: which key means what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from outcrop.errors import InvalidDocument
from outcrop.model import Document

ID_KEYS = ("id", "_id")
TEXT_KEYS = ("text", "contents", "content", "body")
VECTOR_KEYS = ("vector", "embedding")
RESERVED_KEYS = frozenset((*ID_KEYS, *TEXT_KEYS, *VECTOR_KEYS, "title", "source", "metadata"))

_MISSING = object()


def document_from(fields: Mapping[str, Any]) -> Document:
    """The document that a mapping describes.

    `id` (or `_id`) and `text` (or `contents`, `content`, `body`) are required; an integer id becomes text. `title`, `source`,
    `vector` (or `embedding`) and `metadata` are optional; every other key becomes metadata.

    Raises `InvalidDocument`: a required key is missing, two spellings of one key are there, or the document breaks a rule.

    >>> document_from({"_id": 7, "contents": "Slate splits.", "year": 1931})
    Document(id='7', text='Slate splits.', title=None, source=None, metadata={'year': 1931}, vector=None)
    """
    document_id = _only(fields, ID_KEYS)
    if document_id is _MISSING:
        raise InvalidDocument(f"the record has no id: {named_keys(fields)}; name the id 'id' or '_id'")
    if isinstance(document_id, int | np.integer) and not isinstance(document_id, bool):
        document_id = str(int(document_id))
    text = _only(fields, TEXT_KEYS)
    if text is _MISSING:
        raise InvalidDocument(
            f"the record {document_id!r:.80} has no text: {named_keys(fields)}; name the text {_listed(TEXT_KEYS)}",
            document_id=document_id,
        )
    vector = _only(fields, VECTOR_KEYS)
    return Document(
        id=document_id,
        text=text,
        title=fields.get("title"),
        source=fields.get("source"),
        metadata=_metadata(fields, document_id),
        vector=None if vector is _MISSING else vector,
    )


def named_keys(fields: Iterable[object]) -> str:
    """The keys of a record as a message shows them: a dozen at most."""
    keys = [f"{key!r:.40}" for key in fields]
    if not keys:
        return "it has no keys at all"
    rest = f" and {len(keys) - 12} more" if len(keys) > 12 else ""
    return f"its keys are {', '.join(keys[:12])}{rest}"


def _only(fields: Mapping[str, Any], spellings: tuple[str, ...]) -> Any:
    """The value under the one spelling that is there. Two would be a guess, and a wrong guess would index the wrong text."""
    found = [key for key in spellings if key in fields]
    if not found:
        return _MISSING
    if len(found) > 1:
        raise InvalidDocument(
            f"the record has both {found[0]!r} and {found[1]!r}, and either may be the {spellings[0]}; remove or rename one of them"
        )
    return fields[found[0]]


def _metadata(fields: Mapping[str, Any], document_id: object) -> Any:
    metadata = fields.get("metadata")
    others = {key: value for key, value in fields.items() if key not in RESERVED_KEYS}
    if metadata is None:
        return others
    if not others or not isinstance(metadata, Mapping):  # Document refuses what is no mapping
        return metadata
    for key in others:
        if key in metadata:
            raise InvalidDocument(
                f"the record {document_id!r:.80} has {key!r} both at the top and in its metadata; remove one of them",
                document_id=document_id,
            )
    return {**metadata, **others}


def _listed(names: Iterable[str]) -> str:
    *first, last = [repr(name) for name in names]
    return f"{', '.join(first)} or {last}"
