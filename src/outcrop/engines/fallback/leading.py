"""The first of two engines' index of a generation: opened, brought up to date, doubted, built anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from outcrop import forking
from outcrop.documents import Documents
from outcrop.engines.fallback.breaker import said_by
from outcrop.engines.fallback.catching_up import Rows, caught_up, rebuilt
from outcrop.engines.protocol import Engine, GenerationIndex, IndexSnapshot, Publishing
from outcrop.errors import Closed, Damaged, EngineUnavailable
from outcrop.model import Recipe

_log = logging.getLogger("outcrop")
_NOT_OPEN = "its index is not open yet"


class NoIndex(EngineUnavailable):
    """The generation has no index of the first engine, and none is due: it was made without one."""


class Leading:
    """Holds the first engine's index, or None while it is not open. Who changes it holds the lock that `FallbackIndex` takes.

    `check` raises when nobody wants the work to go on. `looked_at` is set once the index was opened, or could not be. Set `suspect`
    to have it read as a whole before it is used again. While it is `busy` no write waits for it.
    """

    def __init__(self, directory: Path, recipe: Recipe, engine: Callable[[], Engine], check: Callable[[], None]) -> None:
        self._directory = directory
        self._recipe = recipe
        self._engine = engine
        self._check = check
        self.index: GenerationIndex | None = None
        self.suspect = False
        self.doing = _NOT_OPEN
        self.busy = False
        self.looked_at = threading.Event()

    def create(self) -> None:
        """Begin to build it."""
        self.index = self._engine().create(self._recipe, self._directory)

    def opened(self) -> GenerationIndex:
        """The index. Raises `Closed` while it is not open."""
        index = self.index
        if index is None:
            raise Closed(f"the LanceDB index in {self._directory} is not open")
        return index

    def is_there(self) -> bool:
        """Whether there is one on disk, whole or not."""
        return (self._directory / "lancedb").is_dir()

    def open(self) -> None:
        """Open it, if it is not open."""
        if self.index is None:
            self.index = self._engine().open(self._recipe, self._directory)

    def open_anew_if_suspect(self) -> None:
        """Open it, if it is not open or has failed."""
        if self.suspect:
            self.let_go()
        self.open()
        self.suspect = False

    def bring_up(self, documents: Documents, second: Callable[[], IndexSnapshot]) -> bool:
        """Apply what it lacks, or build it anew where that cannot be; whether that was so."""
        engine = self._engine()
        try:
            if self.suspect:
                self.let_go()
                engine.verify(self._recipe, self._directory)
                self.suspect = False
            self.open()
            if caught_up(self.opened(), Rows(documents, second(), self._check)):
                return False
            reason = f"the index in {self._directory} lacks more than is remembered"
        except Damaged as error:
            reason = said_by(error)
        event = {"event": "engine_rebuilt", "engine": engine.name, "reason": reason}
        _log.warning("%s; the LanceDB index is built anew from the documents", reason.rstrip("."), extra=event)
        self.rebuild(engine, documents, second())
        caught_up(self.opened(), Rows(documents, second(), self._check))
        return True

    def rebuild(self, engine: Engine, documents: Documents, second: IndexSnapshot) -> None:
        """Build it anew from the rows, and open it."""
        self.let_go()
        self.doing, self.busy = "its index is being built anew", True
        self.looked_at.set()
        try:
            rebuilt(engine, self._recipe, self._directory, Rows(documents, second, self._check))
            self.index = engine.open(self._recipe, self._directory)
            self.suspect = False
        finally:
            self.doing, self.busy = _NOT_OPEN, False

    def absorb(self, publishing: Publishing) -> None:
        """Absorb in it. LanceDB does that alone: it takes no writes meanwhile."""
        self.busy = True
        try:
            self.opened().absorb(publishing)
        finally:
            self.busy = False

    def abandon(self) -> None:
        """In a forked child: what the parent has open is the parent's."""
        forking.abandon(self.index)
        self.index = None

    def let_go(self) -> None:
        """Close it until it is opened again."""
        index, self.index = self.index, None
        if index is not None:
            with suppress(Exception):  # of an engine that fails
                index.close()
