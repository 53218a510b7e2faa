"""`outcrop build`: a generation from documents."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, current_thread, main_thread
from traceback import clear_frames
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from rich.panel import Panel
from rich.text import Text

from outcrop import Collection, Database, Gate, GenerationInfo
from outcrop.errors import BuildCancelled, NothingToBuild, UnknownCollection
from outcrop.generations.layout import CollectionFolder
from outcrop.index_values import IndexKind, OptimizeFor
from outcrop.model import Metric
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, GateFile, gate_of
from outcrop.surfaces.cli.program import Invocation, WrongUsage, invocation
from outcrop.surfaces.cli.progress import Skipped, duration, shown
from outcrop.surfaces.cli.rendering import facts, note, plain, recipe_rows, show, write_json
from outcrop.surfaces.cli.standard_input import STDIN, standard_input


def build(
    context: typer.Context,
    collection: CollectionName,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A .jsonl, .csv or .tsv file (also .gz, .bz2, .xz, .zst), a .parquet file, a BEIR folder, or a folder of .md,"
            " .txt, .html; or - for JSON lines on the standard input, plain or compressed. Without it: the documents of the active"
            " generation.",
            show_default=False,
        ),
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Put it live when it is built.")] = False,
    gate: GateFile = None,
    keep_writes: Annotated[
        bool,
        typer.Option("--keep-writes", help="Keep what was written directly (upsert, delete), besides the source."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where a build like this was interrupted, or begin anew.")
    ] = True,
    embedder: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="auto, static, minilm, openai:MODEL, or none: words only.", show_default=False),
    ] = None,
    chunker: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="auto, markdown, tokens or none; with sizes markdown:320/48.", show_default=False),
    ] = None,
    analyzer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The texts' language: english, german, ..., or simple.", show_default=False)
    ] = None,
    index: Annotated[IndexKind | None, typer.Option(help="The vector index; auto goes by size.", show_default=False)] = None,
    target_recall: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of the ten nearest, the index finds so many: 0.97.", show_default=False)
    ] = None,
    optimize_for: Annotated[
        OptimizeFor | None, typer.Option(help="What is least among the indexes that reach it.", show_default=False)
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="builtin, lancedb, or lancedb+builtin; else what the mode says.", show_default=False),
    ] = None,
    metric: Annotated[
        Metric | None, typer.Option(help="How vectors compare; for a new collection only.", show_default=False)
    ] = None,
    on_error: Annotated[Literal["stop", "skip"], typer.Option(help="What to do about a bad record.")] = "stop",
    json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, and print the generation's number only.")] = False,
) -> None:
    """Build a generation beside the live one.

    Searches and writes go on meanwhile. The generation holds every write made since the build began, and searches see it when it
    is promoted. Whatever fails, they are as they were. Interrupted (Ctrl-C, a crash), the same command goes on where it was.

    Examples:
      outcrop build papers corpus.jsonl --promote
      outcrop build papers - --promote < corpus.jsonl.gz
      outcrop build papers --embedder minilm        (the same documents, embedded anew)
      outcrop build papers corpus.jsonl --promote --gate gate.toml
      outcrop build notes docs/ --chunker markdown:200 --on-error skip
    """
    call = invocation(context)
    if gate is not None and not promote:
        raise WrongUsage("--gate decides about a promotion: say --promote too, or give it to outcrop promote")
    asked = gate_of(gate)
    recipe: dict[str, Any] = {"embedder": embedder, "chunker": chunker, "analyzer": analyzer, "index": index}
    recipe |= {"target_recall": target_recall, "optimize_for": optimize_for}
    given: dict[str, Any] = {name: value for name, value in recipe.items() if value is not None}
    ways: dict[str, Any] = {"engine": engine, "keep_writes": keep_writes, "resume": resume, "on_error": on_error}
    makes = source is not None
    with _no_folder_left(call, makes=makes), call.opened(read_only=not makes and not call.db.exists(), makes=makes) as db:
        opened, is_new = _opened_or_created(db, collection, source, metric, given)
        with _no_collection_left(db, collection, is_new=is_new):
            built = _build(opened, source, {**given, **ways}, quiet=quiet)
        if is_new and not quiet:
            note(f"created: collection {collection} in {plain(str(db.path))}", style="bold green")
        if promote:
            built = _promote(opened, built, asked)
    _report(call, collection, built, json=json, quiet=quiet)


def _opened_or_created(
    db: Database, name: str, source: str | None, metric: Metric | None, given: dict[str, Any]
) -> tuple[Collection, bool]:
    """The collection, and whether it had to be made."""
    try:
        opened = db.collection(name)
    except UnknownCollection as error:
        if source is None:
            raise NothingToBuild(
                f"{error}; to make it, give its documents: outcrop build {name} SOURCE", collection=name
            ) from error
        return db.create_collection(name, metric="cosine" if metric is None else metric, **given), True
    if metric is not None and metric not in {one.recipe.metric for one in opened.generations()}:
        raise WrongUsage(f"--metric: a collection's metric is chosen when it is made, and {name} is there already")
    return opened, False


def _build(collection: Collection, source: str | None, given: dict[str, Any], *, quiet: bool) -> GenerationInfo:
    skipped = Skipped()
    try:
        with shown(quiet=quiet) as progress, _cancelled_by_interrupt() as cancel:
            read = standard_input() if source == STDIN else source
            return collection.build(read, on_skip=skipped.told, progress=progress, cancel=cancel, **given)
    finally:
        skipped.close()


@contextmanager
def _cancelled_by_interrupt() -> Iterator[Event]:
    """An event that Ctrl-C sets. A second Ctrl-C interrupts as ever."""
    cancel = Event()

    def asked(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            signal.default_int_handler(number, frame)
        cancel.set()
        with suppress(RuntimeError):  # the interrupt came in the middle of another line
            note("stopping: the build ends at its next step; Ctrl-C again stops at once", style="bold yellow")

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield cancel
        return
    signal.signal(signal.SIGINT, asked)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _no_folder_left(call: Invocation, *, makes: bool) -> Iterator[None]:
    """Take back the database's folder if a failed first build made it. What it embedded meanwhile stays: it was paid for."""
    made_folder = makes and not call.db.exists()
    try:
        yield
    except BaseException:
        if made_folder:
            with suppress(OSError):  # it is not empty
                call.db.rmdir()
        raise


