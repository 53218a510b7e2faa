"""What is done around every request, whichever route it takes: before a route is found for it, and after its answer is made.

- An address that is too long is refused: routes that were found are remembered, and with them the addresses.
- A document's id is taken from the address as it was sent. The router would join slashes, and has routes named `get` and `delete`.
- HEAD is GET without the body.
- Answers are compressed, on a thread if they are long, and sent in pieces: a client that does not read holds up only itself, and
  is given up.
- An answer has the id of its request. What nobody has said otherwise of is not kept by caches.
- Bytes of the body that were counted while it was read (`Bodies`) are given back when the request is done with.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from litestar.enums import ScopeType
from litestar.exceptions import LitestarException
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from outcrop.surfaces.http import problems

TARGET_BYTES_MAX = 16_384
_HEADERS_BYTES_MAX = 65_536
_COMPRESSED_BYTES_MIN = 1024
_ON_THREAD_BYTES_MIN = 65_536
_PIECE_BYTES = 65_536
_COMPRESSED_KINDS = (b"application/json", b"application/problem+json", b"text/")
_DOCUMENT = re.compile(rb"(/v1/collections/[a-z0-9_-]+/documents/)(.+)", re.DOTALL)
_PLACE = "-"  # of the id in the address that the router sees
_GIVEN_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID, _DOCUMENT_ID, _METHOD, _HELD = "outcrop_request_id", "outcrop_document_id", "outcrop_method", "outcrop_held"
_ID_HEADER = b"x-request-id"
_DEFAULTS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Unread(Exception):
    """The client has not read its answer for too long."""


def border(app: ASGIApp, *, seconds_max: Callable[[], float]) -> ASGIApp:
    """The application with all of this around it. A client that reads nothing for `seconds_max()` is given up."""

    async def bordered(any_scope: Scope, receive: Receive, send: Send) -> None:
        if any_scope["type"] != ScopeType.HTTP:
            await app(any_scope, receive, send)
            return
        scope = any_scope
        state: dict[str, Any] = scope.setdefault("state", {})
        refused = _refused(scope)
        state[_METHOD] = scope["method"]
        if refused is not None:
            await _sent_problem(refused, request_id(scope), send)
            return
        _found_document(scope, state)
        answer = _Answer(scope, send, seconds_max())
        if scope["method"] == "HEAD":
            scope["method"] = "GET"
        try:
            await app(scope, receive, answer.send)
        except (LitestarException, Unread):
            if not answer.is_over:
                raise
        finally:
            _given_back(scope, state)

    return bordered


def request_id(scope: Scope) -> str:
    """The id of a request: the client's own, if it is a plain one, or a new one."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if _ID not in state:
        given = header(scope, _ID_HEADER)
        state[_ID] = given if _GIVEN_ID.fullmatch(given) else uuid4().hex
    found: str = state[_ID]
    return found


def header(scope: Scope, name: bytes) -> str:
    """What the first header of this name says, "" if there is none. Names are in small letters."""
    for given, value in scope["headers"]:
        if given == name:
            return value.decode("latin-1")
    return ""


def method_of(scope: Scope) -> str:
    """The method that the client sent."""
    found: str = scope.get("state", {}).get(_METHOD, scope.get("method", ""))
    return found


def document_id_of(scope: Scope) -> bytes | None:
    """The id in the address of a document, as it was sent; None if the address has another form."""
    found: bytes | None = scope.get("state", {}).get(_DOCUMENT_ID)
    return found


def held(scope: Scope, size_bytes: int) -> None:
    """So many bytes more of this request's body have been counted; they are given back when it is done with."""
    state = scope.setdefault("state", {})
    state[_HELD] = state.get(_HELD, 0) + size_bytes


def _given_back(scope: Scope, state: dict[str, Any]) -> None:
    size_bytes = state.pop(_HELD, 0)
    if size_bytes:
        scope["litestar_app"].state.served.bodies.give_back(size_bytes)


def _refused(scope: HTTPScope) -> tuple[HTTPStatus, str] | None:
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if target > TARGET_BYTES_MAX:
        return HTTPStatus.REQUEST_URI_TOO_LONG, f"the address is {target} bytes long; at most {TARGET_BYTES_MAX} are taken"
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    if headers > _HEADERS_BYTES_MAX:
        return (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the headers have {headers} bytes; at most {_HEADERS_BYTES_MAX} are taken",
        )
    return None


