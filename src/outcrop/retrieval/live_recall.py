"""What searches really miss: a share of them is run again exactly, in the background.

The recall of a vector index is measured when it is sealed, on queries made up for that. Here it is that of the queries which users
ask, with their filters. One thread of low priority does it, with a short queue: what does not fit is counted and let go, so that
searches never wait for it.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from queue import Full, Queue
from random import Random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.engines.protocol import IndexSnapshot, Ranking
from outcrop.errors import OutcropError
from outcrop.filters import Filter
from outcrop.generations.journal import now
from outcrop.index_values import LiveRecall

_log = logging.getLogger("outcrop")
K = 10
_QUEUED_MAX = 16
_LOWEST_PRIORITY = 19
_TOLERANCE = 1e-5  # engines that score the same vectors in another order of sums


class Asked(msgspec.Struct, frozen=True, eq=False):
    """A vector leg as it was answered: of which generation, by which snapshot, and what it found."""

    generation_uuid: str
    index: IndexSnapshot
    vector: NDArray[np.float32]
    where: Filter | None
    found: Ranking


class _Tally(msgspec.Struct):
    since: str
    searches: int = 0
    dropped: int = 0
    total: float = 0.0
    lowest: float = 1.0


class ExactReruns:
    """Runs a `share` of the vector legs again, exactly, and keeps the recall@10 of each generation. Safe from many threads.

    With a share of 0 it does nothing, and begins no thread; `share` may be set at any time. A forked child begins with a thread and
    counts of its own.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._chance = Random()
        self._closed = False
        self._lock = forking.lock()
        self._begin()
        forking.in_child(self, ExactReruns._begin)

    def _begin(self) -> None:
        self._waiting: Queue[Asked | None] = Queue(_QUEUED_MAX)
        self._thread: threading.Thread | None = None
        self._tallies: dict[str, _Tally] = {}

    def offer(self, asked: Asked) -> None:
        """Take a leg, or not: by chance, and not while so many wait. Returns at once."""
        if not self.share or self._chance.random() >= self.share or self._closed:
            return
        with self._lock:
            tally = self._tallies.setdefault(asked.generation_uuid, _Tally(since=now()))
            try:
                if self._thread is None:
                    thread = threading.Thread(target=_work, args=(self._waiting, self._count), name="outcrop-exact", daemon=True)
                    thread.start()
                    self._thread = thread
                self._waiting.put_nowait(asked)
            except (Full, RuntimeError):  # the second: the system has no thread to give
                tally.dropped += 1

    def of(self, generation_uuid: str) -> LiveRecall | None:
        """What was found of a generation; None if nothing of it was asked, or nothing is run again."""
        with self._lock:
            tally = self._tallies.get(generation_uuid)
            if tally is None:
                return None
            measured = tally.searches > 0
            return LiveRecall(
                k=K,
                share=self.share,
                since=tally.since,
                searches=tally.searches,
                dropped=tally.dropped,
                recall=tally.total / tally.searches if measured else None,
                lowest=tally.lowest if measured else None,
            )

    def settle(self) -> None:
        """Return when everything that was taken has been run."""
        self._waiting.join()

    def close(self) -> None:
        """Take no more, and let the thread end when it has run what waits: at most a few searches."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def _count(self, asked: Asked, recall: float | None) -> None:
        with self._lock:
            tally = self._tallies[asked.generation_uuid]
            if recall is None:
                tally.dropped += 1
                return
            tally.searches += 1
            tally.total += recall
            tally.lowest = min(tally.lowest, recall)


def recall_of(asked: Asked) -> float | None:
    """The share of the true ten nearest that the leg had found, by score, since equals are as good; None if there is none."""
    exact = asked.index.nearest_exact(asked.vector, K, asked.where).scores
    if not len(exact):
        return None
    limit = float(exact[-1])
    hits = int(np.count_nonzero(asked.found.scores[:K] >= limit - _TOLERANCE * max(1.0, abs(limit))))
    return min(hits, len(exact)) / len(exact)


def _work(waiting: Queue[Asked | None], count: Any) -> None:
    with suppress(AttributeError, OSError):  # of this thread alone, and only where the system knows such a thing
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    while (asked := waiting.get()) is not None:
        try:
            recall = recall_of(asked)
        except OutcropError:  # closed meanwhile, or an engine that failed: not what is measured here
            recall = None
        except Exception:  # noqa: BLE001 - logged; the thread must go on, or closing would wait for it for ever
            _log.exception("a search could not be run again exactly")
            recall = None
        count(asked, recall)
        del asked  # the snapshot lives no longer than need be
        waiting.task_done()
    waiting.task_done()
