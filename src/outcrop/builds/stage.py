"""Where a collection's generations are written and change places: what the steps of writes and promotions have at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from outcrop.builds.ingredients import Ingredients
from outcrop.config import Config
from outcrop.embedding import CachedEmbedder, Embedder, EmbeddingCache
from outcrop.engines.registry import Choice
from outcrop.errors import InvalidConfig
from outcrop.generations import locks, record
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.ingest import Chunker
from outcrop.memory import Account, MemoryBudget
from outcrop.reloading import LiveConfig
from outcrop.retrieval.cached_search import CachedSearch
from outcrop.retrieval.executor import Executor
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.retrieval.openings import Openings
from outcrop.retrieval.vector_map import Maps
from outcrop.writes.accepting import Live
from outcrop.writes.applying import Target
from outcrop.writes.fitting import Fitter


class Shared(msgspec.Struct, frozen=True, eq=False):
    """What the collections of one database share."""

    live: LiveConfig
    choice: Choice
    executor: Executor
    cached: CachedSearch
    maps: Maps
    memory: MemoryBudget
    embedding_cache: EmbeddingCache
    read_only: bool

    @property
    def config(self) -> Config:
        """The configuration in effect; what belongs together is read from one look."""
        return self.live.current


class Stage(msgspec.Struct, frozen=True, eq=False):
    """One collection as those see it who change it, with one configuration."""

    folder: CollectionFolder
    uuid: str
    config: Config
    journal: Journal
    ingredients: Ingredients
    embedding_cache: EmbeddingCache
    openings: Openings
    ingestion: Account
    resting: dict[GenerationName, float] = {}  # until when (monotonic) the background leaves a generation alone

    @contextmanager
    def opened(self, name: GenerationName) -> Iterator[tuple[OpenGeneration, Live]]:
        """A generation, open and ready to be written for the time of the block."""
        with pinned(self.openings.pin(name)) as opened:
            yield opened, self.live(opened)

    @contextmanager
    def active(self) -> Iterator[Live | None]:
        """The active generation, ready to be written for the time of the block; None if there is none.

        Asked under the writer lock too, where nothing can be rescued: raises `Damaged`.
        """
        opened = self.openings.pin_active(rescue=False)
        if opened is None:
            yield None
            return
        with pinned(opened):
            yield self.live(opened)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The writer lock."""
        with locks.writing(self.folder, self.config.lock_timeout_seconds):
            record.check_same(self.folder, self.uuid)
            yield

    def live(self, opened: OpenGeneration) -> Live:
        """An open generation as whoever writes to it needs it."""
        recipe = opened.manifest.recipe
        return Live(
            target=Target(documents=opened.documents, writer=opened.writer, index=opened.index, recipe=recipe),
            fitter=Fitter(
                recipe=recipe,
                embedder=lambda: self.cached(opened.embedder),
                chunker=partial(self._chunker, opened),
            ),
            applying=partial(locks.applying, self.folder.generation(opened.name), self.config.lock_timeout_seconds),
        )

    def floor(self, opened: OpenGeneration) -> int | None:
        """The last write up to which what ended in a generation may be forgotten, or None: builds and scans read it as it was."""
        return min((*(hold.sequence for hold in self.journal.holds()), *opened.readings), default=None)

    def cached(self, embedder: Embedder | None) -> Embedder | None:
        """The embedder behind the database's cache."""
        return None if embedder is None else CachedEmbedder(embedder, self.embedding_cache)

    def _chunker(self, opened: OpenGeneration) -> Chunker:
        spec = opened.manifest.recipe.chunker
        try:
            return self.ingredients.chunker(spec)
        except InvalidConfig as error:
            raise InvalidConfig(
                f"generation {opened.name.number} was built with the chunker {spec!r}, which is not known here; if it is your own,"
                " pass it again: db.collection(name, chunker=...)",
                key="chunker",
            ) from error
