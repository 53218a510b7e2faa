"""What keeps a collection fast and small while it is written to: absorbing, keeping earlier generations caught up, collecting."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from outcrop.builds import quarantine
from outcrop.builds.stage import Stage
from outcrop.builds.upkeep import Upkeep
from outcrop.engines import registry
from outcrop.engines.protocol import KEEP_SECONDS
from outcrop.errors import Damaged, OutcropError, Repairable
from outcrop.files import size_bytes
from outcrop.generations import catalog, checks, collecting, pointer
from outcrop.generations.collecting import GcReport
from outcrop.generations.layout import MANIFEST, GenerationName
from outcrop.model import GenerationInfo
from outcrop.retrieval.generation import OpenGeneration, pinned
from outcrop.writes.accepting import apply_pending
from outcrop.writes.catching_up import catch_up
from outcrop.writes.fitting import EMBEDDING_ERRORS

_log = logging.getLogger("outcrop")
_TAIL_LIMIT_FACTOR = 4  # a writer that is so far ahead of the background absorbs by itself
_OPTIMIZE_TIMEOUT_SECONDS = 3600.0
_RESTING_SECONDS = 600.0


class OptimizeReport(msgspec.Struct, frozen=True):
    """What `optimize` did: chunks that went into index parts, the active generation's size before and after, and for how long."""

    absorbed: int
    size_bytes_before: int
    size_bytes_after: int
    seconds: float


class RepairReport(msgspec.Struct, frozen=True):
    """What `repair` did: the generation whose LanceDB index was built anew, how many chunks that holds, and how long it took."""

    generation: int
    chunks: int
    seconds: float


class VerifyReport(msgspec.Struct, frozen=True):
    """Whether a generation is still what was written, or the journal (`generation` is None then); `fault` says what is not."""

    generation: int | None
    healthy: bool
    fault: str | None


def optimize(stage: Stage) -> OptimizeReport:
    """Put everything that is searched one by one into index parts, and tidy up."""
    began, absorbed = time.monotonic(), 0
    with stage.writing(), stage.active() as live:
        if live is not None:
            apply_pending(stage.journal, live)
    opened = stage.openings.pin_active()
    if opened is None:
        return OptimizeReport(absorbed=0, size_bytes_before=0, size_bytes_after=0, seconds=0.0)
    with pinned(opened):
        directory = stage.folder.generation(opened.name)
        before = size_bytes(directory)
        opened.index.follow(stage.config.lancedb_apply_seconds)
        absorbed = _absorb(stage, opened, timeout_seconds=_OPTIMIZE_TIMEOUT_SECONDS)
        after = size_bytes(directory)
    return OptimizeReport(
        absorbed=absorbed, size_bytes_before=before, size_bytes_after=after, seconds=round(time.monotonic() - began, 3)
    )


def verify(stage: Stage, generation: GenerationInfo | int | str | None, *, read_only: bool) -> tuple[VerifyReport, ...]:
    """Check one generation file by file, or all of them and the journal; a damaged active one is quarantined unless `read_only`."""
    if generation is not None:
        return _verified(stage, [catalog.find(stage.folder, generation)], read_only=read_only)
    return (*_verified(stage, stage.folder.names(), read_only=read_only), _verified_journal(stage))


def _verified(stage: Stage, names: Iterable[GenerationName], *, read_only: bool) -> tuple[VerifyReport, ...]:
    reports = []
    for name in names:
        directory = stage.folder.generation(name)
        if not (directory / MANIFEST).exists() and name != catalog.active_or_none(stage.folder):
            continue  # being built, or abandoned
        try:
            checks.check(directory, stage.config, fully=True)
        except Repairable as error:
            reports.append(VerifyReport(generation=name.number, healthy=False, fault=error.message))
        except Damaged as error:
            reports.append(VerifyReport(generation=name.number, healthy=False, fault=error.message))
            if name == catalog.active_or_none(stage.folder) and not read_only:
                _set_aside(stage, name, error)
        else:
            reports.append(VerifyReport(generation=name.number, healthy=True, fault=None))
    return tuple(reports)


def _verified_journal(stage: Stage) -> VerifyReport:
    try:
        fault = stage.journal.quick_check()
    except OutcropError as error:
        fault = error.message
    return VerifyReport(generation=None, healthy=fault is None, fault=fault)


def repair(stage: Stage, generation: GenerationInfo | int | str | None) -> RepairReport:
    """Build the LanceDB index of a generation (None: the active one) anew from its documents, or add one. Searches and writes go on
    meanwhile."""
    name = pointer.read(stage.folder) if generation is None else catalog.find(stage.folder, generation)
    if name is None:
        raise catalog.none_active(stage.folder)
    began = time.monotonic()
    with stage.opened(name) as (opened, _):
        chunks = registry.repair(opened.index, stage.config)
    return RepairReport(generation=name.number, chunks=chunks, seconds=round(time.monotonic() - began, 3))


def collect(stage: Stage, *, dry_run: bool) -> GcReport:
    """Remove what is not kept any more and trim the journal, or say what would go."""
    if dry_run:
        return collecting.survey(stage.folder, stage.config)
    stage.openings.let_go_of_idle()
    return collecting.collect(stage.folder, stage.config)


