"""What the routes work on: the open database, how requests are let in, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request

from outcrop import Collection, Database
from outcrop.config import ServerLimits
from outcrop.errors import Closed, Damaged, StorageFailed, UnknownCollection
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.configuring import Configuration
from outcrop.surfaces.http.metrics import Metrics
from outcrop.surfaces.http.problems import Busy
from outcrop.surfaces.http.warming import Warming
from outcrop.surfaces.http.working import Work
from outcrop.surfaces.keys import Keys

JUDGING_WAIT_MAX = 8
_T = TypeVar("_T")


class Bodies:
    """How many bytes of bodies are held while they are read; `size_bytes_max` may be set at any time. Used by one event loop."""

    def __init__(self, size_bytes_max: int) -> None:
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold so many more. Raises `Busy` when that is too much for all together."""
        if self.size_bytes + size_bytes > self.size_bytes_max:
            raise Busy("too many large bodies are being read; try again in a second", cause="bodies")
        self.size_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Hold so many less."""
        self.size_bytes -= size_bytes


class Served(msgspec.Struct, frozen=True, eq=False):
    """An open database and its door. Without `keys` everybody is let in; if it `is_local`, only under a name of this machine.

    `agents_write`: the tools of MCP write too, for keys that may.
    """

    db: Database
    work: Work
    writing: Work
    uploads: Work
    judging: Work
    builds: Builds
    scrapes: Work
    bodies: Bodies
    keys: Keys | None
    is_local: bool
    agents_write: bool
    metrics: Metrics
    configuration: Configuration
    warming: Warming

    @property
    def limits(self) -> ServerLimits:
        """What requests may cost now; a request reads it once, at its start."""
        return self.db.config.server

    def reconfigured(self) -> None:
        """Let requests in by the limits of now. On the event loop."""
        limits = self.limits
        self.work.allow(threads=limits.threads, waiting_max=limits.waiting_max, seconds_max=limits.seconds_max)
        self.writing.allow(threads=limits.writing_threads, waiting_max=limits.waiting_max, seconds_max=limits.seconds_max)
        self.uploads.allow(threads=limits.uploads_max, waiting_max=0, seconds_max=limits.seconds_max)
        self.judging.allow(threads=limits.judging_max, waiting_max=JUDGING_WAIT_MAX, seconds_max=limits.seconds_max)
        self.bodies.size_bytes_max = limits.bodies_bytes_max

    def waiting(self) -> dict[str, int]:
        """How many requests wait for which threads."""
        return {one.name: one.waiting for one in (self.work, self.writing, self.uploads, self.judging, self.scrapes)}

    async def database(self, call: Callable[[Database], _T], *, bounded: bool = True) -> _T:
        """What a call gives, on a thread. Raises what it raises, `Busy` and `DeadlinePassed`.

        What is not `bounded` (it writes, or puts another generation live) may take any time, on threads for that alone.
        """
        work = self.work if bounded else self.writing
        return await work.on_thread(lambda: call(self.db), bounded=bounded)

    async def collection(self, name: str, call: Callable[[Collection], _T], *, bounded: bool = True) -> _T:
        """What a call on a collection gives. Raises `UnknownCollection` besides."""
        return await self.database(lambda db: _asked(db, name, call), bounded=bounded)

    async def judged(self, name: str, call: Callable[[Collection], _T]) -> _T:
        """What a call on a collection gives that searches much and may take a minute. Raises what it raises, and `Busy`."""
        return await self.judging.on_thread(lambda: call(self.db.collection(name)), bounded=False)


def _asked(db: Database, name: str, call: Callable[[Collection], _T]) -> _T:
    """What a call on a collection gives. One that is dropped meanwhile is not damaged: it is not there."""
    collection = db.collection(name)
    try:
        return call(collection)
    except (Damaged, StorageFailed, Closed) as error:
        if _is_there(db, name, collection.uuid):
            raise
        raise UnknownCollection(f"collection {name!r} was dropped meanwhile", name=name, nearest=None) from error


def _is_there(db: Database, name: str, uuid: str) -> bool:
    try:
        return db.collection(name).uuid == uuid
    except UnknownCollection:
        return False


def served(request: Request[Any, Any, Any]) -> Served:
    """What this application serves."""
    found: Served = request.app.state.served
    return found
