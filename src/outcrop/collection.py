"""A collection: what each method promises, and who does it. `open_collection.py` holds together what is open meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Event
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop import filters, insights
from outcrop.builds import building, gating, maintenance, promotion
from outcrop.builds.building import Wanted
from outcrop.builds.ingredients import Ingredients
from outcrop.builds.maintenance import OptimizeReport, RepairReport, VerifyReport
from outcrop.builds.promotion import Change
from outcrop.builds.stage import Shared
from outcrop.document_rules import checked_ids, checked_metadata
from outcrop.embedding import Embedder
from outcrop.errors import InvalidInput
from outcrop.filters import Filter
from outcrop.generations import catalog, pointer
from outcrop.generations.catalog import Damage
from outcrop.generations.collecting import GcReport
from outcrop.generations.layout import CollectionFolder
from outcrop.generations.record import CollectionRecord
from outcrop.index_values import IndexKind, IndexSpec, OptimizeFor
from outcrop.ingest import BadRecord, Chunker, OnError, ProgressSink, SourceLike, open_source
from outcrop.insights import Insights
from outcrop.judging import Comparison, Gate, QueriesLike, compare, queries_of
from outcrop.model import Document, GenerationInfo, HistoryEntry, RollbackPlan, Stats, WriteResult
from outcrop.open_collection import GenerationLike, OpenCollection
from outcrop.retrieval import reading
from outcrop.retrieval.fusion import Fusion, usual
from outcrop.retrieval.generation import pinned
from outcrop.retrieval.hits import Hits
from outcrop.retrieval.map_values import Placed, VectorMap
from outcrop.retrieval.request import Options, SearchOptions
from outcrop.traced import traced
from outcrop.writes import accepting, streaming
from outcrop.writes.streaming import BulkResult, Stream, WrittenBatch

Where = str | Mapping[str, Any] | Filter


@traced
class Collection:
    """Documents that are searched together. Get one from `Database.collection` or `Database.create_collection`.

    Safe to use from many threads; several processes may have the same collection open, and each sees a write or a promotion of
    another at its next search.
    """

    def __init__(self, folder: CollectionFolder, made: CollectionRecord, shared: Shared, ingredients: Ingredients) -> None:
        self.name = made.name
        self._open = OpenCollection(folder, made, shared, ingredients)

    def __repr__(self) -> str:
        if self.closed:
            return f"Collection({self.name!r}, closed)"
        active = catalog.active_or_none(self._open.folder)
        return f"Collection({self.name!r}, {f'generation {active.number} active' if active else 'no active generation'})"

    @property
    def uuid(self) -> str:
        """Tells this collection from one of the same name that was made after it was dropped."""
        return self._open.record.uuid

    @property
    def closed(self) -> bool:
        """Whether the collection has been closed."""
        return self._open.openings.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def use(self, *, embedder: Embedder | None = None, chunker: Chunker | None = None) -> None:
        """Have the caller's own embedder or chunker used for generations that were built with it, or with one of its name."""
        if embedder is not None:
            self._open.stage.ingredients.embedder(embedder)
        if chunker is not None:
            self._open.stage.ingredients.chunker(chunker)

    def warm(self) -> bool:
        """Open the active generation and load its embedder, so that the first search is as fast as the next ones. False if there
        is nothing to search yet.

        The index is mapped, not read. An embedder that asks a server is made and not asked; one of your own is asked (to embed a
        few short texts, as a first search does) only if its attribute `is_remote` is False. `outcrop serve` does it by itself.

        Raises what a first search raises: `Damaged`, `EmbedderMismatch`, `UnknownEmbedder`, `MissingExtra`.
        """
        return self._open.warm()

    def search(
        self,
        query: str | None = None,
        *,
        vector: ArrayLike | None = None,
        k: int = 10,
        offset: int = 0,
        mode: str | None = None,
        where: Where | None = None,
        candidates: int | None = None,
        fusion: str | Fusion | None = None,
        per_document: int = 1,
        explain: bool = False,
        cache: bool = True,
        log: bool = True,
        generation: GenerationLike | None = None,
    ) -> Hits:
        """Search the active generation, or another one by `generation`.

        `mode` is "lexical", "vector" or "hybrid"; None takes the best that the generation and the query allow. A query alone is
        embedded with the generation's own embedder; a `vector` (shape (dimension,)) given with it is used instead. Each leg
        looks `candidates` deep (`Config.candidates`), whatever `k` is, so scores and order do not change with `k` and `offset`.
        `where` is a filter (see `outcrop.filters`), applied before the cut-off. At most `per_document` hits come from one document.
        Ties among the candidates are ordered by document id; which of more equals become candidates is the leg's choice. `fusion`
        is "weighted", "rrf" or a `Fusion`; None is the configured one (`Config.fusion`, `Config.vector_weight`).

        The same search, answered within the last minutes (`Config.query_cache_seconds`) from the same generation as of the same
        write, is not run again (`Hits.cached`), unless `cache` is False; nor is a query embedded again. With `log` False no query
        log has it. A query of stop words alone finds nothing lexically and says so in `Hits.warnings`.

        Raises `InvalidQuery`, `InvalidFilter`, `NoActiveGeneration`, `UnknownGeneration`, `EmbedderMismatch`, `EmbeddingFailed`.
        """
        config = self._open.shared.live.current
        options = Options(
            k=k,
            offset=offset,
            mode=mode,
            where=where,
            candidates=config.candidates if candidates is None else candidates,
            fusion=usual(config.fusion, config.vector_weight) if fusion is None else fusion,
            per_document=per_document,
            explain=explain,
        )
        return self._open.search(query, vector, options, generation=generation, cache=cache, log=log)

    def search_many(
        self,
        queries: Sequence[str | None] | None = None,
        *,
        vectors: Sequence[ArrayLike | None] | NDArray[np.float32] | None = None,
        log: bool = True,
        generation: GenerationLike | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]:
        """The answers of many searches, in order, on all cores: each what `search` gives with these options.

        `vectors` has one for each query, or None for a query that has none; shape (queries, dimension). All are checked before the
        first one runs, all search one generation, and none is answered from the cache. Raises what `search` raises, with the place
        of the query as `query_index`.
        """
        config = self._open.shared.config
        if options.get("candidates") is None:
            options["candidates"] = config.candidates
        if options.get("fusion") is None:
            options["fusion"] = usual(config.fusion, config.vector_weight)
        asked = Options(**options)  # type: ignore[arg-type]  # candidates is set
        return self._open.search_many(queries, vectors, asked, generation=generation, log=log)

    def upsert(self, documents: Document | Mapping[str, Any] | Iterable[Document] | Iterable[Mapping[str, Any]]) -> WriteResult:
        """Put documents in, or in the place of those with the same ids: all of them or none.

        On return they are durable and searchable, here and in every other process. They are prepared as the active generation wants
        it; if there is none, one is made as the collection was created. One call is one write: batches are much faster than single
        documents.

        Raises `InvalidDocument`, `DuplicateDocument` (an id twice), `CollectionLocked`, `StorageFailed`, `EmbedderMismatch`,
        `EmbeddingFailed` (nothing was written), and `NotYetVisible` (everything was). All of it is in memory at once: a stream is
        for `upsert_many`.
        """
        self._open.check(writes=True)
        single = isinstance(documents, Document | Mapping)
        source = open_source([documents] if single else documents)  # type: ignore[arg-type]
        return self._open.wrote(accepting.upsert(self._open.place(), source))

    def upsert_many(
        self,
        source: SourceLike,
        *,
        batch_documents: int = 1000,
        skip: int = 0,
        on_error: OnError = "stop",
        on_skip: Callable[[BadRecord], None] | None = None,
        on_batch: Callable[[WrittenBatch], None] | None = None,
        progress: ProgressSink | None = None,
    ) -> BulkResult:
        """Put a stream of documents in, batch by batch: whatever `build` reads, of any length, within the memory budget.

        A batch is up to `batch_documents` documents, fewer where these are large, and a write like `upsert`: whole or not at all,
        durable and searchable. The next ones are read, cut and embedded meanwhile. The stream as a whole is not one write: what
        was written before an error stays, and `on_batch`, told of each batch, knows how far that is. Go on with `skip`, which
        leaves out the first records. Of documents with the same id the last one counts.

        A bad record stops it, and nothing of its batch is written (`on_error="stop"`), or is skipped, counted and told to
        `on_skip`. Raises what `upsert` raises, but `DuplicateDocument`; `InvalidSource`.
        """
        self._open.check(writes=True)
        stream = Stream(
            source=open_source(source),
            batch_documents=batch_documents,
            skip=skip,
            on_error=on_error,
            on_skip=on_skip,
            on_batch=on_batch,
            progress=progress,
            ingestion=self._open.stage.ingestion,
            wrote=self._open.wrote,
        )
        return streaming.upsert_many(self._open.place(), stream)

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where | None = None) -> WriteResult:
        """Take documents out, by their ids or by a filter. An id that is not there counts nothing.

        Durable and visible on return; what is deleted while a generation is built stays deleted in that one too.

        Raises `InvalidInput` (neither or both given), `InvalidFilter`, `CollectionLocked`, `StorageFailed`, `NotYetVisible`.
        """
        self._open.check(writes=True)
        if (ids is None) == (where is None):
            raise InvalidInput("delete() takes either ids or where=..., found " + ("neither" if ids is None else "both"))
        if ids is not None:
            return self._open.wrote(accepting.delete(self._open.place(), checked_ids(ids, "delete()")))
        condition = filters.parse(where)
        if condition is None:
            raise InvalidInput("delete(where=...) takes a filter, found an empty one; to remove everything use drop_collection")
        return self._open.wrote(accepting.delete_where(self._open.place(), condition))

    def update_metadata(self, ids: str | Iterable[str], metadata: Mapping[str, Any]) -> WriteResult:
        """Set metadata of documents: the keys given get these values, other keys stay. Unknown ids count nothing.

        Raises `InvalidDocument`, `CollectionLocked`, `StorageFailed`, `NotYetVisible`.
        """
        self._open.check(writes=True)
        wanted = checked_ids(ids, "update_metadata()")
        values = checked_metadata(wanted[0] if wanted else "", metadata)
        return self._open.wrote(accepting.update_metadata(self._open.place(), wanted, values))

    def build(
        self,
        source: SourceLike | None = None,
        *,
        promote: bool = False,
        gate: Gate | None = None,
        embedder: str | Embedder | None = None,
        chunker: str | Chunker | None = None,
        analyzer: str | None = None,
        index: IndexKind | IndexSpec | None = None,
        target_recall: float | None = None,
        optimize_for: OptimizeFor | None = None,
        engine: str | None = None,
        keep_writes: bool = False,
        on_error: OnError = "stop",
        on_skip: Callable[[BadRecord], None] | None = None,
        progress: ProgressSink | None = None,
        resume: bool = True,
        cancel: Event | None = None,
    ) -> GenerationInfo:
        """Build a generation beside the live one, verify it, and with `promote=True` put it live (if the `gate` lets it).

        `source` is a path (JSONL, CSV, Parquet, also compressed; a BEIR folder; a folder of .md, .txt, .html), an iterable of
        documents, or None for the active generation's own documents. What is not given stays as the active generation has it
        (or as the collection was created). The collection becomes this source as of the build's start, plus every write made since;
        with `keep_writes` also what was written directly before, as all builds that kept it have it. Searches and writes go on.
        `engine` is "builtin", "lancedb" or "lancedb+builtin" (with fallback); None: what the mode says. `target_recall` and
        `optimize_for` are as in `Database.create_collection`.

        A bad record stops the build (`on_error="stop"`), or is skipped, counted and told to `on_skip`. A build that was
        interrupted, or ended by setting `cancel`, is taken up again by the same call unless `resume=False`.

        Raises `InvalidSource`, `InvalidDocument`, `DuplicateDocument`, `NothingToBuild`, `BuildCancelled`, `CollectionLocked`,
        `GateFailed` (the generation is ready, and not active), `StorageFailed`.
        """
        self._open.check(writes=True)
        wanted = Wanted(
            source=source,
            embedder=embedder,
            chunker=chunker,
            analyzer=analyzer,
            index=index,
            target_recall=target_recall,
            optimize_for=optimize_for,
            engine=self._open.shared.choice.engine if engine is None else engine,
            keep_writes=keep_writes,
            on_error=on_error,
            on_skip=on_skip,
            progress=progress,
            resume=resume,
            cancel=cancel,
        )
        name = building.build_generation(self._open.stage, self._open.record, wanted)
        return self.promote(name.number, gate=gate) if promote else catalog.info(self._open.folder, name)

    def promote(self, generation: GenerationLike, *, gate: Gate | None = None, force: bool = False) -> GenerationInfo:
        """Put a finished generation live, in one atomic step, with every write made since it was built in it.

        Its files are compared with their checksums, it catches up with the journal while searches and writes go on, and the `gate`
        is asked (without one: that at most a tenth of the active generation's documents is missing). `force` promotes whatever the
        gate says, and is recorded. Searches that have begun end on the generation they began with.

        Raises `UnknownGeneration`, `Damaged`, `GateFailed`, `CatchUpFailed`, `CollectionLocked`; nothing is changed then.
        """
        self._open.check(writes=True)
        stage = self._open.stage
        promotion.restore_pointer(stage)
        judge = partial(gating.judge, stage, self._open.shared.executor, gate, forced=force)
        change = Change(name=catalog.find(self._open.folder, generation), kind="promote", forced=force, judge=judge)
        return promotion.make_active(stage, change) or catalog.info(self._open.folder, change.name)

    @overload
    def rollback(
        self, to: GenerationLike | None = None, *, dry_run: Literal[False] = False, allow_lexical: bool = False
    ) -> GenerationInfo: ...
    @overload
    def rollback(
        self, to: GenerationLike | None = None, *, dry_run: Literal[True], allow_lexical: bool = False
    ) -> RollbackPlan: ...
    def rollback(
        self, to: GenerationLike | None = None, *, dry_run: bool = False, allow_lexical: bool = False
    ) -> GenerationInfo | RollbackPlan:
        """Put the generation live again that the active one was promoted from, or the one named by `to`, with every write since in
        it. A second rollback rolls forward. With `dry_run` only say what that would take.

        If documents would have to be embedded and cannot be, that is refused; with `allow_lexical` they are found by their words
        only (they are counted in `GenerationInfo.unembedded`, and every answer says so).

        Raises `NothingToRollBack`, `UnknownGeneration`, `Damaged`, `EmbedderGone`, `CatchUpFailed`, `CollectionLocked`, and
        `InvalidConfig` if the generation's chunker is not known here.
        """
        self._open.check(writes=not dry_run)
        stage = self._open.stage
        if dry_run:
            return promotion.plan(stage, promotion.earlier(stage.folder, to))
        return promotion.roll_back(stage, to, lexically=allow_lexical)

    def compare(self, a: GenerationLike, b: GenerationLike, queries: QueriesLike | None = None, *, k: int = 10) -> Comparison:
        """What would change if generation `b` served instead of `a`: documents, recipes, sizes, and with `queries` (a golden.jsonl,
        or queries as `outcrop.evaluation` reads them) the answers: overlap, rank-biased overlap, nDCG if judged, latency.

        Raises `UnknownGeneration`, `InvalidSource`, `InvalidInput`, and what searching raises.
        """
        asked = None if queries is None else queries_of(queries)
        with pinned(self._open.pin(a)) as before, pinned(self._open.pin(b)) as after:
            of = partial(gating.side, self._open.stage, self._open.shared.executor)
            return compare(of(before), of(after), asked, k=k)

    def optimize(self) -> OptimizeReport:
        """Put everything that was written since into index parts, merge parts that have grown many, forget what ended long ago.

        Needed rarely: a process that writes does it in the background. Searches and writes go on meanwhile.
        """
        self._open.check(writes=True)
        self._open.place()
        return maintenance.optimize(self._open.stage)

    def gc(self, *, dry_run: bool = False) -> GcReport:
        """Remove generations that are not kept any more and what crashes left behind, and trim the journal. `dry_run` only tells.

        Nothing that any process has open is removed. Raises `CollectionLocked`, `StorageFailed`.
        """
        self._open.check(writes=not dry_run)
        stage = self._open.stage
        if not dry_run:
            promotion.restore_pointer(stage)
        return maintenance.collect(stage, dry_run=dry_run)

    def verify(self, generation: GenerationLike | None = None) -> tuple[VerifyReport, ...]:
        """Check every generation, or one, and the journal: a few seconds for every gigabyte.

        Of files that never change every byte is compared with checksums (vectors, indexes, columns, the text index, manifests).
        SQLite's files have none: there SQLite checks the structure, and a changed letter in a document's text is not noticed.
        If the active generation is damaged it is quarantined, and the newest healthy one, caught up, serves instead (not in a
        database that is open read-only). Raises `UnknownGeneration`.
        """
        self._open.check()
        return maintenance.verify(self._open.stage, generation, read_only=self._open.shared.read_only)

    def repair(self, generation: GenerationLike | None = None) -> RepairReport:
        """Build the LanceDB index of the active generation, or another one, anew from its documents; or add one that it lacks.

        For a generation that the built-in engine holds too, in a mode that uses LanceDB. The built-in index answers meanwhile.
        Raises `NoActiveGeneration`, `UnknownGeneration`, `IllegalState`, `EngineUnavailable`, `CollectionLocked`.
        """
        self._open.check(writes=True)
        return maintenance.repair(self._open.stage, generation)

    def history(self) -> tuple[HistoryEntry, ...]:
        """Which generation was made active when, by whom, built from what, and what its gate reported; oldest first."""
        self._open.check()
        return catalog.history(self._open.folder)

    def generations(self) -> list[GenerationInfo]:
        """Every finished generation, oldest first."""
        self._open.check()
        return catalog.generations(self._open.folder)

    def damaged(self) -> list[Damage]:
        """The generations whose manifest cannot be read, with the reason; they are in no other list."""
        self._open.check()
        return catalog.damaged(self._open.folder)

    @property
    def active(self) -> GenerationInfo | None:
        """The generation that searches see, or None."""
        self._open.check()
        name = pointer.read(self._open.folder)
        return None if name is None else catalog.info(self._open.folder, name)

    def get(self, ids: str | Iterable[str]) -> list[Document]:
        """Documents by id, in the order asked; unknown ids are left out."""
        wanted = checked_ids(ids, "get()")
        with pinned(self._open.pin(None)) as opened:
            return reading.get(opened, wanted)

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many a filter selects. With a filter it reads every document's metadata."""
        condition = filters.parse(where)
        with pinned(self._open.pin(None)) as opened:
            return reading.count(opened, condition)

    def scan(self, where: Where | None = None) -> Iterator[Document]:
        """Every document, or those that a filter selects, in the order of writing, as of the beginning of the scan.

        It may take as long as it likes beside writes of this process. Raises `SnapshotExpired` when another process has forgotten
        documents that were replaced or deleted since the scan began, which takes five minutes at least.
        """
        condition = filters.parse(where)
        with pinned(self._open.pin(None)) as opened:
            yield from reading.scan(opened, condition)

    def stats(self) -> Stats:
        """The state of the collection."""
        self._open.check()
        return self._open.stats()

    def insights(self, days: float = 7.0) -> Insights:
        """What the query log of the last `days` tells: what is slow, frequent, finds nothing, and what to change.

        It is empty unless searches are logged (`Config.query_log_share`). Raises `InvalidInput`, `StorageFailed`.
        """
        self._open.check()
        return self._open.insights(days)

    def forget_queries(self) -> int:
        """Remove the query log, and say how many bytes it had. Raises `StorageFailed`."""
        self._open.check(writes=True)
        self._open.queries.flush()
        return insights.forget(self._open.folder.queries)

    def reconfigured(self) -> None:
        """Begin what another configuration of the database has begun to want; `Database.reload` calls it."""
        self._open.reconfigured()

    def vector_map(
        self, points_max: int = 50_000, *, color: str | None = None, generation: GenerationLike | None = None
    ) -> VectorMap:
        """Where chunks lie in the plane by their vectors; of more than `points_max` an even sample. The same state, the same map.

        `color` is a metadata field to tell of each point. Raises `IllegalState` without vectors, `InvalidInput`.
        """
        with pinned(self._open.pin(generation)) as opened:
            return self._open.shared.maps.map(opened, points_max, color)

    def place_on_map(
        self,
        query: str | None = None,
        *,
        vector: ArrayLike | None = None,
        k: int = 10,
        points_max: int = 50_000,
        generation: GenerationLike | None = None,
    ) -> Placed:
        """Where a query lies on the map of `vector_map`, and its `k` nearest chunks. Raises what both raise."""
        with pinned(self._open.pin(generation)) as opened:
            return self._open.shared.maps.place(opened, points_max, query, vector=vector, k=k)

    def close(self) -> None:
        """Release the open generations; searches that are running, and upkeep, end first. Idempotent."""
        self._open.close()