def after_write(stage: Stage, upkeep: Upkeep) -> None:
    """See to what follows a write by itself, and to the tail: in the background, or at once where that is off or too far behind.

    Outside of every lock.
    """
    opened = stage.openings.pin_active()
    if opened is None:
        return
    with pinned(opened):
        opened.index.follow(stage.config.lancedb_apply_seconds)
        if not stage.config.background:
            _tidy(stage, opened)
        elif opened.index.snapshot().lag > _TAIL_LIMIT_FACTOR * stage.config.tail_chunks_max:
            _absorb(stage, opened)
    if stage.config.background:
        upkeep.wake()


def keep_up(stage: Stage, upkeep: Upkeep) -> None:
    """The background's round: absorb a tail that has grown long, keep the journal within bounds, catch up the warm generations."""
    opened = stage.openings.pin_active()
    if opened is None:
        return
    with pinned(opened), _each_by_itself():
        if opened.documents.sequence() < stage.journal.head():  # a write that was cut short
            with stage.writing():
                apply_pending(stage.journal, stage.live(opened))
        opened.index.follow(stage.config.lancedb_apply_seconds)
        _tidy(stage, opened)
    with upkeep.unattended():  # it may embed, and so wait for somebody's endpoint
        with _each_by_itself():
            if stage.journal.size_bytes() > stage.config.journal_bytes_max:
                _bound_the_journal(stage)
        for name in stage.openings.earlier():
            if not upkeep.closed:
                _keep_warm(stage, name)


@contextmanager
def _each_by_itself() -> Iterator[None]:
    """What fails in the block keeps nothing else from being done."""
    try:
        yield
    except OutcropError as error:
        _log.warning("upkeep: %s", error)


def _keep_warm(stage: Stage, name: GenerationName) -> None:
    """Catch an earlier generation up; one that cannot embed is left alone for a while."""
    if time.monotonic() < stage.resting.get(name, 0.0):
        return
    try:
        with stage.opened(name) as (opened, live):
            catch_up(stage.journal, live)
            opened.index.follow(stage.config.lancedb_apply_seconds)
            _tidy(stage, opened)
    except EMBEDDING_ERRORS as error:
        stage.resting[name] = time.monotonic() + _RESTING_SECONDS
        _log.warning("generation %d is not kept caught up for the next %d minutes: %s", name.number, _RESTING_SECONDS / 60, error)
    except OutcropError as error:
        _log.warning("generation %d is not kept caught up: %s", name.number, error)


def _bound_the_journal(stage: Stage) -> None:
    """Trim what nobody holds; while that is not enough, let go of what lags most: first of those that were set aside as damaged,
    which stay as they are and cannot be promoted any more, then of the kept generations, one by one."""
    infos = sorted(catalog.generations(stage.folder), key=lambda info: info.sequence)
    damaged = [GenerationName(number=one.number, uuid=one.uuid) for one in infos if one.status == "damaged"]
    if _trimmed_enough(stage) or (damaged and _trimmed_enough(stage, without=damaged)):
        return
    for one in infos:
        if one.status in ("archived", "ready"):
            _let_go_of_the_journal(stage, GenerationName(number=one.number, uuid=one.uuid))
            if _trimmed_enough(stage, without=damaged):
                return


def _trimmed_enough(stage: Stage, *, without: Collection[GenerationName] = ()) -> bool:
    with stage.writing():  # a build takes its hold under it
        collecting.trim(stage.folder, without=without)
    return stage.journal.size_bytes() <= stage.config.journal_bytes_max


def _let_go_of_the_journal(stage: Stage, name: GenerationName) -> None:
    """Catch a kept generation up; if that cannot be, give it up. An endpoint that does not answer gets a second chance, later."""
    rested = stage.resting.get(name)
    if rested is not None and time.monotonic() < rested:
        return
    try:
        with stage.opened(name) as (_, live):
            catch_up(stage.journal, live)
        _log.warning("the journal has grown beyond journal_bytes_max: generation %d was caught up", name.number)
    except OutcropError as error:
        if isinstance(error, EMBEDDING_ERRORS) and rested is None:
            stage.resting[name] = time.monotonic() + _RESTING_SECONDS
            return
        stage.openings.let_go(name)  # what any process has open, this one too, is not removed
        removed = collecting.give_up(stage.folder, stage.config, name).removed
        outcome = "it is given up" if removed else "it is open in a process and cannot be given up yet"
        _log.warning(
            "the journal has grown beyond journal_bytes_max, and generation %d cannot be caught up (%s): %s",
            name.number,
            error.message.rstrip("."),
            outcome,
        )


def _tidy(stage: Stage, opened: OpenGeneration) -> None:
    """Absorb a tail that has grown long, and forget what has ended where much has.

    That is looked at when nobody has tidied up for as long as what ended must be remembered.
    """
    limit, rows = stage.config.tail_chunks_max, opened.documents
    is_due = abs(time.time() - rows.marked_at()) > KEEP_SECONDS  # a clock that was ahead left a mark in the future
    if opened.index.snapshot().lag > limit or (is_due and rows.litter_count() > limit):
        _absorb(stage, opened)


def _absorb(stage: Stage, opened: OpenGeneration, *, timeout_seconds: float = 0.0) -> int:
    return opened.index.absorb(
        stage.live(opened).applying, keep_seconds=KEEP_SECONDS, floor=stage.floor(opened), timeout_seconds=timeout_seconds
    )


def _set_aside(stage: Stage, name: GenerationName, error: Damaged) -> None:
    try:
        quarantine.rescue(stage, name, error, read_only=False, fully=True)
    except OutcropError as failed:
        _log.error("no other generation can serve instead of the damaged generation %d: %s", name.number, failed)
