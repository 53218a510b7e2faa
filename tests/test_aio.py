"""The asyncio door."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import outcrop
from outcrop import Collection, Config, Database, Document, aio
from outcrop.aio import AsyncCollection, AsyncDatabase
from outcrop.embedding.hashing import HashingEmbedder
from outcrop.errors import BuildCancelled, DuplicateDocument, InvalidQuery, UnknownCollection

WORDS = ("slate", "basalt", "granite", "chalk", "shale")
PROPERTIES = {"uuid", "closed", "path", "mode", "running", "config", "read_only"}
Use = Callable[[AsyncCollection], Coroutine[Any, Any, None]]


def rocks(count: int) -> list[Document]:
    return [Document(f"d{n}", f"{WORDS[n % 5]} number {n}", metadata={"n": n}) for n in range(count)]


async def streamed(documents: list[Document]) -> AsyncIterator[Document]:
    for document in documents:
        await asyncio.sleep(0)
        yield document


@pytest.fixture
def in_rocks(tmp_path: Path) -> Callable[[Use], None]:
    """Runs a coroutine function with an empty collection."""

    def run(use: Use) -> None:
        async def main() -> None:
            async with await aio.open(tmp_path / "kb", config=Config.test()) as db:
                await use(await db.create_collection("rocks", embedder="hashing:64"))

        asyncio.run(main())

    return run


@pytest.mark.parametrize(("sync", "adapter"), [(Collection, AsyncCollection), (Database, AsyncDatabase)])
def test_everything_public_is_there_with_the_same_arguments(sync: type, adapter: type) -> None:
    names = {name for name in vars(sync) if not name.startswith("_")}
    assert names > PROPERTIES & names
    for name in names:
        offered, original = inspect.getattr_static(adapter, name), inspect.getattr_static(sync, name)
        if name in PROPERTIES:
            assert isinstance(offered, property)
            continue
        assert inspect.iscoroutinefunction(offered) or inspect.isasyncgenfunction(offered), name
        if not isinstance(original, property):
            assert [*inspect.signature(offered).parameters.values()][1:] == [*inspect.signature(original).parameters.values()][
                1:
            ], name


def test_answers_are_those_of_the_other_interface(in_rocks: Callable[[Use], None]) -> None:
    async def use(collection: AsyncCollection) -> None:
        await collection.upsert(rocks(20))
        hits = await collection.search("slate", k=3, where="n < 10")
        assert [hit.id for hit in hits] == [hit.id for hit in collection.sync.search("slate", k=3, where="n < 10")] != []
        found = await asyncio.gather(*(collection.search(word) for word in WORDS * 10))
        assert [one[0].text.split()[0] for one in found] == [*WORDS * 10]
        assert [one[0].id for one in await collection.search_many(WORDS)] == [one[0].id for one in found[:5]]
        assert (await collection.get("d3"))[0].id == "d3"
        assert (await collection.delete(where="n >= 10")).deleted == 10
        active = await collection.active()
        assert active == collection.sync.active
        assert active is not None
        assert await collection.count() == 10

    in_rocks(use)


def test_errors_are_those_of_the_other_interface(tmp_path: Path) -> None:
    async def main() -> None:
        async with await aio.open(tmp_path, config=Config.test()) as db:
            with pytest.raises(UnknownCollection):
                await db.collection("nothing")
            collection = await db.create_collection("rocks", embedder="none")
            await collection.upsert(rocks(1))
            with pytest.raises(InvalidQuery):
                await collection.search("")
            with pytest.raises(TypeError, match="limit"):
                await collection.search("slate", limit=3)  # type: ignore[call-arg]
        with pytest.raises(outcrop.errors.Closed):
            await db.collections()

    asyncio.run(main())


def test_documents_come_from_an_async_iterator(in_rocks: Callable[[Use], None]) -> None:
    async def use(collection: AsyncCollection) -> None:
        built = await collection.build(streamed(rocks(700)), promote=True)
        assert (built.document_count, built.status) == (700, "active")
        more = [Document(f"e{n}", "gneiss") for n in range(300)]
        assert (await collection.upsert(documents=streamed(more))).upserted == 300  # type: ignore[call-arg]
        assert len(await collection.search("gneiss")) == 10

    in_rocks(use)


def test_an_error_in_the_iterator_is_raised_and_nothing_is_written(in_rocks: Callable[[Use], None]) -> None:
    async def failing() -> AsyncIterator[Document]:
        yield rocks(1)[0]
        raise ConnectionError("gone")

    async def use(collection: AsyncCollection) -> None:
        await collection.upsert(Document("first", "chalk"))
        with pytest.raises(ConnectionError, match="gone"):
            await collection.upsert(failing())
        with pytest.raises(DuplicateDocument):
            await collection.upsert(streamed([*rocks(2), *rocks(2), *rocks(2000)]))
        assert await collection.count() == 1

    in_rocks(use)


def test_the_iterator_does_not_run_ahead_of_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "_FED_AHEAD_MAX", 4)
    made = []

    async def counted() -> AsyncIterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    async def main() -> None:
        async with aio._Feed(counted()) as items:
            for _ in range(50):
                await asyncio.sleep(0)
            assert made == [0, 1, 2, 3, 4], "four wait, and one has no room yet"
            assert next(items) == 0
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(made) == 6

    asyncio.run(main())


def test_a_cancelled_write_from_an_iterator_writes_nothing(in_rocks: Callable[[Use], None]) -> None:
    async def use(collection: AsyncCollection) -> None:
        begun, closed = asyncio.Event(), asyncio.Event()

        async def endless() -> AsyncIterator[Document]:
            try:
                yield rocks(1)[0]
                begun.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        await collection.upsert(Document("first", "chalk"))
        for write in (collection.upsert(endless()), collection.build(endless(), promote=True)):
            begun.clear()
            closed.clear()
            task = asyncio.ensure_future(write)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert closed.is_set()
        assert await collection.count() == 1
        built = await collection.build(streamed(rocks(3)))  # waits until the cancelled one has let go
        assert built.document_count == 3

    in_rocks(use)


def test_to_cancel_a_call_is_to_stop_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        waiting, loop = asyncio.Event(), asyncio.get_running_loop()

        class Slow(HashingEmbedder):
            def embed_query(self, text: str) -> NDArray[np.float32]:
                if text == "slow":
                    loop.call_soon_threadsafe(waiting.set)
                    asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(30)
                return super().embed_query(text)

        let_go = asyncio.Event()
        async with await aio.open(tmp_path, config=Config.test(), threads=2) as db:
            collection = await db.create_collection("rocks", embedder=Slow(64))
            await collection.upsert(rocks(5))
            task = asyncio.create_task(collection.search("slow"))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await collection.search("slate"))[0].document_id == "d0"
            let_go.set()

    asyncio.run(main())


def test_a_build_ends_when_its_event_is_set(in_rocks: Callable[[Use], None]) -> None:
    async def use(collection: AsyncCollection) -> None:
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(BuildCancelled):
            await collection.build(streamed(rocks(3)), cancel=cancel)

    in_rocks(use)


def test_a_scan_comes_in_pages_and_lets_go_when_it_is_left(
    in_rocks: Callable[[Use], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "_PAGE_DOCUMENTS", 7)

    async def use(collection: AsyncCollection) -> None:
        await collection.upsert(rocks(30))
        assert [document.id async for document in collection.scan("n < 20")] == [f"d{n}" for n in range(20)]
        async with aclosing(collection.scan()) as documents:
            async for _ in documents:
                break
        current = collection.sync._open.openings._current
        assert current is not None
        assert current[1].searches == 0

    in_rocks(use)


def test_context_variables_of_the_task_are_seen_on_the_thread(tmp_path: Path) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen = []

    class Asking(HashingEmbedder):
        def embed_query(self, text: str) -> NDArray[np.float32]:
            seen.append(who.get())
            return super().embed_query(text)

    async def main() -> None:
        async with await aio.open(tmp_path, config=Config.test()) as db:
            collection = await db.create_collection("rocks", embedder=Asking(64))
            await collection.upsert(rocks(1))
            who.set("somebody")
            await collection.search("slate")

    asyncio.run(main())
    assert seen[-1] == "somebody"
