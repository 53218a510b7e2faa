"""What in a collection's folder stays and what may go, and why. Decides only: nothing here changes anything.

Only what is surely ours is ever given up; an unknown name stays, and is reported.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from outcrop.config import Config
from outcrop.documents import FILE_NAME
from outcrop.errors import Damaged, OutcropError, UnsupportedFormat
from outcrop.generations import catalog, leases, manifest, pointer
from outcrop.generations.journal import Journal, Promotion
from outcrop.generations.layout import (
    ACTIVE,
    BUILDS,
    COLLECTION_FILE,
    GENERATIONS,
    JOURNAL_FILE,
    MANIFEST,
    QUARANTINED,
    QUERIES,
    REFUSED,
    CollectionFolder,
    GenerationName,
    parse_name,
)
from outcrop.sqlite_files import mapped_errors, readable

REMOVED_PREFIX = ".removed-"
Kind = Literal["generation", "build", "leftover", "unknown"]

_SECONDS_PER_DAY = 86_400.0
_LEFTOVER_SECONDS_MIN = 3600.0  # younger ones may be in use: whoever makes a temporary file renames it at once
_JOURNAL_FILES = (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", f"{JOURNAL_FILE}-shm")
_OURS = frozenset(
    {COLLECTION_FILE, *_JOURNAL_FILES, ACTIVE, GENERATIONS, QUERIES, BUILDS, "build.lock", "writer.lock", "writer.queue"}
)
_TEMPORARY = re.compile(rf"\.({ACTIVE}|{re.escape(COLLECTION_FILE)}|{re.escape(MANIFEST)}|{QUARANTINED}|{REFUSED})-[0-9a-f]{{8}}")
_COLLECTION_LEFTOVER = re.compile(r"\.[a-z0-9][a-z0-9_-]{0,63}-[0-9a-f]{8}")


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one thing, and why. `name` is that of a generation's folder, whatever state it is in."""

    path: Path
    kind: Kind
    goes: bool
    reason: str
    name: GenerationName | None = None


class Situation(msgspec.Struct, frozen=True):
    """What the decisions depend on, read at one moment. `active` is None also where the pointer cannot be read."""

    folder: CollectionFolder
    config: Config
    building: bool
    active: GenerationName | None
    pointer_readable: bool
    promotions: list[Promotion]
    done: list[Promotion]


def situation(folder: CollectionFolder, config: Config, *, building: bool) -> Situation:
    """Read what the decisions depend on. `building`: whether somebody else holds the build lock."""
    try:
        active, readable_pointer = pointer.read(folder), True
        active = catalog.last_promoted(folder) if active is None else active
    except Damaged:
        active, readable_pointer = None, False
    return Situation(
        folder=folder,
        config=config,
        building=building,
        active=active,
        pointer_readable=readable_pointer,
        promotions=Journal(folder.journal).promotions(),
        done=catalog.done_promotions(folder),
    )


def fates(now: Situation) -> list[Fate]:
    """What becomes of every generation, by number, and of leftovers and unknown things in the collection's folder."""
    found = []
    for name in now.folder.names():
        with suppress(FileNotFoundError):  # removed meanwhile
            found.append(_generation(now, name))
    return [*found, *_leftovers(now.folder)]


def given_up(now: Situation, fate: Fate) -> Fate:
    """The fate of a generation that is to go though it is kept. One that is active or open stays, as one that is promoted is."""
    if fate.goes or fate.kind != "generation" or fate.name is None or leases.is_taken(fate.path):
        return fate
    if fate.name == now.active or not now.pointer_readable:
        return fate
    return msgspec.structs.replace(fate, goes=True, reason=f"given up; it was kept as {fate.reason}")


def _generation(now: Situation, name: GenerationName) -> Fate:
    directory = now.folder.generation(name)
    sealed = (directory / MANIFEST).exists()
    promoted = any(one.generation == name.number for one in now.promotions)
    kind: Kind = "generation" if sealed or promoted else "build"
    goes, reason = _decided(now, name, sealed=sealed, promoted=promoted)
    if goes and leases.is_taken(directory):
        goes, reason = False, f"open in a process; otherwise it would go: {reason}"
    return Fate(path=directory, kind=kind, goes=goes, reason=reason, name=name)


def _decided(now: Situation, name: GenerationName, *, sealed: bool, promoted: bool) -> tuple[bool, str]:
    """Whether a generation goes, and why (not): the first rule that applies."""
    directory = now.folder.generation(name)
    if name == now.active:
        return False, "active"
    if (directory / QUARANTINED).exists():
        days = _days_since_change(directory / QUARANTINED)
        return days > now.config.kept_days, f"damaged and set aside {_ago(days)}"
    if not sealed:
        return (False, "damaged: its manifest is missing") if promoted else _build(now, directory)
    try:
        created_at = manifest.required(directory).created_at
    except UnsupportedFormat:
        return False, "written by a newer Outcrop"
    except Damaged:
        return False, "damaged: its manifest cannot be read"
    if not now.pointer_readable:
        return False, "it cannot be told which generation is active; promote one to mend the pointer"
    if any(one.generation == name.number for one in now.done):
        return _archived(now, name)
    return _ready(now, name, created_at)


