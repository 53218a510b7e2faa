"""Routes that search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter

from outcrop import Collection, Hits
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import READ
from outcrop.surfaces.http.bodies import BatchBody, SearchBody, read, within
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.problems import BadRequest
from outcrop.surfaces.http.replies import Answers
from outcrop.surfaces.http.served import served
from outcrop.surfaces.wire import SearchAnswer

_Answer = TypeVar("_Answer")
_SEARCH = "/v1/collections/{name:str}/search"
_EXAMPLE = {"query": "does vitamin D help against asthma?", "k": 5, "where": "year >= 2015 AND lang = 'en'"}
_PARAMETERS = ("q", "k", "offset", "mode", "where", "log")
_BATCH = {"queries": ["vitamin D", "asthma"], "k": 3}


@post(_SEARCH, opt=READ | described(SearchAnswer, SearchBody, example=_EXAMPLE), status_code=200, summary="Search", tags=["search"])
async def search(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """By words, by meaning or both, in the active generation or another one."""
    hits, content = await searched(request, name)
    served(request).metrics.searched(name, hits)
    return replies.encoded(content, headers=replies.about(hits))


@get(_SEARCH, opt=READ | described(SearchAnswer), summary="Search by words in the address", tags=["search"])
async def search_by_get(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    *,
    q: Annotated[str, QueryParameter(description="What to look for.")],
    k: Annotated[int, QueryParameter(ge=1, le=10_000)] = 10,
    offset: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 0,
    mode: Annotated[str | None, QueryParameter(description="lexical, vector or hybrid")] = None,
    where: Annotated[str | None, QueryParameter(description="A filter: year >= 2015 AND lang = 'en'")] = None,
    log: Annotated[bool, QueryParameter(description="false: the query log has nothing of this search")] = True,
) -> Response[Any]:
    """For caches and browsers: an answer has a tag, and one that has not changed is not sent again."""
    _check_parameters(request)
    body = SearchBody(query=q, k=k, offset=offset, mode=mode, where=where, log=log)  # type: ignore[arg-type]  # the search checks the mode
    within(served(request).limits, body)
    kept = {"Cache-Control": "private, no-cache" if "authorization" in request.headers else "no-cache", "Vary": "Authorization"}
    known = request.headers.get("if-none-match")

    def answer(hits: Hits) -> bytes | None:
        return None if replies.is_known(replies.about(hits)["ETag"], known) else replies.answer(q, hits)

    hits, content = await _found(request, name, body, answer)
    served(request).metrics.searched(name, hits)
    headers = replies.about(hits) | kept
    return replies.unchanged(headers) if content is None else replies.encoded(content, headers=headers)


@post(
    f"{_SEARCH}/batch",
    opt=READ | described(Answers, BatchBody, example=_BATCH),
    status_code=200,
    summary="Many searches at once",
    tags=["search"],
)
async def search_many(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """The answers in the order of the queries, all from one generation, on all cores."""
    body, most = await read(request, BatchBody), served(request).limits.batch_hits_max
    asked = body.queries if body.queries is not None else body.vectors
    if asked is not None and len(asked) * body.k > most:
        raise BadRequest(
            f"{len(asked)} queries with k={body.k} may find {len(asked) * body.k} hits; a batch has at most {most}"
            " (server.batch_hits_max)"
        )

    def search_all(collection: Collection) -> tuple[list[Hits], Response[Any]]:
        found = collection.search_many(body.queries, vectors=body.vectors, generation=body.generation, **body.options())
        return found, replies.answers(found, body.queries if body.queries is not None else [None] * len(found))

    door = served(request)
    found, response = await door.collection(name, search_all)
    for hits in found:
        door.metrics.searched(name, hits)
    return response


async def searched(request: Request[Any, Any, Any], name: str) -> tuple[Hits, bytes]:
    """What a request finds that posts a search, and the answer's JSON."""
    body = await read(request, SearchBody)
    return await _found(request, name, body, lambda hits: replies.answer(body.query, hits))


async def _found(
    request: Request[Any, Any, Any], name: str, body: SearchBody, answer: Callable[[Hits], _Answer]
) -> tuple[Hits, _Answer]:
    """What a search finds, and the answer. It is made on the thread of the search: a thousand snippets take longer than finding."""

    def search_one(collection: Collection) -> tuple[Hits, _Answer]:
        hits = collection.search(body.query, vector=body.vector, generation=body.generation, cache=body.cache, **body.options())
        return hits, answer(hits)

    return await served(request).collection(name, search_one)


def _check_parameters(request: Request[Any, Any, Any]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(names) - set(_PARAMETERS))
    if unknown:
        raise BadRequest(f"there is no parameter {unknown[0]!r:.100}; there are: {', '.join(_PARAMETERS)}", key=unknown[0])
    if len(set(names)) < len(names):
        raise BadRequest("a parameter is given more than once")


ROUTES = (search, search_by_get, search_many)
