"""Clients over streamable HTTP, on this machine."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server

from outcrop.errors import InvalidInput

PATH = "/mcp"
_HOSTS = ("127.0.0.1", "::1", "localhost")


def listening(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine; port 0 takes a free one. Whoever may connect may ask, so others are refused.

    Raises `InvalidInput`, also when the port is taken.
    """
    if host not in _HOSTS:
        raise InvalidInput(
            f"MCP over HTTP asks for no key, so it is served at addresses of this machine only, {', '.join(_HOSTS)}; found {host!r}"
        )
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InvalidInput(
            f"nothing can listen at {host}, port {port}: {error.strerror}. Take another port, or 0 for a free one"
        ) from error


def url(place: socket.socket) -> str:
    """What a client is told."""
    host, port, *_ = place.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


def run(server: Server[Any], place: socket.socket) -> None:
    """Serve at `PATH` of a listening socket until SIGINT or SIGTERM. What a page of a foreign site has a browser send is refused by
    the library, which looks at `Host` and `Origin`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn ends in order, then raises the signal again
    app = server.streamable_http_app(streamable_http_path=PATH)
    with place, suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[place])
