"""Routes for collections and their generations."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath

from outcrop import Collection, Comparison, GenerationInfo, RollbackPlan, Stats
from outcrop.surfaces.http import outward, replies
from outcrop.surfaces.http.access import ADMIN, ANYWHERE, READ, visible
from outcrop.surfaces.http.bodies import CollectionBody, CompareBody, PromoteBody, RollbackBody, read
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.served import served

_ALL = "/v1/collections"
_ONE = "/v1/collections/{name:str}"
_GATED = {"gate": {"documents_min": 1000, "overlap_min": 0.5, "queries": ["vitamin D", "asthma in children"]}}


@get(_ALL, opt=READ | ANYWHERE | described(replies.Names), summary="The collections", tags=["collections"])
async def list_collections(request: Request[Any, Any, Any]) -> Response[Any]:
    """The names of those that the key opens."""
    names = await served(request).database(lambda db: db.collections())
    return replies.json({"collections": visible(request, names)})


@post(
    _ALL,
    opt=ADMIN | described(replies.Made, CollectionBody, example={"name": "papers"}),
    status_code=201,
    summary="Make a collection",
    tags=["collections"],
)
async def create_collection(request: Request[Any, Any, Any]) -> Response[Any]:
    """What is given is what its first generation is built with."""
    body = await read(request, CollectionBody)
    made = await served(request).database(
        lambda db: db.create_collection(
            body.name, embedder=body.embedder, metric=body.metric, chunker=body.chunker, analyzer=body.analyzer
        )
    )
    return replies.json({"name": made.name, "uuid": made.uuid}, status=201, headers={"Location": f"{_ALL}/{made.name}"})


@get(_ONE, opt=READ | described(Stats), summary="The state of a collection", tags=["collections"])
async def stats(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """What is active, what it holds and is made of, which fields a filter can use, how the caches do."""
    return replies.json(outward.stats(await served(request).collection(name, lambda collection: collection.stats())))


@delete(
    _ONE, opt=ADMIN | described(None), status_code=204, summary="Remove a collection with everything in it", tags=["collections"]
)
async def drop_collection(request: Request[Any, Any, Any], name: FromPath[str]) -> None:
    """Its generations, its journal, its documents."""
    await served(request).database(lambda db: db.drop_collection(name), bounded=False)


@get(f"{_ONE}/generations", opt=READ | described(replies.Generations), summary="The generations", tags=["generations"])
async def generations(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """Of each its recipe, state, size and recall."""
    found = await served(request).collection(name, lambda collection: collection.generations())
    return replies.json({"generations": outward.generations(found)})


@get(f"{_ONE}/history", opt=READ | described(replies.History), summary="The promotions", tags=["generations"])
async def history(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """Who put which generation live, when, and what the gate said."""
    found = await served(request).collection(name, lambda collection: collection.history())
    return replies.json({"history": outward.history(found)})


@post(
    f"{_ONE}/generations/{{generation:int}}/promote",
    opt=ADMIN | described(GenerationInfo, PromoteBody, example=_GATED, optional=True),
    status_code=200,
    summary="Put a generation live",
    tags=["generations"],
)
async def promote(request: Request[Any, Any, Any], name: FromPath[str], generation: FromPath[int]) -> Response[Any]:
    """In one step, with every write that came meanwhile in it, if the gate lets it.

    Without a gate it is asked whether more than a tenth of the documents would vanish. A refusal (409) has the gate's `report`. A
    gate with queries may take a minute: the request waits for it.
    """
    body = await read(request, PromoteBody, empty=PromoteBody())

    def promoted(collection: Collection) -> GenerationInfo:
        gate = None if body.gate is None else body.gate.gate()
        return collection.promote(generation, gate=gate, force=body.force)

    made = await served(request).judged(name, promoted)
    return replies.json(outward.generation(made), headers={"Outcrop-Generation": str(made.number)})


@post(
    f"{_ONE}/compare",
    opt=ADMIN | described(Comparison, CompareBody, example={"a": 1, "b": 1, "queries": ["vitamin D"]}),
    status_code=200,
    summary="What would change with another generation",
    tags=["generations"],
)
async def compare(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """If `b` served instead of `a`: documents, recipes, sizes; with queries also the answers, how good they are, and latency.

    With queries it may take a minute: the request waits for it.
    """
    body = await read(request, CompareBody)
    return replies.json(
        await served(request).judged(name, lambda collection: collection.compare(body.a, body.b, body.asked(), k=body.k))
    )


@post(
    f"{_ONE}/rollback",
    opt=ADMIN | described((GenerationInfo, RollbackPlan), RollbackBody, optional=True),
    status_code=200,
    summary="Back to an earlier generation",
    tags=["generations"],
)
async def rollback(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """With every later write in it. With `dry_run` it tells what would happen."""
    body = await read(request, RollbackBody, empty=RollbackBody())
    found = await served(request).collection(
        name,
        lambda collection: collection.rollback(body.to, dry_run=True) if body.dry_run else collection.rollback(body.to),
        bounded=False,
    )
    return replies.json(outward.generation(found) if isinstance(found, GenerationInfo) else found)


ROUTES = (list_collections, create_collection, stats, drop_collection, generations, history, promote, compare, rollback)
