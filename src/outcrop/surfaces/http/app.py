"""The application: routes, limits, request ids, and every error as a problem."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from litestar import Litestar, Request, Response
from litestar.config.compression import CompressionConfig
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import Message, Scope

import outcrop
from outcrop import Database
from outcrop.errors import OutcropError
from outcrop.surfaces.http import collections, documents, health, problems, searching
from outcrop.surfaces.http.access import guard
from outcrop.surfaces.http.metrics import FOLDER_VARIABLE, Metrics
from outcrop.surfaces.http.served import Bodies, Limits, Served
from outcrop.surfaces.http.working import Work
from outcrop.surfaces.keys import Keys

_log = logging.getLogger("outcrop.http")
_ROUTES = (*health.ROUTES, *collections.ROUTES, *searching.ROUTES, *documents.ROUTES)
_HAS_MCP = importlib.util.find_spec("mcp") is not None
_GIVEN_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_ID = "outcrop_request_id"
# What the framework knows of the routes; `describing` adds the rest and serves it.
_OPENAPI = OpenAPIConfig(title="Outcrop", version=outcrop.__version__, path="/v1/schema", render_plugins=[JsonRenderPlugin()])


def application(
    opening: Callable[[], Database],
    limits: Limits,
    *,
    with_keys: bool = True,
    is_local: bool = False,
    agents_write: bool = False,
) -> Litestar:
    """An ASGI application that opens a database when it starts, serves it, and closes it when everything let in is finished.

    `with_keys` asks for a key as soon as the database has any; without it nobody is asked. `is_local` refuses, where no key is
    wanted, requests to another host's name: a page in a browser may have had that name lead here. `agents_write` offers the
    tools of MCP that write.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        work = Work(threads=limits.threads, waiting_max=limits.waiting_max, seconds_max=limits.seconds_max)
        uploads = Work(threads=limits.uploads_max, waiting_max=0, seconds_max=limits.seconds_max)
        with closing(opening()) as db:
            keys = Keys(db.path) if with_keys else None
            metrics = Metrics(shared=FOLDER_VARIABLE in os.environ)
            app.state.served = Served(
                db=db,
                work=work,
                uploads=uploads,
                bodies=Bodies(limits.bodies_bytes_max),
                limits=limits,
                keys=keys,
                is_local=is_local,
                agents_write=agents_write,
                metrics=metrics,
            )
            async with _agents(app):
                yield
            await uploads.finish()
            await work.finish()

    return Litestar(
        route_handlers=(*_ROUTES, *_agents_routes()),
        guards=[guard],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        before_send=[_identified],
        request_max_body_size=None,  # counted where it is read
        compression_config=CompressionConfig(backend="gzip", minimum_size=1024, gzip_compress_level=1),
        openapi_config=_OPENAPI,
        logging_config=None,
        debug=False,
    )


def _agents_routes() -> tuple[ASGIRouteHandler, ...]:
    """The MCP server, where its extra is installed."""
    if not _HAS_MCP:
        return ()
    from outcrop.surfaces.http.agents import mcp

    return (mcp,)


@asynccontextmanager
async def _agents(app: Litestar) -> AsyncIterator[None]:
    """Answer agents meanwhile."""
    if not _HAS_MCP:
        yield
        return
    from outcrop.surfaces.http.agents import Agents

    app.state.agents = Agents(app.state.served)
    async with app.state.agents.handler.run():
        yield


def request_id(scope: Scope) -> str:
    """The id of a request: the client's own, if it is a plain one, or a new one."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if _ID not in state:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        state[_ID] = given.decode() if _GIVEN_ID.fullmatch(given) else uuid4().hex
    found: str = state[_ID]
    return found


async def _identified(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        message.setdefault("headers", [])
        message["headers"] = [*message["headers"], (b"x-request-id", request_id(scope).encode())]
        scope["app"].state.served.metrics.answered(str(scope.get("method")), message["status"])


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """An error of the library, or one that nobody expected."""
    row, about = problems.problem_of(error), request_id(request.scope)
    if not row.told:
        _log.error("request %s failed: %s", about, error, exc_info=None if isinstance(error, OutcropError) else error)
    headers = {} if row.retry_seconds is None else {"Retry-After": str(row.retry_seconds)}
    if row.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    content = problems.body_of(error, about, folder=str(request.app.state.served.db.path))
    return Response(content, media_type=problems.MEDIA_TYPE, status_code=row.status, headers=headers)


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the web framework refuses: no such path, no such method, a parameter that does not fit."""
    row = problems.problem_of_status(error.status_code)
    faults = [one for one in error.extra if isinstance(one, dict)] if isinstance(error.extra, list) else []
    detail = "; ".join(f"{one.get('key')}: {one.get('message')}" for one in faults) or error.detail
    content = problems.body(row, detail, request_id(request.scope))
    return Response(content, media_type=problems.MEDIA_TYPE, status_code=row.status, headers=error.headers)
