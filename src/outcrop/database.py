"""A database: a folder of collections that share a configuration, threads and an embedding cache."""

from __future__ import annotations

import logging
import os
import shutil
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Self, get_args
from uuid import uuid4

from outcrop import buffers, files, forking
from outcrop.analysis import analyzer as named_analyzer
from outcrop.builds.ingredients import Ingredients, as_index_spec
from outcrop.builds.stage import Shared
from outcrop.collection import Collection
from outcrop.config import Config, load
from outcrop.embedding import Embedder, EmbeddingCache, default_spec
from outcrop.engines import registry
from outcrop.errors import (
    Closed,
    CollectionExists,
    InvalidConfig,
    NotFound,
    ReadOnly,
    StorageFailed,
    UnknownCollection,
)
from outcrop.generations import collecting, locks, record
from outcrop.generations.journal import Journal, now
from outcrop.generations.layout import COLLECTION_FILE, FORMAT, CollectionFolder, check_collection_name
from outcrop.generations.record import CollectionRecord
from outcrop.index_values import TARGET_RECALL, IndexKind, IndexSpec, OptimizeFor, RecallGoal
from outcrop.ingest import Chunker
from outcrop.memory import MemoryBudget
from outcrop.model import Metric, Running
from outcrop.reloading import LiveConfig, Reloaded, compared, merged
from outcrop.retrieval.cached_search import CachedSearch
from outcrop.retrieval.executor import Executor
from outcrop.retrieval.vector_map import Maps

_log = logging.getLogger("outcrop")
_EMBEDDINGS = "embeddings.sqlite"


def open(path: str | os.PathLike[str] | None = None, *, config: Config | None = None, read_only: bool = False) -> Database:  # noqa: A001 - outcrop.open reads best
    """Open the database in a folder, which is made if absent (not with `read_only`).

    The folder comes from `path` or from `config.path`; two different ones are `InvalidConfig`. The configuration is, in increasing
    precedence: the mode's preset, `outcrop.toml` in the folder, `OUTCROP_...` variables, what `config` was given explicitly.

    Raises `InvalidConfig`, `EngineUnavailable` (mode `lancedb_test`), `StorageFailed`, `NotFound`.

    >>> import tempfile
    >>> with open(tempfile.mkdtemp()) as db:
    ...     db.collections()
    []
    """
    _refuse_file(path if path is not None else config.path if config is not None else None)
    configured = load(path, config, os.environ)
    if configured.path is None:  # pragma: no cover - load has checked it
        raise InvalidConfig("no folder was given: outcrop.open(path)", key="path")
    folder = configured.path
    choice = registry.choose(configured)
    _make_folder(folder, read_only=read_only)
    executor, memory = Executor(configured.live_recall_share), MemoryBudget(configured.memory_budget)
    shared = Shared(
        live=LiveConfig(configured),
        choice=choice,
        executor=executor,
        cached=CachedSearch(executor, memory, seconds=configured.query_cache_seconds),
        maps=Maps(memory),
        memory=memory,
        embedding_cache=EmbeddingCache(folder / _EMBEDDINGS, configured.embedding_cache_bytes_max),
        read_only=read_only,
    )
    return Database(folder, shared, given=config)


def _usual_embedder(config: Config) -> str:
    return default_spec() if config.embedder == "auto" else config.embedder


def _refuse_file(path: str | os.PathLike[str] | None) -> None:
    if path is None:
        return
    with files.storage_errors(Path(path)):
        if Path(path).exists() and not Path(path).is_dir():
            raise StorageFailed(f"{os.fspath(path)} is a file; a database is a folder", path=path)


def _make_folder(folder: Path, *, read_only: bool) -> None:
    with files.storage_errors(folder):
        if folder.is_dir():
            return
        if read_only:
            raise NotFound(
                f"there is no database at {folder}; build a collection to make one, or name the folder of another", path=folder
            )
        folder.mkdir(parents=True, exist_ok=True)
        files.sync_folder(folder.parent)


