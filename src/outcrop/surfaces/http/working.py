"""How many requests are worked on, how many wait, and for how long: neither memory nor time grows with the load.

Blocking work runs on a few threads. A request that finds all of them taken waits; when as many wait as may, the next one is
refused at once. A request's deadline ends its waiting; the thread goes on with what it has begun, and its place is free when it is
done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from outcrop import spans
from outcrop.surfaces.http.problems import Busy, DeadlinePassed

_T = TypeVar("_T")


class Work:
    """Lets requests in. Used by one event loop."""

    def __init__(self, *, threads: int, waiting_max: int, seconds_max: float, name: str = "requests") -> None:
        self.name = name
        self.pool = _pool(threads)
        self._threads = threads
        self._under_way_max = threads + waiting_max
        self._seconds_max = seconds_max
        self._under_way: set[asyncio.Future[Any]] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    def allow(self, *, threads: int, waiting_max: int, seconds_max: float) -> None:
        """Go on with other limits. What is under way or waits ends on the threads and by the deadline with which it was let in."""
        self._under_way_max, self._seconds_max = threads + waiting_max, seconds_max
        if threads != self._threads:  # a pool can neither shrink nor grow: another one takes its place
            retired = asyncio.get_running_loop().create_task(_retire(self.pool, set(self._under_way)))
            self._retiring.add(retired)
            retired.add_done_callback(self._retiring.discard)
            self._threads, self.pool = threads, _pool(threads)

    @property
    def under_way(self) -> int:
        """How many requests are worked on or wait."""
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        """How many of them wait."""
        return max(0, len(self._under_way) - self._threads)

    async def on_thread(self, call: Callable[[], _T], *, bounded: bool = True) -> _T:
        """What a call gives that blocks. Without `bounded` it may take any time.

        Raises what it raises, `Busy` (it was not begun) and `DeadlinePassed` (it goes on, if it was begun). What is bounded and
        still waits for a thread when nobody waits for it any more is not begun.
        """
        begun: list[Future[_T]] = []

        def begin() -> Awaitable[_T]:
            begun.append(self.pool.submit(spans.carried(call)))
            return asyncio.wrap_future(begun[0])

        try:
            return await self.done(begin, bounded=bounded)
        except (DeadlinePassed, asyncio.CancelledError):
            if bounded and begun:
                begun[0].cancel()
            raise

    async def done(self, begin: Callable[[], Awaitable[_T]], *, bounded: bool = True) -> _T:
        """As `on_thread`, of what waits for threads by itself."""
        if len(self._under_way) >= self._under_way_max:
            raise Busy(f"{len(self._under_way)} requests are under way; try again in a second", cause=self.name)
        seconds_max, future = self._seconds_max, asyncio.ensure_future(begin())
        self._under_way.add(future)
        future.add_done_callback(self._ended)
        finished, _ = await asyncio.wait([future], timeout=seconds_max if bounded else None)
        if not finished:
            raise DeadlinePassed(f"it took more than {seconds_max:g} seconds", cause="deadline")
        return future.result()

    async def finish(self) -> None:
        """Wait for everything that is under way, and let the threads end."""
        while self._under_way or self._retiring:
            await asyncio.wait(self._under_way | self._retiring)
        self.pool.shutdown()

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._under_way.discard(future)
        if not future.cancelled():
            future.exception()  # looked at, or it would be logged as forgotten


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="outcrop-http")


async def _retire(pool: ThreadPoolExecutor, using: set[asyncio.Future[Any]]) -> None:
    """Let the threads of a pool end when nobody uses them any more."""
    if using:
        await asyncio.wait(using)
    pool.shutdown(wait=False)
