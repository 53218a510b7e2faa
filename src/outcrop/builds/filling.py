"""The long part of a build: everything that is read goes through chunking and embedding into rows and index, which is sealed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from operator import attrgetter

import msgspec

from outcrop.builds import unfinished
from outcrop.builds.plan import Job
from outcrop.builds.salvage import SalvagingPreparer, opened_stores, pays
from outcrop.builds.sample_queries import sample_queries
from outcrop.builds.vector_log import VectorLogWriter
from outcrop.builds.verification import verify
from outcrop.builds.writing import Faults, Writer
from outcrop.documents import Documents, DocumentsWriter
from outcrop.engines import registry
from outcrop.engines.protocol import GenerationIndex, IndexStats
from outcrop.errors import NothingToBuild
from outcrop.ingest import Bound, StageClock, staged
from outcrop.writes.preparing import Batch, Preparer

_log = logging.getLogger("outcrop")
_STAGES = ("read", "chunk", "embed", "write")
_QUEUED_BATCHES = 4


class Filled(msgspec.Struct, frozen=True):
    """What was sealed: what the index says of itself, and how many records were left out."""

    stats: IndexStats
    skipped: int


def fill(job: Job, preparer: Preparer, read: Iterator[Batch]) -> Filled:
    """Write everything that is read, seal it and verify it. Interrupted builds that were gone on from are removed on the way."""
    recipe, directory = job.begun.recipe, job.directory
    with closing(DocumentsWriter.create(directory)) as documents:
        index = registry.engine(recipe.engine, job.plan.config).create(recipe, directory)
        try:
            writer = _written(job, preparer, read, (documents, index))
            job.cancelling.check()
            job.meter.begin("index")
            if job.plan.kept is not None:
                documents.note_gone(job.plan.kept.gone(), job.begun.sequence)
            documents.seal(sequence=job.begun.sequence)
            stats = index.seal(partial(sample_queries, directory, job.plan.embedder))
            _warn(stats)
            job.cancelling.check()
            job.meter.begin("verify")
            with closing(Documents(directory)) as stored:
                verify(index, stored, writer.counts, analyzer=recipe.analyzer)
        finally:
            index.close()
    return Filled(stats=stats, skipped=writer.skipped)


def _warn(stats: IndexStats) -> None:
    """Say so if the vector index finds less than it should; the generation is ready all the same."""
    choice = stats.choice
    if choice is not None and not choice.met:
        _log.warning(
            "the vector index, %s, has a recall@10 of %.3f and not the %.3g wanted (%s). Build with a lower target_recall, another"
            " index, or optimize_for='latency'",
            stats.vector_index,
            choice.recall,
            choice.target_recall,
            choice.reason,
        )


def _written(job: Job, preparer: Preparer, read: Iterator[Batch], into: tuple[DocumentsWriter, GenerationIndex]) -> Writer:
    plan = job.plan
    clocks = [StageClock(name) for name in _STAGES]
    with ExitStack() as opened:
        log = None if plan.embedder is None else opened.enter_context(closing(VectorLogWriter(job.directory)))
        faults = Faults(on_error=plan.on_error, on_skip=plan.on_skip)
        writer = Writer(*into, checkpoint=job.begun, log=log, faults=faults, kept=plan.kept)
        stores = opened_stores(job.left.usable) if pays(plan.embedder, plan.chunker) else []
        for store in stores:
            opened.callback(store.close)
        salvaging = SalvagingPreparer(preparer, stores, embeds=plan.embedder is not None)
        job.meter.begin(", ".join(_STAGES), clocks)
        bound = Bound(account=plan.ingestion, weigh=attrgetter("size_bytes"))
        stages = staged(read, salvaging.chunk, salvaging.embed, queue_size=_QUEUED_BATCHES, clocks=clocks[:-1], bound=bound)
        for batch in opened.enter_context(closing(stages)):
            with clocks[-1]:
                wrote = writer.write(batch)
            job.meter.advance(
                documents=wrote.documents,
                chunks=wrote.chunks,
                skipped=wrote.skipped,
                reused=batch.reused,
                position_bytes=batch.position_bytes,
            )
    if not writer.document_count:
        found = f"{plan.source.description} holds no usable document ({writer.skipped} were skipped)"
        raise NothingToBuild(found, skipped=writer.skipped)
    for gone_on_from in job.left.usable:
        unfinished.remove(plan.folder, job.journal, gone_on_from.name, plan.config)
    return writer
