"""The write path: prepared outside every lock, recorded in the journal, applied to the active generation.

1. Documents are checked, cut and embedded with the active generation's recipe. A failure here refuses the batch.
2. Under the writer lock whatever was accepted before and not applied is applied.
3. The batch is recorded in the journal: accepted, durable.
4. It is applied: visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from outcrop import filters, spans
from outcrop.errors import DuplicateDocument, NotYetVisible
from outcrop.filters import Filter
from outcrop.generations.journal import EntryKind, Journal
from outcrop.ingest import BadRecord, Record, Source
from outcrop.model import Recipe, WriteResult
from outcrop.writes.applying import Effect, Target, apply, recover
from outcrop.writes.fitting import Fitter, fitted
from outcrop.writes.outcomes import Delete, Outcomes, Patch, Put, after, encoded, resolved, space_of
from outcrop.writes.preparing import Batch, Prepared, Preparer

_PENDING_PAGE = 1000


class Live(msgspec.Struct, frozen=True, eq=False):
    """The active generation as a write needs it. `applying` takes its apply lock."""

    target: Target
    fitter: Fitter
    applying: Callable[[], AbstractContextManager[None]]


class Place(msgspec.Struct, frozen=True, eq=False):
    """Where writes go.

    `writing` takes the writer lock. `live` gives the active generation, kept open for the time of the block, or None. `first` makes
    and promotes an empty generation; called under the writer lock. `unborn` says how that one would prepare documents.
    """

    journal: Journal
    writing: Callable[[], AbstractContextManager[None]]
    live: Callable[[], AbstractContextManager[Live | None]]
    first: Callable[[Recipe], None]
    unborn: Callable[[], Fitter]


class Cut(msgspec.Struct, frozen=True, eq=False):
    """Documents in pieces, as a recipe wants them; `preparer` can embed them."""

    recipe: Recipe
    preparer: Preparer
    prepared: Prepared


class Ready(msgspec.Struct, frozen=True, eq=False):
    """Documents that need only be written, to a generation that prepares as `recipe` does."""

    recipe: Recipe
    prepared: Prepared


def upsert(place: Place, source: Source) -> WriteResult:
    """Put documents in, replacing those with the same ids. All of them or none."""
    records = _checked(source)
    if not records:
        return _nothing(place)
    while True:
        pieces = cut(place, Batch(records=records, bad=(), position_bytes=None))
        if pieces.prepared.bad:
            raise pieces.prepared.bad[0].error
        result = put(place, embedded(pieces))
        if result is not None:
            return result


def cut(place: Place, batch: Batch) -> Cut:
    """Cut documents as the active generation wants it, or the first one that is to be made."""
    with spans.step("cut"), place.live() as live:
        fitter = place.unborn() if live is None else live.fitter
        preparer = Preparer(fitter.recipe, fitter.embedder(), fitter.chunker())
    recipe = preparer.settle(batch) if live is None and fitter.recipe.dimension is None else fitter.recipe
    return Cut(recipe=recipe, preparer=preparer, prepared=preparer.chunk(batch))


def embedded(pieces: Cut) -> Ready:
    """Give the pieces their vectors."""
    with spans.step("embed"):
        return Ready(recipe=pieces.recipe, prepared=pieces.preparer.embed(pieces.prepared))


def put(place: Place, ready: Ready) -> WriteResult | None:
    """Write documents, all of them or none. None if the active generation prepares in another way now: cut them anew."""
    space = space_of(ready.recipe)
    outcomes: Outcomes = {one.document.id: Put(prepared=one, space=space) for one in ready.prepared.documents}
    if not outcomes:
        return _nothing(place)
    with place.writing(), _settled(place, ready.recipe) as current:
        if current is None or space_of(current.target.recipe) != space:
            return None
        return _written(place, current, outcomes)


def delete(place: Place, ids: Iterable[str]) -> WriteResult:
    """Take documents out. Ids that are not there count nothing, and stay out of a generation that is being built."""
    outcomes: Outcomes = {document_id: Delete() for document_id in ids}
    if not outcomes:
        return _nothing(place)
    with place.writing(), _settled(place, None) as current:
        return _written(place, current, outcomes)


def delete_where(place: Place, where: Filter) -> WriteResult:
    """Take out the documents that a filter selects. Most of the looking is done before the lock is taken."""
    with place.live() as live:
        if live is None:
            return _nothing(place)
        path, last_row, selected = live.target.documents.path, -1, []
        for last_row, document_id, metadata in live.target.documents.metadata():  # noqa: B007 - the last one is wanted
            if filters.matches(where, metadata):
                selected.append(document_id)
    with place.writing(), _settled(place, None) as current:
        if current is None:
            return _nothing(place)
        if current.target.documents.path != path:  # another generation is active now
            last_row, selected = -1, []
        written = list(current.target.documents.metadata(after_row=last_row))
        later = {document_id: filters.matches(where, metadata) for _, document_id, metadata in written}
        chosen = [*(one for one in selected if one not in later), *(one for one, matches in later.items() if matches)]
        return _written(place, current, {one: Delete() for one in chosen}) if chosen else _nothing(place)


def update_metadata(place: Place, ids: Sequence[str], metadata: Mapping[str, Any]) -> WriteResult:
    """Set metadata of documents that are there; their other keys stay as they are."""
    with place.writing(), _settled(place, None) as current:
        if current is None:
            return _nothing(place)
        with current.applying():
            known = current.target.writer().known(ids)
        outcomes: Outcomes = {one: Patch(dict(metadata)) for one in ids if one in known}
        return _written(place, current, outcomes) if outcomes else _nothing(place)


def settle(place: Place) -> None:
    """Apply whatever was accepted and not applied, because a write was cut short."""
    with place.writing(), _settled(place, None):
        pass


def apply_pending(journal: Journal, live: Live) -> None:
    """Bring the active generation to the journal's end. The caller holds the writer lock."""
    with live.applying():
        recover(live.target)
        while page := journal.entries(live.target.documents.sequence(), count=_PENDING_PAGE):
            outcomes = fitted(resolved(page), live.fitter, lexically=False)
            apply(live.target, outcomes, page[-1].sequence)


