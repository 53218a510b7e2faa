"""Routes for builds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath
from litestar.response import Stream

from outcrop import Database
from outcrop.analysis import analyzer as named_analyzer
from outcrop.builds.ingredients import Ingredients
from outcrop.errors import NothingToBuild
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import ADMIN, READ, check_again
from outcrop.surfaces.http.bodies import BuildBody, in_query, kind_of, read
from outcrop.surfaces.http.border import request_id
from outcrop.surfaces.http.builds import events, sources, states, uploading
from outcrop.surfaces.http.builds.orders import Order, given_in_code
from outcrop.surfaces.http.builds.running import Begun
from outcrop.surfaces.http.builds.states import Build, BuildsFolder
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.documents import NDJSON
from outcrop.surfaces.http.problems import BadRequest, Busy
from outcrop.surfaces.http.served import Served, served

_BUILDS = "/v1/collections/{name:str}/builds"
_ONE = f"{_BUILDS}/{{build:str}}"
_EXAMPLE = {"embedder": "none", "promote": True, "gate": {"vanished_share_max": 0.05}}
_IN_QUERY = tuple(name for name in BuildBody.__struct_fields__ if name != "source")
_OWN = "documents of the active generation"
_T = TypeVar("_T")


class BuildList(msgspec.Struct, frozen=True):
    """The builds that are remembered, newest first."""

    builds: tuple[Build, ...]


@post(
    _BUILDS,
    opt=ADMIN | described(Build, BuildBody, example=_EXAMPLE, optional=True, lines=True, in_query=_IN_QUERY),
    status_code=202,
    summary="Build a generation",
    tags=["builds"],
)
async def start_build(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """Beside the live one, in a process of its own: searches and writes go on.

    From a `source` of the server's, from the active generation's own documents (without one), or from what is sent as NDJSON, plain
    or compressed, with the options in the address. One build of a collection runs at a time. What was interrupted goes on where it
    was when the same build is begun again.
    """
    door = served(request)
    is_upload = kind_of(request) in NDJSON
    body = in_query(request, BuildBody) if is_upload else await read(request, BuildBody, empty=BuildBody())
    if is_upload and body.source is not None:
        raise BadRequest("either a source is named or documents are sent, not both")
    path = await door.database(lambda db: _checked(door, db, name, body, is_upload=is_upload), bounded=False)
    accepting = asyncio.ensure_future(_accepted(request, name, body, path, is_upload=is_upload))
    door.builds.accepting.add(accepting)
    accepting.add_done_callback(door.builds.accepting.discard)
    build = await asyncio.shield(accepting)  # a request that is given up must not leave a build half accepted
    return replies.json(build, status=202, headers={"Location": f"/v1/collections/{name}/builds/{build.id}"})


@get(_BUILDS, opt=READ | described(BuildList), summary="The builds", tags=["builds"])
async def builds(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """Those begun over HTTP: the one that runs, and the last ones that ended."""
    return replies.json({"builds": await served(request).database(lambda db: states.all_of(BuildsFolder.of(db, name)))})


@get(_ONE, opt=READ | described(Build), summary="How far is a build?", tags=["builds"])
async def build_state(request: Request[Any, Any, Any], name: FromPath[str], build: FromPath[str]) -> Response[Any]:
    """And how it ended. Any of the server's processes knows."""
    return replies.json(await served(request).database(lambda db: states.find(BuildsFolder.of(db, name), build)))


@delete(_ONE, opt=ADMIN | described(Build), status_code=202, summary="Cancel a build", tags=["builds"])
async def cancel_build(request: Request[Any, Any, Any], name: FromPath[str], build: FromPath[str]) -> Response[Any]:
    """It ends at its next step. What it has prepared is kept, and the same build, begun again, goes on from there."""
    door = served(request)
    return replies.json(await door.database(lambda db: door.builds.cancel(db, name, build)), status=202)


@get(
    f"{_ONE}/events",
    media_type=events.MEDIA_TYPE,
    opt=READ | described(str),
    summary="Follow a build",
    tags=["builds"],
)
async def build_events(request: Request[Any, Any, Any], name: FromPath[str], build: FromPath[str]) -> Stream:
    """Server-sent events: `progress` with the build whenever it changed, at last `end` with it, and now and then a comment."""
    door = served(request)

    def look() -> Build:
        return states.find(BuildsFolder.of(door.db, name), build)

    async def found() -> Build:
        check_again(request)
        return await _on_thread(door, look)

    await found()  # what is not there is a problem, and no stream
    if door.builds.followers >= door.limits.streams_max:
        told = f"{door.builds.followers} clients follow builds; ask for the build itself now and then, or try again"
        raise Busy(told, cause="followers")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(events.told(door.builds, found), media_type=events.MEDIA_TYPE, headers=headers)


async def _accepted(request: Request[Any, Any, Any], name: str, body: BuildBody, path: str | None, *, is_upload: bool) -> Build:
    """The build, when its process has been started. Nothing is left of one for which that did not come about."""
    door = served(request)
    source, stage = ("upload", "upload") if is_upload else (_OWN if body.source is None else body.source, "start")
    begun = await _on_thread(door, lambda: door.builds.begin(door.db, name, source, stage))
    try:
        if is_upload:
            path = await _received(request, door, begun)
        order = _order(door.db, begun, body, path)
        order = msgspec.structs.replace(order, is_upload=is_upload, request_id=request_id(request.scope))
        return await _on_thread(door, lambda: door.builds.start(begun, order))
    except BaseException as error:
        await _on_thread(door, partial(door.builds.give_up, begun, error))
        raise


async def _on_thread(door: Served, call: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(door.builds.threads, call)


def _checked(door: Served, db: Database, name: str, body: BuildBody, *, is_upload: bool) -> str | None:
    """The file of the server's that is to be read, if one is. What cannot be built is refused, before anything is sent or begun.

    Raises `ReadOnly`, `UnknownCollection`, `InvalidInput`, `UnknownEmbedder`, `NothingToBuild`, `BadRequest`.
    """
    door.builds.check(db, name)
    collection, ingredients = db.collection(name), Ingredients(db.config)
    if body.embedder is not None:
        ingredients.embedder(body.embedder)
    if body.chunker is not None:
        ingredients.chunker(body.chunker)
    if body.analyzer is not None:
        named_analyzer(body.analyzer)
    if body.gate is not None:
        if not body.promote:
            raise BadRequest("a gate decides about a promotion: ask for promote too, or give the gate to the promotion")
        body.gate.gate()
    if body.source is not None:
        return str(sources.allowed(door.builds.source_folders, body.source))
    if not is_upload and collection.active is None:
        raise NothingToBuild(
            f"collection {name!r} has no active generation whose documents could be built anew: send documents, or name a source",
            collection=name,
        )
    return None


async def _received(request: Request[Any, Any, Any], door: Served, begun: Begun) -> str:
    """The file with what was sent."""
    bytes_max = door.limits.upload_bytes_max
    receiving = partial(uploading.received, request, door.builds, begun, pool=door.uploads.pool, bytes_max=bytes_max)
    await door.uploads.done(receiving, bounded=False)
    return str(begun.folder.upload(begun.build.id))


def _order(db: Database, begun: Begun, body: BuildBody, path: str | None) -> Order:
    return Order(
        database=str(db.path),
        mode=db.mode,
        config=given_in_code(db.config),
        build=msgspec.structs.replace(begun.build, stage="start"),
        options=body.options(),
        path=path,
        promote=body.promote,
        gate=None if body.gate is None else msgspec.to_builtins(body.gate),
    )


ROUTES = (start_build, builds, build_state, cancel_build, build_events)
