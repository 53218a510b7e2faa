"""The collector of garbage: removes the generations that are not kept any more and what crashes left, and trims the journal.

What any process has open is never removed. A generation is first renamed, under the writer lock and with its lease to ourselves, so
that nobody can find it; what follows may be cut short and is finished by the next collection.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec

from outcrop import file_locks, files
from outcrop.config import Config
from outcrop.documents import Documents
from outcrop.engines import registry
from outcrop.errors import CollectionLocked, OutcropError
from outcrop.generations import keeping, leases, locks
from outcrop.generations.journal import Journal
from outcrop.generations.keeping import REMOVED_PREFIX, Fate, Situation
from outcrop.generations.layout import MANIFEST, QUARANTINED, CollectionFolder, GenerationName, parse_name

_TRIES = 3


class GcItem(msgspec.Struct, frozen=True):
    """One thing in a collection's folder. `kind` is "generation", "build" (unfinished), "leftover" (of a crash) or "unknown"."""

    path: str
    kind: keeping.Kind
    generation: int | None
    size_bytes: int
    reason: str


class GcReport(msgspec.Struct, frozen=True):
    """What was removed (with `dry_run`: would be), what stays, and why; and how many of the journal's entries went with it."""

    removed: tuple[GcItem, ...]
    kept: tuple[GcItem, ...]
    journal_entries: int
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """The size of what was removed."""
        return sum(item.size_bytes for item in self.removed)

    @property
    def kept_bytes(self) -> int:
        """The size of what stays: generations, builds, leftovers and what is unknown."""
        return sum(item.size_bytes for item in self.kept)


def survey(folder: CollectionFolder, config: Config) -> GcReport:
    """What `collect` would do now. Takes no lock and changes nothing."""
    found = keeping.fates(keeping.situation(folder, config, building=file_locks.is_locked(folder.build_lock)))
    lowest = floor(folder, without=[fate.name for fate in found if fate.goes and fate.name is not None])
    journal = Journal(folder.journal)
    items = [(fate.goes, _item(fate, _size_bytes(fate.path))) for fate in found]
    return GcReport(
        removed=tuple(item for goes, item in items if goes),
        kept=tuple(item for goes, item in items if not goes),
        journal_entries=0 if lowest is None else journal.entry_count(0) - journal.entry_count(lowest),
        dry_run=True,
    )


def collect(folder: CollectionFolder, config: Config) -> GcReport:
    """Remove what is not kept any more, and trim the journal. Readers never wait for it, writers only while folders are renamed.

    What cannot be removed stays and says why. Raises `CollectionLocked`, `Damaged` (the journal), `StorageFailed`.
    """
    return _collected(folder, config, keeping.fates)


def give_up(folder: CollectionFolder, config: Config, name: GenerationName) -> GcReport:
    """Remove one archived or ready generation although it is kept, and trim the journal: for a journal that has grown too large.

    The report holds nothing else. The active generation stays, and so does one that is open anywhere, as when it is promoted.
    """

    def fate(now: Situation) -> list[Fate]:
        found = [one for one in keeping.fates(now) if one.name == name]
        return [keeping.given_up(now, one) for one in found]

    return _collected(folder, config, fate)


def destroy_dropped(path: Path, config: Config) -> list[str]:
    """Remove the folder of a collection that was dropped, and its tables elsewhere; why what is left of these is left.

    Their places stay noted in the folder, and nothing else does. May be done again.
    """
    left = []
    for generation in sorted(CollectionFolder(path).generations.glob("*")):
        try:
            registry.drop(generation, config)
            with files.storage_errors(generation):
                _remove(generation)
        except OutcropError as error:
            left.append(error.message)
            with suppress(OutcropError):
                registry.keep_only_places(generation)
    with files.storage_errors(path):
        for child in path.iterdir() if left else [path]:
            if child != CollectionFolder(path).generations:
                _remove(child)
    return left


def trim(folder: CollectionFolder, *, without: Collection[GenerationName] = ()) -> int:
    """Forget the journal's entries that nobody needs any more, but for generations in `without`; how many there were."""
    lowest = floor(folder, without=without)
    return 0 if lowest is None else Journal(folder.journal).trim(lowest)