class Database:
    """Collections in a folder. Open one with `outcrop.open`; a context manager; safe to use from many threads."""

    def __init__(self, path: Path, shared: Shared, *, given: Config | None) -> None:
        self.path = path
        self._given = given
        self._shared = shared
        self._lock = forking.lock()
        self._collections: dict[str, Collection] = {}
        self._records: dict[str, tuple[Path, tuple[int, ...] | None]] = {}  # the files that tell what they are, as they were read
        self._buffers = shared.memory.account("buffers")
        buffers.process.attach(self._buffers)
        self._replaced: list[Collection] = []
        self._reloading = forking.lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r}, {'closed' if self._closed else f'mode {self.mode!r}, {self.running}'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def mode(self) -> str:
        """The configured mode's name, for example "production"."""
        return self._shared.config.mode

    @property
    def running(self) -> Running:
        """What really runs, and why if that is not what the mode asks for."""
        return registry.running(self._shared.choice, self._shared.config)

    @property
    def config(self) -> Config:
        """The configuration in effect."""
        return self._shared.config

    @property
    def read_only(self) -> bool:
        """Whether it was opened to be read only."""
        return self._shared.read_only

    def collections(self) -> list[str]:
        """The names of the collections, sorted."""
        self._check_open()
        with files.storage_errors(self.path):
            folders = [entry for entry in self.path.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
            closed = [folder for folder in folders if not os.access(folder, os.X_OK)]  # there, though it cannot be looked at
            return sorted(one.name for one in folders if one in closed or (one / COLLECTION_FILE).is_file())

    def create_collection(
        self,
        name: str,
        *,
        embedder: str | Embedder | None = None,
        metric: Metric = "cosine",
        chunker: str | Chunker | None = None,
        analyzer: str = "english",
        index: IndexKind | IndexSpec = "auto",
        target_recall: float = TARGET_RECALL,
        optimize_for: OptimizeFor = "latency",
    ) -> Collection:
        """Make a collection. What is given here is what its first generation is built with, unless the build says otherwise.

        `embedder` is a name such as "static", "minilm", "openai:text-embedding-3-small" or "none" (lexical only, or vectors given
        with the documents), or an `Embedder`; None takes the configured default. `metric` is "cosine", "dot" or "l2".

        `target_recall` is the share of the true ten nearest that the vector index shall find; of those that do, the one of the
        least "latency" or "memory", or the quickest "build", is taken (`optimize_for`). An `index` given is taken as it is.

        Raises `InvalidName`, `CollectionExists`, `UnknownEmbedder`, `InvalidConfig`.
        """
        self._check_open(writes=True)
        check_collection_name(name)
        if metric not in get_args(Metric):
            raise InvalidConfig(f"metric {metric!r} is unknown; use 'cosine', 'dot' or 'l2'", key="metric")
        ingredients = Ingredients(self.config)
        used = ingredients.embedder(_usual_embedder(ingredients.config) if embedder is None else embedder)
        made = CollectionRecord(
            format=FORMAT,
            name=name,
            uuid=uuid4().hex,
            created_at=now(),
            embedder="none" if used is None else used.identity.spec,
            metric=metric,
            chunker=ingredients.chunker(chunker).spec,
            analyzer=named_analyzer(analyzer).name,
            index=as_index_spec(index),
            goal=RecallGoal(target_recall, optimize_for),
        )
        self._make_folder(made)
        return self._opened(name, ingredients)

    def collection(self, name: str, *, embedder: Embedder | None = None, chunker: Chunker | None = None) -> Collection:
        """Open a collection. `embedder` and `chunker` are needed only if it was built with one of your own.

        Raises `UnknownCollection`, with the nearest name there is.
        """
        self._check_open()
        opened = self._opened(name, Ingredients(self.config))
        opened.use(embedder=embedder, chunker=chunker)
        return opened

    def drop_collection(self, name: str) -> None:
        """Remove a collection with everything in it. Raises `UnknownCollection`, `CollectionLocked`.

        A LanceDB table at another place that cannot be removed now is told in a warning, and removed by a later `gc`.
        """
        self._check_open(writes=True)
        folder = self._existing(name)
        config = self.config
        with locks.held(folder.build_lock, timeout_seconds=config.lock_timeout_seconds, action="being built"):
            with self._lock:
                opened = self._collections.pop(name, None)
            if opened is not None:
                opened.close()
            removed = self.path / f".dropped-{uuid4().hex[:8]}"
            with files.storage_errors(folder.path):
                folder.path.rename(removed)
                files.sync_folder(self.path)
        for left in collecting.destroy_dropped(removed, config):
            _log.warning(
                "%s is dropped, but a LanceDB table of it is left. Where it is stays noted in %s, and the next gc of any collection"
                " here tries again: %s",
                name,
                removed,
                left,
            )

    def reload(self) -> Reloaded:
        """Read `outcrop.toml` and the environment anew, and go on with what they say now; what was given in code stays.

        All of it is checked first: if anything cannot be used, nothing is changed. Then one reference is swapped. What has begun
        ends with the configuration that it began with, what begins afterwards has the new one, and caches shrink at once. What
        cannot change while a database is open stays as it is and is named in the result. `outcrop serve` does this by itself.

        Raises `InvalidConfig`, `StorageFailed`, `Closed`.
        """
        self._check_open()
        with self._reloading:
            before = self._shared.config
            given = load(self.path, self._given, os.environ)
            after = merged(before, given)
            done = compared(before, after, given)
            self._shared.live.current = after
            self._apply(after)
        return done

    def close(self) -> None:
        """Close every collection. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            opened = [*self._collections.values(), *self._replaced]
            self._collections.clear()
        for one in opened:
            one.close()
        self._shared.executor.close()
        self._shared.cached.close()
        self._shared.maps.close()
        buffers.process.detach(self._buffers)
        self._shared.embedding_cache.close()

    def _apply(self, config: Config) -> None:
        """What is not read at each use."""
        shared = self._shared
        shared.executor.reruns.share = config.live_recall_share
        shared.embedding_cache.size_bytes_max = config.embedding_cache_bytes_max
        shared.cached.keep_for(config.query_cache_seconds)
        if shared.memory.limit_bytes != config.memory_budget:
            shared.memory.allow(config.memory_budget)
            shared.cached.shrink()
            buffers.process.let_go()
        with self._lock:
            opened = list(self._collections.values())
        for one in opened:
            one.reconfigured()

    def _opened(self, name: str, ingredients: Ingredients) -> Collection:
        """The collection, opened once; with these ingredients, unless it is open already."""
        with self._lock:
            found = self._unchanged(name) if isinstance(name, str) else None
        if found is not None:
            return found
        folder = self._existing(name)
        with self._lock:
            opened = self._collections.get(name)
            stamp = record.stamp(folder.collection_file)  # of before it is read
            made = record.read(folder)
            self._records[name] = folder.collection_file, stamp
            if opened is None or opened.closed or opened.uuid != made.uuid:
                if opened is not None:
                    self._replaced.append(opened)  # somebody may still search it; closed with the database
                opened = Collection(folder, made, self._shared, ingredients)
                self._collections[name] = opened
            return opened

    def _unchanged(self, name: str) -> Collection | None:
        """The collection, if it is open and its record is still the file that was read."""
        opened = self._collections.get(name)
        if opened is None or opened.closed:
            return None
        file, stamp = self._records[name]
        return opened if stamp is not None and record.stamp(file) == stamp else None

    def _make_folder(self, made: CollectionRecord) -> None:
        """Make the collection's folder under another name and rename it: it is there whole or not at all."""
        final = self.path / made.name
        if final.exists():
            raise CollectionExists(
                f"{self.path} has a collection {made.name!r} already; open it with collection({made.name!r})", name=made.name
            )
        temporary = CollectionFolder(self.path / f".{made.name}-{uuid4().hex[:8]}")
        with files.storage_errors(final):
            temporary.generations.mkdir(parents=True)
            try:
                Journal(temporary.journal).create()
                record.write(temporary, made)
                temporary.path.rename(final)
            except OSError:
                if not final.exists():
                    raise
                raise CollectionExists(f"{self.path} has a collection {made.name!r} already", name=made.name) from None
            finally:
                shutil.rmtree(temporary.path, ignore_errors=True)
            files.sync_folder(self.path)

    def _existing(self, name: str) -> CollectionFolder:
        check_collection_name(name)
        folder = CollectionFolder(self.path / name)
        with files.storage_errors(folder.path):
            exists = folder.collection_file.is_file()
        if not exists:
            there = self.collections()
            near = get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(there)}" if there else "there is none yet"
            raise UnknownCollection(f"{self.path} has no collection {name!r}; {hint}", name=name, nearest=near[0] if near else None)
        return folder

    def _check_open(self, *, writes: bool = False) -> None:
        if self._closed:
            raise Closed(f"the database {self.path} is closed", path=self.path)
        if writes and self._shared.read_only:
            raise ReadOnly(f"the database {self.path} was opened with read_only=True", path=self.path)
