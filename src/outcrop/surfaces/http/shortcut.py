"""The way of a search past the web framework: the same guard, body, search, answer and problems, without its routing.

A search takes one or two milliseconds, and the framework's general way would add a fifth (docs/benchmarks.md). What is asked in
another form than this very one takes the framework's way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from outcrop.surfaces.http import replies, searching
from outcrop.surfaces.http.access import guard
from outcrop.surfaces.http.served import served

_SEARCH = re.compile(r"/v1/collections/([a-z0-9][a-z0-9_-]{0,63})/search")
_TEMPLATE = "/v1/collections/{name}/search"
_JSON = replies.JSON.encode()
Failed = Callable[[Request[Any, Any, Any], Exception], Response[bytes]]


class Shortcut:
    """The framework's handler, which searches do not come to. `failed` makes the answer of an error."""

    def __init__(self, handler: ASGIApp, failed: Failed) -> None:
        self._handler = handler
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a search; have the framework answer anything else."""
        found = _SEARCH.fullmatch(scope["path"]) if scope["type"] == ScopeType.HTTP and scope["method"] == "POST" else None
        if found is None:
            await self._handler(scope, receive, send)
            return
        scope["path_template"] = _TEMPLATE
        scope["path_params"] = {"name": found[1]}
        scope["route_handler"] = searching.search
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        try:
            await guard(request, searching.search)
            hits, content = await searching.searched(request, found[1])
        except Exception as error:  # noqa: BLE001 - every one is answered
            await self._failed(request, error).to_asgi_response(None, request)(scope, receive, send)
            return
        known = [(name.lower().encode(), value.encode()) for name, value in replies.about(hits).items()]
        about = (b"content-type", _JSON), (b"content-length", str(len(content)).encode())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*known, *about]})
            await send({"type": "http.response.body", "body": content, "more_body": False})
        finally:
            served(request).metrics.searched(found[1], hits)
