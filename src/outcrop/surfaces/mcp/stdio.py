"""One client at the standard streams, until it closes them. Only the protocol is written to the standard output."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

_log = logging.getLogger("outcrop")
_LINE_BYTES_MAX = 64 * 2**20
_LINES_AHEAD_MAX = 16


def run(server: Server[Any]) -> None:
    """Serve until the client closes its side or reads no more, or SIGTERM. Raises `KeyboardInterrupt` at Ctrl-C."""
    try:
        asyncio.run(_serve(server))
    except* BrokenPipeError:
        _log.info("the MCP client reads no more")


async def _serve(server: Server[Any]) -> None:
    lines = _lines(_taken_input())
    nothing = anyio.wrap_file(io.StringIO())  # the library's own reader cannot be stopped while it waits for a line
    async with stdio_server(stdin=nothing) as (unused, write):
        await unused.aclose()
        into, messages = anyio.create_memory_object_stream[SessionMessage | Exception]()
        async with anyio.create_task_group() as tasks:
            with _ended_by_sigterm(tasks.cancel_scope):
                tasks.start_soon(_hand_on, lines, into, write.send)
                await server.run(messages, write, server.create_initialization_options())
                tasks.cancel_scope.cancel()


async def _hand_on(
    lines: AsyncIterator[bytes],
    into: MemoryObjectSendStream[SessionMessage | Exception],
    answer: Callable[[SessionMessage], Awaitable[None]],
) -> None:
    """Give the server each message, and answer what is none: a client must not wait for an answer that never comes."""
    async with into:
        async for line in lines:
            try:
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:
                await answer(SessionMessage(_no_message(line)))
            else:
                await into.send(SessionMessage(message))


class _Numbered(msgspec.Struct):
    id: int | str | None = None


def _no_message(line: bytes) -> types.JSONRPCError:
    """The answer to a line that is not a message; to its id, if it has one that can be read."""
    request_id, code = None, types.INVALID_REQUEST
    try:
        request_id = msgspec.json.decode(line, type=_Numbered).id
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, RecursionError, ValueError):
        code = types.PARSE_ERROR
    why = "a message is one line with one JSON-RPC 2.0 object"
    return types.JSONRPCError(jsonrpc="2.0", id=request_id, error=types.ErrorData(code=code, message=why))


def _taken_input() -> int:
    """A descriptor of the standard input that nobody else reads: programs that are started here must not eat messages."""
    taken = os.dup(sys.stdin.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    return taken


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of a descriptor. They are read on a thread that nobody waits for, since none can be called back from reading."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[bytes]()
    room = threading.Semaphore(_LINES_AHEAD_MAX)

    def read() -> None:
        with open(descriptor, "rb") as file:
            line = b"\n"
            while line:
                line = file.readline(_LINE_BYTES_MAX)
                room.acquire()
                try:
                    loop.call_soon_threadsafe(waiting.put_nowait, line)
                except RuntimeError:  # the loop has ended meanwhile
                    return

    threading.Thread(target=read, name="outcrop-mcp-input", daemon=True).start()
    while line := await waiting.get():
        room.release()
        if not line.isspace():
            yield line


@contextmanager
def _ended_by_sigterm(scope: anyio.CancelScope) -> Iterator[None]:
    """SIGTERM ends the serving as the end of the input does, so that the database is closed."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, scope.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
