"""How long each stage of a pipeline works, as opposed to waits for the others: which one is the slowest."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class StageClock:
    """A stage's working time: a context manager around each piece of its work. One thread works, any may ask.

    >>> clock = StageClock("embed", clock=iter([5.0, 7.5]).__next__)
    >>> with clock:
    ...     pass
    >>> clock.name, clock.seconds
    ('embed', 2.5)
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._seconds = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """The working time so far, with that of the work that runs now."""
        since = self._since
        return self._seconds + (0.0 if since is None else self._clock() - since)

    def __enter__(self) -> Self:
        self._since = self._clock()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        since, self._since = self._since, None
        if since is not None:
            self._seconds += self._clock() - since
