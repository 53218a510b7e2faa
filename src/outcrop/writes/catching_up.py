"""Brings a generation to the end of the journal: the one way in which writes reach a generation that is not active.

A page of entries is fitted to the generation's recipe without any lock, which may take long, and applied under its apply lock,
which takes milliseconds.
"""

from __future__ import annotations

from time import monotonic

import msgspec

from outcrop.errors import WritesMissing
from outcrop.generations.journal import Journal
from outcrop.writes.accepting import Live
from outcrop.writes.applying import Target, apply, recover
from outcrop.writes.fitting import fitted, misfits, unembeddable
from outcrop.writes.outcomes import resolved

_PAGE_ENTRIES = 500
_SHORT_PAGE_ENTRIES = 20


class CaughtUp(msgspec.Struct, frozen=True):
    """What a round applied, and what it took."""

    entries: int
    seconds: float


class Lag(msgspec.Struct, frozen=True):
    """How far a generation is behind: journal entries, documents that must be cut or embedded anew, and how many of those cannot
    be embedded at all."""

    entries: int
    unfit: int
    unembeddable: int


def lag(journal: Journal, target: Target) -> Lag:
    """How far a generation is behind, read in pages."""
    after, entries, unfit, hopeless = target.documents.sequence(), 0, 0, 0
    while page := journal.entries(after, count=_PAGE_ENTRIES):
        misfitting = misfits(resolved(page), target.recipe)
        entries += len(page)
        unfit += len(misfitting)
        hopeless += unembeddable(misfitting, target.recipe)
        after = page[-1].sequence
    return Lag(entries=entries, unfit=unfit, unembeddable=hopeless)


def check_reachable(journal: Journal, target: Target) -> None:
    """Raise `WritesMissing` if the generation is older than the journal: it would lose what was written between."""
    sequence, trimmed = target.documents.sequence(), journal.trimmed()
    if sequence < trimmed:
        raise WritesMissing(
            f"{target.documents.path.parent} holds the writes up to {sequence}, and the journal begins after {trimmed}: what was"
            " written between is not in it and cannot be applied. Build a new generation instead.",
            sequence=sequence,
            trimmed=trimmed,
        )


def catch_up(
    journal: Journal, live: Live, *, lexically: bool = False, seconds_max: float | None = None, writers_wait: bool = False
) -> CaughtUp:
    """Apply what was journaled, page by page; begins no page after `seconds_max`.

    While others write there is no end: it stops when a page was short. If `writers_wait` (the caller holds the writer lock), it
    goes on to the end. With `lexically`, what cannot be embedded is applied without vectors; else raises what the embedder raises.
    """
    began, entries = monotonic(), 0
    check_reachable(journal, live.target)
    with live.applying():
        recover(live.target)
    while seconds_max is None or monotonic() < began + seconds_max:
        after = live.target.documents.sequence()
        page = journal.entries(after, count=_PAGE_ENTRIES)
        if not page:
            break
        outcomes = fitted(resolved(page), live.fitter, lexically=lexically)
        with live.applying():
            if live.target.documents.sequence() == after:  # else somebody else applied it meanwhile
                apply(live.target, outcomes, page[-1].sequence)
                entries += len(page)
        if len(page) <= _SHORT_PAGE_ENTRIES and not writers_wait:
            break
    return CaughtUp(entries=entries, seconds=monotonic() - began)


def is_simple(journal: Journal, target: Target, entries_max: int) -> bool:
    """Whether so little is left that it can be applied while writers wait: few entries, none to be embedded."""
    after = target.documents.sequence()
    page = journal.entries(after, count=entries_max + 1)
    return len(page) <= entries_max and not misfits(resolved(page), target.recipe)
