"""Routes that search."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter

from outcrop import Hits
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.bodies import BatchBody, SearchBody, read
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.replies import Answers
from outcrop.surfaces.http.served import served
from outcrop.surfaces.wire import SearchAnswer

_SEARCH = "/v1/collections/{name:str}/search"
_EXAMPLE = {"query": "does vitamin D help against asthma?", "k": 5, "where": "year >= 2015 AND lang = 'en'"}
_BATCH = {"queries": ["vitamin D", "asthma"], "k": 3}


@post(_SEARCH, opt=described(SearchAnswer, SearchBody, example=_EXAMPLE), status_code=200, summary="Search", tags=["search"])
async def search(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """By words, by meaning or both, in the active generation or another one."""
    body = await read(request, SearchBody)
    return replies.answer(body.query, await _found(request, name, body))


@get(_SEARCH, opt=described(SearchAnswer), summary="Search by words in the address", tags=["search"])
async def search_by_get(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    *,
    q: Annotated[str, QueryParameter(description="What to look for.")],
    k: Annotated[int, QueryParameter(ge=1, le=1000)] = 10,
    offset: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 0,
    mode: Annotated[str | None, QueryParameter(description="lexical, vector or hybrid")] = None,
    where: Annotated[str | None, QueryParameter(description="A filter: year >= 2015 AND lang = 'en'")] = None,
) -> Response[Any]:
    """For caches and browsers: an answer has a tag, and one that has not changed is not sent again."""
    body = SearchBody(query=q, k=k, offset=offset, mode=mode, where=where)  # type: ignore[arg-type]  # the search checks the mode
    hits = await _found(request, name, body)
    headers = replies.about(hits)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return replies.unchanged(headers)
    return replies.answer(q, hits)


@post(
    f"{_SEARCH}/batch",
    opt=described(Answers, BatchBody, example=_BATCH),
    status_code=200,
    summary="Many searches at once",
    tags=["search"],
)
async def search_many(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """The answers in the order of the queries, all from one generation, on all cores."""
    body = await read(request, BatchBody)
    door = served(request)
    found = await door.collection(
        name,
        lambda collection: collection.search_many(body.queries, vectors=body.vectors, generation=body.generation, **body.options()),
    )
    for hits in found:
        door.metrics.searched(name, hits)
    return replies.answers(found, body.queries if body.queries is not None else [None] * len(found))


async def _found(request: Request[Any, Any, Any], name: str, body: SearchBody) -> Hits:
    door = served(request)
    found = await door.collection(
        name,
        lambda collection: collection.search(
            body.query, vector=body.vector, generation=body.generation, cache=body.cache, **body.options()
        ),
    )
    door.metrics.searched(name, found)
    return found


ROUTES = (search, search_by_get, search_many)
