"""Around every request: its span, how it is counted, and the line that the log has of it."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from outcrop import spans
from outcrop.surfaces.http.border import header, method_of, request_id
from outcrop.surfaces.http.metrics import METHODS, NO_ROUTE, Metrics

_log = logging.getLogger("outcrop.http")
_COLLECTION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY = "outcrop_key_name"
_GONE = 499  # what others call it when the client has gone before there was an answer
_FAILED = 500


def note_key(scope: Scope, name: str) -> None:
    """Have the log say whose key a request had. Never the key."""
    scope.setdefault("state", {})[_KEY] = name


class Observed:
    """The application's own ASGI handler, with every request counted, and told in the log if `logs_requests`."""

    def __init__(self, handler: ASGIApp, *, logs_requests: bool) -> None:
        self._handler = handler
        self._logs_requests = logs_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it answered, as a span where somebody traces."""
        if spans.tracer() is None:
            await self._counted(scope, receive, send, trace_id=None)
            return
        with spans.operation("request", _method(scope), _asked(scope), kind="SERVER", parent=_sent_with(scope)) as opened:
            status = await self._counted(scope, receive, send, trace_id=opened.trace_id)
            route = scope.get("path_template")
            if route:
                opened.rename(f"{_method(scope)} {route}")
            opened.tell({"http.route": route or None, "http.response.status_code": status})
            if status >= _FAILED:
                opened.fail(str(status))

    async def _counted(self, scope: Scope, receive: Receive, send: Send, *, trace_id: str | None) -> int:
        """Have it answered, counted and logged; with which status."""
        metrics: Metrics = scope["app"].state.served.metrics
        about, status, began = request_id(scope), 0, perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.began()
        try:
            await self._handler(scope, receive, answer)
        except Exception:
            status = status or _FAILED
            raise
        finally:
            status = status or _GONE
            seconds, route = perf_counter() - began, scope.get("path_template") or NO_ROUTE
            metrics.answered(_method(scope), route, status, seconds)
            if self._logs_requests and _log.isEnabledFor(logging.INFO):
                with suppress(Exception):  # a log never fails a request
                    _tell(scope, about, route=route, status=status, seconds=seconds, trace_id=trace_id)
        return status


def _method(scope: Scope) -> str:
    """The method, if it is one of those that there are: others come from whoever tries things out, in any number."""
    method = method_of(scope)
    return method if method in METHODS else "other"


def _asked(scope: Scope) -> dict[str, spans.Value | None]:
    """What a request's span has from the beginning. Not the query string: it may be what is searched for."""
    host, client = header(scope, b"host"), scope.get("client")
    return {
        "http.request.method": "_OTHER" if (method := _method(scope)) == "other" else method,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme"),
        "server.address": host.rpartition(":")[0] or host or None,
        "client.address": None if client is None else client[0],
        "network.protocol.version": scope.get("http_version"),
        "user_agent.original": header(scope, b"user-agent") or None,
        "outcrop.request_id": request_id(scope),
    }


def _sent_with(scope: Scope) -> Any:
    return spans.sent_with({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})


def _tell(scope: Scope, about: str, *, route: str, status: int, seconds: float, trace_id: str | None) -> None:
    """One line, with nothing of what was asked: not the path, which may name a document, and not the query."""
    known: dict[str, Any] = {
        "event": "request",
        "method": _method(scope),
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1e3, 3),
        "request_id": about,
    }
    collection = scope.get("path_params", {}).get("name")
    if isinstance(collection, str) and _COLLECTION.fullmatch(collection):
        known["collection"] = collection
    known |= {name: value for name, value in (("key", scope["state"].get(_KEY)), ("trace_id", trace_id)) if value is not None}
    _log.info("%s %s %d in %.1f ms", known["method"], route, status, seconds * 1e3, extra=known)