@contextmanager
def _settled(place: Place, recipe: Recipe | None) -> Iterator[Live | None]:
    """The active generation with everything accepted before; made first if there is none and a recipe is given."""
    with place.live() as live:
        if live is not None:
            apply_pending(place.journal, live)
            yield live
            return
    if recipe is None:
        yield None
        return
    place.first(recipe)
    with place.live() as live:
        if live is not None:
            apply_pending(place.journal, live)
        yield live


def _written(place: Place, live: Live | None, outcomes: Outcomes) -> WriteResult:
    """Accept a write and apply it. The caller holds the writer lock."""
    entries = _entries(place.journal, outcomes)
    if live is None:
        sequence, effect = place.journal.accept(entries), Effect(put=0, replaced=0, deleted=0, patched=0, chunks=0)
    else:
        with live.applying():  # before it is accepted: a catch-up that goes on must not apply it first, or the counts are wrong
            with spans.step("journal"):
                sequence = place.journal.accept(entries)
            with spans.step("apply"):
                effect = _visible(live, outcomes, sequence)
    return WriteResult(
        sequence=sequence,
        upserted=effect.put,
        replaced=effect.replaced,
        deleted=effect.deleted,
        updated=effect.patched,
        chunks=effect.chunks,
    )


def _visible(live: Live, outcomes: Outcomes, sequence: int) -> Effect:
    """Apply what was just accepted."""
    try:
        return apply(live.target, outcomes, sequence)
    except Exception as error:
        raise NotYetVisible(
            f"write {sequence} is accepted and durable, but not yet visible: {error} The next write, or"
            " optimize(), makes it visible; do not repeat it.",
            sequence=sequence,
        ) from error


def _entries(journal: Journal, outcomes: Outcomes) -> list[tuple[EntryKind, str, bytes]]:
    """The journal's entries of a write. A patch has the values of the one before it too, whose entry it takes the place of."""
    before = journal.latest_patches([one for one, outcome in outcomes.items() if isinstance(outcome, Patch)])
    merged: Outcomes = {one: Patch(msgspec.msgpack.decode(body)) for one, body in before.items()}
    return [encoded(one, after(merged.get(one), outcome)) for one, outcome in outcomes.items()]


def _checked(source: Source) -> list[Record]:
    """The records, if all can be used and no id comes twice."""
    records: list[Record] = []
    seen: set[str] = set()
    for item in source.records():
        if isinstance(item, BadRecord):
            raise item.error
        document_id = item.document.id
        if document_id in seen:
            raise DuplicateDocument(
                f"{item.origin}: document id {document_id!r} occurs a second time; ids must be unique in one write",
                document_id=document_id,
                origin=item.origin,
            )
        seen.add(document_id)
        records.append(item)
    return records


def _nothing(place: Place) -> WriteResult:
    return WriteResult(sequence=place.journal.head(), upserted=0, replaced=0, deleted=0, updated=0, chunks=0)
