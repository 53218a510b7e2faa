"""What a build needs to know, and a build that is on its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import msgspec

from outcrop.builds.cancelling import Cancelling
from outcrop.builds.checkpoint import Checkpoint
from outcrop.builds.kept_writes import KeptWrites
from outcrop.builds.unfinished import Left
from outcrop.config import Config
from outcrop.embedding import Embedder
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.ingest import BadRecord, Chunker, Meter, OnError, ProgressSink, Source
from outcrop.memory import Account
from outcrop.model import Recipe


class BuildPlan(msgspec.Struct, frozen=True, eq=False):
    """Everything a build needs to know. `recipe.dimension` may still be open: the first document's vector settles it.

    `ingestion` is the memory of what is under way. `begin` is called before the source is read, with the new generation's number:
    it returns the sequence of the last write that need not be carried over, and holds the later ones for that number. It is not
    called when an interrupted build of the same files goes on. `catch_up` is called once the generation is sealed and verified,
    with its name and its settled recipe: it applies the writes made meanwhile. `kept` says what of the source was written
    directly, or None if it is all new. `bare`: documents may lack the vector that the others have. `cancel`, once set, ends the
    build.
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
    ingestion: Account
    begin: Callable[[int], int]
    catch_up: Callable[[GenerationName, Recipe], None]
    kept: KeptWrites | None = None
    bare: bool = False
    resume: bool = True
    cancel: Event | None = None


class Job(msgspec.Struct, frozen=True, eq=False):
    """A build on its way: into which folder, begun with what (the recipe is settled), going on from which interrupted builds."""

    plan: BuildPlan
    journal: Journal
    directory: Path
    begun: Checkpoint
    left: Left
    cancelling: Cancelling
    meter: Meter
