"""An open collection: its generations, its journal, its query log and its upkeep, held together, and the story of a search.

`collection.py` is the interface to it: what each method promises, and which package keeps that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop import insights
from outcrop.builds import building, maintenance, quarantine, standing
from outcrop.builds.ingredients import Ingredients
from outcrop.builds.stage import Shared, Stage
from outcrop.builds.upkeep import Upkeep
from outcrop.errors import Closed, Damaged, ReadOnly
from outcrop.generations import catalog, record
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.generations.record import CollectionRecord
from outcrop.insights import Insights, QueryLog
from outcrop.model import Degraded, GenerationInfo, Stats, WriteResult
from outcrop.retrieval.answering import Answers
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.retrieval.hits import Hits
from outcrop.retrieval.many import Batch
from outcrop.retrieval.openings import Openings, StandIn
from outcrop.retrieval.request import Options, prepare
from outcrop.writes.accepting import Place

_log = logging.getLogger("outcrop")
GenerationLike = GenerationInfo | int | str


class OpenCollection:
    """One collection, open. Safe from many threads; closed when `close` was called and its last search has ended."""

    def __init__(self, folder: CollectionFolder, made: CollectionRecord, shared: Shared, ingredients: Ingredients) -> None:
        self.folder = folder
        self.record = made
        self.shared = shared
        check_same = partial(record.check_same, folder, made.uuid)
        self.openings = Openings(folder, shared.live, self._opened_anew, rescue=self._rescue, check_same=check_same)
        self.queries = QueryLog(folder, shared.config, read_only=shared.read_only, check_same=check_same)
        self.answers = Answers()
        self.upkeep = Upkeep(lambda: maintenance.keep_up(self.stage, self.upkeep))
        self._staged = Stage(
            folder=folder,
            uuid=made.uuid,
            config=shared.config,
            journal=Journal(folder.journal, keep_open=True),
            ingredients=ingredients.at(shared.config),  # it may have changed since they were asked for
            embedding_cache=shared.embedding_cache,
            openings=self.openings,
            ingestion=shared.memory.account("ingestion"),
        )

    @property
    def stage(self) -> Stage:
        """What changes the collection has at hand, with the configuration of now: whoever takes it goes on with that to the end."""
        staged, config = self._staged, self.shared.config
        if staged.config is not config:
            self._staged = staged = msgspec.structs.replace(staged, config=config, ingredients=staged.ingredients.at(config))
        return staged

    def check(self, *, writes: bool = False) -> None:
        """Raise `Closed`, `ReadOnly` if it is to be written, or what says that the collection was dropped or is another one now."""
        name = self.record.name
        if self.openings.closed:
            raise Closed(f"collection {name!r} is closed", collection=name)
        if writes and self.shared.read_only:
            raise ReadOnly(f"collection {name!r} was opened with read_only=True", collection=name)
        record.check_same(self.folder, self.record.uuid)

    def pin(self, generation: GenerationLike | None) -> OpenGeneration:
        """The active generation, or another one, pinned: whoever asked unpins it."""
        if generation is not None:
            self.check()
            return self.openings.pin(catalog.find(self.folder, generation))
        opened = self.openings.pin_active()
        if opened is None:
            self.check()
            raise catalog.none_active(self.folder)
        return opened

    def search(
        self,
        query: str | None,
        vector: ArrayLike | None,
        options: Options,
        *,
        generation: GenerationLike | None,
        cache: bool,
        log: bool,
    ) -> Hits:
        """One search: pinned, prepared, run or found in the cache, counted and logged."""
        opened = self.pin(generation)
        try:
            request = prepare(query, vector, options, opened.manifest.recipe)
            search = self.shared.cached.search if cache else self.shared.executor.search
            hits = search(opened, request, self._degraded(generation))
            if not hits.cached:
                self.answers.count(hits.engine, hits.degraded)
            if log:
                self.queries.note(request, hits)
            return hits
        finally:
            opened.unpin()

    def search_many(
        self,
        queries: Sequence[str | None] | None,
        vectors: Sequence[ArrayLike | None] | NDArray[np.float32] | None,
        options: Options,
        *,
        generation: GenerationLike | None,
        log: bool,
    ) -> list[Hits]:
        """Many searches of one generation."""
        with pinned(self.pin(generation)) as opened:
            batch = Batch(queries, vectors, options, opened)
            found = batch.run(self.shared.executor, self._degraded(generation))
        for request, hits in zip(batch.requests, found, strict=True):
            self.answers.count(hits.engine, hits.degraded)
            if log:
                self.queries.note(request, hits, batch=True)
        return found

    def warm(self) -> bool:
        """Have at hand what the first search would have to open and load."""
        self.check()
        opened = self.openings.pin_active()
        if opened is None:
            return False
        with pinned(opened):
            opened.warm()
        return True

    def stats(self) -> Stats:
        """How it stands."""
        return msgspec.structs.replace(standing.stats(self.stage, self.shared, self.answers), query_log=self.queries.stats())

    def insights(self, days: float) -> Insights:
        """What its query log tells."""
        self.queries.flush()
        facts = insights.facts_of(self.stats(), self.shared.config)
        return insights.read(self.folder.queries, days, facts, logging=self.queries.idle_because)

    def place(self) -> Place:
        """Where a write goes."""
        opened = self.openings.pin_active()  # a damaged one is replaced now: under the writer lock it cannot be
        if opened is not None:
            opened.unpin()
        return building.place(self.stage, self.record, self.shared.choice.engine)

    def wrote(self, result: WriteResult) -> WriteResult:
        """What follows a write."""
        try:
            maintenance.after_write(self.stage, self.upkeep)
        except Exception as error:  # noqa: BLE001 - the write is in; what follows it is tried again after the next
            _log.warning("upkeep: %s", error)
        return result

    def reconfigured(self) -> None:
        """Begin what another configuration has begun to want."""
        self.openings.reconfigured()
        self.queries.reconfigured(self.shared.config)

    def close(self) -> None:
        """Release the open generations; searches that are running, and upkeep, end first. Idempotent."""
        self.upkeep.close()
        self.openings.close()
        self._staged.journal.close()
        self.queries.close()

    def _degraded(self, generation: GenerationLike | None) -> Degraded | None:
        return self.openings.degraded if generation is None else None

    def _opened_anew(self, name: GenerationName) -> OpenGeneration:
        given = self._staged.ingredients.embedders
        return OpenGeneration(self.folder, name, self.shared.live, given, read_only=self.shared.read_only)

    def _rescue(self, name: GenerationName, error: Damaged) -> StandIn | None:
        return quarantine.rescue(self.stage, name, error, read_only=self.shared.read_only)
