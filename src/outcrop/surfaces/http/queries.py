"""Routes about what is searched for. They show what others asked, so they are an admin's."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, delete, get
from litestar.params import FromPath, QueryParameter

from outcrop import Insights
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import ADMIN
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.served import served

_INSIGHTS = "/v1/collections/{name:str}/insights"


@get(_INSIGHTS, opt=ADMIN | described(Insights), summary="What is searched for, and what to change", tags=["insights"])
async def insights(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    *,
    days: Annotated[float, QueryParameter(gt=0, le=36_500, description="Look at so many days.")] = 7.0,
) -> Response[Any]:
    """From the query log of all processes: slow, frequent and empty queries, what each leg and filter does, and advice."""
    return replies.json(await served(request).collection(name, lambda collection: collection.insights(days)))


@delete(_INSIGHTS, opt=ADMIN | described(None), status_code=204, summary="Forget what was searched for", tags=["insights"])
async def forget_queries(request: Request[Any, Any, Any], name: FromPath[str]) -> None:
    """The query log goes, with the key of its hashes."""
    await served(request).collection(name, lambda collection: collection.forget_queries())


ROUTES = (insights, forget_queries)
