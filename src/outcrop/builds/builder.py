"""Builds a generation beside the live one: read, chunk, embed, write, seal, verify, and last the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from time import monotonic
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import files
from outcrop.builds.verification import verify
from outcrop.builds.writing import Writer
from outcrop.config import Config
from outcrop.documents import Documents, DocumentsWriter
from outcrop.embedding import Embedder, probe_texts, probe_vectors
from outcrop.engines import registry
from outcrop.engines.protocol import IndexStats
from outcrop.errors import NothingToBuild
from outcrop.generations import locks, manifest
from outcrop.generations.journal import Journal, now
from outcrop.generations.layout import FORMAT, MANIFEST, CollectionFolder, GenerationName
from outcrop.generations.manifest import Manifest, Probe
from outcrop.ingest import BadRecord, Chunker, Meter, ProgressSink, Source, staged
from outcrop.model import Recipe
from outcrop.writes.preparing import Batch, Prepared, Preparer, batches

OnError = Literal["stop", "skip"]
_QUEUED_BATCHES = 4


class BuildPlan(msgspec.Struct, frozen=True, eq=False):
    """Everything a build needs to know. `recipe.dimension` may still be open: the first document's vector settles it.

    `begin` is given the generation's number before anything is read: it says at which sequence the build begins, and holds what is
    written from then on. `catch_up` brings the sealed generation to the journal's end.
    """

    folder: CollectionFolder
    source: Source
    recipe: Recipe
    embedder: Embedder | None
    chunker: Chunker
    config: Config
    on_error: OnError
    on_skip: Callable[[BadRecord], None] | None
    progress: ProgressSink | None
    begin: Callable[[int], int]
    catch_up: Callable[[GenerationName, Recipe], None]


def build(plan: BuildPlan) -> GenerationName:
    """Build a generation; on return it is ready. Whatever fails, the folder of the unfinished generation is removed again.

    Raises the source's own errors (`on_error="stop"`), `NothingToBuild`, `CollectionLocked`, `BuildFailed`, `StorageFailed`.
    """
    with locks.held(plan.folder.build_lock, timeout_seconds=plan.config.lock_timeout_seconds, action="being built"):
        _remove_abandoned(plan.folder)
        journal = Journal(plan.folder.journal)
        name = journal.next_generation()
        directory = plan.folder.generation(name)
        try:
            sequence = plan.begin(name.number)
            preparer = Preparer(plan.recipe, plan.embedder, plan.chunker)
            read = batches(plan.source, plan.config.batch_documents)
            begun = _until_a_document(read)
            if not begun:
                raise NothingToBuild(f"{plan.source.description} holds no documents", source=plan.source.description)
            recipe = preparer.settle(begun[-1])
            with files.storage_errors(directory):
                directory.mkdir(parents=True)
            with closing(staged(chain(begun, read), preparer.chunk, preparer.embed, queue_size=_QUEUED_BATCHES)) as prepared:
                _fill(plan, recipe, name, prepared, sequence=sequence)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            journal.release(name.number)
            raise
        journal.release(name.number)
    return name


def _fill(plan: BuildPlan, recipe: Recipe, name: GenerationName, prepared: Iterator[Prepared], *, sequence: int) -> None:
    began = monotonic()
    directory = plan.folder.generation(name)
    meter = Meter(plan.progress, size_bytes=plan.source.size_bytes, document_count=plan.source.document_count)
    meter.begin("read, chunk, embed, write")
    with closing(DocumentsWriter.create(directory)) as documents:
        index = registry.engine(recipe.engine, plan.config).create(recipe, directory)
        try:
            writer = Writer(documents, index, sequence=sequence, on_error=plan.on_error, on_skip=plan.on_skip)
            for batch in prepared:
                wrote = writer.write(batch)
                meter.advance(
                    documents=wrote.documents, chunks=wrote.chunks, skipped=wrote.skipped, position_bytes=batch.position_bytes
                )
            if not writer.document_count:
                raise NothingToBuild(
                    f"{plan.source.description} holds no usable document ({writer.skipped} were skipped)", skipped=writer.skipped
                )
            meter.begin("index")
            documents.seal(sequence=sequence)
            stats = index.seal()
            meter.begin("verify")
            with closing(Documents(directory)) as stored:
                verify(index, stored, writer.counts, analyzer=recipe.analyzer)
                meter.begin("catch up")
                plan.catch_up(name, recipe)
                seconds = monotonic() - began
                _write_manifest(plan, recipe, name, writer=writer, stats=stats, stored=stored, seconds=seconds, sequence=sequence)
        finally:
            index.close()
    meter.finish()


def _write_manifest(
    plan: BuildPlan,
    recipe: Recipe,
    name: GenerationName,
    *,
    writer: Writer,
    stats: IndexStats,
    stored: Documents,
    seconds: float,
    sequence: int,
) -> None:
    directory = plan.folder.generation(name)
    probes = () if plan.embedder is None else embedder_probes(plan.embedder)
    files.sync_folder(directory)
    files.sync_folder(plan.folder.generations)
    manifest.write(
        directory,
        Manifest(
            format=FORMAT,
            number=name.number,
            uuid=name.uuid,
            created_at=now(),
            recipe=recipe,
            source=plan.source.description.encode("utf-8", "backslashreplace").decode(),  # a path may hold any bytes
            sequence=sequence,
            document_count=writer.document_count,
            chunk_count=writer.chunk_count,
            skipped=writer.skipped,
            unembedded=0,
            vector_index=stats.vector_index,
            recall=stats.recall,
            build_seconds=round(seconds, 3),
            fields=stats.fields,
            probes=probes,
            parts=tuple(stored.parts()),
        ),
    )


def embedder_probes(embedder: Embedder) -> tuple[Probe, ...]:
    """What the embedder makes of the probe texts, for the manifest."""
    vectors: NDArray[np.float32] = probe_vectors(embedder)
    return tuple(Probe(text=text, vector=tuple(map(float, vector))) for text, vector in zip(probe_texts(), vectors, strict=True))


def _remove_abandoned(folder: CollectionFolder) -> None:
    """Remove what killed builds left. The build lock is ours, so a folder without a manifest has no builder.

    One that was ever to be promoted had a manifest: if that is missing now, the folder is damaged, and not ours to throw away.
    """
    promoted = {promotion.generation for promotion in Journal(folder.journal).promotions()}
    for name in folder.names():
        directory = folder.generation(name)
        if name.number not in promoted and not (directory / MANIFEST).exists():
            shutil.rmtree(directory, ignore_errors=True)


def _until_a_document(read: Iterator[Batch]) -> list[Batch]:
    """The first batches, up to the first that has a usable record: from it the recipe's dimension is settled."""
    begun = []
    for batch in read:
        begun.append(batch)
        if batch.records:
            break
    return begun
