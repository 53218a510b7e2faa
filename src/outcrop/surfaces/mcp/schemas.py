"""The JSON Schemas of what tools take and give, made from the structs."""

from __future__ import annotations

from typing import Any

import msgspec

_REFERENCE = "#/$defs/"


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a struct in one piece, an object at its root: not every client follows references.

    >>> class Point(msgspec.Struct):
    ...     x: int
    >>> schema_of(Point)["properties"]
    {'x': {'type': 'integer'}}
    """
    (root,), definitions = msgspec.json.schema_components([kind], ref_template=_REFERENCE + "{name}")
    whole: dict[str, Any] = _in_one_piece(root, definitions)
    return whole


def _in_one_piece(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it means. None of ours refers to itself."""
    if isinstance(schema, list):
        return [_in_one_piece(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _in_one_piece(value, definitions) for key, value in schema.items() if key != "$ref"}
    if "$ref" in schema:
        meant = definitions[schema["$ref"].removeprefix(_REFERENCE)]
        unnamed = {key: value for key, value in meant.items() if key not in ("title", "description")}  # those of a class of ours
        kept = {**_in_one_piece(unnamed, definitions), **kept}
    return kept
