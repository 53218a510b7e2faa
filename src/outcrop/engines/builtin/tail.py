"""The tail: vectors that no part has yet, in memory, searched one by one.

Snapshots share one buffer. Rows are only ever added behind those that a snapshot sees, so a write costs what it adds, not what is
there; what ended is masked, by snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.documents import TailRow
from outcrop.engines.builtin.columns import Columns, ColumnsWriter
from outcrop.engines.builtin.parts import rows_of
from outcrop.engines.builtin.vector_scan import exact_nearest, normalized
from outcrop.engines.builtin.vectors import prepared
from outcrop.engines.protocol import Ranking
from outcrop.filters import Filter
from outcrop.model import Metric

_CAPACITY_MIN = 64


class Tail:
    """The tail as of one write; it never changes. `slots` ascend, and some rows may have ended: `alive` is None if none has.

    `last_slot` is the highest slot that was ever in it, -1 if there was none. Safe to use from many threads; `grown` for one thread
    at a time, and of each tail once.
    """

    def __init__(self, rows: _Rows, count: int, alive: NDArray[np.bool_] | None = None, last_slot: int = -1) -> None:
        self._rows = rows
        self._count = count
        self.slots = rows.slots[:count]
        self._vectors = rows.vectors[:count]
        self.alive = alive
        self.lag = count if alive is None else int(np.count_nonzero(alive))
        self.last_slot = last_slot

    @classmethod
    def of(cls, rows: Sequence[TailRow], dimension: int, metric: Metric) -> Tail:
        """A tail of these rows, whose slots ascend."""
        return cls(_Rows(dimension, metric, max(_CAPACITY_MIN, len(rows))), 0).grown(rows)

    def grown(self, added: Sequence[TailRow]) -> Tail:
        """The tail with rows more, whose slots follow its own. What it costs does not depend on how many there are."""
        if not added:
            return self
        self._rows.put(self._count, added)
        alive = None if self.alive is None else np.concatenate([self.alive, np.ones(len(added), np.bool_)])
        return Tail(self._rows, self._count + len(added), alive, added[-1].slot)

    def without(self, ended: NDArray[np.int64]) -> Tail:
        """The tail when these slots have ended too. When more than half have ended, the others move together."""
        rows, _ = rows_of(self.slots, ended)
        if not len(rows):
            return self
        alive = np.ones(self._count, np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        tail = Tail(self._rows, self._count, alive, self.last_slot)
        if self._count < _CAPACITY_MIN or 2 * tail.lag > self._count:
            return tail
        return Tail(self._rows.picked(np.flatnonzero(alive)), tail.lag, None, self.last_slot)

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest living rows that `where` selects."""
        mask = self.alive
        if where is not None:
            mask = self._rows.mask(where, self._count)
            if self.alive is not None:
                mask &= self.alive
        metric = self._rows.metric
        rows, scores = exact_nearest(self._vectors, prepared(vector, metric), k, metric, mask=mask)
        return Ranking(slots=self.slots[rows], scores=scores)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """A copy of these rows, float32 of shape (len(rows), dimension): normalised for `cosine`."""
        return self._vectors[rows]

    def living(self) -> NDArray[np.int64]:
        """The rows that have not ended."""
        return np.arange(self._count) if self.alive is None else np.flatnonzero(self.alive)

    def metadata(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The metadata of these rows."""
        return [self._rows.metadata[row] for row in rows]


class _Rows:
    """The buffer: what lies before a tail's count does not change any more."""

    def __init__(self, dimension: int, metric: Metric, capacity: int) -> None:
        self.metric: Metric = metric
        self.slots = np.empty(capacity, np.int64)
        self.vectors = np.empty((capacity, dimension), np.float32)
        self.metadata: list[dict[str, Any]] = []
        self._blocks: tuple[_Block, ...] = ()
        self._merging = forking.lock()

    def put(self, at: int, added: Sequence[TailRow]) -> None:
        """Write rows from the row `at` on; what was there before was never seen."""
        end = at + len(added)
        if end > len(self.slots):
            self._grow(max(end, 2 * len(self.slots)), at)
        vectors = np.stack([row.vector for row in added], out=self.vectors[at:end])
        if self.metric == "cosine":
            normalized(vectors, out=vectors)
        self.slots[at:end] = [row.slot for row in added]
        self.metadata[at:] = [row.metadata for row in added]

    def picked(self, rows: NDArray[np.int64]) -> _Rows:
        """A new buffer with these rows only."""
        made = _Rows(self.vectors.shape[1], self.metric, max(_CAPACITY_MIN, len(rows)))
        made.slots[: len(rows)] = self.slots[rows]
        made.vectors[: len(rows)] = self.vectors[rows]
        made.metadata = [self.metadata[row] for row in rows]
        return made

    def mask(self, where: Filter, count: int) -> NDArray[np.bool_]:
        """Which of the first `count` rows `where` selects."""
        blocks = self._covering(count)
        masks = [block.columns.mask(where) for block in blocks]
        return np.concatenate([*masks, np.empty(0, np.bool_)])[:count]

    def _covering(self, count: int) -> tuple[_Block, ...]:
        """Columns of the first `count` rows at least. Blocks double in size towards the first: a row is taken up log n times."""
        with self._merging:
            blocks = list(self._blocks)
            start = blocks[-1].stop if blocks else 0
            if start < count:
                while blocks and blocks[-1].stop - blocks[-1].start <= count - start:
                    start = blocks.pop().start
                self._blocks = (*blocks, _Block(start, self.metadata[start:count]))
            return self._blocks

    def _grow(self, capacity: int, count: int) -> None:
        slots, vectors = self.slots, self.vectors
        self.slots = np.empty(capacity, np.int64)
        self.vectors = np.empty((capacity, vectors.shape[1]), np.float32)
        self.slots[:count] = slots[:count]
        self.vectors[:count] = vectors[:count]


class _Block:
    """The metadata columns of some rows in a run."""

    def __init__(self, start: int, metadata: Sequence[dict[str, Any]]) -> None:
        self.start, self.stop = start, start + len(metadata)
        writer = ColumnsWriter()
        for row, of_row in enumerate(metadata):
            writer.add(row, of_row)
        self.columns: Columns = writer.columns(len(metadata))
