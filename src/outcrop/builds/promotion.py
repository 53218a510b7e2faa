"""Puts a generation live, and takes it back, without losing a write.

The generation catches up with the journal in rounds, while searches and writes go on. Then, under the writer lock, what little is
left is applied and the pointer swapped: that swap is the one commit point, and the journal frames it. The same steps lead back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Literal

import msgspec

from outcrop import files, spans
from outcrop.builds.stage import Stage
from outcrop.errors import (
    CatchUpFailed,
    EmbedderGone,
    GateFailed,
    InvalidConfig,
    NothingToRollBack,
    OutcropError,
    UnknownGeneration,
)
from outcrop.generations import catalog, checks, manifest, pointer
from outcrop.generations.journal import now
from outcrop.generations.layout import QUARANTINED, REFUSED, CollectionFolder, GenerationName
from outcrop.model import GenerationInfo, RollbackPlan
from outcrop.retrieval.generation import OpenGeneration
from outcrop.writes.accepting import Live
from outcrop.writes.catching_up import catch_up, check_reachable, is_simple, lag
from outcrop.writes.fitting import EMBEDDING_ERRORS

_log = logging.getLogger("outcrop")
Kind = Literal["promote", "rollback", "quarantine"]
Outcome = Literal["active", "unwanted", "other active"]
_EVENTS: dict[Kind, str] = {"promote": "promoted", "rollback": "rolled_back", "quarantine": "quarantined"}
_ENTRIES_UNDER_LOCK_MAX = 200
_FREE_ROUNDS = 5
_DELAYING_ROUNDS = 10
_DELAY_SECONDS_MAX = 1.0
_SECONDS_PER_ENTRY = 0.002
_SECONDS_PER_CUT_OVER = 0.1


class Change(msgspec.Struct, frozen=True, eq=False):
    """What is to become of which generation. `judge` runs the gate on it when it has caught up: it returns the report as JSON or
    raises. `still_wanted` is asked under the writer lock."""

    name: GenerationName
    kind: Kind
    forced: bool = False
    lexically: bool = False
    judge: Callable[[OpenGeneration], str | None] = lambda _: None
    still_wanted: Callable[[], bool] = lambda: True


def restore_pointer(stage: Stage) -> None:
    """Where the pointer was lost, have it lead again to where the journal says that it led; nothing else."""
    if not pointer.is_missing(stage.folder):
        return
    with stage.writing():
        name = catalog.active_or_none(stage.folder)
        if name is not None and pointer.is_missing(stage.folder):
            pointer.swap(stage.folder, name, symlinks=stage.config.symlinks == "auto")
            _log.error("%s It was restored.", pointer.lost(stage.folder, name))


def make_active(stage: Stage, change: Change) -> GenerationInfo | None:
    """Make a finished generation the active one; None if it was no longer wanted. If it is active already nothing is changed.

    Raises `Damaged`, `CatchUpFailed`, `CollectionLocked`, what the gate and what the embedder raise; nothing is changed then.
    """
    sealed = manifest.required(stage.folder.generation(change.name))
    spans.phase("check")
    checks.check(stage.folder.generation(change.name), stage.config)
    if change.name == catalog.active_or_none(stage.folder):
        _unmark(stage, change.name)
        return catalog.info(stage.folder, change.name) if change.still_wanted() else None
    before = catalog.active_or_none(stage.folder)
    spans.phase("catch up")
    with stage.opened(change.name) as (opened, live), _intended(stage, change, before, sealed.source) as intent:
        catch_up(stage.journal, live, lexically=change.lexically)
        _unmark(stage, change.name)
        if opened.index.snapshot().lag > stage.config.tail_chunks_max:
            opened.index.absorb(live.applying, floor=stage.floor(opened))
        opened.index.follow(stage.config.lancedb_apply_seconds)
        outcome: Outcome = "other active"
        while outcome == "other active":
            against = catalog.active_or_none(stage.folder)
            spans.phase("judge")
            report = _judged(stage, change, opened)
            spans.phase("cut over")
            outcome = _cut_over(stage, change, live, _Judged(intent=intent, against=against, report=report))
        opened.index.follow(stage.config.lancedb_apply_seconds)
    if outcome != "active":
        return None
    _tell(stage, change, before)
    _unmark(stage, change.name, REFUSED)
    return catalog.info(stage.folder, change.name)


def roll_back(stage: Stage, to: GenerationInfo | int | str | None, *, lexically: bool) -> GenerationInfo:
    """Make an earlier generation active again: `to`, or the one that the active one was promoted from when it is done.

    Raises what `make_active` raises, `NothingToRollBack`, and `EmbedderGone` unless `lexically`.
    """
    restore_pointer(stage)
    while True:
        done = _rolled_back(stage, earlier(stage.folder, to), only_if_previous=to is None, lexically=lexically)
        if done is not None:  # else somebody else promoted meanwhile
            return done


def plan(stage: Stage, name: GenerationName, kind: Kind = "rollback") -> RollbackPlan:
    """What it would take to make a generation active again. Raises `InvalidConfig` if its chunker is not known here."""
    with stage.opened(name) as (opened, live):
        live.fitter.chunker()  # without it nothing can be written there, with or without vectors
        check_reachable(stage.journal, live.target)
        behind = lag(stage.journal, live.target)
        reason = _why_not(live)
        lexical = behind.unfit if reason is not None else behind.unembeddable
        embedded = behind.unfit - lexical if live.target.recipe.dimension is not None else 0
        sealed = opened.manifest
        per_document = sealed.build_seconds / max(1, sealed.document_count)
        seconds = _SECONDS_PER_CUT_OVER + _SECONDS_PER_ENTRY * behind.entries + per_document * embedded
        return RollbackPlan(
            generation=name.number,
            kind=kind,
            entries=behind.entries,
            embedded_documents=embedded,
            lexical_documents=lexical,
            reason=reason,
            seconds=round(seconds, 3),
        )


def refuse_lexical(found: RollbackPlan) -> None:
    """Raise `EmbedderGone` if documents would get no vectors, or later ones could not be searched or written as it wants it."""
    if not found.lexical_documents and found.reason is None:
        return
    why = found.reason if found.reason is not None else "its vectors are given with the documents, and these have none that fit"
    cannot = (
        f"cannot embed {found.lexical_documents} of the documents written since" if found.lexical_documents else "cannot be used"
    )
    raise EmbedderGone(
        f"generation {found.generation} {cannot}: {why}. With allow_lexical=True it is made active all the same: such documents are"
        " found by their words only until they are written again, and searches need mode='lexical' until the embedder is back.",
        generation=found.generation,
        documents=found.lexical_documents,
    )


def earlier(folder: CollectionFolder, to: GenerationInfo | int | str | None) -> GenerationName:
    """The generation to roll back to: the one named by `to`, or else the previous one. Raises `UnknownGeneration` besides."""
    return previous(folder) if to is None else catalog.find(folder, to)


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
    try:
        return catalog.find(folder, number)
    except UnknownGeneration as error:
        raise NothingToRollBack(
            f"collection {folder.path.name!r}: generation {number}, which the active one was promoted from, was removed; name"
            f" another one (to=...): there are {', '.join(map(str, error.available))}",
            collection=folder.path.name,
        ) from error


def swap(stage: Stage, name: GenerationName, intent: int, report: str | None = None) -> None:
    """The end of every promotion: confirm the intent, swap the pointer, mark it done. Under the writer lock."""
    before = catalog.active_or_none(stage.folder)  # a pointer that cannot be read is mended by this very promotion
    try:
        stage.journal.settle(before.number if before else None)
        intent = stage.journal.confirm(intent, previous=before.number if before else None, gate=report)
        pointer.swap(stage.folder, name, symlinks=stage.config.symlinks == "auto")
    except BaseException:
        if catalog.active_or_none(stage.folder) != name:  # else it happened, and the next promotion says so
            with suppress(OutcropError):
                stage.journal.withdraw(intent)
        raise
    stage.journal.finish(intent)


def _rolled_back(stage: Stage, name: GenerationName, *, only_if_previous: bool, lexically: bool) -> GenerationInfo | None:
    """With `only_if_previous`, None if it is no longer the one to go back to."""
    if not lexically:
        refuse_lexical(plan(stage, name))
    wanted: Callable[[], bool] = (lambda: previous(stage.folder) == name) if only_if_previous else (lambda: True)
    return make_active(stage, Change(name=name, kind="rollback", lexically=lexically, still_wanted=wanted))


@contextmanager
def _intended(stage: Stage, change: Change, before: GenerationName | None, source: str) -> Iterator[int]:
    """The intent, which other processes open the generation for; withdrawn at the end unless the swap has confirmed it.

    Whoever intends a promotion has the generation open, so that the collector leaves it: an intent alone keeps nothing.
    """
    previous_number = before.number if before else None
    intent = stage.journal.intend(change.name.number, previous_number, change.kind, source=source, forced=change.forced)
    try:
        yield intent
    finally:
        with suppress(OutcropError):  # what happened in the block matters more
            stage.journal.withdraw(intent)


class _Judged(msgspec.Struct, frozen=True):
    """An intent, and what the gate said of it, held against which active generation."""

    intent: int
    against: GenerationName | None
    report: str | None


def _judged(stage: Stage, change: Change, opened: OpenGeneration) -> str | None:
    """What the gate says of it. That it was refused is noted beside it: it must not go live by another way."""
    try:
        return change.judge(opened)
    except GateFailed as error:
        known = {"event": "promotion_refused", "collection": stage.folder.path.name, "generation": change.name.number}
        _log.warning("the gate refuses generation %d of %r", change.name.number, stage.folder.path.name, extra=known)
        note = msgspec.json.encode({"at": now(), "report": error.report.to_dict()})
        files.write_atomically(stage.folder.generation(change.name) / REFUSED, note)
        raise


def _tell(stage: Stage, change: Change, before: GenerationName | None) -> None:
    collection, event = stage.folder.path.name, _EVENTS[change.kind]
    known = {"event": event, "collection": collection, "generation": change.name.number, "forced": change.forced}
    known["previous"] = None if before is None else before.number
    _log.info("generation %d of %r is active (%s)", change.name.number, collection, event.replace("_", " "), extra=known)


def _unmark(stage: Stage, name: GenerationName, mark: str = QUARANTINED) -> None:
    """A generation that was checked and has caught up is not set aside any more: it was mended. One that is live is not refused."""
    with files.storage_errors(stage.folder.generation(name)):
        (stage.folder.generation(name) / mark).unlink(missing_ok=True)


def _cut_over(stage: Stage, change: Change, live: Live, judged: _Judged) -> Outcome:
    """Close in on the writers, then swap, unless the change is not wanted any more, or was judged against another generation."""
    applied_per_second = 0.0
    accepted, since = stage.journal.head(), monotonic()
    for round_number in range(1, _FREE_ROUNDS + _DELAYING_ROUNDS + 1):
        caught = catch_up(stage.journal, live, lexically=change.lexically)
        applied_per_second = caught.entries / max(caught.seconds, 1e-9)
        with stage.writing():
            if not change.still_wanted():
                return "unwanted"
            active = catalog.active_or_none(stage.folder)
            if active == change.name:  # somebody else was quicker
                return "active"
            if active != judged.against:
                return "other active"
            if round_number > _FREE_ROUNDS:  # writers wait, a second at most
                catch_up(stage.journal, live, lexically=change.lexically, seconds_max=_DELAY_SECONDS_MAX, writers_wait=True)
            if is_simple(stage.journal, live.target, _ENTRIES_UNDER_LOCK_MAX):
                catch_up(stage.journal, live, lexically=change.lexically, writers_wait=True)
                swap(stage, change.name, judged.intent, judged.report)
                return "active"
    entries = stage.journal.entry_count(live.target.documents.sequence())
    written_per_second = (stage.journal.head() - accepted) / max(monotonic() - since, 1e-9)
    raise CatchUpFailed(
        f"generation {change.name.number} does not catch up: it is {entries} entries behind after"
        f" {_FREE_ROUNDS + _DELAYING_ROUNDS} rounds; {written_per_second:.1f} writes a second come in,"
        f" {applied_per_second:.1f} entries a second are applied."
        " Write less for a moment, or in larger batches, and try again.",
        generation=change.name.number,
        entries=entries,
        written_per_second=written_per_second,
        applied_per_second=applied_per_second,
    )


def _why_not(live: Live) -> str | None:
    """Why a generation's embedder cannot be used here, or None."""
    try:
        live.fitter.embedder()
    except (*EMBEDDING_ERRORS, InvalidConfig) as error:
        return error.message.rstrip(".")
    return None
