"""A build as a collection asks for it: what is not given stays as it is, and writes go on meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from threading import Event

import msgspec

from outcrop.builds.builder import BuildPlan, build
from outcrop.builds.first import make_first
from outcrop.builds.ingredients import Mixed, mix
from outcrop.builds.kept_writes import KeptWrites
from outcrop.builds.own_documents import OwnDocuments, WithKeptWrites
from outcrop.builds.stage import Stage
from outcrop.documents import Documents, DocumentsWriter
from outcrop.embedding import Embedder
from outcrop.engines import registry
from outcrop.errors import Damaged, NothingToBuild
from outcrop.generations import catalog, locks, manifest, pointer
from outcrop.generations.layout import GenerationName
from outcrop.generations.record import CollectionRecord
from outcrop.index_values import IndexKind, IndexSpec, OptimizeFor
from outcrop.ingest import BadRecord, Chunker, OnError, ProgressSink, Source, SourceLike, check_on_error, open_source
from outcrop.model import Recipe
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.writes.accepting import Live, Place, apply_pending
from outcrop.writes.applying import Target
from outcrop.writes.catching_up import catch_up
from outcrop.writes.fitting import Fitter

_log = logging.getLogger("outcrop")


class Wanted(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a caller asks of a build; None leaves a thing as the active generation has it."""

    source: SourceLike | None
    embedder: str | Embedder | None
    chunker: str | Chunker | None
    analyzer: str | None
    index: IndexKind | IndexSpec | None
    target_recall: float | None
    optimize_for: OptimizeFor | None
    engine: str
    keep_writes: bool
    on_error: OnError
    on_skip: Callable[[BadRecord], None] | None
    progress: ProgressSink | None
    resume: bool
    cancel: Event | None

    def __post_init__(self) -> None:
        check_on_error(self.on_error)


def build_generation(stage: Stage, record: CollectionRecord, wanted: Wanted) -> GenerationName:
    """Build a generation beside the live one; on return it is ready and holds every write made meanwhile."""
    mixed = mix(
        stage.ingredients,
        _to_follow(stage, record),
        wanted.engine,
        embedder=wanted.embedder,
        chunker=wanted.chunker,
        analyzer=wanted.analyzer,
        index=wanted.index,
        target_recall=wanted.target_recall,
        optimize_for=wanted.optimize_for,
    )
    began: list[int] = []
    with ExitStack() as held:
        base = held.enter_context(_base(stage, wanted))
        same_space = base is not None and base.manifest.recipe.embedder == mixed.recipe.embedder
        kept = None if base is None else KeptWrites(base.documents, base.manifest)
        recipe = mixed.recipe
        bare = wanted.source is None and same_space and recipe.embedder is None
        if bare and base is not None:  # vectors come with the documents; some may have been written without
            recipe = msgspec.structs.replace(recipe, dimension=base.manifest.recipe.dimension)
        plan = BuildPlan(
            folder=stage.folder,
            source=_source(wanted, base, kept, began, keep_vectors=same_space),
            recipe=recipe,
            embedder=stage.cached(mixed.embedder),
            chunker=mixed.chunker,
            config=stage.config,
            on_error=wanted.on_error,
            on_skip=wanted.on_skip,
            progress=wanted.progress,
            ingestion=stage.ingestion,
            begin=partial(_begin, stage, base, began),
            catch_up=partial(_catch_up, stage, mixed),
            kept=kept,
            bare=bare,
            resume=wanted.resume,
            cancel=wanted.cancel,
        )
        return build(plan)


def _to_follow(stage: Stage, record: CollectionRecord) -> CollectionRecord:
    """What a build leaves as it is: the active generation's recipe, or the collection's own where that cannot be read."""
    try:
        name = pointer.read(stage.folder)
        active = None if name is None else manifest.required(stage.folder.generation(name))
    except Damaged as error:
        _log.warning("%s; building collection %r with what it was created with", error, record.name)
        active = None
    return record if active is None else record.following(active.recipe)


def _begin(stage: Stage, base: OpenGeneration | None, began: list[int], generation: int) -> int:
    """The sequence at which a build begins, with everything after it held: as of now, or as far as the generation reaches from
    which documents are taken.

    It is noted in `began` too, for the source.
    """
    with stage.writing():
        try:
            with stage.active() as live:
                if live is not None:
                    apply_pending(stage.journal, live)
        except Damaged as error:  # what is built may take its place
            _log.warning("%s; building beside it", error)
        sequence = stage.journal.head() if base is None else base.documents.sequence()
        stage.journal.hold(sequence, generation)
    began.append(sequence)
    return sequence


def _catch_up(stage: Stage, mixed: Mixed, name: GenerationName, recipe: Recipe) -> None:
    """Bring a generation that has no manifest yet to the journal's end."""
    directory = stage.folder.generation(name)
    fitter = Fitter(recipe=recipe, embedder=lambda: stage.cached(mixed.embedder), chunker=lambda: mixed.chunker)
    applying = partial(locks.applying, directory, stage.config.lock_timeout_seconds)
    with ExitStack() as held:
        documents = held.enter_context(closing(Documents(directory)))
        writer = held.enter_context(closing(DocumentsWriter.open(directory)))
        engine = registry.engine(recipe.engine, stage.config, directory=directory)
        index = held.enter_context(closing(engine.open(recipe, directory)))
        target = Target(documents=documents, writer=lambda: writer, index=index, recipe=recipe)
        catch_up(stage.journal, Live(target=target, fitter=fitter, applying=applying))


def place(stage: Stage, record: CollectionRecord, engine: str) -> Place:
    """Where a collection's writes go."""

    def unborn() -> Fitter:
        mixed = mix(stage.ingredients, record, engine, embedder=None, chunker=None, analyzer=None, index=None)
        return Fitter(recipe=mixed.recipe, embedder=lambda: stage.cached(mixed.embedder), chunker=lambda: mixed.chunker)

    def first(recipe: Recipe) -> None:
        mixed = mix(stage.ingredients, record, engine, embedder=None, chunker=None, analyzer=None, index=None)
        make_first(stage, recipe, mixed.embedder)

    return Place(journal=stage.journal, writing=stage.writing, live=stage.active, first=first, unborn=unborn)


def _source(
    wanted: Wanted, base: OpenGeneration | None, kept: KeptWrites | None, began: list[int], *, keep_vectors: bool
) -> Source:
    if wanted.source is None:
        assert base is not None
        return OwnDocuments(base.documents, base.name.number, keep_vectors=keep_vectors, at=lambda: began[-1])
    source = open_source(wanted.source)
    if base is None or kept is None:
        return source
    return WithKeptWrites(source, base.documents, kept, keep_vectors=keep_vectors)


@contextmanager
def _base(stage: Stage, wanted: Wanted) -> Iterator[OpenGeneration | None]:
    """The active generation if documents of it are taken over: all of them, or with a source those that were written."""
    opened = stage.openings.pin_active() if wanted.source is None or wanted.keep_writes else None
    if opened is not None:
        with pinned(opened):
            yield opened
        return
    if wanted.source is None:
        ready = [one.number for one in catalog.generations(stage.folder)]
        raise NothingToBuild(
            f"collection {stage.folder.path.name!r} has no active generation whose documents could be built anew: give a source"
            + (f", or promote generation {ready[-1]} first" if ready else ""),
            collection=stage.folder.path.name,
        )
    yield None