@contextmanager
def _no_collection_left(db: Database, name: str, *, is_new: bool) -> Iterator[None]:
    """Take back a new collection whose build failed, unless what the build has prepared is kept."""
    folder = CollectionFolder(db.path / name)
    before = set(folder.names())
    try:
        yield
    except BaseException as error:
        if set(folder.names()) - before:
            _say_kept(error)
        elif is_new:
            clear_frames(error.__traceback__)  # an interrupt may have kept one of them from letting go of a lock
            db.drop_collection(name)
        raise


def _say_kept(error: BaseException) -> None:
    """What a build has prepared outlives it, if it may succeed the next time."""
    if not isinstance(error, BuildCancelled):  # which says so itself
        note("kept: what the build has prepared; the same command goes on from there", style="bold")


def _promote(collection: Collection, built: GenerationInfo, gate: Gate | None) -> GenerationInfo:
    """Put it live. What was built stays if that is refused."""
    try:
        return collection.promote(built.number, gate=gate)
    except BaseException:
        note(f"built: generation {built.number} of {collection.name} is ready, and not active", style="bold yellow")
        raise


def _report(call: Invocation, collection: str, built: GenerationInfo, *, json: bool, quiet: bool) -> None:
    if json:
        write_json(built)
        return
    if quiet:
        print(built.number)
        return
    rate = built.document_count / built.build_seconds if built.build_seconds else 0.0
    took = f"{duration(built.build_seconds)}, {rate:,.0f} documents/s"
    state = "active: searches see it now" if built.status == "active" else f"{built.status}: searches do not see it yet"
    rows = [("status", state), *recipe_rows(built), ("took", took)]
    show(Panel(facts(rows), title=Text(f"{collection}: generation {built.number}"), title_align="left", expand=False))
    active = built.status == "active"
    command = f"{call.command('search')} {collection} QUERY" if active else f"{call.command('promote')} {collection} {built.number}"
    show(Text(f"Next: {plain(command)}", style="dim"))
