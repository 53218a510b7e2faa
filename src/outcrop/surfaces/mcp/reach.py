"""A database as one caller may use it: which collections there are for it, and whether it writes."""

from __future__ import annotations

from collections.abc import Callable

from outcrop import Collection, Config, Database, Hits
from outcrop.errors import UnknownCollection


class Reach:
    """What the tools work with. A collection beyond `only` is for them one that there is not; `searched` hears of every search."""

    def __init__(
        self,
        db: Database,
        *,
        only: tuple[str, ...] | None = None,
        may_write: bool = False,
        searched: Callable[[str, Hits], None] | None = None,
    ) -> None:
        self.may_write = may_write
        self._db = db
        self._only = only
        self._searched = searched

    @property
    def config(self) -> Config:
        """The database's configuration."""
        return self._db.config

    def collections(self) -> list[str]:
        """The names of those within reach, in order."""
        return [name for name in self._db.collections() if self._only is None or name in self._only]

    def collection(self, name: str) -> Collection:
        """Open one. Raises `UnknownCollection`, which never names one that is out of reach."""
        if self._only is None:
            return self._db.collection(name)
        if name in self._only and name in self._db.collections():
            return self._db.collection(name)
        raise UnknownCollection(f"there is no collection {name!r}", name=name, nearest=None)

    def searched(self, collection: str, hits: Hits) -> None:
        """Tell whoever counts."""
        if self._searched is not None:
            self._searched(collection, hits)
