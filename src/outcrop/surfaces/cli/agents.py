"""`outcrop mcp`: the database for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from outcrop.errors import MissingExtra
from outcrop.surfaces.cli.program import Invocation, WrongUsage, invocation
from outcrop.surfaces.cli.rendering import note, plain

_PORTS = 2**16


def mcp(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The database's folder, instead of --db.", show_default=False)
    ] = None,
    allow_write: Annotated[bool, typer.Option("--allow-write", help="Offer the tools upsert and delete too.")] = False,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve over HTTP at this address of this machine, and not over the standard streams. Port 0 is a free one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Offer the database to agents, as an MCP server.

    Clients start it themselves and talk to it over its standard input and output. It ends when they close them. It only reads,
    unless --allow-write is given.

    Examples:
      outcrop mcp kb
      outcrop mcp --db kb --allow-write
      outcrop mcp kb --http 127.0.0.1:8765     (at http://127.0.0.1:8765/mcp)
    """
    call = _of_folder(invocation(context), path)
    address = None if http is None else _address(http)
    try:
        from outcrop.surfaces.mcp import loopback, stdio
        from outcrop.surfaces.mcp.server import mcp_server
    except ImportError as error:
        remedy = "pip install 'outcrop[mcp]'"
        raise MissingExtra(f"outcrop mcp needs the package 'mcp' ({error}). Run: {remedy}", extra="mcp", remedy=remedy) from error
    with call.opened(read_only=not allow_write) as db:
        server = mcp_server(db, allow_write=allow_write)
        place = None if address is None else loopback.listening(*address)
        where = "the standard streams" if place is None else loopback.url(place)
        may = "reading and writing" if allow_write else "reading only"
        note(f"outcrop mcp: {plain(str(db.path), one_line=True)} at {where}, {may}")
        if place is None:
            stdio.run(server)
        else:
            loopback.run(server, place)


def _of_folder(call: Invocation, path: Path | None) -> Invocation:
    """The call, with the folder that is named by its place."""
    if path is None:
        return call
    if call.db_origin == "--db" and call.db != path:
        raise WrongUsage(f"two folders are given: {path} and --db {call.db}")
    return msgspec.structs.replace(call, db=path, db_origin="--db")


def _address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`.

    >>> _address("127.0.0.1:8765"), _address("[::1]:80")
    (('127.0.0.1', 8765), ('::1', 80))
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < _PORTS):
        raise WrongUsage(f"--http is HOST:PORT, such as 127.0.0.1:8765, found {text!r:.80}")
    return host.removeprefix("[").removesuffix("]"), int(port)
