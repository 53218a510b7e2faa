"""Routes that tell how the server is."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

import outcrop
from outcrop import Database
from outcrop.errors import OutcropError
from outcrop.surfaces.http import reference, replies
from outcrop.surfaces.http.access import ANYWHERE, OPEN, READ, holder
from outcrop.surfaces.http.describing import described, document
from outcrop.surfaces.http.metrics import MEDIA_TYPE
from outcrop.surfaces.http.problems import table, told
from outcrop.surfaces.http.served import Served, served

_DESCRIPTION = "description"


@get("/livez", opt=OPEN | described(dict[str, bool]), summary="Does the process answer?", tags=["health"])
async def livez() -> Response[Any]:
    """Asks nothing of the database."""
    return replies.json({"live": True})


@get("/readyz", opt=OPEN | described(replies.Ready), summary="Can it answer searches?", tags=["health"])
async def readyz(request: Request[Any, Any, Any]) -> Response[Any]:
    """503 while the database's folder cannot be read, and at the start until the collections are open."""
    door = served(request)
    try:
        await door.database(lambda db: db.collections())
    except OutcropError:
        reason: str | None = "the database's folder cannot be read"
    else:
        reason = door.warming.waits_for()
    if reason is None:
        return replies.json(replies.Ready(ready=True))
    return replies.json(replies.Ready(ready=False, reason=reason), status=503, headers={"Retry-After": "1"})


@get("/health", opt=READ | described(dict[str, Any]), summary="How is each collection?", tags=["health"])
async def health(request: Request[Any, Any, Any]) -> Response[Any]:
    """What is degraded or cold and why, and what is wrong with the configuration. 503 if a collection cannot be looked at."""
    door = served(request)
    found = await door.database(_health)
    knows = door.is_local or (door.keys is not None and door.keys.wanted)  # others are let in with `--no-keys` alone
    _add_warmth(door, found)
    found["configuration"] = door.configuration.told(in_full=knows)
    failing = any("fault" in one for one in found["collections"].values())
    return replies.json(found, status=503 if failing else 200)


@get("/v1/access", opt=ANYWHERE | described(replies.Access), summary="What does the key let do?", tags=["health"])
async def access(request: Request[Any, Any, Any]) -> Response[Any]:
    """The key's name, scope and collections, and whether the server takes writes at all."""
    db, key = served(request).db, holder(request)
    found = replies.Access(
        version=outcrop.__version__,
        mode=db.mode,
        read_only=db.read_only,
        key=None if key is None else key.name,
        scope=None if key is None else key.scope,
        collections=None if key is None else key.collections,
    )
    return replies.json(found)


@get("/metrics", media_type=MEDIA_TYPE, opt=READ | described(str), summary="What Prometheus reads", tags=["health"])
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """How searches went and how the collections are, in Prometheus's text format."""
    door = served(request)
    found = await door.scrapes.on_thread(lambda: door.metrics.text(door.db, door.waiting))
    return Response(found, media_type=MEDIA_TYPE)


@get("/v1/problems", opt=OPEN | described(dict[str, Any]), summary="What the type of a problem means", tags=["health"])
async def problems() -> Response[Any]:
    """The table of errors."""
    return replies.json({"problems": table()})


@get("/v1/openapi.json", opt=OPEN, include_in_schema=False)
async def openapi(request: Request[Any, Any, Any]) -> Response[Any]:
    """The API's description."""
    return Response(_described(request.app), media_type=replies.JSON)


def _described(app: Litestar) -> bytes:
    """Made once: it takes as long as many searches, and needs no key."""
    found: bytes | None = app.state.get(_DESCRIPTION)
    if found is None:
        found = app.state[_DESCRIPTION] = msgspec.json.encode(document(app.state.described()))
    return found


@get("/v1/reference", opt=OPEN, include_in_schema=False, media_type="text/html", sync_to_thread=False)
def reference_page(request: Request[Any, Any, Any]) -> Response[str]:
    """The API's description for people."""
    headers = {"Content-Security-Policy": reference.POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(reference.page(document(request.app.state.described())), media_type="text/html", headers=headers)


def _health(db: Database) -> dict[str, Any]:
    return {
        "version": outcrop.__version__,
        "mode": db.mode,
        "running": db.running,
        "collections": {name: _collection(db, name) for name in db.collections()},
    }


def _add_warmth(door: Served, found: dict[str, Any]) -> None:
    """How far this process is with opening collections, and which cannot be opened, and why."""
    warmth, reason = door.warming.warmth, door.warming.waits_for()
    found["warm_up"] = {
        "ready": reason is None,
        "reason": reason,
        "open": warmth.open,
        "collections": warmth.collections,
        "seconds": None if warmth.seconds is None else round(warmth.seconds, 3),
    }
    for name, error in warmth.cold.items():
        if name in found["collections"]:
            found["collections"][name]["cold"] = told(error, folder=str(door.db.path))


def _collection(db: Database, name: str) -> dict[str, Any]:
    try:
        found = db.collection(name).stats()
    except OutcropError as error:
        return {"fault": type(error).__name__}
    return {
        "active": found.active,
        "sequence": found.sequence,
        "index_lag": found.index_lag,
        "degraded": found.degraded,
        "serving": found.serving,
    }


ROUTES = (livez, readyz, health, access, metrics, problems, openapi, reference_page)
