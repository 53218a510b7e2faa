"""What interrupted builds left: which of them the next build goes on from, and how the others go.

An unfinished generation is a folder without a manifest. Of one that can be resumed only the documents with their chunks and the log
of their vectors are of use: the next build reads its source again and takes from there what would be cut and embedded alike (see
`salvage`). So it does not matter what the source is, nor where it was cut off.
"""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from outcrop.builds import checkpoint, vector_log
from outcrop.builds.checkpoint import Checkpoint
from outcrop.config import Config
from outcrop.documents import FILE_NAME, Documents
from outcrop.engines import registry
from outcrop.errors import OutcropError
from outcrop.generations.journal import Journal
from outcrop.generations.layout import MANIFEST, CollectionFolder, GenerationName
from outcrop.judging.differences import marked
from outcrop.model import Recipe

_log = logging.getLogger("outcrop")
_SECONDS_PER_DAY = 86_400
_USED_AT_ONCE_MAX = 4


class Unfinished(msgspec.Struct, frozen=True):
    """An interrupted build that can be resumed."""

    name: GenerationName
    directory: Path
    checkpoint: Checkpoint


class Left(msgspec.Struct, frozen=True):
    """What is found when a build begins: interrupted builds to go on from, the newest first, and what is of no use any more."""

    usable: tuple[Unfinished, ...]
    useless: tuple[GenerationName, ...]


def unfinished(folder: CollectionFolder) -> list[GenerationName]:
    """The folders of builds that did not finish, oldest first. Without the build lock one of them may be running.

    A generation that was ever to be promoted had a manifest: if that is missing now, it is damaged, and not ours to throw away.
    """
    promoted = {promotion.generation for promotion in Journal(folder.journal).promotions()}
    return [name for name in folder.names() if name.number not in promoted and not (folder.generation(name) / MANIFEST).exists()]


def look(folder: CollectionFolder, recipe: Recipe, *, age_days_max: float) -> Left:
    """Sort what interrupted builds left. Changes nothing."""
    found, useless = [], []
    for name in reversed(unfinished(folder)):
        directory = folder.generation(name)
        held = checkpoint.read(directory) if _age_days(directory) <= age_days_max else None
        if held is None or not _cut_and_embed_alike(held.recipe, recipe):
            useless.append(name)
        else:
            found.append(Unfinished(name=name, directory=directory, checkpoint=held))
    usable = _needed(found)[:_USED_AT_ONCE_MAX]
    return Left(usable=tuple(usable), useless=(*useless, *(one.name for one in found if one not in usable)))


def held_sequence(journal: Journal, left: Left, recipe: Recipe, fingerprint: str | None) -> int | None:
    """The sequence at which an interrupted build of this recipe and this very source began, if what was written since is held."""
    holds = {hold.generation: hold.sequence for hold in journal.holds()}
    begun = [
        one.checkpoint.sequence
        for one in left.usable
        if fingerprint is not None
        and one.checkpoint.fingerprint == fingerprint
        and _same(one.checkpoint.recipe, recipe)
        and holds.get(one.name.number) == one.checkpoint.sequence
    ]
    return min(begun, default=None)


def tidy(folder: CollectionFolder, journal: Journal) -> None:
    """Remove what builds leave that were killed just before their end or just after it: logs of vectors, holds of no generation."""
    building = {name.number for name in unfinished(folder)}
    for name in folder.names():
        if name.number not in building:
            with suppress(OSError):
                (folder.generation(name) / vector_log.FILE_NAME).unlink(missing_ok=True)
    for hold in journal.holds():
        if hold.generation not in building:
            journal.release(hold.generation)


def shrink(directory: Path, config: Config) -> None:
    """Leave of an interrupted build only what the next one can use: its index is made anew anyway."""
    if not _dropped(directory, config):
        return
    kept = (vector_log.FILE_NAME, FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm")
    for entry in directory.iterdir():
        if entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def remove(folder: CollectionFolder, journal: Journal, name: GenerationName, config: Config) -> None:
    """Remove an unfinished generation and let go of what was held for it. Begun, it is never taken for one that can be resumed."""
    directory = folder.generation(name)
    with suppress(OSError):
        (directory / FILE_NAME).unlink(missing_ok=True)
    if _dropped(directory, config):
        shutil.rmtree(directory, ignore_errors=True)
    with suppress(OutcropError):  # a full disk; the next build tidies up
        journal.release(name.number)


def _dropped(directory: Path, config: Config) -> bool:
    """Whether the engines have removed what they keep elsewhere. If not, the folder is kept, for the collector."""
    try:
        registry.drop(directory, config)
    except OutcropError as error:
        _log.warning("what is left of a build in %s stays until the next gc: %s", directory, error)
        return False
    return True


def _age_days(directory: Path) -> float:
    """How long nothing was written."""
    written = [path.stat().st_mtime for path in (directory, *directory.glob(f"{FILE_NAME}*")) if path.exists()]
    return (time.time() - max(written, default=0.0)) / _SECONDS_PER_DAY


def _cut_and_embed_alike(made: Recipe, wanted: Recipe) -> bool:
    """Whether what one prepared serves the other: how it is indexed does not matter."""
    return (made.chunker, made.embedder) == (wanted.chunker, wanted.embedder)


def _same(made: Recipe, wanted: Recipe) -> bool:
    """Whether both are one recipe. Without an embedder the first document settles the dimension."""
    settled = msgspec.structs.replace(wanted, dimension=made.dimension) if wanted.embedder is None else wanted
    return made == settled


def _needed(newest_first: list[Unfinished]) -> list[Unfinished]:
    """Those that hold something that no other one holds.

    A build that was interrupted before it prepared anything itself holds only copies; one that came as far as the one before it
    holds all of that.
    """
    needed: list[Unfinished] = []
    for one in newest_first:
        copies = one.checkpoint.prepared == 0 and one is not newest_first[-1]
        if not copies and not any(_holds_all_of(newer.directory, one.directory) for newer in needed):
            needed.append(one)
    return needed


def _holds_all_of(newer: Path, older: Path) -> bool:
    """Whether every document of the older build is in the newer one too."""
    try:
        with closing(Documents(newer)) as these, closing(Documents(older)) as those:
            return all(there for _, there in marked(those.ids(), these.ids()))
    except OutcropError:
        return False
