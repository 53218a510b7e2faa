"""The application: routes, limits, request ids, and every error as a problem."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import Message, Scope

import outcrop
from outcrop import Config, Database
from outcrop.errors import OutcropError, UnknownCollection
from outcrop.surfaces.http import collections, dashboard, documents, health, maps, problems, queries, searching
from outcrop.surfaces.http.access import guard, is_limited
from outcrop.surfaces.http.agents import Agents, mcp
from outcrop.surfaces.http.border import border, request_id
from outcrop.surfaces.http.builds import choices
from outcrop.surfaces.http.builds import routes as builds
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.configuring import Configuration, State
from outcrop.surfaces.http.metrics import FOLDER_VARIABLE, Metrics
from outcrop.surfaces.http.observing import Observed
from outcrop.surfaces.http.served import JUDGING_WAIT_MAX, Bodies, Served
from outcrop.surfaces.http.shortcut import Shortcut
from outcrop.surfaces.http.warming import Together, Warming
from outcrop.surfaces.http.working import Work
from outcrop.surfaces.keys import Keys

_log = logging.getLogger("outcrop.http")
_ROUTES = (
    *health.ROUTES,
    *collections.ROUTES,
    *searching.ROUTES,
    *documents.ROUTES,
    *builds.ROUTES,
    *choices.ROUTES,
    *queries.ROUTES,
    *maps.ROUTES,
    *dashboard.ROUTES,
)
_HAS_MCP = importlib.util.find_spec("mcp") is not None
_OPENAPI = OpenAPIConfig(title="Outcrop", version=outcrop.__version__, render_plugins=[JsonRenderPlugin()])
_SAMPLED_SECONDS = 5.0
_SCRAPES_WAITING_MAX = 8


def application(
    opening: Callable[[], Database],
    *,
    with_keys: bool = True,
    needs_keys: bool = False,
    is_local: bool = False,
    agents_write: bool = False,
    source_folders: Sequence[str] = (),
    logs_requests: bool = False,
    processes: int = 1,
    configured: Callable[[Config], None] = lambda _: None,
    at_end: Callable[[], None] = lambda: None,
) -> Litestar:
    """An ASGI application that opens a database when it starts, serves it, and closes it when everything let in is finished.

    `with_keys` asks for a key as soon as the database has any, with `needs_keys` also when it has none; without it nobody is asked.
    `is_local` refuses, where no key is wanted, requests to another host's name: a page in a browser may have had it lead here.
    `agents_write` offers the tools of MCP that write. Builds may read what lies in the `source_folders`. With `logs_requests` every
    request is a record of the logger `outcrop.http`, at level INFO. It is one of so many `processes` that share a folder, which the
    environment names, and is ready when all of them are. `configured` is told of the configuration now and whenever it
    has changed, `at_end` is called when everything is closed.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        with closing(opening()) as db:
            keys = Keys(db.path, always_wanted=needs_keys) if with_keys else None
            about = {"is_local": is_local, "agents_write": agents_write, "builds": Builds(source_folders)}
            door = app.state.served = _served(db, keys, processes, **about)
            agents = app.state.agents = Agents(door)
            with door.configuration.watched(_announcing(door, configured)):
                async with _warming(door.warming), agents.running(), _builds(door.builds), _sampling(door):
                    yield
            for one in (door.uploads, door.judging, door.writing, door.work, door.scrapes):
                await one.finish()
            door.metrics.close()
        await asyncio.to_thread(at_end)

    app = _Application(
        route_handlers=(*_ROUTES, mcp) if _HAS_MCP else _ROUTES,
        guards=[guard],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        before_send=[_complete],
        request_max_body_size=None,  # counted where it is read
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    # What the framework knows of the routes, which `describing` completes: of another application, since it would add its own.
    app.state.described = cache(lambda: _Application(route_handlers=_ROUTES, openapi_config=_OPENAPI, logging_config=None))
    bordered = border(Shortcut(app.asgi_handler, _answer_to), seconds_max=lambda: app.state.served.limits.idle_seconds_max)
    app.asgi_handler = Observed(bordered, logs_requests=logs_requests)
    return app


class _Application(Litestar):
    """The framework's, without its support for Pydantic and attrs where they are installed: nothing here is made of them, and to
    load them takes as long as all the rest of it."""

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        return plugins


def _served(db: Database, keys: Keys | None, processes: int, **about: Any) -> Served:
    limits, shared = db.config.server, os.environ.get(FOLDER_VARIABLE)
    metrics = Metrics(shared=shared is not None)

    def threads(name: str, count: int, waiting_max: int = limits.waiting_max) -> Work:
        return Work(threads=count, waiting_max=waiting_max, seconds_max=limits.seconds_max, name=name)

    return Served(
        db=db,
        work=threads("requests", limits.threads),
        writing=threads("writes", limits.writing_threads),
        uploads=threads("uploads", limits.uploads_max, 0),
        judging=threads("judging", limits.judging_max, JUDGING_WAIT_MAX),
        scrapes=threads("scrapes", 1, _SCRAPES_WAITING_MAX),
        bodies=Bodies(limits.bodies_bytes_max),
        keys=keys,
        **about,
        metrics=metrics,
        configuration=Configuration(db),
        warming=Warming(db, metrics.warmed, Together(None if shared is None else Path(shared), processes)),
    )


def _announcing(door: Served, configured: Callable[[Config], None]) -> Callable[[State], None]:
    """Tells all who want to know what came of a look at the configuration; called on the thread that looks."""
    loop = asyncio.get_running_loop()

    def announce(state: State) -> None:
        door.metrics.configured(state.hash, loaded_at=state.loaded_at, usable=state.fault is None)
        configured(door.db.config)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(door.reconfigured)

    return announce


@asynccontextmanager
async def _warming(found: Warming) -> AsyncIterator[None]:
    """Open collections meanwhile."""
    found.begin()
    yield
    await asyncio.to_thread(found.end)


@asynccontextmanager
async def _builds(found: Builds) -> AsyncIterator[None]:
    """Run builds meanwhile."""
    with found.stopping_on_signals():
        yield
    await asyncio.to_thread(found.finish)


@asynccontextmanager
async def _sampling(door: Served) -> AsyncIterator[None]:
    """Where several processes serve, have this one note now and then how it stands, for whichever is asked."""

    async def sampled() -> None:
        while True:
            await asyncio.sleep(_SAMPLED_SECONDS)
            try:
                await door.scrapes.on_thread(lambda: door.metrics.sample(door.db, door.waiting))
            except Exception as error:  # noqa: BLE001 - the next one may succeed
                _log.warning("this process cannot note how it stands: %s", error)

    task = asyncio.create_task(sampled()) if door.metrics.shared else None
    yield
    if task is not None:
        task.cancel()


async def _complete(message: Message, scope: Scope) -> None:
    """What the framework says of the methods that a path takes, in full."""
    if message["type"] == "http.response.start":
        message["headers"] = [
            (name, _allowed(scope, value) if name.lower() == b"allow" else value) for name, value in message.get("headers", ())
        ]


def _allowed(scope: Scope, found: bytes) -> bytes:
    """The methods that a path takes. The framework's answer to OPTIONS has those of one of its routes, and none has HEAD."""
    methods = set(found.decode().split(", "))
    handler = scope.get("route_handler")
    for route in scope["litestar_app"].routes if handler is not None else ():
        handlers: list[HTTPRouteHandler] = getattr(route, "route_handlers", [])
        if any(one is handler for one in handlers):
            methods |= {str(method) for one in handlers for method in one.http_methods}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))).encode()


