"""What keeps a collection fast and small while it is written to: absorbing, keeping earlier generations caught up, collecting."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic

import msgspec

from outcrop.builds import quarantine
from outcrop.builds.stage import Stage
from outcrop.builds.upkeep import Upkeep
from outcrop.errors import Damaged, OutcropError
from outcrop.files import size_bytes
from outcrop.generations import catalog, checks, collecting
from outcrop.generations.collecting import GcReport
from outcrop.generations.layout import MANIFEST, GenerationName
from outcrop.retrieval.generation import pinned
from outcrop.writes.accepting import Live, apply_pending
from outcrop.writes.catching_up import catch_up

_log = logging.getLogger("outcrop")
_TAIL_LIMIT_FACTOR = 4  # a writer that is so far ahead of the background absorbs by itself
_OPTIMIZE_TIMEOUT_SECONDS = 3600.0


class OptimizeReport(msgspec.Struct, frozen=True):
    """What `optimize` did: chunks that went into index parts, the active generation's size before and after, and for how long."""

    absorbed: int
    size_bytes_before: int
    size_bytes_after: int
    seconds: float


class VerifyReport(msgspec.Struct, frozen=True):
    """Whether a generation is still what was written; `fault` says what is not."""

    generation: int
    healthy: bool
    fault: str | None


def optimize(stage: Stage) -> OptimizeReport:
    """Put everything that is searched one by one into index parts, and tidy up."""
    began, absorbed = monotonic(), 0
    with stage.writing(), stage.active() as live:
        if live is not None:
            apply_pending(stage.journal, live)
    opened = stage.openings.pin_active()
    if opened is None:
        return OptimizeReport(absorbed=0, size_bytes_before=0, size_bytes_after=0, seconds=0.0)
    with pinned(opened):
        directory = stage.folder.generation(opened.name)
        before = size_bytes(directory)
        absorbed = _absorb(stage, stage.live(opened), timeout_seconds=_OPTIMIZE_TIMEOUT_SECONDS)
        after = size_bytes(directory)
    return OptimizeReport(
        absorbed=absorbed, size_bytes_before=before, size_bytes_after=after, seconds=round(monotonic() - began, 3)
    )


def verify(stage: Stage, names: Iterable[GenerationName], *, read_only: bool) -> tuple[VerifyReport, ...]:
    """Check generations byte by byte; a damaged active one is quarantined unless `read_only`."""
    reports = []
    for name in names:
        directory = stage.folder.generation(name)
        if not (directory / MANIFEST).exists() and name != catalog.active_or_none(stage.folder):
            continue  # being built, or abandoned
        try:
            checks.check(directory, stage.config)
        except Damaged as error:
            reports.append(VerifyReport(generation=name.number, healthy=False, fault=error.message))
            if name == catalog.active_or_none(stage.folder) and not read_only:
                _set_aside(stage, name, error)
        else:
            reports.append(VerifyReport(generation=name.number, healthy=True, fault=None))
    return tuple(reports)


def collect(stage: Stage, *, dry_run: bool) -> GcReport:
    """Remove what is not kept any more and trim the journal, or say what would go."""
    if dry_run:
        return collecting.survey(stage.folder, stage.config)
    return collecting.collect(stage.folder, stage.config)


def after_write(stage: Stage, upkeep: Upkeep) -> None:
    """See to the tail after a write: in the background, or at once where that is off or has fallen too far behind."""
    opened = stage.openings.pin_active()
    if opened is None:
        return
    with pinned(opened):
        lag, limit = opened.index.snapshot().lag, stage.config.tail_chunks_max
        if lag > limit * (_TAIL_LIMIT_FACTOR if stage.config.background else 1):
            _absorb(stage, stage.live(opened))
    if stage.config.background:
        upkeep.wake()


def keep_up(stage: Stage) -> None:
    """The background's round: absorb a tail that has grown long, catch up the warm generations, keep the journal within bounds."""
    opened = stage.openings.pin_active()
    if opened is None:
        return
    with pinned(opened):
        if opened.documents.sequence() < stage.journal.head():  # a write that was cut short
            with stage.writing():
                apply_pending(stage.journal, stage.live(opened))
        if opened.index.snapshot().lag > stage.config.tail_chunks_max:
            _absorb(stage, stage.live(opened))
    for name in stage.openings.warm():
        try:
            with stage.opened(name) as (_, live):
                catch_up(stage.journal, live)
                if live.target.index.snapshot().lag > stage.config.tail_chunks_max:
                    _absorb(stage, live)
        except OutcropError as error:
            _log.warning("generation %d is not kept caught up: %s", name.number, error)
    if stage.journal.size_bytes() > stage.config.journal_bytes_max:
        _bound_the_journal(stage)


def _bound_the_journal(stage: Stage) -> None:
    """Trim what nobody holds; if that is not enough, catch up the kept generation that lags most, or give it up."""
    with stage.writing():  # a build takes its hold under it
        collecting.trim(stage.folder)
    if stage.journal.size_bytes() <= stage.config.journal_bytes_max:
        return
    kept = [info for info in catalog.generations(stage.folder) if info.status in ("archived", "ready")]
    if not kept:
        return
    oldest = min(kept, key=lambda info: info.sequence)
    name = GenerationName(number=oldest.number, uuid=oldest.uuid)
    try:
        with stage.opened(name) as (_, live):
            catch_up(stage.journal, live)
        _log.warning("the journal has grown beyond journal_bytes_max: generation %d was caught up", oldest.number)
    except OutcropError as error:
        _log.warning(
            "the journal has grown beyond journal_bytes_max, and generation %d cannot be caught up (%s): it is given up",
            oldest.number,
            error,
        )
        collecting.give_up(stage.folder, stage.config, name)
    with stage.writing():
        collecting.trim(stage.folder)


def _absorb(stage: Stage, live: Live, *, timeout_seconds: float = 0.0) -> int:
    holds = [hold.sequence for hold in stage.journal.holds()]
    floor = min(holds) if holds else None  # a build reads rows as they were at its start
    return live.target.index.absorb(live.applying, floor=floor, timeout_seconds=timeout_seconds)


def _set_aside(stage: Stage, name: GenerationName, error: Damaged) -> None:
    try:
        quarantine.rescue(stage, name, error, read_only=False, fully=True)
    except OutcropError as failed:
        _log.error("no other generation can serve instead of the damaged generation %d: %s", name.number, failed)
