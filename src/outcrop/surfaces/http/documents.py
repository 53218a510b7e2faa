"""Routes for documents: read, write, take out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath

from outcrop import BulkResult, Collection, Document, WriteResult
from outcrop.aio import AsyncCollection
from outcrop.errors import NotFound
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import READ, WRITE, check_again
from outcrop.surfaces.http.bodies import DeleteBody, DocumentBody, IdsBody, UpsertBody, kind_of, pieces_of, read
from outcrop.surfaces.http.border import document_id_of
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.problems import BadRequest
from outcrop.surfaces.http.served import served
from outcrop.surfaces.wire import DocumentObject, document_object

NDJSON = ("application/x-ndjson", "application/jsonl", "application/ndjson")
_DOCUMENTS = "/v1/collections/{name:str}/documents"
_EXAMPLE = {"documents": [{"id": "p-9", "text": "Vitamin D and asthma.", "metadata": {"year": 2026}}]}
_PAGE = 1000


@get(f"{_DOCUMENTS}/{{document_id:path}}", opt=READ | described(DocumentObject), summary="A document", tags=["documents"])
async def get_document(request: Request[Any, Any, Any], name: FromPath[str], document_id: FromPath[str]) -> Response[Any]:
    """As it was written. The rest of the path is the id, with its slashes."""
    document_id = _asked_for(request, document_id)
    found = await served(request).collection(name, lambda collection: collection.get(document_id))
    if not found:
        raise NotFound(f"{name} has no document {document_id!r}; a hit's id is its document's with # and a number")
    return replies.json(document_object(found[0]))


@post(
    f"{_DOCUMENTS}/get",
    opt=READ | described(replies.Documents, IdsBody, example={"ids": ["p-9"]}),
    status_code=200,
    summary="Documents by their ids",
    tags=["documents"],
)
async def get_documents(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """Those of them that are there, in the order asked."""
    body = await read(request, IdsBody)
    return await served(request).collection(name, lambda collection: replies.documents(_in_pages(collection, body.ids)))


@post(
    _DOCUMENTS,
    opt=WRITE | described((WriteResult, BulkResult), UpsertBody, example=_EXAMPLE, lines=True),
    status_code=200,
    summary="Put documents in, or in the place of those with their ids",
    tags=["documents"],
)
async def upsert(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """JSON is one write, whole or not at all, durable and searchable when it returns.

    NDJSON (a document a line) is a stream of any length: written in batches while it comes, no faster than they can be written.
    What was written before an error stays: send the rest again.
    """
    if kind_of(request) in NDJSON:
        return await _streamed(request, name)
    body = await read(request, UpsertBody)
    documents = [_document(one) for one in body.documents]
    return await _written(request, name, "upsert", lambda collection: collection.upsert(documents))


@post(
    f"{_DOCUMENTS}/delete",
    opt=WRITE | described(WriteResult, DeleteBody, example={"where": "year < 2000"}),
    status_code=200,
    summary="Take documents out",
    tags=["documents"],
)
async def delete_documents(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """By their ids or by a filter."""
    body = await read(request, DeleteBody)
    return await _written(request, name, "delete", lambda collection: collection.delete(body.ids, where=body.where))


@delete(
    f"{_DOCUMENTS}/{{document_id:path}}",
    opt=WRITE | described(WriteResult),
    status_code=200,
    summary="Take a document out",
    tags=["documents"],
)
async def delete_document(request: Request[Any, Any, Any], name: FromPath[str], document_id: FromPath[str]) -> Response[Any]:
    """One that is not there counts nothing."""
    document_id = _asked_for(request, document_id)
    return await _written(request, name, "delete", lambda collection: collection.delete(document_id))


def _in_pages(collection: Collection, ids: list[str]) -> Iterator[Document]:
    """The documents, a few at a time: not all of them may be wanted."""
    for begin in range(0, len(ids), _PAGE):
        yield from collection.get(ids[begin : begin + _PAGE])


def _asked_for(request: Request[Any, Any, Any], found: str) -> str:
    """The document's id, as it was sent; what the router `found` has lost slashes."""
    sent = document_id_of(request.scope)
    if sent is None:
        return found.removeprefix("/")
    try:
        return sent.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the id in the address is no UTF-8: {sent!r:.100}") from error


async def _streamed(request: Request[Any, Any, Any], name: str) -> Response[Any]:
    door = served(request)
    opened = await door.database(lambda db: db.collection(name))
    collection = AsyncCollection(opened, door.uploads.pool)
    began = perf_counter()
    result = await door.uploads.done(lambda: collection.upsert_many(_lines(request)), bounded=False)
    door.metrics.wrote(name, "stream", result.upserted, perf_counter() - began)
    return replies.json(result, headers={} if result.sequence is None else {"Outcrop-Sequence": str(result.sequence)})


async def _lines(request: Request[Any, Any, Any]) -> AsyncIterator[dict[str, Any]]:
    """The documents of an NDJSON body, read as they are asked for: what is not asked for stays with the sender."""
    number, rest, line_bytes_max = 0, b"", served(request).limits.line_bytes_max
    async for piece in pieces_of(request):
        check_again(request)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield _parsed(line, number)
        if len(rest) > line_bytes_max:
            raise BadRequest(f"line {number + 1} is longer than {line_bytes_max} bytes")
    if rest.strip():
        yield _parsed(rest, number + 1)


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"line {number} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest(f"line {number} is no JSON object")
    return found


def _document(one: DocumentBody) -> Document:
    return Document(**msgspec.structs.asdict(one))


async def _written(
    request: Request[Any, Any, Any], name: str, operation: str, write: Callable[[Collection], WriteResult]
) -> Response[Any]:
    door, began = served(request), perf_counter()
    result = await door.collection(name, write, bounded=False)
    door.metrics.wrote(name, operation, result.upserted + result.deleted, perf_counter() - began)
    return replies.json(result, headers={"Outcrop-Sequence": str(result.sequence)})


ROUTES = (get_document, get_documents, upsert, delete_documents, delete_document)
