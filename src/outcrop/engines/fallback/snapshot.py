"""What a search sees of two engines: the first if it works and holds every write, otherwise the second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from outcrop.engines.fallback.breaker import now_utc, said_by
from outcrop.engines.protocol import Failover, IndexSnapshot, Ranking
from outcrop.errors import EngineUnavailable, InvalidInput, OutcropError
from outcrop.filters import Filter
from outcrop.model import Chunk, Degraded, TermScore


class Second:
    """A snapshot of the second engine, which says why it answers."""

    def __init__(self, snapshot: IndexSnapshot, degraded: Degraded) -> None:
        self.sequence = snapshot.sequence
        self.lag = snapshot.lag
        self.engine = snapshot.engine
        self.degraded: Degraded | None = degraded
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"Second({self._snapshot!r}, {self.degraded!r})"

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """The second engine's."""
        return self._snapshot.lexical(query, k, where)

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The second engine's."""
        return self._snapshot.nearest(vector, k, where)

    def nearest_exact(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The second engine's."""
        return self._snapshot.nearest_exact(vector, k, where)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The second engine's."""
        return self._snapshot.fetch(slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """The second engine's."""
        return self._snapshot.explain(query, slots)

    def vectors(self, slots: Sequence[int]) -> list[NDArray[np.float32] | None]:
        """The second engine's."""
        return self._snapshot.vectors(slots)


class First:
    """A snapshot of the first engine, with one of the second as of the same write behind it.

    A leg that fails raises `Failover`, so that both legs of a search come from one engine; if the second must not serve, it raises
    what the engine raised. `told` is called with None once a search got its hits from the first engine, and with the error, once,
    when a leg has failed; it gives the failure as it is to be told to the user.
    """

    def __init__(
        self,
        first: IndexSnapshot,
        second: IndexSnapshot,
        told: Callable[[Exception | None], Degraded | None],
        *,
        second_serves: bool = True,
    ) -> None:
        self.sequence = first.sequence
        self.lag = max(first.lag, second.lag)
        self.engine = first.engine
        self.degraded: Degraded | None = None
        self._first = first
        self._second = second
        self._told = told
        self._second_serves = second_serves
        self._failure: Degraded | None = None

    def __repr__(self) -> str:
        return f"First({self._first!r}, {self._second!r})"

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """The first engine's."""
        return self._of_first(lambda: self._first.lexical(query, k, where))

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The first engine's."""
        return self._of_first(lambda: self._first.nearest(vector, k, where))

    def nearest_exact(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The second engine's, which has the same vectors."""
        return self._second.nearest_exact(vector, k, where)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """Both read the same rows. Whoever fetches has what both legs found, if that is nothing too."""
        if self._failure is None:
            self._told(None)
        return self._second.fetch(slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:
        """What the first engine says, whose scores they are; nothing if it fails now that it has ranked."""
        try:
            return self._first.explain(query, slots)
        except Exception:  # noqa: BLE001 - of an engine that need not work
            self._second.explain(query, ())  # raises `Closed` if all is closed
            return [() for _ in slots]

    def vectors(self, slots: Sequence[int]) -> list[NDArray[np.float32] | None]:
        """The second engine's, which are the same and nearer."""
        return self._second.vectors(slots)

    def _of_first(self, run: Callable[[], Ranking]) -> Ranking:
        try:
            return run()
        except InvalidInput:  # the caller's fault
            raise
        except Exception as error:
            message = said_by(error)
            if self._failure is None:  # else the other leg has told
                self._failure = Degraded(reason=f"LanceDB: {message}", since=now_utc())  # the other leg may see it
                self._failure = self._told(error) or self._failure
            if self._second_serves:
                raise Failover(Second(self._second, self._failure)) from error
            if isinstance(error, OutcropError):
                raise
            raise EngineUnavailable(
                f"LanceDB failed: {message}. Search again; outcrop verify tells whether its index is damaged",
                engine=self.engine,
                reason=message,
                remedy="search again, or open the database in mode production",
            ) from error
