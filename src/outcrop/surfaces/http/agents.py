"""The MCP server at `/mcp`: the tools of `outcrop mcp` over streamable HTTP, let in by the keys of the API.

A key of some collections sees those alone. Sessions are not kept, so each request may reach another of the server's processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import asgi
from litestar.connection import ASGIConnection
from litestar.types import Receive, Scope, Send
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from outcrop.errors import OutcropError
from outcrop.surfaces.http.access import ANYWHERE, READ, holder
from outcrop.surfaces.http.problems import Busy
from outcrop.surfaces.http.served import Served
from outcrop.surfaces.mcp.reach import Reach
from outcrop.surfaces.mcp.server import mcp_server

_REACH = "outcrop_reach"


class Agents:
    """What agents are answered by. `handler` must `run` while it is asked."""

    def __init__(self, door: Served) -> None:
        self._door = door
        server = mcp_server(door.db, reaching=lambda request: request.scope[_REACH], working=self._on_thread)
        self.handler = StreamableHTTPSessionManager(
            server, stateless=True, json_response=True, max_request_body_size=door.limits.body_bytes_max
        )

    def reach(self, scope: Scope) -> Reach:
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


@asgi("/mcp", opt=READ | ANYWHERE, copy_scope=True)
async def mcp(scope: Scope, receive: Receive, send: Send) -> None:
    """One request of the protocol."""
    agents: Agents = scope["litestar_app"].state.agents
    scope[_REACH] = agents.reach(scope)  # type: ignore[literal-required]
    await agents.handler.handle_request(scope, receive, send)  # type: ignore[arg-type]  # the same protocol, typed apart
