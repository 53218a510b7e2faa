"""Puts the tail into parts, keeps the parts few and full of what is alive, and removes what nobody needs any more.

Parts are written beside the open index; only listing them takes the generation's apply lock, for milliseconds. Merging is
geometric: a row is written again each time that its part grows about fourfold, so there are at most three parts of a size.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from math import log

import numpy as np
from numpy.typing import NDArray

from outcrop import buffers
from outcrop.documents import DocumentsWriter, PartRow
from outcrop.engines.absorb_lock import alone
from outcrop.engines.builtin.parts import PARTS, LivePart, PartWriter, unlisted
from outcrop.engines.builtin.serving import Serving
from outcrop.engines.protocol import Publishing
from outcrop.engines.purging import purge

_FULL_TIER = 4
"""So many parts of about one size are merged into one."""
_TIER_FACTOR = 4
_TIER_ROWS_MIN = 1_024
"""Smaller parts count as equal: writing them again takes milliseconds, and each costs every query some."""
_DEAD_SHARE_MAX = 0.3
"""A part of which more has ended is written anew without that."""
_WRITTEN_ROWS = 8_192


def absorb(
    serving: Serving,
    publishing: Publishing,
    *,
    rows_max: int,
    keep_seconds: float,
    floor: int | None,
    timeout_seconds: float,
) -> int:
    """As `GenerationIndex.absorb` says. No part gets more than `rows_max` rows."""
    with alone(serving.directory / PARTS / "absorb.lock", timeout_seconds) as only_one:
        if not only_one:
            return 0
        absorbed = _absorb_tail(serving, publishing, rows_max)
        while chosen := to_merge(serving.snapshot().parts, rows_max):
            if not _merge(serving, publishing, chosen):
                break
        _sweep(serving, publishing)
        _purge(serving, publishing, keep_seconds, floor)
    return absorbed


def to_merge(parts: Sequence[LivePart], rows_max: int) -> list[LivePart]:
    """The parts to merge next; none if they are as they should be. One alone has much that ended, and is written anew."""
    by_tier: dict[int, list[LivePart]] = defaultdict(list)
    for live in parts:
        by_tier[_tier(_living(live))].append(live)
    for tier in sorted(by_tier):
        if len(by_tier[tier]) >= _FULL_TIER:
            chosen = _fitting(_with_higher(by_tier, tier), rows_max)
            if len(chosen) > 1:
                return chosen
    return next(([live] for live in parts if live.dead_count > _DEAD_SHARE_MAX * live.part.row.row_count), [])


def _absorb_tail(serving: Serving, publishing: Publishing, rows_max: int) -> int:
    snapshot = serving.snapshot()
    tail = snapshot.tail
    if tail is None or not tail.lag:
        return 0
    absorbed, living = 0, tail.living()
    for start in range(0, len(living), rows_max):
        rows = living[start : start + rows_max]
        slots = tail.slots[rows]
        with _written(serving) as writer:
            writer.append(slots.tolist(), tail.metadata(rows), tail.vectors(rows), as_stored=True)
            row = writer.seal(snapshot.sequence, threads=_threads())
        with publishing(), closing(DocumentsWriter.open(serving.directory)) as documents:
            if not documents.publish(row, absorbed=slots):
                break
            serving.published()
        absorbed += len(rows)
    return absorbed


def _merge(serving: Serving, publishing: Publishing, chosen: Sequence[LivePart]) -> bool:
    """Put one part in the place of others, or of them nothing if all has ended. False if the list has changed meanwhile."""
    sequence = serving.snapshot().sequence
    listed = {live.part.row.uuid for live in chosen}
    chosen = [live for live in serving.snapshot().parts if live.part.row.uuid in listed]
    row = _merged(serving, chosen, sequence) if any(_living(live) for live in chosen) else None
    with publishing(), closing(DocumentsWriter.open(serving.directory)) as documents:
        changed = documents.publish(row, instead_of=[live.part.row.uuid for live in chosen])
    serving.published()
    return changed


def _merged(serving: Serving, chosen: Sequence[LivePart], sequence: int) -> PartRow:
    living = [np.arange(live.part.row.row_count) if live.alive is None else np.flatnonzero(live.alive) for live in chosen]
    slots = np.concatenate([live.part.slots[rows] for live, rows in zip(chosen, living, strict=True)])
    rows = np.concatenate(living)
    origins = np.repeat(np.arange(len(chosen)), [len(of_part) for of_part in living])
    order = np.argsort(slots, kind="stable")
    dimension = serving.recipe.dimension
    with _written(serving) as writer:
        for start in range(0, len(order), _WRITTEN_ROWS):
            taken = order[start : start + _WRITTEN_ROWS]
            wanted = slots[taken].tolist()
            metadata = serving.documents.metadata_of(wanted)
            if dimension is None:
                writer.append(wanted, metadata, None)
                continue
            with buffers.process.borrowed((len(taken), dimension), np.float32) as vectors:
                for origin, live in enumerate(chosen):
                    from_part = origins[taken] == origin
                    if live.part.vectors is not None and from_part.any():
                        vectors[from_part] = live.part.vectors.vectors(rows[taken][from_part])
                writer.append(wanted, metadata, vectors, as_stored=True)
        return writer.seal(sequence, threads=_threads())


def _sweep(serving: Serving, publishing: Publishing) -> None:
    """Remove the folders of parts that are not listed: replaced, or left by a crash. Only who is `alone` writes any."""
    with publishing():
        for path in unlisted(serving.directory, serving.documents.parts()):
            shutil.rmtree(path, ignore_errors=True)  # Windows refuses while somebody has it open: then the next time


def _purge(serving: Serving, publishing: Publishing, keep_seconds: float, floor: int | None) -> None:
    """Forget chunks that ended long ago and are in no part."""
    snapshot = serving.snapshot()

    def in_no_part(ended: NDArray[np.int64]) -> NDArray[np.int64]:
        for live in snapshot.parts:
            ended = np.setdiff1d(ended, live.part.slots[live.part.rows(ended)], assume_unique=True)
        return ended

    until = snapshot.sequence if floor is None else min(snapshot.sequence, floor)
    purge(serving.directory, serving.documents, publishing, keep_seconds=keep_seconds, until=until, free=in_no_part)


@contextmanager
def _written(serving: Serving) -> Iterator[PartWriter]:
    """A part to write; its folder goes if that fails."""
    writer = PartWriter(serving.directory, serving.recipe)
    try:
        yield writer
    except BaseException:
        writer.abort()
        raise


def _living(live: LivePart) -> int:
    return live.part.row.row_count - live.dead_count


def _tier(row_count: int) -> int:
    return int(log(max(_TIER_ROWS_MIN, row_count) / _TIER_ROWS_MIN, _TIER_FACTOR))


def _with_higher(by_tier: dict[int, list[LivePart]], tier: int) -> list[LivePart]:
    """The parts of a tier, and of those above that the merged part would make full: they are merged at once."""
    chosen = list(by_tier[tier])
    while (reached := _tier(sum(map(_living, chosen)))) > tier and len(by_tier.get(reached, ())) + 1 >= _FULL_TIER:
        chosen += [live for between in range(tier + 1, reached + 1) for live in by_tier.get(between, ())]
        tier = reached
    return chosen


def _fitting(parts: Sequence[LivePart], rows_max: int) -> list[LivePart]:
    """As many of the parts, the smallest first, as one part may hold."""
    ordered = sorted(parts, key=_living)
    totals = np.cumsum([_living(live) for live in ordered])
    return ordered[: int(np.searchsorted(totals, rows_max, "right"))]


def _threads() -> int:
    """Half the cores: searches and writes go on meanwhile."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)
