"""I have a key, what was kept for it? So many bytes are kept, for so long; what was not asked for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from outcrop import forking
from outcrop.memory import Account, CacheStats

_ENTRY_BYTES = 250  # of an entry beside key and value: the heads of both, the place in the dict and in the order, the time
_LARGEST_SHARE = 8  # one entry may take an eighth of the account: a huge answer does not drive out all the others


class BoundedCache:
    """Keeps bytes for `seconds` at most, and as many as its account has room for. Safe to use from many threads.

    It is for values that stay right as long as their key is asked for: nothing is ever taken back. `clock` gives seconds.

    >>> cache = BoundedCache(Account("query cache", 10_000), seconds=60)
    >>> cache.put(b"key", b"value")
    >>> cache.get(b"key"), cache.get(b"another")
    (b'value', None)
    """

    def __init__(self, account: Account, *, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._account = account
        self._seconds = seconds
        self._clock = clock
        self._lock = forking.lock()
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()  # the value, and when it was put in
        self._hits = 0
        self._misses = 0

    def get(self, key: bytes) -> bytes | None:
        """What is kept for the key, and counts as a hit, or None. Whoever then makes it says so by `count`."""
        oldest = self._clock() - self._seconds
        with self._lock:
            value, put_at = self._entries.get(key, (None, 0.0))
            if value is None or put_at <= oldest:
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return value

    def count(self, *, hit: bool) -> None:
        """Count what `get` did not have: a hit if somebody else was just making it, otherwise a miss."""
        with self._lock:
            self._hits += hit
            self._misses += not hit

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, in the place of what was not asked for longest. One that is too large for that is not kept."""
        size_bytes = _size_bytes(key, value)
        if size_bytes > self._account.limit_bytes // _LARGEST_SHARE:
            return
        now = self._clock()
        with forking.undisturbed(), self._lock:  # a fork waits: entries and account agree in the child
            if self._seconds <= 0:  # turned off meanwhile; asked here, since what is kept is forgotten under the lock
                return
            self._drop(key)
            while self._entries and self._is_over(now - self._seconds):
                self._drop(next(iter(self._entries)))
            while not self._account.try_take(size_bytes):
                if not self._entries:
                    return
                self._drop(next(iter(self._entries)))
            self._entries[key] = value, now

    def keep_for(self, seconds: float) -> None:
        """Keep everything, also what is there already, so long from when it was put in."""
        self._seconds = seconds
        if seconds <= 0:
            self.clear()

    def shrink(self) -> None:
        """Keep no more than the account may hold now: its limit was lowered."""
        with forking.undisturbed(), self._lock:
            while self._entries and self._account.used_bytes > self._account.limit_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Keep nothing any more of what was put in so far."""
        with forking.undisturbed(), self._lock:
            while self._entries:
                self._drop(next(iter(self._entries)))

    def stats(self) -> CacheStats:
        """What it holds, and how often it had what was asked for."""
        with self._lock:
            asked = self._hits + self._misses
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                hit_rate=self._hits / asked if asked else None,
                entries=len(self._entries),
                size_bytes=self._account.used_bytes,
                size_bytes_max=self._account.limit_bytes,
            )

    def _is_over(self, oldest: float) -> bool:
        """Whether the time of the entry that was not asked for longest is over."""
        return next(iter(self._entries.values()))[1] <= oldest

    def _drop(self, key: bytes) -> None:
        value, _ = self._entries.pop(key, (None, 0.0))
        if value is not None:
            self._account.give_back(_size_bytes(key, value))


def _size_bytes(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
