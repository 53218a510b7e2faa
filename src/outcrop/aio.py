"""The same database for asyncio: every call runs on a thread of its own, and is awaited.

>>> import asyncio, tempfile
>>> from outcrop import aio
>>> async def main() -> list[str]:
...     async with await aio.open(tempfile.mkdtemp()) as db:
...         rocks = await db.create_collection("rocks", embedder="none")
...         await rocks.upsert({"id": "slate", "text": "Slate splits into thin layers."})
...         return [hit.document_id for hit in await rocks.search("a rock that splits")]
>>> asyncio.run(main())
['slate']

Nothing is written anew here: a method is the one of `Database` or `Collection`, with its arguments, its answer and its errors.
What is handed in (a progress sink, an embedder of yours) is called on the thread. To cancel a call is to stop waiting: what has
begun goes on, but for a write whose documents come from an async iterator: it fails, since they do not come any more. A build also
takes `cancel`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeAlias, TypeVar, cast, overload

import msgspec

from outcrop import database
from outcrop.collection import Collection, Where
from outcrop.config import Config
from outcrop.database import Database
from outcrop.errors import IllegalState
from outcrop.model import Document, GenerationInfo, RollbackPlan, Running
from outcrop.open_collection import GenerationLike

__all__ = ["AsyncCollection", "AsyncDatabase", "open"]

_THREADS = 8
_FED_AHEAD_MAX = 256
_PAGE_DOCUMENTS, _PAGE_CHARACTERS = 256, 1_000_000
_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_S = TypeVar("_S")
AnySource: TypeAlias = (
    str
    | os.PathLike[str]
    | Document
    | Mapping[str, Any]
    | Iterable[Document]
    | Iterable[Mapping[str, Any]]
    | AsyncIterable[Document]
    | AsyncIterable[Mapping[str, Any]]
)


async def open(  # noqa: A001 - aio.open reads best
    path: str | os.PathLike[str] | None = None, *, config: Config | None = None, read_only: bool = False, threads: int = _THREADS
) -> AsyncDatabase:
    """As `outcrop.open`. At most so many `threads` work for the database at once; further calls wait."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="outcrop-aio")
    opening = functools.partial(database.open, path, config=config, read_only=read_only)
    return AsyncDatabase(await _on_thread(pool, opening), pool)


class _Adapter(Protocol[_S]):
    """What stands for a thing of the other interface, `sync`."""

    sync: _S
    _pool: ThreadPoolExecutor


class _Fed(Protocol[_P, _R_co]):
    """A method whose source may come from an async iterator."""

    def __get__(self, instance: object, owner: type | None = None) -> _FedCall[_P, _R_co]: ...


class _FedCall(Protocol[_P, _R_co]):
    def __call__(self, source: AnySource | None = None, /, *args: _P.args, **options: _P.kwargs) -> Coroutine[Any, Any, _R_co]: ...


def _awaited(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _R]]:
    """The method as a coroutine."""

    @functools.wraps(method)
    async def call(self: _Adapter[_S], /, *args: _P.args, **options: _P.kwargs) -> _R:
        return await _on_thread(self._pool, functools.partial(method, self.sync, *args, **options))

    return call


def _opened(
    method: Callable[Concatenate[Database, _P], Collection],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, AsyncCollection]]:
    """The method as a coroutine, and the collection that it gives likewise."""
    awaited = _awaited(method)

    @functools.wraps(method)
    async def call(self: AsyncDatabase, /, *args: _P.args, **options: _P.kwargs) -> AsyncCollection:
        return AsyncCollection(await awaited(self, *args, **options), self._pool)

    return call


def _fed(method: Callable[Concatenate[Collection, Any, _P], _R]) -> _Fed[_P, _R]:
    """The method as a coroutine, which also takes its documents, the first argument, from an async iterator."""
    awaited: Callable[..., Coroutine[Any, Any, _R]] = _awaited(method)
    name = list(inspect.signature(method).parameters)[1]

    @functools.wraps(method)
    async def call(self: AsyncCollection, /, *args: Any, **options: Any) -> _R:
        source = args[0] if args else options.get(name)
        if not isinstance(source, AsyncIterable):
            return await awaited(self, *args, **options)
        async with _Feed(source) as documents:
            if args:
                return await awaited(self, documents, *args[1:], **options)
            return await awaited(self, **{**options, name: documents})

    return cast(_Fed[_P, _R], call)