def _archived(now: Situation, name: GenerationName) -> tuple[bool, str]:
    """Kept while it is one of those promoted last, or was active lately."""
    lately = [one.generation for one in reversed(now.done)]
    there = {other.number for other in now.folder.names() if catalog.is_usable(now.folder, other)}
    active = None if now.active is None else now.active.number
    order = [number for number in dict.fromkeys(lately) if number in there and number != active]
    days = _days_since(_last_active_at(now.done, name.number))
    if order.index(name.number) < now.config.kept_generations:
        return False, f"archived, one of the {now.config.kept_generations} that were promoted last"
    return days > now.config.kept_days, f"archived, last active {_ago(days)}"


def _ready(now: Situation, name: GenerationName, created_at: str) -> tuple[bool, str]:
    """Kept while it is the newest that waits to be promoted, or young. One that was refused or left behind waits for nothing."""
    promoted = {one.generation for one in now.done}
    refused = [other for other in now.folder.names() if (now.folder.generation(other) / REFUSED).exists()]
    usable = [other for other in now.folder.names() if other.number not in promoted and catalog.is_usable(now.folder, other)]
    days = _days_since(created_at)
    built = f"never promoted, built {_ago(days)}"
    if name in refused:
        return days > now.config.kept_days, f"{built}, refused by a gate"
    if now.active is not None and name.number < now.active.number:
        return days > now.config.kept_days, f"{built}, and a newer one is active"
    if name == max(other for other in usable if other not in refused):
        return False, "ready to be promoted, the newest"
    return days > now.config.kept_days, f"{built}, and a newer one is ready"


def _build(now: Situation, directory: Path) -> tuple[bool, str]:
    if now.building:
        return False, "being built"
    days = min((_days_since_change(path) for path in [directory, *directory.iterdir()]), default=0.0)
    if not _can_be_resumed(directory):
        return True, "an interrupted build that cannot be resumed"
    return days > now.config.abandoned_build_days, f"an interrupted build, {_ago(days)}, kept to be resumed"


def _can_be_resumed(directory: Path) -> bool:
    """Whether a build got as far as a first checkpoint."""
    path = directory / FILE_NAME
    if not path.is_file():
        return False
    try:
        with mapped_errors(path), closing(readable(path)) as connection:
            return connection.execute("SELECT 1 FROM build").fetchone() is not None
    except OutcropError:
        return False


def _last_active_at(done: list[Promotion], number: int) -> str:
    """When another generation last took this one's place; where the record is torn, when it was last promoted itself."""
    replaced = [one for one in done if one.previous == number]
    last = (replaced if replaced else [one for one in done if one.generation == number])[-1]
    return last.intended_at if last.done_at is None else last.done_at


def _leftovers(folder: CollectionFolder) -> Iterator[Fate]:
    """What crashes left in the collection's folder and beside it, and what nobody knows."""
    for path in sorted(folder.generations.iterdir()) if folder.generations.is_dir() else []:
        if path.name.startswith(REMOVED_PREFIX) and parse_name(path.name.removeprefix(REMOVED_PREFIX)) is not None:
            yield Fate(path, "leftover", goes=True, reason="a generation that was removed, but not to the end")
        elif parse_name(path.name) is None:
            yield _unknown(path)
        else:
            yield from (_temporary(child) for child in sorted(path.glob(".*")) if _TEMPORARY.fullmatch(child.name))
    for path in sorted(folder.path.iterdir()):
        if _TEMPORARY.fullmatch(path.name):
            yield _temporary(path)
        elif path.name not in _OURS:
            yield _unknown(path)
    for path in sorted(folder.path.parent.glob(".*")):
        if _COLLECTION_LEFTOVER.fullmatch(path.name) and was_a_collection(path):
            yield _dropped(path) if _has_tables_only(path) else _temporary(path)


def _temporary(path: Path) -> Fate:
    if _seconds_since_change(path) < _LEFTOVER_SECONDS_MIN:
        return Fate(path, "leftover", goes=False, reason="temporary, and so young that it may be in use")
    return Fate(path, "leftover", goes=True, reason="left behind by a crash")


def _dropped(path: Path) -> Fate:
    return Fate(path, "leftover", goes=True, reason="a collection that was dropped, but not its LanceDB tables at another place")


def _unknown(path: Path) -> Fate:
    return Fate(path, "unknown", goes=False, reason="not Outcrop's, as far as can be told")


def was_a_collection(path: Path) -> bool:
    """Whether a folder beside the collections holds what a collection holds and nothing else: half made, or half removed."""
    if path.is_symlink() or not path.is_dir():
        return False
    names = [child.name for child in path.iterdir()]
    return bool(names) and all(name in _OURS or _TEMPORARY.fullmatch(name) for name in names)


def _days_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds() / _SECONDS_PER_DAY


def _days_since_change(path: Path) -> float:
    return _seconds_since_change(path) / _SECONDS_PER_DAY


def _seconds_since_change(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _ago(days: float) -> str:
    return f"{days:.1f} days ago" if days >= 1 else f"{max(0.0, days) * 24:.1f} hours ago"


def _has_tables_only(path: Path) -> bool:
    """Whether all that is left of a collection are generations, of which only is known where their tables lie."""
    return [child.name for child in path.iterdir()] == [GENERATIONS] and any((path / GENERATIONS).iterdir())
