"""Does freed memory go back to the system? With glibc only what is asked for: the rest is kept for the next who needs some.

glibc gives threads arenas, up to eight a core, and keeps the free end of each up to a threshold that rises by itself: to twice the
largest block that was ever freed, at most 64 MB. Each writer of Tantivy's has a thread that takes 11 MB, however little it indexes,
and each time the thread may get another arena. Measured on 2 cores: 24 writes of one document left 130 MB, a bulk upsert more than
400 MB of which 50 were in use. `malloc_trim` gives back the holes in all arenas, but the end of the first alone: called after every
write it took the peak of a stream of 192 MB from 450 to 386 MB. With the thresholds fixed that was 263 MB, and 202 with both.

The thresholds lie between where they begin (128 kB, at which the arrays of a search would go back and forth) and where they end.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from time import perf_counter

#: No arena keeps more at its end, and larger blocks are mapped by themselves and go back when they are freed.
KEPT_BYTES = 4 * 1024**2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SHARE_OF_TIME = 1 / 20
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


@cache
def keep_little() -> bool:
    """Have freed memory go back from now on, for as long as the process lives; whether that was done. For processes that write.

    Nothing is done where the C library is another one, or where the environment sets its thresholds: whoever did that knows why.
    """
    mallopt = _function("mallopt")
    if mallopt is None or _is_set_by_the_user():
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


class Holes:
    """Gives back the free pages between what is in use, for at most a twentieth of the time. For one thread, and long work."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._next_at = clock()

    def give_back(self) -> bool:
        """Give back what is free now, unless that was done a moment ago; whether it was done. Costs some milliseconds."""
        malloc_trim = _function("malloc_trim")
        began = self._clock()
        if malloc_trim is None or began < self._next_at:
            return False
        malloc_trim(0)
        ended = self._clock()
        self._next_at = ended + (ended - began) * (1 / _SHARE_OF_TIME - 1)
        return True


def _function(name: str) -> Callable[..., int] | None:
    """A function of glibc's; None where there is another C library."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return getattr(library, name) if hasattr(library, "gnu_get_libc_version") else None


def _is_set_by_the_user() -> bool:
    return any(name in os.environ for name in _OF_THE_USER) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