def floor(folder: CollectionFolder, *, without: Collection[GenerationName] = ()) -> int | None:
    """The last sequence that every generation holds and no running build needs: up to it the journal may be forgotten.

    None if a generation cannot be read, or there is none. Generations in `without` do not count, nor do damaged ones that were set
    aside. Sequences only grow, so the answer stays right while others write, build and promote.
    """
    without_numbers = {name.number for name in without}
    # Holds first: a build that ends meanwhile has its manifest before it gives up its hold.
    needed = [hold.sequence for hold in Journal(folder.journal).holds() if hold.generation not in without_numbers]
    promoted = {promotion.generation for promotion in Journal(folder.journal).promotions()}
    for name in folder.names():
        directory = folder.generation(name)
        sealed = (directory / MANIFEST).exists() or name.number in promoted
        if name in without or not sealed:
            continue
        try:
            with closing(Documents(directory)) as documents:
                needed.append(documents.sequence())
        except OutcropError:
            if not (directory / QUARANTINED).exists():
                return None
    return min(needed, default=None)


def _collected(folder: CollectionFolder, config: Config, decide: Callable[[Situation], list[Fate]]) -> GcReport:
    with _locked(folder, config) as building:
        found = decide(keeping.situation(folder, config, building=building))
        moved = [(fate, *_put_aside(folder, fate)) for fate in found]
        if any(path != fate.path for fate, path, _ in moved):  # durable before they are touched: whole or not found after a crash
            files.sync_folder(folder.generations)
        if not building:
            _release_holds(folder)
        trimmed = trim(folder)
    removed, kept = [], []
    for fate, path, refusal in moved:
        size_bytes = _size_bytes(path)
        reason = refusal if refusal is not None or not fate.goes else _destroyed(config, path)
        if fate.goes and reason is None:
            removed.append(_item(fate, size_bytes))
        else:
            kept.append(_item(fate if reason is None else msgspec.structs.replace(fate, path=path, reason=reason), size_bytes))
    return GcReport(removed=tuple(removed), kept=tuple(kept), journal_entries=trimmed, dry_run=False)


@contextmanager
def _locked(folder: CollectionFolder, config: Config) -> Iterator[bool]:
    """Hold the writer lock, and the build lock unless somebody builds: whether that is so.

    Against the order of locks, and safe because it does not wait for the build lock: a build that begins must not wait for as long
    as this waits for writers.
    """
    with locks.writing(folder, config.lock_timeout_seconds), ExitStack() as stack:
        building = False
        try:
            stack.enter_context(locks.held(folder.build_lock, timeout_seconds=0, action="being built"))
        except CollectionLocked:
            building = True
        yield building


def _put_aside(folder: CollectionFolder, fate: Fate) -> tuple[Path, str | None]:
    """Rename a generation's folder so that nobody finds it any more. Where it lies now, and why it stays after all."""
    if not fate.goes or fate.name is None:
        return fate.path, None
    aside = folder.generations / f"{REMOVED_PREFIX}{fate.name}"
    with leases.try_exclusive(fate.path) as free:
        if not free:
            return fate.path, f"open in a process; otherwise it would go: {fate.reason}"
        try:
            fate.path.rename(aside)
        except OSError as error:  # on Windows, if it was opened just now
            return fate.path, f"cannot be removed: {error.strerror}"
    return aside, None


def _destroyed(config: Config, path: Path) -> str | None:
    """Remove what is out of everybody's sight; None, or why that did not succeed."""
    name = parse_name(path.name.removeprefix(REMOVED_PREFIX))
    left: list[str] = []
    try:
        if name is not None:
            registry.drop(path, config)
        elif keeping.was_a_collection(path):
            left = destroy_dropped(path, config)
        with files.storage_errors(path):
            if not left:
                _remove(path)
    except OutcropError as error:
        left.append(error.message)
    return f"cannot be removed to the end, and will be tried again: {left[0]}" if left else None


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(_TRIES):  # another collector may be at it too
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue
        else:
            return


def _release_holds(folder: CollectionFolder) -> None:
    """Under the build lock: a hold of a generation that is not there is nobody's."""
    journal = Journal(folder.journal)
    there = {name.number for name in folder.names()}
    for hold in journal.holds():
        if hold.generation not in there:
            journal.release(hold.generation)


def _item(fate: Fate, size_bytes: int) -> GcItem:
    number = None if fate.name is None else fate.name.number
    return GcItem(path=str(fate.path), kind=fate.kind, generation=number, size_bytes=size_bytes, reason=fate.reason)


def _size_bytes(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return files.size_bytes(path)
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
