"""A collection: the facade over its generations. It decides who does a thing; the packages below do it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import msgspec
from numpy.typing import ArrayLike

from outcrop import filters
from outcrop.builds import promotion
from outcrop.builds.builder import BuildPlan, OnError, build
from outcrop.builds.ingredients import Ingredients, mix
from outcrop.builds.own_documents import OwnDocuments
from outcrop.config import Config
from outcrop.document_rules import is_unicode
from outcrop.embedding import CachedEmbedder, Embedder, EmbeddingCache
from outcrop.engines.registry import Choice
from outcrop.errors import Closed, Damaged, InvalidConfig, InvalidInput, NoActiveGeneration, NothingToBuild, ReadOnly
from outcrop.files import size_bytes
from outcrop.filters import Filter
from outcrop.generations import catalog, checks, pointer, record
from outcrop.generations.catalog import Damage
from outcrop.generations.layout import ACTIVE, CollectionFolder, GenerationName
from outcrop.generations.record import CollectionRecord
from outcrop.ingest import BadRecord, Chunker, ProgressSink, Source, open_source
from outcrop.model import Document, GenerationInfo, IndexKind, IndexSpec, Recipe, Stats
from outcrop.retrieval.executor import Executor
from outcrop.retrieval.fusion import Fusion
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.retrieval.hits import Degraded, Hits
from outcrop.retrieval.request import Options, prepare

GenerationLike = GenerationInfo | int | str
_log = logging.getLogger("outcrop")
_OTHERS_OPEN_MAX = 4


class Shared(msgspec.Struct, frozen=True, eq=False):
    """What the collections of one database share."""

    config: Config
    choice: Choice
    executor: Executor
    embedding_cache: EmbeddingCache
    degraded: Degraded | None
    read_only: bool


class Collection:
    """Documents that are searched together. Get one from `Database.collection` or `Database.create_collection`.

    Safe to use from many threads; several processes may have the same collection open, and each sees a promotion at its next
    search.
    """

    def __init__(self, folder: CollectionFolder, made: CollectionRecord, shared: Shared, ingredients: Ingredients) -> None:
        self.name = made.name
        self._folder = folder
        self._record = made
        self._shared = shared
        self._ingredients = ingredients
        self._active_path = os.path.join(folder.path, ACTIVE)
        self._lock = threading.Lock()
        self._current: tuple[str, OpenGeneration] | None = None
        self._others: dict[GenerationName, OpenGeneration] = {}
        self._closed = False

    def __repr__(self) -> str:
        if self._closed:
            return f"Collection({self.name!r}, closed)"
        active = catalog.active_or_none(self._folder)
        return f"Collection({self.name!r}, {f'generation {active.number} active' if active else 'no active generation'})"

    @property
    def closed(self) -> bool:
        """Whether the collection has been closed."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def search(
        self,
        query: str | None = None,
        *,
        vector: ArrayLike | None = None,
        k: int = 10,
        offset: int = 0,
        mode: str | None = None,
        where: str | Mapping[str, Any] | Filter | None = None,
        candidates: int | None = None,
        fusion: str | Fusion | None = None,
        per_document: int = 1,
        explain: bool = False,
        generation: GenerationLike | None = None,
    ) -> Hits:
        """Search the active generation, or another one by `generation`.

        `mode` is "lexical", "vector" or "hybrid"; None takes the best that the generation and the query allow. A query alone is
        embedded with the generation's own embedder; a `vector` (shape (dimension,)) given with it is used instead. Each leg
        looks `candidates` deep (default 100), whatever `k` is, so scores and order do not change with `k` and `offset`. `where`
        is a filter (see `outcrop.filters`), applied before the cut-off. At most `per_document` hits come from one document. Ties
        among the candidates are ordered by document id; which of more equals become candidates is the leg's choice. `fusion` is
        "weighted" (default), "rrf" or a `Fusion`.

        A query of stop words alone finds nothing lexically and says so in `Hits.warnings`. Raises `InvalidQuery`, `InvalidFilter`,
        `NoActiveGeneration`, `UnknownGeneration`, and what the embedder raises.
        """
        options = Options(
            k=k,
            offset=offset,
            mode=mode,
            where=where,
            candidates=self._shared.config.candidates if candidates is None else candidates,
            fusion=fusion,
            per_document=per_document,
            explain=explain,
        )
        opened = self._pin(generation)
        try:
            request = prepare(query, vector, options, opened.manifest.recipe)
            return self._shared.executor.search(opened, request, self._shared.degraded)
        finally:
            opened.unpin()

    def build(
        self,
        source: str | os.PathLike[str] | Iterable[Document] | Iterable[Mapping[str, Any]] | None = None,
        *,
        promote: bool = False,
        embedder: str | Embedder | None = None,
        chunker: str | Chunker | None = None,
        analyzer: str | None = None,
        index: IndexKind | IndexSpec | None = None,
        on_error: OnError = "stop",
        on_skip: Callable[[BadRecord], None] | None = None,
        progress: ProgressSink | None = None,
    ) -> GenerationInfo:
        """Build a generation beside the live one, verify it, and with `promote=True` put it live.

        `source` is a path (JSONL, CSV, Parquet, also compressed; a BEIR folder; a folder of .md, .txt, .html), an iterable of
        documents, or None for the active generation's own documents. What is not given stays as the active generation has it (or as
        the collection was created). A bad record stops the build (`on_error="stop"`), or is skipped, counted and told to `on_skip`.
        Searches go on meanwhile. Whatever fails, nothing is changed.

        Raises `InvalidSource`, `InvalidDocument`, `DuplicateDocument`, `NothingToBuild`, `CollectionLocked`, `StorageFailed`.
        """
        self._check_open(writes=True)
        if on_error not in ("stop", "skip"):
            raise InvalidConfig(f"on_error is {on_error!r}; use 'stop' or 'skip'", key="on_error")
        mixed = mix(
            self._ingredients,
            self._record_to_follow(),
            self._shared.choice.engine,
            embedder=embedder,
            chunker=chunker,
            analyzer=analyzer,
            index=index,
        )
        cached = None if mixed.embedder is None else CachedEmbedder(mixed.embedder, self._shared.embedding_cache)
        with self._source(source, mixed.recipe) as opened:
            plan = BuildPlan(
                folder=self._folder,
                source=opened,
                recipe=mixed.recipe,
                embedder=cached,
                chunker=mixed.chunker,
                config=self._shared.config,
                on_error=on_error,
                on_skip=on_skip,
                progress=progress,
            )
            name = build(plan)
        return self._promote(name) if promote else catalog.info(self._folder, name)

    def promote(self, generation: GenerationLike) -> GenerationInfo:
        """Put a finished generation live, in one atomic step. Searches that have begun end on the generation they began with.

        Before that, every byte of its immutable files is compared with its checksum, a few seconds for every gigabyte.

        Raises `UnknownGeneration`, `Damaged`, `CollectionLocked`.
        """
        self._check_open(writes=True)
        name = catalog.find(self._folder, generation)
        checks.check(self._folder.generation(name), self._shared.config)
        return self._promote(name)

    def rollback(self, to: GenerationLike | None = None) -> GenerationInfo:
        """Put the generation live again that the active one was promoted from, or the one named by `to`; a second rollback rolls
        forward.

        Raises `NothingToRollBack`, `UnknownGeneration`, `CollectionLocked`.
        """
        self._check_open(writes=True)
        while True:
            name = promotion.previous(self._folder) if to is None else catalog.find(self._folder, to)
            checks.check(self._folder.generation(name), self._shared.config)
            self._open_other(name)  # as in promote: only what can be opened goes live
            done = promotion.rollback(self._folder, name, self._shared.config, only_if_previous=to is None)
            if done is not None:
                return done

    def generations(self) -> list[GenerationInfo]:
        """Every finished generation, oldest first."""
        self._check_open()
        return catalog.generations(self._folder)

    def damaged(self) -> list[Damage]:
        """The generations whose manifest cannot be read, with the reason; they are in no other list."""
        self._check_open()
        return catalog.damaged(self._folder)

    @property
    def active(self) -> GenerationInfo | None:
        """The generation that searches see, or None."""
        self._check_open()
        name = pointer.read(self._folder)
        return None if name is None else catalog.info(self._folder, name)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in the order asked; unknown ids are left out."""
        wanted = [ids] if isinstance(ids, str) else ids
        if not isinstance(wanted, Iterable) or not all(isinstance(one, str) and is_unicode(one) for one in wanted):
            raise InvalidInput(f"get() takes ids, which are text, found {ids!r:.80}")
        with pinned(self._pin(None)) as opened:
            return opened.documents.get(list(wanted))

    def count(self, where: str | Mapping[str, Any] | Filter | None = None) -> int:
        """How many documents there are, or how many a filter selects. With a filter it reads every document's metadata."""
        condition = filters.parse(where)
        with pinned(self._pin(None)) as opened:
            if condition is None:
                return opened.documents.counts().documents
            return sum(filters.matches(condition, metadata) for _, _, metadata in opened.documents.metadata())

    def scan(self, where: str | Mapping[str, Any] | Filter | None = None) -> Iterator[Document]:
        """Every document, or those that a filter selects, in the order in which they were written."""
        condition = filters.parse(where)
        with pinned(self._pin(None)) as opened:
            for document in opened.documents.scan():
                if condition is None or filters.matches(condition, document.metadata):
                    yield document

    def stats(self) -> Stats:
        """The state of the collection."""
        self._check_open()
        generations = self.generations()
        active = self.active
        fields: tuple[str, ...] = ()
        if active is not None:
            with pinned(self._pin(None)) as opened:
                fields = opened.fields
        return Stats(
            collection=self.name,
            mode=self._shared.config.mode,
            running=self._shared.choice.running,
            active=active.number if active else None,
            document_count=active.document_count if active else 0,
            chunk_count=active.chunk_count if active else 0,
            size_bytes=size_bytes(self._folder.path),
            index_lag=0,
            fields=fields,
            generations=tuple(generations),
        )

    def close(self) -> None:
        """Release the open generations; searches that are running end first. Idempotent."""
        with self._lock:
            self._closed = True
            opened = [*self._others.values(), *([self._current[1]] if self._current else [])]
            self._others, self._current = {}, None
        for one in opened:
            one.retire()

    def _promote(self, name: GenerationName) -> GenerationInfo:
        self._open_other(name)  # a generation that cannot be opened must not go live; and no search pays for the opening
        return promotion.promote(self._folder, name, self._shared.config)

    def _check_open(self, *, writes: bool = False) -> None:
        if self._closed:
            raise Closed(f"collection {self.name!r} is closed", collection=self.name)
        if writes and self._shared.read_only:
            raise ReadOnly(f"collection {self.name!r} was opened with read_only=True", collection=self.name)
        if writes and (not self._folder.collection_file.exists() or record.read(self._folder).uuid != self._record.uuid):
            raise Closed(f"collection {self.name!r} was dropped meanwhile; open it again", collection=self.name)

    def _pin(self, generation: GenerationLike | None) -> OpenGeneration:
        """The generation to search, pinned."""
        while True:
            opened = self._current_generation() if generation is None else self._open_other(catalog.find(self._folder, generation))
            if opened.pin():
                return opened

    def _current_generation(self) -> OpenGeneration:
        """The active generation, opened anew if another one was promoted since, by whatever process."""
        target = pointer.read_raw(self._active_path)
        current = self._current
        if current is not None and current[0] == target:
            return current[1]
        if target is None or self._closed:
            self._check_open()
            raise self._none_active()
        name = pointer.parse_target(self._folder, target)
        opened = self._open_other(name)
        with self._lock:
            if self._closed:
                opened.retire()
                raise Closed(f"collection {self.name!r} is closed", collection=self.name)
            if opened.retired:  # made room for another one meanwhile: the caller tries again
                return opened
            previous, self._current = self._current, (target, opened)
            self._others.pop(name, None)
        if previous is not None and previous[1] is not opened:
            previous[1].retire()
        return opened

    def _none_active(self) -> NoActiveGeneration:
        ready = [one.number for one in catalog.generations(self._folder)]
        advice = (
            f"promote generation {ready[-1]} (outcrop promote {self.name} {ready[-1]})"
            if ready
            else f"build one and promote it (outcrop build {self.name} SOURCE --promote)"
        )
        return NoActiveGeneration(f"collection {self.name!r} has no active generation: {advice}", collection=self.name)

    def _open_other(self, name: GenerationName) -> OpenGeneration:
        """A generation, opened at most once at a time; a few are kept open besides the active one."""
        with self._lock:
            self._check_open()
            if self._current is not None and self._current[1].name == name:
                return self._current[1]
            if name not in self._others:
                while len(self._others) >= _OTHERS_OPEN_MAX:
                    self._others.pop(next(iter(self._others))).retire()
                self._others[name] = OpenGeneration(self._folder, name, self._shared.config, self._ingredients.embedders)
            return self._others[name]

    def _record_to_follow(self) -> CollectionRecord:
        """What a build leaves as it is: the active generation's recipe, or the collection's own where that cannot be read."""
        try:
            active = self.active
        except Damaged as error:
            _log.warning("%s; building collection %r with what it was created with", error, self.name)
            active = None
        return self._record if active is None else self._record.following(active.recipe)

    @contextmanager
    def _source(self, source: object, recipe: Recipe) -> Iterator[Source]:
        if source is not None:
            yield open_source(source)  # type: ignore[arg-type]  # it checks the type and says what it takes
            return
        if pointer.read(self._folder) is None:
            ready = [one.number for one in catalog.generations(self._folder)]
            raise NothingToBuild(
                f"collection {self.name!r} has no active generation whose documents could be built anew: give a source"
                + (f", or promote generation {ready[-1]} first" if ready else ""),
                collection=self.name,
            )
        with pinned(self._pin(None)) as opened:
            same_space = opened.manifest.recipe.embedder == recipe.embedder
            yield OwnDocuments(opened.documents, opened.name.number, keep_vectors=same_space)