async def _sent_problem(refused: tuple[HTTPStatus, str], about: str, send: Send) -> None:
    status, detail = refused
    row = problems.problem_of_status(status)
    content = problems.body(row, detail, about)
    kind, length = (b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", str(len(content)).encode())
    headers = [kind, length, (_ID_HEADER, about.encode()), *_DEFAULTS]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _found_document(scope: HTTPScope, state: dict[str, Any]) -> None:
    """Keep the id of a document for its route, and let the router see a plain word in its place."""
    found = _DOCUMENT.fullmatch(scope.get("raw_path") or b"")
    if found is not None and scope["method"] in ("GET", "HEAD", "DELETE"):
        state[_DOCUMENT_ID] = unquote_to_bytes(found[2])
        scope["path"] = found[1].decode() + _PLACE


class _Answer:
    """An answer on its way out."""

    def __init__(self, scope: HTTPScope, send: Send, seconds_max: float) -> None:
        self._scope = scope
        self._send = send
        self._seconds_max = seconds_max
        self._headers_only = scope["method"] == "HEAD"
        self._gzip = _takes_gzip(scope)
        self._start: HTTPResponseStartEvent | None = None
        self.is_over = False

    async def send(self, message: Message) -> None:
        """Send a message of the application. Raises `Unread`."""
        if message["type"] == "http.response.start":
            self._start = message
            if all(name.lower() != b"content-length" for name, _ in message["headers"]):  # a stream: its head goes at once
                await self._begun(message, b"", more=True)
                self._start = None
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message["body"], message.get("more_body", False)
        is_whole = self._start is not None and not more
        if self._start is not None:
            body = await self._begun(self._start, body, more=more)
            self._start = None
        if self._headers_only:
            await self._ended_early(more=more)
        elif is_whole and len(body) <= _PIECE_BYTES:  # it is handed over, and nobody waits until it is read
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
        else:
            await self._in_pieces(body, more=more)

    async def _begun(self, start: HTTPResponseStartEvent, body: bytes, *, more: bool) -> bytes:
        """Send the head of the answer; give its body, compressed if the client takes that."""
        headers = {bytes(name).lower(): bytes(value) for name, value in start.get("headers", ())}
        if not more and headers.get(b"content-type", b"").startswith(_COMPRESSED_KINDS):
            headers[b"vary"] = b", ".join(filter(None, (headers.get(b"vary"), b"Accept-Encoding")))
            if self._gzip and len(body) >= _COMPRESSED_BYTES_MIN:
                body = await _compressed(body)
                headers |= {b"content-encoding": b"gzip", b"content-length": str(len(body)).encode()}
        for name, value in _DEFAULTS:
            headers.setdefault(name, value)
        headers[_ID_HEADER] = request_id(self._scope).encode()
        start["headers"] = list(headers.items())
        await self._send(start)
        return body

    async def _ended_early(self, *, more: bool) -> None:
        """End an answer that is only a head. A route that would send for ever is stopped."""
        if not self.is_over:
            self.is_over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if more:
            raise Unread("only the head was asked for")

    async def _in_pieces(self, body: bytes, *, more: bool) -> None:
        if len(body) <= _PIECE_BYTES:
            await self._in_time(self._send({"type": "http.response.body", "body": body, "more_body": more}))
            return
        view = memoryview(body)
        for begin in range(0, len(body), _PIECE_BYTES):
            piece = bytes(view[begin : begin + _PIECE_BYTES])
            is_last = begin + _PIECE_BYTES >= len(body)
            await self._in_time(self._send({"type": "http.response.body", "body": piece, "more_body": more or not is_last}))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                await sending
        except TimeoutError as error:
            self.is_over = True
            raise Unread(f"the client has read nothing for {self._seconds_max:g} seconds") from error


async def _compressed(body: bytes) -> bytes:
    if len(body) < _ON_THREAD_BYTES_MIN:
        return gzip.compress(body, 1)
    return await asyncio.to_thread(gzip.compress, body, 1)


def _takes_gzip(scope: HTTPScope) -> bool:
    """Whether the client takes gzip, by its `Accept-Encoding`."""
    for one in header(scope, b"accept-encoding").lower().split(","):
        coding, _, quality = (part.strip() for part in one.partition(";"))
        if coding in ("gzip", "x-gzip", "*"):
            return re.fullmatch(r"q=0(\.0*)?", quality) is None
    return False
