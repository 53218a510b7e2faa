"""Documents out of iterables, also asynchronous ones, whose items are Documents, dicts or Arrow record batches."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from outcrop.errors import InvalidDocument, InvalidSource
from outcrop.ingest.arrow import is_batch, rows
from outcrop.ingest.fields import document_from
from outcrop.ingest.records import RECORD_FAULTS, BadRecord, Record, bad_record
from outcrop.model import Document

if TYPE_CHECKING:
    import asyncio

_Item = TypeVar("_Item")
_FOREIGN_LOOP = ("different loop", "different event loop")


class Items(msgspec.Struct, frozen=True, eq=False):
    """The documents of an iterable. An exception that the iterable itself raises is the caller's and passes through unchanged."""

    items: Iterable[Any]
    document_count: int | None = None
    description: str = "an iterable of documents"
    size_bytes: None = None

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in order; the number in `origin` is 1-based. See `Source.records`."""
        for number, item in enumerate(_flat(self.items), start=1):
            origin = f"item {number}"
            try:
                yield Record(item if isinstance(item, Document) else _from_item(item), origin)
            except RECORD_FAULTS as error:
                yield bad_record(origin, error)


def stepped(items: AsyncIterable[_Item]) -> Iterator[_Item]:
    """The items of an asynchronous iterable, run in an event loop of its own by whichever thread asks for the next one.

    Raises `InvalidSource` when it waits for something that belongs to another event loop.
    """
    import asyncio  # here: to import it is a tenth of importing all of Outcrop, and few need it

    loop = asyncio.new_event_loop()
    iterator = aiter(items)
    try:
        while True:
            try:
                item = _run(loop, lambda: anext(iterator))
            except StopAsyncIteration:
                return
            except RuntimeError as error:
                if any(sign in str(error) for sign in _FOREIGN_LOOP):
                    raise InvalidSource(
                        "the asynchronous source waits for something that belongs to another event loop, and it is run in one of"
                        " its own: make what it uses inside of it, or read it in your loop and give a list"
                    ) from error
                raise
            yield item
    finally:
        _run(loop, lambda: _closed(loop, iterator))
        loop.close()


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if is_batch(item):
            yield from rows(item)
        else:
            yield item


def _from_item(item: object) -> Document:
    if not isinstance(item, Mapping):
        raise InvalidDocument(f"a document is a Document or a dict, found {type(item).__name__}: {item!r:.60}")
    return document_from(item)


def _run(loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[_Item]]) -> _Item:
    """What comes of `work` in the loop. Where the thread runs another loop, which waits for us, a thread beside it does it."""
    from concurrent.futures import ThreadPoolExecutor

    async def awaited() -> _Item:
        return await work()

    if not _in_a_loop():
        return loop.run_until_complete(awaited())
    with ThreadPoolExecutor(1, "outcrop-read-async") as beside:
        return beside.submit(lambda: loop.run_until_complete(awaited())).result()


def _in_a_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _closed(loop: asyncio.AbstractEventLoop, iterator: AsyncIterator[Any]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
    await loop.shutdown_asyncgens()
