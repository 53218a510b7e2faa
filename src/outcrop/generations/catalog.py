"""Which generations a collection has and what state each is in. Status is never stored: it is read off the disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from outcrop import files
from outcrop.documents import Documents, Head
from outcrop.engines import registry
from outcrop.errors import Damaged, NoActiveGeneration, StorageFailed, UnknownGeneration
from outcrop.generations import manifest, pointer
from outcrop.generations.journal import Journal, Promotion
from outcrop.generations.layout import MANIFEST, QUARANTINED, CollectionFolder, GenerationName
from outcrop.generations.manifest import Manifest
from outcrop.model import GenerationInfo, HistoryEntry, Status


class Damage(msgspec.Struct, frozen=True):
    """A generation whose manifest cannot be used, and why."""

    name: GenerationName
    reason: str


def generations(folder: CollectionFolder) -> list[GenerationInfo]:
    """Every finished generation, by number. Unfinished and damaged ones are left out; see `damaged`."""
    promotions = done_promotions(folder)
    active = active_or_none(folder)
    infos = []
    for name in folder.names():
        try:
            sealed = manifest.read(folder.generation(name))
        except Damaged:
            continue
        if sealed is not None:
            infos.append(_info(folder, name, sealed, promotions=promotions, active=active))
    return infos


def damaged(folder: CollectionFolder) -> list[Damage]:
    """The generations whose manifest cannot be used."""
    found = []
    for name in folder.names():
        try:
            manifest.read(folder.generation(name))
        except Damaged as error:
            found.append(Damage(name=name, reason=str(error)))
    return found


def info(folder: CollectionFolder, name: GenerationName) -> GenerationInfo:
    """One finished generation. Raises `Damaged`, also if it has no manifest."""
    sealed = manifest.required(folder.generation(name))
    return _info(folder, name, sealed, promotions=done_promotions(folder), active=active_or_none(folder))


def is_usable(folder: CollectionFolder, name: GenerationName) -> bool:
    """Whether a generation is finished and was not set aside as damaged. Asks for names only."""
    directory = folder.generation(name)
    return (directory / MANIFEST).exists() and not (directory / QUARANTINED).exists()


def active_or_none(folder: CollectionFolder) -> GenerationName | None:
    """The active generation's name, also where the pointer was lost; None where it cannot be read. For who mends or only shows."""
    try:
        name = pointer.read(folder)
        return last_promoted(folder) if name is None else name
    except (Damaged, StorageFailed):
        return None


def find(folder: CollectionFolder, generation: GenerationInfo | int | str) -> GenerationName:
    """The folder's name for a generation given as a GenerationInfo, a number or a uuid."""
    wanted = generation.uuid if isinstance(generation, GenerationInfo) else generation
    for name in folder.names():
        if wanted in (name.number, name.uuid) and not isinstance(wanted, bool):
            return name
    raise _unknown(folder, wanted)


def none_active(folder: CollectionFolder) -> NoActiveGeneration:
    """The error that no generation is active, with what can be done about it."""
    name, ready = folder.path.name, [one.number for one in generations(folder)]
    advice = (
        f"promote generation {ready[-1]} (outcrop promote {name} {ready[-1]})"
        if ready
        else f"build one and promote it (outcrop build {name} SOURCE --promote), or write documents (outcrop upsert)"
    )
    return NoActiveGeneration(f"collection {name!r} has no active generation: {advice}", collection=name)


def history(folder: CollectionFolder) -> tuple[HistoryEntry, ...]:
    """Every change of the active generation, oldest first."""
    return tuple(
        HistoryEntry(
            generation=one.generation,
            previous=one.previous,
            kind=one.kind,
            at=one.intended_at if one.done_at is None else one.done_at,
            actor=one.actor,
            source=one.source,
            forced=one.forced,
            gate=None if one.gate is None else msgspec.json.decode(one.gate, type=dict[str, Any]),
        )
        for one in done_promotions(folder)
    )


def done_promotions(folder: CollectionFolder) -> list[Promotion]:
    """The promotions that happened, oldest first."""
    return done_of(Journal(folder.journal).promotions(), active_or_none(folder))


def done_of(promotions: Sequence[Promotion], active: GenerationName | None) -> list[Promotion]:
    """Those of the intended promotions that happened.

    One that was cut short between its swap and its end happened too: it is the last of those that are done, and its generation is
    active.
    """
    done = [promotion for promotion in promotions if promotion.done_at is not None]
    of_active = [promotion for promotion in promotions if active is not None and promotion.generation == active.number]
    if of_active and of_active[-1].done_at is None and (not done or done[-1].id < of_active[-1].id):
        done.append(of_active[-1])
    return done


def last_promoted(folder: CollectionFolder) -> GenerationName | None:
    """The generation that the last promotion made active, as the journal says, even if it is gone; None if there was none."""
    journal = Journal(folder.journal)
    done = [one for one in journal.promotions() if one.done_at is not None]
    return journal.name_of(done[-1].generation) if done else None


def _info(
    folder: CollectionFolder, name: GenerationName, sealed: Manifest, *, promotions: list[Promotion], active: GenerationName | None
) -> GenerationInfo:
    path = folder.generation(name)
    living = _living(path, sealed)
    mine = [promotion for promotion in promotions if promotion.generation == name.number]
    last = mine[-1] if mine else None
    return GenerationInfo(
        number=name.number,
        uuid=name.uuid,
        status="damaged" if living is None or (path / QUARANTINED).exists() else _status(name, active, last),
        created_at=sealed.created_at,
        recipe=sealed.recipe,
        document_count=sealed.document_count if living is None else living.head.documents,
        chunk_count=sealed.chunk_count if living is None else living.head.chunks,
        skipped=sealed.skipped,
        unembedded=sealed.unembedded if living is None else living.unembedded,
        sequence=sealed.sequence if living is None else living.head.sequence,
        source=sealed.source,
        vector_index=sealed.vector_index,
        recall=sealed.recall,
        size_bytes=files.size_bytes(path),
        build_seconds=sealed.build_seconds,
        promoted_at=(last.done_at or last.intended_at) if last else None,
        promoted_from=last.previous if last else None,
        path=str(path),
        vanished=sealed.vanished,
        revived=sealed.revived,
        table_uri=registry.table_uri(path),
        index_choice=sealed.index_choice,
    )


class _Living(msgspec.Struct, frozen=True):
    head: Head
    unembedded: int


def _living(directory: Path, sealed: Manifest) -> _Living | None:
    """What the generation holds now, or None if that cannot be read."""
    try:
        with closing(Documents(directory)) as documents:
            return _Living(head=documents.head(), unembedded=documents.unembedded() if sealed.recipe.dimension is not None else 0)
    except Damaged:
        return None


def _status(name: GenerationName, active: GenerationName | None, last: Promotion | None) -> Status:
    if name == active:
        return "active"
    return "ready" if last is None else "archived"


def _unknown(folder: CollectionFolder, wanted: object) -> UnknownGeneration:
    available = [name.number for name in folder.names()]
    listed = ", ".join(map(str, available)) if available else "none yet"
    return UnknownGeneration(
        f"collection {folder.path.name!r} has no generation {wanted!r}; there are: {listed}", generation=wanted, available=available
    )
