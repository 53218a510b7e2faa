"""`outcrop serve`: the HTTP API and the dashboard."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from outcrop.errors import MissingExtra
from outcrop.surfaces import tracing
from outcrop.surfaces.addresses import is_loopback
from outcrop.surfaces.cli.program import Invocation, WrongUsage, invocation
from outcrop.surfaces.cli.rendering import note
from outcrop.surfaces.keys import Keys

_PORT = 7700


def serve(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="The database's folder; or use --db.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = _PORT,
    read_only: Annotated[bool, typer.Option("--read-only", help="Answer searches, refuse writes.")] = False,
    readers: Annotated[int, typer.Option(help="How many more processes answer, on the same folder.", min=0, max=63)] = 0,
    mcp_allow_write: Annotated[bool, typer.Option("--mcp-allow-write", help="Let agents write too, whose key may.")] = False,
    certificate: Annotated[Path | None, typer.Option(help="A file with the certificate for TLS.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option(help="A file with the certificate's key.", show_default=False)] = None,
    source_folder: Annotated[
        list[Path] | None,
        typer.Option(help="A folder whose files clients may have built. Give it again for another.", show_default=False),
    ] = None,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Let everyone in who reaches the address, without a key.")] = False,
    no_query_log: Annotated[
        bool, typer.Option("--no-query-log", help="Keep no log of what is searched for (see outcrop insights).")
    ] = False,
    log_format: Annotated[
        str | None, typer.Option(help="json or text; else text on a terminal, json elsewhere.", show_default=False)
    ] = None,
    access_log: Annotated[bool, typer.Option(help="A line of the log for each request.")] = True,
    trace_queries: Annotated[bool, typer.Option("--trace-queries", help="Have traces tell what was searched for.")] = False,
) -> None:
    """Serve the database over HTTP, with a dashboard.

    The dashboard is at /, and an MCP server for agents at /mcp. A search is a POST to /v1/collections/NAME/search, or simply a GET
    with ?q=. All of it: /v1/openapi.json. Ctrl-C ends it when what was let in is answered.

    Example:
      outcrop serve kb --port 7700
    """
    call = invocation(context)
    folder = call.db if path is None else path
    if (certificate is None) != (key is None):
        raise WrongUsage("--certificate and --key go together")
    if log_format not in (None, "json", "text"):
        raise WrongUsage(f"--log-format is json or text, found {log_format!r}")
    if not is_loopback(host) and (no_keys or not Keys(folder).wanted):
        if not no_keys:
            raise WrongUsage(
                f"{host} can be reached from other machines, and there are no keys: make one (outcrop keys create),"
                " or say --no-keys if you mean it"
            )
        note(f"warning: everyone who reaches {host}:{port} can read and write", style="bold yellow")
    folders = [] if source_folder is None else source_folder
    for one in folders:
        if not one.is_dir():
            raise WrongUsage(f"--source-folder: there is no folder {one}")
    if mcp_allow_write and read_only:
        raise WrongUsage("--mcp-allow-write and --read-only contradict each other")
    serving: dict[str, Any] = {"host": host, "port": port, "read_only": read_only, "readers": readers, "with_keys": not no_keys}
    serving |= {"agents_write": mcp_allow_write, "query_log": not no_query_log}
    serving |= {"source_folders": tuple(str(one.absolute()) for one in folders)}
    tracing.wanted(os.environ)  # what is wrong with it is said here
    told = log_format or ("text" if sys.stderr.isatty() else "json")
    serving |= {"log_format": told, "access_log": access_log, "trace_queries": trace_queries}
    _serve(call, folder, serving, tls=(certificate, key))


def _serve(call: Invocation, folder: Path, chosen: dict[str, Any], *, tls: tuple[Path | None, Path | None]) -> None:
    try:
        from outcrop.surfaces.http.serving import Serving, serve

        if importlib.util.find_spec("litestar") is None:  # which only the processes load that answer
            raise ImportError("there is no package 'litestar'")
    except ImportError as error:
        remedy = "pip install 'outcrop[server]'"
        raise MissingExtra(f"serving needs the extra 'server': {remedy}", extra="server", remedy=remedy) from error
    certificate, key = (None if one is None else str(one) for one in tls)
    serving = Serving(path=str(folder.absolute()), mode=call.mode, certificate=certificate, key=key, **chosen)
    with serving.opened() as db:  # what is wrong with it is said here, and not by a process that ends at once
        logged = db.config.query_log_share > 0 and not serving.read_only
        notice = "" if db.collections() else "; there is no collection in it yet: outcrop build makes one"
    if logged:
        notice += "; searches are logged for outcrop insights, and --no-query-log turns that off"
    serve(serving, notice=notice)
