"""Two engines as one: what a generation of mode `production` runs on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from outcrop.engines.absorb_lock import alone
from outcrop.engines.fallback.breaker import Policy, said_by
from outcrop.engines.fallback.index import LOCK, FallbackIndex
from outcrop.engines.fallback.leading import NoIndex
from outcrop.engines.protocol import Availability, Engine, GenerationIndex
from outcrop.errors import Damaged, EngineUnavailable, OutcropError, Repairable
from outcrop.model import Capabilities, Recipe

__all__ = ["FallbackEngine", "Policy"]

_log = logging.getLogger("outcrop")
_VERIFY_WAITS_SECONDS = 10.0


class FallbackEngine:
    """Both engines are written, the first is read, and the second answers when the first cannot.

    `first` gives the first engine and raises `EngineUnavailable` while it does not work here; it may work later. For a generation
    that was made without it, it raises `NoIndex`. `second` must work. `policy` is asked at each use: it may change.
    """

    def __init__(self, name: str, first: Callable[[], Engine], second: Engine, policy: Callable[[], Policy]) -> None:
        self.name = name
        self._first = first
        self._second = second
        self._policy = policy

    @property
    def capabilities(self) -> Capabilities:
        """What both can do."""
        second = self._second.capabilities
        try:
            first = self._first().capabilities
        except OutcropError:
            return second
        return Capabilities(
            filters=first.filters and second.filters,
            metrics=tuple(metric for metric in first.metrics if metric in second.metrics),
            index_kinds=tuple(kind for kind in first.index_kinds if kind in second.index_kinds),
            explains_terms=first.explains_terms,
        )

    def availability(self) -> Availability:
        """The second engine's: it works where that does."""
        return self._second.availability()

    def create(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """An empty index in both engines, or in the second alone while the first does not work."""
        index = self._index(recipe, directory, self._second.create(recipe, directory))
        index.begin_first()
        return index

    def open(self, recipe: Recipe, directory: Path) -> GenerationIndex:
        """The index of an existing generation. Waits for the first engine, but not for ever; the second must open."""
        index = self._index(recipe, directory, self._second.open(recipe, directory))
        index.open_first()
        return index

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Verify both. What the first engine has can be built anew from the rows: damage there is `Repairable`.

        If it has an index that cannot be looked at, that is logged.
        """
        self._second.verify(recipe, directory)
        try:
            with alone(directory / LOCK, _VERIFY_WAITS_SECONDS) as undisturbed:
                if undisturbed:
                    self._first().verify(recipe, directory)
                else:  # half of an index would be called damaged
                    _log.warning("%s: the LanceDB index was not verified: it is being brought up to date", directory.name)
        except NoIndex:
            return
        except Damaged as error:
            raise Repairable(
                f"{said_by(error).rstrip('.')}. The built-in index is as it was written, and serves where there is a fallback;"
                " outcrop repair builds the LanceDB index anew from the documents.",
                path=error.values.get("path"),
            ) from error
        except Exception as error:  # noqa: BLE001 - nothing is known of it then, and it does not answer either
            _log.warning("%s: the LanceDB index was not verified: %s", directory.name, said_by(error))

    def drop(self, directory: Path) -> None:
        """Remove what either engine keeps elsewhere."""
        self._second.drop(directory)
        with suppress(EngineUnavailable):
            self._first().drop(directory)

    def _index(self, recipe: Recipe, directory: Path, second: GenerationIndex) -> FallbackIndex:
        return FallbackIndex(directory, recipe, second, first_engine=self._first, policy=self._policy)
