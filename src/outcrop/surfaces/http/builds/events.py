"""The states of a build as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from outcrop.errors import OutcropError
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.builds.states import Build
from outcrop.surfaces.http.problems import Forbidden, Unauthenticated

MEDIA_TYPE = "text/event-stream"
_LOOKED_SECONDS = 0.25
_QUIET_SECONDS_MAX = 15.0
_END_SECONDS = 5.0


async def told(builds: Builds, look: Callable[[], Awaitable[Build]]) -> AsyncIterator[bytes]:
    """`progress` whenever the build has changed, a comment when it has not for long, and at last `end`.

    Without an end where there will be none: the collection was dropped, the client's key was revoked, or the server ends and the
    build is another server's.
    """
    with builds.followed():
        yield b"retry: 2000\n\n"
        async for event in _events(builds, look):
            yield event


async def _events(builds: Builds, look: Callable[[], Awaitable[Build]]) -> AsyncIterator[bytes]:
    seen, sent, stopping_since = None, time.monotonic(), None
    while True:
        try:
            build = await look()
        except (OutcropError, Unauthenticated, Forbidden):
            return
        now = time.monotonic()
        if build.state not in states.UNDER_WAY:
            yield _event("end", build)
            return
        if build != seen:
            yield _event("progress", build)
            seen, sent = build, now
        elif now - sent >= _QUIET_SECONDS_MAX:
            yield b": still there\n\n"
            sent = now
        if builds.stopping:
            stopping_since = now if stopping_since is None else stopping_since
            if now - stopping_since > _END_SECONDS:
                return
        await asyncio.sleep(_LOOKED_SECONDS)


def _event(kind: str, build: Build) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(build))
