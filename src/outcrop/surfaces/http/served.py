"""What the routes work on: the open database, how requests are let in, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request

from outcrop import Collection, Database
from outcrop.surfaces.http.metrics import Metrics
from outcrop.surfaces.http.working import Work
from outcrop.surfaces.keys import Keys

_T = TypeVar("_T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What requests may cost. `threads` work at once, `waiting_max` more requests wait; the times are seconds, the sizes bytes."""

    threads: int = 8
    waiting_max: int = 64
    seconds_max: float = 30.0
    body_bytes_max: int = 16_000_000


class Served(msgspec.Struct, frozen=True, eq=False):
    """An open database and its door. Without `keys` everybody is let in."""

    db: Database
    work: Work
    body_bytes_max: int
    keys: Keys | None
    metrics: Metrics

    async def database(self, call: Callable[[Database], _T], *, bounded: bool = True) -> _T:
        """What a call gives, on a thread. Raises what it raises, `Busy` and `DeadlinePassed`."""
        return await self.work.on_thread(lambda: call(self.db), bounded=bounded)

    async def collection(self, name: str, call: Callable[[Collection], _T], *, bounded: bool = True) -> _T:
        """What a call on a collection gives. Raises `UnknownCollection` besides."""
        return await self.database(lambda db: call(db.collection(name)), bounded=bounded)


def served(request: Request[Any, Any, Any]) -> Served:
    """What this application serves."""
    found: Served = request.app.state.served
    return found