class AsyncCollection:
    """A `Collection`, which is `sync`. Get one from `AsyncDatabase`."""

    def __init__(self, sync: Collection, pool: ThreadPoolExecutor) -> None:
        self.sync = sync
        self.name = sync.name
        self._pool = pool

    def __repr__(self) -> str:
        return f"Async{self.sync!r}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def uuid(self) -> str:
        """As `Collection.uuid`."""
        return self.sync.uuid

    @property
    def closed(self) -> bool:
        """As `Collection.closed`."""
        return self.sync.closed

    warm = _awaited(Collection.warm)
    search = _awaited(Collection.search)
    search_many = _awaited(Collection.search_many)
    upsert = _fed(Collection.upsert)
    upsert_many = _fed(Collection.upsert_many)
    delete = _awaited(Collection.delete)
    update_metadata = _awaited(Collection.update_metadata)
    get = _awaited(Collection.get)
    count = _awaited(Collection.count)
    build = _fed(Collection.build)
    promote = _awaited(Collection.promote)
    compare = _awaited(Collection.compare)
    vector_map = _awaited(Collection.vector_map)
    place_on_map = _awaited(Collection.place_on_map)
    reconfigured = _awaited(Collection.reconfigured)
    optimize = _awaited(Collection.optimize)
    gc = _awaited(Collection.gc)
    verify = _awaited(Collection.verify)
    repair = _awaited(Collection.repair)
    history = _awaited(Collection.history)
    generations = _awaited(Collection.generations)
    damaged = _awaited(Collection.damaged)
    stats = _awaited(Collection.stats)
    insights = _awaited(Collection.insights)
    forget_queries = _awaited(Collection.forget_queries)
    use = _awaited(Collection.use)

    async def active(self) -> GenerationInfo | None:
        """As `Collection.active`, which reads a file."""
        return await _on_thread(self._pool, lambda: self.sync.active)

    @overload
    async def rollback(
        self, to: GenerationLike | None = None, *, dry_run: Literal[False] = False, allow_lexical: bool = False
    ) -> GenerationInfo: ...
    @overload
    async def rollback(
        self, to: GenerationLike | None = None, *, dry_run: Literal[True], allow_lexical: bool = False
    ) -> RollbackPlan: ...
    async def rollback(
        self, to: GenerationLike | None = None, *, dry_run: bool = False, allow_lexical: bool = False
    ) -> GenerationInfo | RollbackPlan:
        """As `Collection.rollback`."""
        call: Callable[..., GenerationInfo | RollbackPlan] = self.sync.rollback
        return await _on_thread(self._pool, functools.partial(call, to, dry_run=dry_run, allow_lexical=allow_lexical))

    async def scan(self, where: Where | None = None) -> AsyncIterator[Document]:
        """As `Collection.scan`, for `async for`. Documents come in pages of at most 256."""
        pages = _Pages(self.sync.scan(where))
        try:
            while page := await _on_thread(self._pool, pages.next):
                for document in page:
                    yield document
        finally:
            await asyncio.shield(_on_thread(self._pool, pages.close))

    async def close(self) -> None:
        """As `Collection.close`."""
        await asyncio.to_thread(self.sync.close)  # not on a thread that searches and writes may keep


class AsyncDatabase:
    """A `Database`, which is `sync`. Open one with `outcrop.aio.open`."""

    def __init__(self, sync: Database, pool: ThreadPoolExecutor) -> None:
        self.sync = sync
        self._pool = pool

    def __repr__(self) -> str:
        return f"Async{self.sync!r}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def path(self) -> Path:
        """As `Database.path`."""
        return self.sync.path

    @property
    def mode(self) -> str:
        """As `Database.mode`."""
        return self.sync.mode

    @property
    def running(self) -> Running:
        """As `Database.running`."""
        return self.sync.running

    @property
    def config(self) -> Config:
        """As `Database.config`."""
        return self.sync.config

    @property
    def read_only(self) -> bool:
        """As `Database.read_only`."""
        return self.sync.read_only

    reload = _awaited(Database.reload)
    collections = _awaited(Database.collections)
    create_collection = _opened(Database.create_collection)
    collection = _opened(Database.collection)
    drop_collection = _awaited(Database.drop_collection)

    async def close(self) -> None:
        """As `Database.close`."""
        await asyncio.to_thread(self.sync.close)


async def _on_thread(pool: ThreadPoolExecutor, call: Callable[[], _R]) -> _R:
    """What the call gives, on a thread of the pool, with this task's context variables."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(call))


class _Pages:
    """A scan in pages. A page may be being read when the loop has stopped waiting for it, and the scan is to be closed."""

    def __init__(self, documents: Iterator[Document]) -> None:
        self._documents = documents
        self._reading = threading.Lock()

    def next(self) -> list[Document]:
        """The next page; empty at the end."""
        page: list[Document] = []
        characters = 0
        with self._reading:
            for document in self._documents:
                page.append(document)
                characters += len(document.text)
                if len(page) == _PAGE_DOCUMENTS or characters > _PAGE_CHARACTERS:
                    break
        return page

    def close(self) -> None:
        """Let go of what the scan reads."""
        with self._reading:
            self._documents.close()  # type: ignore[attr-defined]  # it is a generator


class _End(msgspec.Struct, frozen=True):
    """The end of a feed, and what ended it too early."""

    error: Exception | None


class _Feed:
    """Brings the items of an async iterator from the loop to the thread that reads them, few at a time ahead of it."""

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source = source
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._room = asyncio.Semaphore(_FED_AHEAD_MAX)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Iterator[Any]:
        self._pump = asyncio.create_task(self._fill())
        return self._items()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pump.cancel()
        await asyncio.wait([self._pump])
        if not self._pump.cancelled():
            self._pump.exception()  # the thread has raised it

    async def _fill(self) -> None:
        end = _End(IllegalState("nobody waits for this write any more: what its documents come from was cancelled"))
        iterator = aiter(self._source)
        try:
            async for item in iterator:
                await self._room.acquire()
                self._waiting.put(item)
            end = _End(None)
        except Exception as error:
            end = _End(error)
            raise
        finally:
            self._waiting.put(end)
            if hasattr(iterator, "aclose"):
                await iterator.aclose()

    def _items(self) -> Iterator[Any]:
        """The items, on the thread."""
        while not isinstance(item := self._waiting.get(), _End):
            self._loop.call_soon_threadsafe(self._room.release)
            yield item
        if item.error is not None:
            raise item.error
