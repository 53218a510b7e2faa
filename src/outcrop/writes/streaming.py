"""A stream of documents into a live collection: batch by batch, each a write of its own, the next prepared while one is written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from operator import attrgetter

import msgspec

from outcrop.errors import InvalidInput, NotYetVisible
from outcrop.freed_memory import Holes
from outcrop.ingest import BadRecord, Bound, Meter, OnError, ProgressSink, Source, StageClock, check_on_error, staged
from outcrop.memory import Account
from outcrop.model import WriteResult
from outcrop.writes import accepting
from outcrop.writes.accepting import Cut, Place, Ready
from outcrop.writes.preparing import Batch, batch_bytes_max, batches

_STAGES = ("read", "chunk", "embed", "write")
_QUEUED_BATCHES = 2


class WrittenBatch(msgspec.Struct, frozen=True):
    """What became of one batch of `upsert_many`; its write is durable.

    `documents` is how many records were read for it: of these `skipped` were bad, and `superseded` came again later in the batch.
    `sequence` is None if nothing of it was left to write. `visible` is False if the write is accepted and cannot be seen yet: then
    nobody knows what it replaced, and the error follows.
    """

    documents: int
    sequence: int | None
    upserted: int
    replaced: int
    chunks: int
    superseded: int
    skipped: int
    visible: bool = True


class BulkResult(msgspec.Struct, frozen=True):
    """What `upsert_many` did, in all its writes. `sequence` is the last one's, None if there was none; see `WrittenBatch`."""

    documents: int
    write_count: int
    sequence: int | None
    upserted: int
    replaced: int
    chunks: int
    superseded: int
    skipped: int


class Stream(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What is to be written and how: `wrote` follows every write, `on_batch` is told of every batch."""

    source: Source
    batch_documents: int
    skip: int
    on_error: OnError
    on_skip: Callable[[BadRecord], None] | None
    on_batch: Callable[[WrittenBatch], None] | None
    progress: ProgressSink | None
    ingestion: Account
    wrote: Callable[[WriteResult], object]

    def __post_init__(self) -> None:
        check_on_error(self.on_error)
        if self.batch_documents < 1 or self.skip < 0:
            found = f"batch_documents is {self.batch_documents} and skip {self.skip}"
            raise InvalidInput(f"upsert_many: {found}; use at least 1 and 0")


def upsert_many(place: Place, stream: Stream) -> BulkResult:
    """Write every batch of a stream. What was written before an error stays."""
    source = stream.source
    meter = Meter(stream.progress, size_bytes=source.size_bytes, document_count=source.document_count, memory=stream.ingestion)
    clocks = [StageClock(name) for name in _STAGES]
    meter.begin("write", clocks)
    holes = Holes()
    total = BulkResult(documents=0, write_count=0, sequence=None, upserted=0, replaced=0, chunks=0, superseded=0, skipped=0)
    with closing(_prepared(place, stream, clocks[:-1])) as prepared:
        for one in prepared:
            with clocks[-1]:
                for written in _written(place, stream, one):
                    total = _added(total, written)
                    if stream.on_batch is not None:
                        stream.on_batch(written)
                holes.give_back()
            meter.advance(
                documents=written.documents - written.skipped,
                chunks=written.chunks,
                skipped=written.skipped,
                position_bytes=one.batch.position_bytes,
            )
    meter.finish()
    return total


class _Underway(msgspec.Struct, frozen=True, eq=False):
    """A batch on its way: read, cut or ready to be written. `count` is how many records were read for it."""

    batch: Batch
    count: int
    work: Cut | Ready | None = None

    @property
    def size_bytes(self) -> int:
        return self.batch.size_bytes if self.work is None else self.work.prepared.size_bytes


def _prepared(place: Place, stream: Stream, clocks: Sequence[StageClock]) -> Generator[_Underway, None, None]:
    """The batches with their pieces and vectors."""

    def cut(one: _Underway) -> _Underway:
        return msgspec.structs.replace(one, work=accepting.cut(place, one.batch))

    def embedded(one: _Underway) -> _Underway:
        assert isinstance(one.work, Cut)
        return msgspec.structs.replace(one, work=accepting.embedded(one.work))

    records = islice(stream.source.records(), stream.skip, None)
    read = batches(records, stream.batch_documents, batch_bytes_max(stream.ingestion))
    bound = Bound(account=stream.ingestion, weigh=attrgetter("size_bytes"))
    return staged(map(_latest, read), cut, embedded, queue_size=_QUEUED_BATCHES, clocks=clocks, bound=bound)


def _latest(batch: Batch) -> _Underway:
    """Of documents with the same id the last one."""
    latest = {record.document.id: record for record in batch.records}
    return _Underway(batch=msgspec.structs.replace(batch, records=list(latest.values())), count=len(batch.records) + len(batch.bad))


def _written(place: Place, stream: Stream, one: _Underway) -> Iterator[WrittenBatch]:
    """What became of a batch; an error after that if it is in and cannot be seen."""
    ready = one.work
    assert isinstance(ready, Ready)
    result = None
    while result is None:
        bad = ready.prepared.bad
        if bad and stream.on_error == "stop":
            raise bad[0].error
        done = WrittenBatch(
            documents=one.count,
            sequence=None,
            upserted=0,
            replaced=0,
            chunks=0,
            superseded=one.count - len(one.batch.records) - len(one.batch.bad),
            skipped=len(bad),
        )
        try:
            result = accepting.put(place, ready)
        except NotYetVisible as error:
            yield msgspec.structs.replace(done, sequence=error.sequence, visible=False)
            raise
        if result is None:  # another generation was promoted meanwhile
            ready = accepting.embedded(accepting.cut(place, one.batch))
    if stream.on_skip is not None:
        for one_bad in bad:
            stream.on_skip(one_bad)
    if result.upserted:
        stream.wrote(result)
        done = msgspec.structs.replace(
            done, sequence=result.sequence, upserted=result.upserted, replaced=result.replaced, chunks=result.chunks
        )
    yield done


def _added(total: BulkResult, written: WrittenBatch) -> BulkResult:
    return BulkResult(
        documents=total.documents + written.documents,
        write_count=total.write_count + (written.sequence is not None),
        sequence=total.sequence if written.sequence is None else written.sequence,
        upserted=total.upserted + written.upserted,
        replaced=total.replaced + written.replaced,
        chunks=total.chunks + written.chunks,
        superseded=total.superseded + written.superseded,
        skipped=total.skipped + written.skipped,
    )
