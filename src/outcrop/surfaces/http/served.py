"""What the routes work on: the open database, how requests are let in, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request

from outcrop import Collection, Database
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.metrics import Metrics
from outcrop.surfaces.http.problems import Busy
from outcrop.surfaces.http.working import Work
from outcrop.surfaces.keys import Keys

_T = TypeVar("_T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What requests may cost; the times are seconds, the sizes bytes.

    `threads` work at once, `waiting_max` more requests wait, each for at most `seconds_max`. What writes has `writing_threads` of
    its own, with as many waiting: when all wait for a lock, searches go on. `uploads_max` streams are written at
    once, on threads of their own; one that sends nothing for `idle_seconds_max` is given up. A body has at most `body_bytes_max`,
    all that are being read together `bodies_bytes_max`. `judging_max` gates and comparisons run at once, on
    threads of their own. What is sent to be built has at most `upload_bytes_max`; `streams_max` clients follow builds.
    """

    threads: int = 8
    writing_threads: int = 4
    waiting_max: int = 64
    seconds_max: float = 30.0
    uploads_max: int = 4
    idle_seconds_max: float = 60.0
    judging_max: int = 2
    upload_bytes_max: int = 20_000_000_000
    streams_max: int = 64
    body_bytes_max: int = 16_000_000
    bodies_bytes_max: int = 256_000_000


class Bodies:
    """How many bytes of bodies are held while they are read. Used by one event loop."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_bytes_max = size_bytes_max
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold so many more. Raises `Busy` when that is too much for all together."""
        if self.size_bytes + size_bytes > self._size_bytes_max:
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
    limits: Limits
    keys: Keys | None
    is_local: bool
    agents_write: bool
    metrics: Metrics

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
        return await self.database(lambda db: call(db.collection(name)), bounded=bounded)

    async def judged(self, name: str, call: Callable[[Collection], _T]) -> _T:
        """What a call on a collection gives that searches much and may take a minute. Raises what it raises, and `Busy`."""
        return await self.judging.on_thread(lambda: call(self.db.collection(name)), bounded=False)


def served(request: Request[Any, Any, Any]) -> Served:
    """What this application serves."""
    found: Served = request.app.state.served
    return found
