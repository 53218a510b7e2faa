"""Builds a generation beside the live one: read, chunk, embed, write, index, verify, catch up, and last the manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from time import monotonic

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import files
from outcrop.builds import checkpoint, unfinished, vector_log
from outcrop.builds.cancelling import CancellableEmbedder, Cancelling
from outcrop.builds.checkpoint import Checkpoint
from outcrop.builds.filling import Filled, fill
from outcrop.builds.plan import BuildPlan, Job
from outcrop.builds.presence import presence
from outcrop.builds.unfinished import Left
from outcrop.builds.verification import verify_counts
from outcrop.documents import Documents
from outcrop.embedding import Embedder, probe_texts, probe_vectors
from outcrop.engines import registry
from outcrop.errors import BuildCancelled, BuildFailed, Closed, Damaged, InvalidInput, NothingToBuild, OutcropError, StorageFailed
from outcrop.generations import locks, manifest
from outcrop.generations.journal import Journal, now
from outcrop.generations.layout import FORMAT, MANIFEST, GenerationName
from outcrop.generations.manifest import Manifest, Probe
from outcrop.ingest import Meter, fingerprint
from outcrop.writes.preparing import Batch, Preparer, batch_bytes_max, batches

__all__ = ["BuildPlan", "build", "embedder_probes"]

_log = logging.getLogger("outcrop")
_LOCK_SECONDS_MAX = 1.0  # to wait for another build makes no sense; the collector has the lock for a moment
_FAULTS_OF_THE_DATA = (InvalidInput, NothingToBuild, BuildFailed, Damaged, Closed)


def build(plan: BuildPlan) -> GenerationName:
    """Build a generation; on return it is ready.

    If it is interrupted (cancelled, killed, an embedder or a disk that fails, an exception of the source's own), what it has
    prepared is kept, and the next build that cuts and embeds alike prepares none of it again. Whatever else fails leaves nothing
    behind.

    Raises the source's own errors (`on_error="stop"`), `NothingToBuild`, `CollectionLocked` (soon, if another build runs),
    `BuildCancelled`, `BuildFailed`, `EmbeddingFailed`, `StorageFailed`.
    """
    timeout_seconds = min(plan.config.lock_timeout_seconds, _LOCK_SECONDS_MAX)
    with locks.held(plan.folder.build_lock, timeout_seconds=timeout_seconds, action="being built"):
        journal = Journal(plan.folder.journal)
        unfinished.tidy(plan.folder, journal)
        age_days_max = plan.config.abandoned_build_days if plan.resume else -1.0
        left = unfinished.look(plan.folder, plan.recipe, age_days_max=age_days_max)
        name = journal.next_generation()
        began = monotonic()
        _tell(plan, name, "build_began", source=plan.source.description)
        try:
            _build(plan, journal, left, name)
        except BaseException as error:
            _tell(plan, name, "build_failed", error=type(error).__name__, seconds=round(monotonic() - began, 3))
            kept = _kept_or_removed(plan, journal, name, error)
            if isinstance(error, BuildCancelled):
                raise _cancelled(plan, name, resumable=kept) from None
            raise
        with suppress(OutcropError):  # the generation is ready; the next build lets go of what is held in vain
            journal.release(name.number)
    _tell(plan, name, "build_ended", seconds=round(monotonic() - began, 3))
    return name


def embedder_probes(embedder: Embedder) -> tuple[Probe, ...]:
    """What the embedder makes of the probe texts, for the manifest."""
    vectors: NDArray[np.float32] = probe_vectors(embedder)
    return tuple(Probe(text=text, vector=tuple(map(float, vector))) for text, vector in zip(probe_texts(), vectors, strict=True))


def _tell(plan: BuildPlan, name: GenerationName, event: str, **values: object) -> None:
    collection = plan.folder.path.name
    known = {"event": event, "collection": collection, "generation": name.number, **values}
    _log.info("%s: generation %d of %r", event.replace("_", " "), name.number, collection, extra=known)


def _build(plan: BuildPlan, journal: Journal, left: Left, name: GenerationName) -> None:
    clock = monotonic()
    begun = _begin(plan, journal, left, name)
    cancelling = Cancelling(plan.cancel)
    embedder = plan.embedder if plan.embedder is None or plan.cancel is None else CancellableEmbedder(plan.embedder, cancelling)
    preparer = Preparer(plan.recipe, embedder, plan.chunker, bare=plan.bare)
    read = cancelling.checked(batches(plan.source.records(), plan.config.batch_documents, batch_bytes_max(plan.ingestion)))
    first = _until_a_document(read)
    bad = next((bad for batch in first for bad in batch.bad), None)
    if bad is not None and plan.on_error == "stop":
        raise bad.error
    if not first:
        raise NothingToBuild(f"{plan.source.description} holds no documents", source=plan.source.description)
    job = Job(
        plan=plan,
        journal=journal,
        directory=plan.folder.generation(name),
        begun=msgspec.structs.replace(begun, recipe=preparer.settle(first[-1])),
        left=left,
        cancelling=cancelling,
        meter=Meter(
            plan.progress,
            size_bytes=plan.source.size_bytes,
            document_count=plan.source.document_count,
            memory=plan.ingestion,
        ),
    )
    _make_room(job)
    filled = fill(job, preparer, _joined(first, read))
    job.meter.begin("catch up")
    plan.catch_up(name, job.begun.recipe)
    cancelling.check()
    job.meter.begin("verify")
    _finish(job, name, filled, seconds=monotonic() - clock)
    job.meter.finish()


def _begin(plan: BuildPlan, journal: Journal, left: Left, name: GenerationName) -> Checkpoint:
    """Settle with which write the build begins, before anything is read, and hold the later ones.

    A build of the very files of an interrupted one begins where that one began: what was deleted since stays deleted.
    """
    mark = fingerprint(plan.source)
    sequence = unfinished.held_sequence(journal, left, plan.recipe, mark)
    if sequence is None:
        sequence = plan.begin(name.number)
    else:
        journal.hold(sequence, name.number)
    return Checkpoint(recipe=plan.recipe, fingerprint=mark, sequence=sequence)


def _make_room(job: Job) -> None:
    """Now that the source turned out to be good, remove what cannot be gone on from; of the rest, what is only the index's."""
    if job.left.useless:
        # Under the writer lock: the first write of a collection makes a generation too, without the build lock.
        with locks.writing(job.plan.folder, job.plan.config.lock_timeout_seconds):
            still_unfinished = set(unfinished.unfinished(job.plan.folder))
            for useless in job.left.useless:
                if useless in still_unfinished:
                    unfinished.remove(job.plan.folder, job.journal, useless, job.plan.config)
    for usable in job.left.usable:
        unfinished.shrink(usable.directory, job.plan.config)
    with files.storage_errors(job.directory):
        job.directory.mkdir(parents=True)


def _finish(job: Job, name: GenerationName, filled: Filled, *, seconds: float) -> None:
    """Check what the generation holds now, and write its manifest."""
    plan, directory, recipe = job.plan, job.directory, job.begun.recipe
    with closing(Documents(directory)) as stored:
        head = stored.head()
        if head.sequence > job.begun.sequence:  # writes were carried over
            engine = registry.engine(recipe.engine, plan.config, directory=directory)
            with closing(engine.open(recipe, directory)) as index:
                verify_counts(index, stored)
        compared = presence(plan.folder, stored)
        probes = () if plan.embedder is None else embedder_probes(plan.embedder)
        for folder in (directory, plan.folder.generations):
            files.sync_folder(folder)
        manifest.write(
            directory,
            Manifest(
                format=FORMAT,
                number=name.number,
                uuid=name.uuid,
                created_at=now(),
                recipe=recipe,
                source=plan.source.description.encode("utf-8", "backslashreplace").decode(),  # a path may hold any bytes
                sequence=job.begun.sequence,
                document_count=head.documents,
                chunk_count=head.chunks,
                skipped=filled.skipped,
                unembedded=stored.unembedded(),
                vector_index=filled.stats.vector_index,
                recall=filled.stats.recall,
                build_seconds=round(seconds, 3),
                fields=filled.stats.fields,
                probes=probes,
                parts=tuple(stored.parts()),
                vanished=compared.vanished,
                revived=compared.revived,
                written_since=None if plan.kept is None else plan.kept.since,
                index_choice=filled.stats.choice,
            ),
        )
    with suppress(OSError):  # of no more use, and removed by the next build otherwise
        (directory / vector_log.FILE_NAME).unlink(missing_ok=True)


def _kept_or_removed(plan: BuildPlan, journal: Journal, name: GenerationName, error: BaseException) -> bool:
    """After a failure keep what the next build can go on from, or remove everything; whether it was kept."""
    directory = plan.folder.generation(name)
    if (directory / MANIFEST).exists():  # it came to its end after all
        return False
    if _is_interruption(plan, error) and directory.is_dir() and checkpoint.read(directory) is not None:
        unfinished.shrink(directory, plan.config)
        return True
    unfinished.remove(plan.folder, journal, name, plan.config)
    return False


def _is_interruption(plan: BuildPlan, error: BaseException) -> bool:
    """Whether the same build may well succeed the next time. On a full disk, what has cost nothing only takes room."""
    if isinstance(error, StorageFailed):
        return plan.embedder is not None
    return not isinstance(error, _FAULTS_OF_THE_DATA)


def _cancelled(plan: BuildPlan, name: GenerationName, *, resumable: bool) -> BuildCancelled:
    kept = "what it has prepared is kept: the same build, begun again, goes on from there" if resumable else "nothing was changed"
    return BuildCancelled(
        f"the build of generation {name.number} of {plan.folder.path.name!r} was cancelled; {kept}",
        generation=name.number,
        resumable=resumable,
    )


def _until_a_document(read: Iterator[Batch]) -> list[Batch]:
    """The first batches, up to the first that has a usable record: from it the recipe's dimension is settled."""
    begun = []
    for batch in read:
        begun.append(batch)
        if batch.records:
            break
    return begun


def _joined(first: Sequence[Batch], rest: Iterator[Batch]) -> Iterator[Batch]:
    yield from first
    yield from rest
