"""A circuit breaker: an engine that keeps failing is left alone for a while, then tried once.

Closed: it is asked. After `failures_max` failures in a row it is open: not asked, for `open_seconds`. Then half-open: one caller
may ask; success closes it, failure opens it again. (Nygard, "Release It!", 2007.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

import msgspec

from outcrop import forking
from outcrop.errors import OutcropError
from outcrop.model import BreakerState, Degraded

_log = logging.getLogger("outcrop")
_PROBED_SECONDS = 1.0
"""Not all who are let through search, and so find out whether it works."""


class Policy(msgspec.Struct, frozen=True):
    """How much patience there is with the first engine: see `Config.breaker_failures_max` and the two settings after it.

    With `follows` off (a database that is open read-only) it is only read. With `second_serves` off the second engine is written
    like ever and answers nothing: what the first cannot do is an error.
    """

    failures_max: int
    open_seconds: float
    apply_seconds: float
    follows: bool = True
    second_serves: bool = True


class Breaker:
    """The state of one engine for one generation in this process. Safe to use from many threads.

    `policy` is asked whenever something is decided by it: it may change.

    What changes is logged once, as a record with `event` and `engine`: "engine_failed", "engine_left_alone", "engine_absent",
    "engine_recovered".
    """

    def __init__(self, engine: str, policy: Callable[[], Policy], *, clock: Callable[[], float] = monotonic) -> None:
        self.engine = engine
        self._policy = policy
        self._clock = clock
        self._lock = forking.lock()
        self._failures = 0
        self._total = 0
        self._opened_at: float | None = None
        self._probing_since: float | None = None
        self._failure: Degraded | None = None

    @property
    def failure(self) -> Degraded | None:
        """Why it failed last and since when it has been failing; None if it works, as far as is known."""
        return self._failure

    @property
    def failure_count(self) -> int:
        """How often it has failed in this process."""
        return self._total

    @property
    def state(self) -> BreakerState:
        """What `allows` would decide by; asking changes nothing."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "open" if self._clock() < self._opened_at + self._policy().open_seconds else "half-open"

    def allows(self) -> bool:
        """Whether to ask the engine now. When it is half-open, one caller is let through, and a second later another."""
        if self._opened_at is None:
            return True
        with self._lock:
            now = self._clock()
            if self._opened_at is None:
                return True
            if now < self._opened_at + self._policy().open_seconds:
                return False
            if self._probing_since is not None and now < self._probing_since + _PROBED_SECONDS:
                return False
            self._probing_since = now
            return True

    def succeeded(self) -> None:
        """It did what it was asked."""
        if self._failure is None:
            return
        with self._lock:
            was, self._failure = self._failure, None
            self._failures, self._opened_at, self._probing_since = 0, None, None
        if was is not None:
            self._tell("engine_recovered", f"engine {self.engine} serves{' again' if self._total else ''}", since=was.since)

    def failed(self, reason: str, *, at_once: bool = False) -> bool:
        """It did not. `at_once`: leave it alone now, whatever it did before. Whether it is left alone from now on."""
        policy = self._policy()
        with self._lock:
            first, since = self._failure is None, now_utc() if self._failure is None else self._failure.since
            self._failure = Degraded(reason=reason, since=since)
            self._failures += 1
            self._total += 1
            opens = self._opened_at is not None or at_once or self._failures >= policy.failures_max
            newly = opens and self._opened_at is None
            if opens:
                self._opened_at, self._probing_since = self._clock(), None
        if first:
            self._tell("engine_failed", f"engine {self.engine} fails: {reason}", reason=reason)
        if newly:
            self._tell("engine_left_alone", f"engine {self.engine} is left alone for {policy.open_seconds:g} s", reason=reason)
        return newly

    def absent(self, reason: str) -> None:
        """There is nothing of it to ask. It is left alone as after a failure, but nothing has failed."""
        with self._lock:
            first, since = self._failure is None, now_utc() if self._failure is None else self._failure.since
            self._failure = Degraded(reason=reason, since=since)
            self._opened_at, self._probing_since = self._clock(), None
        if first:
            self._tell("engine_absent", f"engine {self.engine} does not serve: {reason}", reason=reason)

    def _tell(self, event: str, message: str, **values: str) -> None:
        _log.warning("%s", message, extra={"event": event, "engine": self.engine, **values})


def said_by(error: Exception) -> str:
    """What an error of ours or a foreign one says, without what would mend the engine alone, where another one stands in for it."""
    if not isinstance(error, OutcropError):
        return f"{type(error).__name__}: {error}"
    fault = error.values.get("fault")
    return fault if isinstance(fault, str) else error.message


def now_utc() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
