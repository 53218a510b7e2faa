"""Routes for builds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath
from litestar.response import Stream

from outcrop import Database, files, spans
from outcrop.analysis import analyzer as named_analyzer
from outcrop.builds.ingredients import Ingredients
from outcrop.errors import NothingToBuild, OutcropError
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import ADMIN, READ, check_again
from outcrop.surfaces.http.bodies import BuildBody, in_query, kind_of, read
from outcrop.surfaces.http.border import request_id
from outcrop.surfaces.http.builds import events, sources, states, uploading
from outcrop.surfaces.http.builds.orders import Order, given_in_code
from outcrop.surfaces.http.builds.running import Begun, check_resumable
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


class Asked(msgspec.Struct, frozen=True):
    """A build that was asked for; `path` is the file of the server's to read. Kept until it has ended, without the path."""

    name: str
    body: BuildBody
    is_upload: bool
    path: str | None = None

    def new(self) -> Build:
        """The build, at its beginning."""
        source = "upload" if self.is_upload else _OWN if self.body.source is None else self.body.source
        return states.new(self.name, source, "upload" if self.is_upload else "start")


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
        raise BadRequest("either a source is named or documents are sent, not both", key="source")
    asked = await door.database(lambda db: _checked(door, db, Asked(name, body, is_upload)), bounded=False)
    return await _accepted(door, name, _begun(request, asked))


@post(f"{_ONE}/resume", opt=ADMIN | described(Build), status_code=202, summary="Resume an interrupted build", tags=["builds"])
async def resume_build(request: Request[Any, Any, Any], name: FromPath[str], build: FromPath[str]) -> Response[Any]:
    """With the options and the documents that were sent for it, as a build of its own.

    An upload is kept for that until another build of the collection has ended.
    """
    door = served(request)

    def again(db: Database) -> Asked:
        door.builds.check(db, name)
        folder = BuildsFolder.of(db, name)
        check_resumable(folder, build)
        return _checked(door, db, msgspec.json.decode(folder.asked(build).read_bytes(), type=Asked))

    asked = await door.database(again, bounded=False)
    return await _accepted(door, name, _begun(request, asked, resumes=build))


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


async def _accepted(door: Served, name: str, beginning: Coroutine[Any, Any, Build]) -> Response[Any]:
    accepting = asyncio.ensure_future(beginning)
    door.builds.accepting.add(accepting)
    accepting.add_done_callback(door.builds.accepting.discard)
    build = await asyncio.shield(accepting)  # a request that is given up must not leave a build half accepted
    return replies.json(build, status=202, headers={"Location": f"/v1/collections/{name}/builds/{build.id}"})


async def _begun(request: Request[Any, Any, Any], asked: Asked, *, resumes: str | None = None) -> Build:
    """The build, when its process has been started. Nothing is left of one for which that did not come about."""
    door, about, follows = served(request), request_id(request.scope), spans.handed_on()
    begun = await _on_thread(door, lambda: door.builds.begin(door.db, asked.name, asked.new(), resumes=resumes))
    try:
        if asked.is_upload and resumes is None:
            bytes_max = door.limits.upload_bytes_max
            receiving = partial(uploading.received, request, door.builds, begun, pool=door.uploads.pool, bytes_max=bytes_max)
            await door.uploads.done(receiving, bounded=False)
        started = await _on_thread(door, lambda: _started(door, begun, asked, about=about, follows=follows))
    except BaseException as error:
        await _on_thread(door, partial(door.builds.give_up, begun, error))
        raise
    if (traced := spans.current()) is not None:
        traced.tell({"outcrop.build": started.id})
    return started


async def _on_thread(door: Served, call: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(door.builds.threads, call)


def _checked(door: Served, db: Database, asked: Asked) -> Asked:
    """With the file of the server's that is to be read, if one is. What cannot be built is refused, before anything is begun.

    Raises `ReadOnly`, `UnknownCollection`, `InvalidInput`, `UnknownEmbedder`, `EngineUnavailable`, `NothingToBuild`, `BadRequest`.
    """
    name, body = asked.name, asked.body
    door.builds.check(db, name)
    collection = db.collection(name)
    _check_recipe(db, body)
    if body.gate is not None:
        if not body.promote:
            raise BadRequest(
                "a gate decides about a promotion: ask for promote too, or give the gate to the promotion", key="promote"
            )
        body.gate.gate()
    if body.source is not None:
        with _about("source"):
            return msgspec.structs.replace(asked, path=str(sources.allowed(door.builds.source_folders, body.source)))
    if not asked.is_upload and collection.active is None:
        raise NothingToBuild(
            f"collection {name!r} has no active generation whose documents could be built anew: send documents, or name a source",
            collection=name,
        )
    return asked


def _check_recipe(db: Database, body: BuildBody) -> None:
    """Whether what is named is there and works here. Errors have the field as `key`."""
    ingredients = Ingredients(db.config)
    if body.embedder is not None:
        with _about("embedder"):
            ingredients.embedder(body.embedder)
    if body.chunker is not None:
        ingredients.chunker(body.chunker)
    if body.analyzer is not None:
        with _about("analyzer"):
            named_analyzer(body.analyzer)
    if body.engine is not None:
        with _about("engine"):
            ingredients.check_engine(body.engine)
    if body.index is not None:
        ingredients.check_index(body.index, body.engine)


@contextmanager
def _about(field: str) -> Iterator[None]:
    """In the block, errors say that they are about this field of the body."""
    try:
        yield
    except OutcropError as error:
        error.values.setdefault("key", field)
        raise


def _started(door: Served, begun: Begun, asked: Asked, *, about: str, follows: dict[str, str]) -> Build:
    kept = msgspec.json.encode(msgspec.structs.replace(asked, path=None))
    files.write_atomically(begun.folder.asked(begun.build.id), kept)
    body = asked.body
    order = Order(
        database=str(door.db.path),
        mode=door.db.mode,
        config=given_in_code(door.db.config),
        build=msgspec.structs.replace(begun.build, stage="start"),
        options=body.options(),
        path=str(begun.folder.upload(begun.build.id)) if asked.is_upload else asked.path,
        promote=body.promote,
        gate=None if body.gate is None else msgspec.to_builtins(body.gate),
        is_upload=asked.is_upload,
        request_id=about,
        follows=follows,
    )
    return door.builds.start(begun, order)


ROUTES = (start_build, resume_build, builds, build_state, cancel_build, build_events)
