"""The OpenAPI document: the routes as the framework knows them, with the bodies, the answers and the problems that we declare.

Schemas are made from the structs that are really read and written.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from outcrop.surfaces.http.access import OPEN
from outcrop.surfaces.http.problems import MEDIA_TYPE, PROBLEMS

NDJSON = "application/x-ndjson"
_DESCRIBED = "described"
_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
_EVENTS = "text/event-stream"
# Each event of a stream, as who reads such streams has it.
_EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}, "retry": {"type": "integer"}}}
_NAME = "^[a-z0-9][a-z0-9_-]{0,63}$"


class ProblemObject(msgspec.Struct, frozen=True):
    """An error (RFC 9457), with what a program can use of it besides."""

    type: str
    title: str
    status: int
    instance: str
    detail: str | None = None


class Described(msgspec.Struct, frozen=True, eq=False):
    """What a route reads, and its answer, which is one of several kinds. `optional`: no body will do; `lines`: NDJSON too.

    `in_query` are the body's fields that are given in the address where the body is NDJSON.
    """

    answers: tuple[Any, ...]
    body: Any = None
    example: Any = None
    optional: bool = False
    lines: bool = False
    in_query: tuple[str, ...] = ()


def described(answer: Any, body: Any = None, **more: Any) -> dict[str, Any]:
    """For a route's `opt`. `answer` is a type, some of them, or None where nothing is sent back; `more` is as in `Described`."""
    answers = answer if isinstance(answer, tuple) else () if answer is None else (answer,)
    return {_DESCRIBED: Described(answers, body, **more)}


def document(app: Litestar) -> dict[str, Any]:
    """The whole document, made once."""
    found: dict[str, Any] = app.openapi_schema.to_schema()
    operations = [
        (found["paths"][route.path_format][method.lower()], handler)
        for route in app.routes
        if route.path_format in found["paths"]
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and _DESCRIBED in handler.opt
        for method in handler.http_methods
        if method != "OPTIONS"
    ]
    kinds = [ProblemObject, *(kind for _, handler in operations for kind in _kinds(handler.opt[_DESCRIBED]))]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    of_kind = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    for operation, handler in operations:
        _describe(operation, handler, of_kind)
        operation["parameters"] = [*operation.get("parameters", ()), *_in_query(handler.opt[_DESCRIBED], components)]
    found["components"] = {
        "schemas": components,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of `outcrop keys create`."}},
    }
    return found


def _kinds(one: Described) -> list[Any]:
    return [*one.answers, *(() if one.body is None else (one.body,))]


def _describe(operation: dict[str, Any], handler: HTTPRouteHandler, of_kind: dict[int, Any]) -> None:
    one: Described = handler.opt[_DESCRIBED]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] == "name":
            parameter["schema"]["pattern"] = _NAME
    operation["operationId"] = handler.handler_name
    operation["responses"] = _responses(handler, one, of_kind)
    if OPEN.keys() <= handler.opt.keys():
        operation["security"] = []
    else:
        operation["security"] = [{}, {"key": []}]  # which of them, the server's owner decides
    if one.body is not None:
        content: dict[str, Any] = {_JSON: {"schema": of_kind[id(one.body)]}}
        if one.example is not None:
            content[_JSON]["example"] = one.example
        if one.lines:
            content[NDJSON] = {"schema": {"type": "string"}, "example": '{"id": "p-9", "text": "A document a line."}\n'}
        operation["requestBody"] = {"required": not one.optional, "content": content}


def _in_query(one: Described, components: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of a stream. What is an object in a body is JSON in the address."""
    found = []
    for name in one.in_query:
        schema = components[one.body.__name__]["properties"][name]
        if "$ref" in str(schema):
            schema = {"type": "string", "contentMediaType": _JSON, "contentSchema": schema}
        found.append({"name": name, "in": "query", "required": False, "schema": schema, "description": "Where the body is NDJSON."})
    return found


def _responses(handler: HTTPRouteHandler, one: Described, of_kind: dict[int, Any]) -> dict[str, Any]:
    status = str(handler.status_code)
    answer: dict[str, Any] = {"description": handler.fn.__doc__ or "Done"}
    if one.answers:
        schemas = [of_kind[id(kind)] for kind in one.answers]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        if handler.media_type == _EVENTS:
            answer["content"] = {_EVENTS: {"schema": _EVENT}}
        else:
            answer["content"] = {handler.media_type if one.answers == (str,) else _JSON: {"schema": schema}}
    problem = {"content": {MEDIA_TYPE: {"schema": of_kind[id(ProblemObject)]}}}
    problems: dict[str, Any] = {}
    for row in PROBLEMS:
        problems.setdefault(str(row.status), {"description": row.title, **problem})
    unchanged = {"304": {"description": "Not modified"}} if "GET" in handler.http_methods else {}
    return {status: answer, **unchanged, **{other: about for other, about in problems.items() if other != status}}
