"""Puts a generation live, and takes it back. The swap of the pointer is the one commit point; the journal frames it."""

from __future__ import annotations

from typing import Literal

from outcrop.config import Config
from outcrop.errors import NothingToRollBack
from outcrop.generations import catalog, locks, manifest, pointer
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.model import GenerationInfo


def promote(folder: CollectionFolder, name: GenerationName, config: Config) -> GenerationInfo:
    """Make a finished generation the active one. Promoting the active one changes nothing."""
    with locks.held(folder.writer_lock, timeout_seconds=config.lock_timeout_seconds, action="being written"):
        return _make_active(folder, name, "promote", config)


def rollback(folder: CollectionFolder, name: GenerationName, config: Config, *, only_if_previous: bool) -> GenerationInfo | None:
    """Make an earlier generation active again. With `only_if_previous`, None if it is no longer the one to go back to."""
    with locks.held(folder.writer_lock, timeout_seconds=config.lock_timeout_seconds, action="being written"):
        if only_if_previous and previous(folder) != name:
            return None
        return _make_active(folder, name, "rollback", config)


def previous(folder: CollectionFolder) -> GenerationName:
    """The generation that the active one was promoted from. Raises `NothingToRollBack`."""
    active = pointer.read(folder)
    promotions = [] if active is None else [one for one in catalog.done_promotions(folder) if one.generation == active.number]
    number = promotions[-1].previous if promotions else None
    if number is None:
        raise NothingToRollBack(
            f"collection {folder.path.name!r} has no generation to roll back to: "
            + ("nothing was ever promoted" if active is None else f"generation {active.number} was the first to be promoted"),
            collection=folder.path.name,
        )
    return catalog.find(folder, number)


def _make_active(
    folder: CollectionFolder, name: GenerationName, kind: Literal["promote", "rollback"], config: Config
) -> GenerationInfo:
    catalog.info(folder, name)  # raises unless the manifest is whole
    active = catalog.active_or_none(folder)  # a pointer that cannot be read is mended by this very promotion
    if name != active:
        journal = Journal(folder.journal)
        journal.settle(active.number if active else None)
        source = manifest.required(folder.generation(name)).source
        intent = journal.intend(name.number, active.number if active else None, kind, source=source)
        pointer.swap(folder, name, symlinks=config.symlinks == "auto")
        journal.finish(intent)
    return catalog.info(folder, name)
