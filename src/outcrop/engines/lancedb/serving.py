"""An open index: makes the snapshot of the last version of the table, once for each version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from outcrop import files, forking
from outcrop.analysis import analyzer
from outcrop.documents import Documents
from outcrop.engines.lancedb import columns, library, location, vector_index
from outcrop.engines.lancedb.library import calling, run
from outcrop.engines.lancedb.snapshot import LanceSnapshot, Version
from outcrop.engines.lancedb.table import TERMS, VECTOR, Facts, Tables
from outcrop.engines.protocol import IndexStats
from outcrop.errors import Closed, Damaged
from outcrop.model import Recipe

_CLOCK_TICK_NS = 50_000_000
"""Two changes of a folder within a tick of the file system's clock may show the same time; no clock is coarser than this."""


class Serving:
    """The reading side of a generation. Safe to use from many threads, but not in a forked child."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory
        self.recipe = recipe
        self.tables = Tables(location.of(directory), recipe)
        self.tables.place.check_sizes()
        self._latest: Any = None
        self._identity = ""
        self._closed = False
        self._refreshing = forking.lock()
        self.documents = Documents(directory)
        try:
            self._held: _Held | None = self._refreshed(None)
        except BaseException:
            self.documents.close()
            raise
        forking.in_child(self, Serving._begin_child)

    def snapshot(self) -> LanceSnapshot:
        """The index as of the last write whose `apply` had returned when this was called, or a later one."""
        self.check_open()
        signature = self.tables.place.signature()
        held = self._held
        if held is not None and held.signature == signature and held.settled:
            return held.snapshot
        with self._refreshed_by_one():
            self._held = self._refreshed(self._held)
            return self._held.snapshot

    def stats(self) -> IndexStats:
        """What the index holds now."""
        version = self.snapshot().version
        with_column = columns.fields_in(version.names)
        fields = with_column | set(version.facts.fields) | set(self.documents.fields())
        has_vectors = self.recipe.dimension is not None
        return IndexStats(
            chunk_count=version.chunk_count,
            unindexed_count=version.lag,
            size_bytes=files.size_bytes(self.directory) + self._size_bytes_elsewhere(version),
            vector_index=vector_index.described(version.facts) if has_vectors else None,
            recall=version.facts.recall if has_vectors else None,
            choice=vector_index.choice_of(version.facts, self.recipe) if has_vectors else None,
            fields=tuple(sorted(fields)),
            fields_without_column=tuple(sorted(fields - with_column)),
        )

    def _size_bytes_elsewhere(self, version: Version) -> int:
        place = self.tables.place
        if not place.is_elsewhere:
            return 0
        if place.local is not None:
            return files.size_bytes(place.local)
        with calling(place, "read"):
            return int(run(version.table.stats())["total_bytes"])

    def check_open(self) -> None:
        """Raise `Closed` after `close`."""
        if self._closed:
            raise Closed(f"the index in {self.directory} is closed")

    def close(self) -> None:
        """Let go of the table; snapshots raise `Closed` from now on. Idempotent."""
        self._closed = True
        self._held = None
        self._latest = None
        self.documents.close()

    def _begin_child(self) -> None:
        """A forked child lets its parent's handles be: even giving them up would be a call."""
        if not self._closed:
            forking.abandon(self._latest)
            forking.abandon(self._held)
            self._latest = self._held = None

    @contextmanager
    def _refreshed_by_one(self) -> Iterator[None]:
        """One thread asks for the newest version; if it hangs, those who wait for it fail as it does."""
        if not self._refreshing.acquire(timeout=library.READ_SECONDS_MAX):
            with calling(self.tables.place, "read"):
                raise library.timed_out(library.READ_SECONDS_MAX)
        try:
            yield
        finally:
            self._refreshing.release()

    def _refreshed(self, held: _Held | None) -> _Held:
        """The newest version, or the one held if there is none newer."""
        now = time.time_ns()
        signature, identity = self.tables.place.signature(), self.tables.place.identity()
        if identity != self._identity:  # it was built anew, in the same place or in another one
            self.tables = Tables(location.of(self.directory), self.recipe)
            self._latest, self._identity, held = None, identity, None
        with calling(self.tables.place, "read"):
            newest = run(self._newest())
        settled = signature + _CLOCK_TICK_NS < now
        if held is not None and held.snapshot.version.number == newest:
            return _Held(held.snapshot, signature, settled=settled)
        made = _Held(self._snapshot(newest), signature, settled=settled)
        self._check_same(identity)
        return made

    def _check_same(self, identity: str) -> None:
        if self.tables.place.identity() != identity:
            place = self.tables.place
            raise Damaged(f"the table in {place} was built anew while it was read; search again", path=place.path)

    async def _reopened(self, number: int, identity: str) -> Any:
        table = await self.tables.reading(number)
        self._check_same(identity)
        return table

    async def _newest(self) -> int:
        if self._latest is None:
            self._latest = await self.tables.reading()
        await self._latest.checkout_latest()
        newest: int = await self._latest.version()
        return newest

    def _snapshot(self, number: int) -> LanceSnapshot:
        with calling(self.tables.place, "read"):
            version = run(self._version(number))
        return LanceSnapshot(
            self.tables.place,
            self.recipe,
            version,
            documents=self.documents,
            analyzer=analyzer(self.recipe.analyzer),
            check_open=self.check_open,
        )

    async def _version(self, number: int) -> Version:
        reopen = partial(self._reopened, number, self._identity)
        table = await reopen()
        schema = await table.schema()
        chunk_count = await table.count_rows() - 1
        indexes = await table.list_indices()
        waiting = [one.num_unindexed_rows or 0 for one in indexes if one.columns in ([TERMS], [VECTOR])]
        unindexed_count = max(0, max(waiting, default=0) - 1)  # every write puts the marker in anew
        marker = await self.tables.marker(table)
        return Version(
            table=table,
            number=number,
            reopen=reopen,
            sequence=marker.sequence,
            facts=marker.facts,
            names=frozenset(schema.names),
            chunk_count=chunk_count,
            unindexed_count=unindexed_count,
            lag=await self._due(table, marker.facts, chunk_count) or unindexed_count,
        )

    async def _due(self, table: Any, facts: Facts, chunk_count: int) -> int:
        """How many vectors wait for the first vector index; 0 where there is one, or none is wanted yet."""
        recipe = self.recipe
        if recipe.dimension is None or facts.kind != "flat":
            return 0
        if vector_index.chosen_kind(recipe.index, chunk_count, recipe.dimension) == "flat":
            return 0
        found: int = await table.count_rows(vector_index.WITH_VECTOR)
        return found if vector_index.chosen_kind(recipe.index, found, recipe.dimension) != "flat" else 0


class _Held(msgspec.Struct, frozen=True, eq=False):
    """The last snapshot, and the signature from before it was made. Unless that had `settled`, a version may have come since."""

    snapshot: LanceSnapshot
    signature: int
    settled: bool