def _answer_to(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What an error is answered with, as the framework would choose it."""
    return _refused(request, error) if isinstance(error, HTTPException) else _failed(request, error)


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """An error of the library, or one that nobody expected."""
    if isinstance(error, UnknownCollection) and is_limited(request):  # its message names those that there are
        error = UnknownCollection(f"there is no collection {error.name!r}", name=error.name, nearest=None)
    row, about = problems.problem_of(error), request_id(request.scope)
    cause = error.cause if isinstance(error, problems.Busy | problems.DeadlinePassed) else None
    request.app.state.served.metrics.failed(row.name, cause)
    if not row.told:
        known = {"event": "request_failed", "request_id": about, "problem": row.name}
        _log.error("request %s failed: %s", about, error, exc_info=None if isinstance(error, OutcropError) else error, extra=known)
    headers = {} if row.retry_seconds is None else {"Retry-After": str(row.retry_seconds)}
    if row.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    content = problems.body_of(error, about, folder=str(request.app.state.served.db.path))
    return Response(content, media_type=problems.MEDIA_TYPE, status_code=row.status, headers=headers)


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the web framework refuses: no such path, no such method, a parameter that does not fit."""
    row = problems.problem_of_status(error.status_code)
    request.app.state.served.metrics.failed(row.name)
    faults = [one for one in error.extra if isinstance(one, dict)] if isinstance(error.extra, list) else []
    detail = "; ".join(f"{one.get('key')}: {one.get('message')}" for one in faults) or error.detail
    values = {"key": faults[0]["key"]} if faults and "key" in faults[0] else None
    content = problems.body(row, detail, request_id(request.scope), values)
    return Response(content, media_type=problems.MEDIA_TYPE, status_code=row.status, headers=error.headers)
