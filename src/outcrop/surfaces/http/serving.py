"""Runs the application in processes of its own, until it is told to stop; then what has been let in is finished.

The process that starts them answers nothing, and does not load what they answer with.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

import outcrop
from outcrop import Config, Database
from outcrop.config import CODE, SERVED, load, with_values
from outcrop.errors import InvalidInput, OutcropError
from outcrop.surfaces import logs, tracing
from outcrop.surfaces.addresses import is_loopback
from outcrop.surfaces.http.metrics import FOLDER_VARIABLE

if TYPE_CHECKING:
    from litestar import Litestar

_log = logging.getLogger("outcrop.http")
_KILL_SECONDS = 60
_BACKLOG = 1024
_HEAD_BYTES_MAX = 131_072  # what the library holds of a request before the application sees it
_CONNECTIONS_MAX = 4096  # of each process; an idle one costs some kilobytes


class Serving(msgspec.Struct, frozen=True):
    """What is served and where; `readers` more processes answer beside the first. `certificate` and `key` are files for TLS.

    Builds may read what lies in the `source_folders`.
    With `access_log` every request is a line of the log. `trace_queries` has traces tell what was searched for.
    """

    path: str
    host: str
    port: int
    mode: str | None = None
    read_only: bool = False
    readers: int = 0
    with_keys: bool = True
    agents_write: bool = False
    certificate: str | None = None
    key: str | None = None
    query_log: bool = True
    source_folders: tuple[str, ...] = ()
    log_format: logs.Format = "text"
    access_log: bool = False
    trace_queries: bool = False

    @property
    def address(self) -> str:
        """Where it is reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{self.port}"

    def opened(self) -> Database:
        """The database. Its searches are logged, unless `query_log` is off or the file or the environment says otherwise."""
        return outcrop.open(self.path, config=self.configured, read_only=self.read_only)

    @property
    def configured(self) -> Config:
        """What the command line says of the configuration."""
        given = None if self.mode is None else getattr(Config, self.mode)()
        if self.query_log:
            return with_values(given, SERVED, query_log_share=1.0)
        return with_values(given, CODE, query_log_share=0.0)


def serve(serving: Serving, *, notice: str = "") -> None:
    """Serve until SIGINT or SIGTERM. The log says when connections are taken, and the `notice` with it.

    Raises `InvalidInput` if the port is taken.
    """
    _check_place(serving.host, serving.port)
    _allow_files()
    multiprocessing.set_start_method("spawn", force=True)  # a fork would take this process's libraries along, as they are
    with tempfile.TemporaryDirectory(prefix="outcrop-metrics-") as counted:
        os.environ[FOLDER_VARIABLE] = counted  # where the processes add up what they count
        _serve(serving, notice)


def _serve(serving: Serving, notice: str) -> None:
    server = Server(
        "outcrop",
        address=serving.host,
        port=serving.port,
        interface=Interfaces.ASGI,
        loop=Loops.asyncio if find_spec("uvloop") is None else Loops.uvloop,  # which there is none of for Windows
        workers=1 + serving.readers,
        websockets=False,
        backlog=_BACKLOG,
        http=HTTPModes.http1,  # where it may be either, connections that send nothing are never given up
        backpressure=_CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(max_buffer_size=_HEAD_BYTES_MAX),
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=_KILL_SECONDS,
        ssl_cert=None if serving.certificate is None else Path(serving.certificate),
        ssl_key=None if serving.key is None else Path(serving.key),
    )
    logs.begin(serving.log_format)
    told = f"serving {serving.path} at {serving.address}, with a dashboard at {serving.address}/ (Ctrl-C ends it){notice}"
    server.on_startup(partial(_tell, serving, "started", told))
    _check_on_hangup(server, serving)
    server.serve(target_loader=partial(_application, serving), wrap_loader=False)
    _tell(serving, "stopped", "stopped; what had been let in is answered")


def _check_place(host: str, port: int) -> None:
    """Raise `InvalidInput` unless one can listen there: the library would share a port that another server has, and not say so."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise InvalidInput(f"nothing can listen at {host}, port {port}: {error.strerror}. Take another one with --port") from error


def _allow_files() -> None:
    """Let this process and those that it starts have a file open for every connection, as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _CONNECTIONS_MAX if hard == resource.RLIM_INFINITY else min(hard, 2 * _CONNECTIONS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _application(serving: Serving) -> Litestar:
    """What each of the processes runs."""
    from outcrop.surfaces.http.app import application

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # sent to all of a terminal's processes; the first one answers it
    is_local = is_loopback(serving.host)
    logs.begin(serving.log_format)
    end = tracing.begin(os.environ, query_text=serving.trace_queries)
    app = application(
        serving.opened,
        with_keys=serving.with_keys,
        needs_keys=not is_local,
        is_local=is_local,
        agents_write=serving.agents_write,
        source_folders=serving.source_folders,
        logs_requests=serving.access_log,
        processes=1 + serving.readers,
        configured=lambda config: logs.log_from(config.log_level),
        at_end=end,
    )
    app.on_shutdown.append(_leave_without_finalizing)
    return app


def _leave_without_finalizing() -> None:
    """Everything is closed. A thread of the server that wants the interpreter while it is taken down would abort the process."""
    atexit.register(_leave)


def _leave() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _tell(serving: Serving, event: str, message: str) -> None:
    """Have the log say that serving begins or ends."""
    known: dict[str, object] = {
        "event": event,
        "version": outcrop.__version__,
        "address": serving.address,
        "processes": 1 + serving.readers,
    }
    known["traces"] = ", ".join(tracing.wanted(os.environ)) or "off"
    _log.info("%s", message, extra=known)


def _check_on_hangup(server: Any, serving: Serving) -> None:
    """At SIGHUP say what is wrong with the configuration, if anything is. The processes take it over by themselves, and stay."""

    def hung_up(*_: Any) -> None:
        try:
            logs.log_from(load(serving.path, serving.configured, os.environ).log_level)
        except OutcropError as error:
            _log.error("SIGHUP: the configuration stays as it was: %s", error, extra={"event": "config_refused"})
        else:
            _log.info("SIGHUP: the configuration can be used", extra={"event": "config_usable"})

    server.signal_handler_reload = hung_up
