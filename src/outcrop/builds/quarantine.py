"""A damaged active generation is set aside, and the newest healthy one, caught up, serves instead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from outcrop import files
from outcrop.builds.promotion import Change, make_active, restore_pointer
from outcrop.builds.stage import Stage
from outcrop.documents import Documents
from outcrop.engines import registry
from outcrop.errors import (
    Damaged,
    EmbedderGone,
    EngineUnavailable,
    InvalidConfig,
    OutcropError,
    UnknownGeneration,
    UnsupportedFormat,
    WritesMissing,
)
from outcrop.generations import catalog, checks, manifest, pointer
from outcrop.generations.journal import now
from outcrop.generations.layout import QUARANTINED, REFUSED, GenerationName
from outcrop.model import Degraded, GenerationInfo
from outcrop.retrieval.openings import StandIn
from outcrop.writes.fitting import EMBEDDING_ERRORS

_log = logging.getLogger("outcrop")
_UNFIT = (Damaged, WritesMissing, InvalidConfig, EmbedderGone, EngineUnavailable, UnknownGeneration, *EMBEDDING_ERRORS)
"""What keeps a generation from taking a damaged one's place for good. A lock or a full disk passes: no reason for a worse one."""


class _Marker(msgspec.Struct, frozen=True):
    """What the file `quarantined` says, for people: its presence decides."""

    reason: str
    since: str


def rescue(stage: Stage, name: GenerationName, error: Damaged, *, read_only: bool, fully: bool = False) -> StandIn | None:
    """Another generation for the damaged active one. None: another one is active now (or the damage was not there any more).

    Only damage that a second look under the writer lock confirms counts; with `fully` every byte is looked at. Nothing is changed
    with `read_only`: then a generation that holds every accepted write may stand in. Raises the error if there is none, and if the
    generation is not damaged but newer than this Outcrop.
    """
    if isinstance(error, UnsupportedFormat):
        raise error
    if pointer.is_missing(stage.folder):
        return _pointed_to_again(stage, name, error, read_only=read_only)
    if read_only:
        return _stand_in(stage, name, error)
    with stage.writing():
        if catalog.active_or_none(stage.folder) != name:
            return None
        confirmed = _damage(stage, name, fully=fully)
        if confirmed is None:
            return None
    for candidate in _candidates(stage, name):
        try:
            checks.check(stage.folder.generation(candidate), stage.config)
        except _UNFIT as unfit:
            _log.warning("generation %d cannot stand in: %s", candidate.number, unfit)
            continue
        _mark(stage, name, str(confirmed))
        still_damaged = partial(_is_active, stage, name)
        try:
            made = make_active(stage, Change(name=candidate, kind="quarantine", lexically=True, still_wanted=still_damaged))
        except _UNFIT as unfit:
            _log.warning("generation %d cannot stand in: %s", candidate.number, unfit)
            continue
        if made is None:
            return None  # somebody promoted another one meanwhile
        _log.error(
            "collection %r: generation %d is damaged and was quarantined (%s); generation %d, caught up, serves instead."
            " Build a new generation, or restore the folder and promote it again.",
            stage.folder.path.name,
            name.number,
            confirmed,
            candidate.number,
        )
        return None
    raise error


def _pointed_to_again(stage: Stage, name: GenerationName, error: Damaged, *, read_only: bool) -> StandIn | None:
    """The pointer was lost, and the journal says where it led: it is restored, or the generation serves without it."""
    if read_only:
        _log.error("%s", error)
        return StandIn(name=name, degraded=Degraded(reason=error.message, since=now()))
    restore_pointer(stage)
    return None


def _damage(stage: Stage, name: GenerationName, *, fully: bool) -> Damaged | None:
    directory = stage.folder.generation(name)
    try:
        if fully:
            checks.check(directory, stage.config)
        recipe = manifest.required(directory).recipe
        registry.engine(recipe.engine, stage.config, directory=directory, read_only=True).open(recipe, directory).close()
    except Damaged as error:
        return error
    return None


def _is_active(stage: Stage, name: GenerationName) -> bool:
    return catalog.active_or_none(stage.folder) == name


def _candidates(stage: Stage, damaged: GenerationName) -> Iterator[GenerationName]:
    """The other finished generations: those that were active before, the last one first, then those that never were and that no
    gate has refused."""
    promoted = [one.generation for one in reversed(catalog.done_promotions(stage.folder))]
    found = [one for one in catalog.generations(stage.folder) if one.uuid != damaged.uuid]
    infos = [one for one in found if one.status == "archived" or (one.status == "ready" and not _was_refused(one))]
    order = {number: place for place, number in enumerate(dict.fromkeys(promoted))}
    for one in sorted(infos, key=lambda info: (order.get(info.number, len(order)), -info.number)):
        yield GenerationName(number=one.number, uuid=one.uuid)


def _was_refused(one: GenerationInfo) -> bool:
    return (Path(one.path) / REFUSED).exists()


def _stand_in(stage: Stage, name: GenerationName, error: Damaged) -> StandIn:
    head = stage.journal.head()
    for candidate in _candidates(stage, name):
        try:
            with closing(Documents(stage.folder.generation(candidate))) as documents:
                caught_up = documents.sequence() >= head or not stage.journal.entry_count(documents.sequence())
        except OutcropError:
            continue
        if caught_up:
            reason = f"generation {name.number} is damaged ({error.message}); generation {candidate.number} serves instead"
            _log.error("collection %r: %s", stage.folder.path.name, reason)
            return StandIn(name=candidate, degraded=Degraded(reason=reason, since=now()))
    raise error


def _mark(stage: Stage, name: GenerationName, reason: str) -> None:
    directory = stage.folder.generation(name)
    if directory.is_dir():  # else there is nothing to set aside
        files.write_atomically(directory / QUARANTINED, msgspec.json.encode(_Marker(reason=reason, since=now())))
