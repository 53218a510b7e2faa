"""The MCP server at `/mcp`: the tools of `outcrop mcp` over streamable HTTP, let in by the keys of the API.

A key of some collections sees those alone. Sessions are not kept, so each request may reach another of the server's processes.
The protocol's library takes as long to load as all the rest of a server, and is loaded when the first agent asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from litestar import asgi
from litestar.connection import ASGIConnection
from litestar.types import Receive, Scope, Send

from outcrop.errors import Closed, MissingExtra, OutcropError
from outcrop.surfaces.http.access import ANYWHERE, READ, holder
from outcrop.surfaces.http.problems import Busy
from outcrop.surfaces.http.served import Served
from outcrop.surfaces.mcp.reach import Reach

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

_REACH = "outcrop_reach"


class Agents:
    """What agents are answered by, as long as it is `running`. Used by one event loop."""

    def __init__(self, door: Served) -> None:
        self._door = door
        self._asked, self._ended = asyncio.Event(), asyncio.Event()
        self._answering: asyncio.Future[StreamableHTTPSessionManager] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer meanwhile. What is under way at the end is broken off."""
        answering = asyncio.create_task(self._answer())
        try:
            yield
        finally:
            self._ended.set()
            self._asked.set()
            await answering

    async def _answer(self) -> None:
        """From the first request to the end: one task, because what the library begins in a task ends in the same."""
        while (handler := await self._loaded()) is None:
            if self._ended.is_set():
                return
        async with handler.run():
            self._answering.set_result(handler)
            await self._ended.wait()

    async def _loaded(self) -> StreamableHTTPSessionManager | None:
        """What answers, when somebody has asked. None if it cannot be had now, which all are told who wait for it."""
        await self._asked.wait()
        try:
            self._check_open()
            manager, server = await asyncio.to_thread(_library)  # others are answered meanwhile
            self._check_open()
            tools = server(self._door.db, reaching=lambda request: request.scope[_REACH], working=self._on_thread)
            size_bytes_max = self._door.limits.body_bytes_max
            return manager(tools, stateless=True, json_response=True, max_request_body_size=size_bytes_max)
        except Exception as error:  # noqa: BLE001 - whoever asks is told
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        """Tell all who wait; who asks later has it tried again, but not at the end."""
        failed = self._answering
        failed.set_exception(error)
        failed.exception()  # looked at, or it would be logged as forgotten
        if not self._ended.is_set():
            self._asked.clear()
            self._answering = asyncio.get_running_loop().create_future()

    def _check_open(self) -> None:
        if self._ended.is_set():
            raise Closed("agents are answered no more: the server is shutting down")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises `MissingExtra` where the library cannot be loaded, and `Closed` at the end."""
        scope[_REACH] = self._reach(scope)  # type: ignore[literal-required]
        self._asked.set()
        handler = await asyncio.shield(self._answering)  # others wait for it too
        await handler.handle_request(scope, receive, send)  # type: ignore[arg-type]  # the same protocol, typed apart

    def _reach(self, scope: Scope) -> Reach:
        """What the sender of a request may use."""
        door = self._door
        key = holder(ASGIConnection(scope))
        may_write = door.agents_write and (key is None or key.allows("write", next(iter(key.collections or ()), None)))
        return Reach(door.db, only=None if key is None else key.collections, may_write=may_write, searched=door.metrics.searched)

    async def _on_thread(self, call: Callable[[], Any]) -> Any:
        try:
            return await self._door.work.on_thread(call, bounded=False)  # a write is never left half watched
        except Busy as error:
            raise OutcropError(f"the server has too much to do: {error}") from error


def _library() -> tuple[type[StreamableHTTPSessionManager], Callable[..., Server[Any]]]:
    """What speaks the protocol. To import it takes most of a second."""
    try:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from outcrop.surfaces.mcp.server import mcp_server
    except ImportError as error:
        remedy = "pip install 'outcrop[mcp]'"
        message = f"agents cannot be answered: the server's package 'mcp' is not the one that is needed ({error}). Run: {remedy}"
        raise MissingExtra(message, extra="mcp", remedy=remedy) from error
    return StreamableHTTPSessionManager, mcp_server


@asgi("/mcp", opt=READ | ANYWHERE, copy_scope=True)
async def mcp(scope: Scope, receive: Receive, send: Send) -> None:
    """One request of the protocol."""
    agents: Agents = scope["litestar_app"].state.agents
    await agents.handle(scope, receive, send)
