"""The query log of one collection, as searches see it: a bounded queue, which a thread empties into files twice a second.

A search leaves a tuple, or not: by chance, and not while so many wait. It never waits, and nothing that happens to the files ever
reaches it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from random import Random
from time import monotonic, time

from outcrop import forking
from outcrop.config import Config
from outcrop.errors import OutcropError
from outcrop.generations.layout import CollectionFolder
from outcrop.insights.line import Noted, noted
from outcrop.insights.segments import Bounds, Segments, listed
from outcrop.log_values import QueryLogStats
from outcrop.retrieval.hits import Hits
from outcrop.retrieval.request import Request

_log = logging.getLogger("outcrop")
_WAITING_MAX = 5_000
_GATHERED_SECONDS = 0.5
_FAILED_SECONDS = 60.0
_ENDED_SECONDS_MAX = 5.0


class QueryLog:
    """Takes the searches of a collection. Safe from many threads; a forked child begins with a thread and counts of its own.

    With a share of 0, or where nothing may be written, it does nothing and begins no thread. `check_same` raises if the
    collection was dropped, or another one has its name now.
    """

    def __init__(self, folder: CollectionFolder, config: Config, *, read_only: bool, check_same: Callable[[], None]) -> None:
        self._share = 0.0
        self._chance = Random()
        self._folder = folder.queries
        self._text = config.query_log_text
        self._read_only = read_only
        self._writer = _Writer(Segments(folder.queries, bounds=_bounds(config), check_same=check_same))
        self._ending: weakref.finalize[[_Writer], QueryLog] | None = None
        self.reconfigured(config)

    @property
    def idle_because(self) -> str | None:
        """Why nothing is logged here, or None."""
        return "the database is open read-only" if self._read_only else "query_log_share is 0" if not self._share else None

    def reconfigured(self, config: Config) -> None:
        """Go on by this configuration: what waits to be written too."""
        if self._read_only or self._writer.closed:
            return
        self._writer.bounds = _bounds(config)
        self._text = config.query_log_text
        self._share = config.query_log_share
        if self._share and self._ending is None:
            self._ending = weakref.finalize(self, _Writer.close, self._writer)  # also when the program ends without closing

    def note(self, request: Request, hits: Hits, *, batch: bool = False) -> None:
        """Take a search, or not. Returns at once."""
        share = self._share
        if share and (share >= 1.0 or self._chance.random() < share):
            self._writer.take(noted(time(), request, hits, batch=batch, share=share))

    def stats(self) -> QueryLogStats | None:
        """How it does; None if nothing is logged here."""
        if not self._share:
            return None
        writer = self._writer
        try:
            size_bytes = sum(one.size_bytes for one in listed(self._folder))
        except OSError:  # not even to be looked at: `fault` says why
            size_bytes = 0
        return QueryLogStats(
            share=self._share,
            text=self._text,
            size_bytes=size_bytes,
            logged=writer.logged,
            dropped=writer.dropped,
            lost=writer.lost,
            fault=writer.fault,
        )

    def flush(self) -> None:
        """Return when everything that was taken is in the files, or lost."""
        self._writer.flush()

    def close(self) -> None:
        """Take no more, and write what waits. Idempotent."""
        self._share = 0.0
        self._writer.close()


def _bounds(config: Config) -> Bounds:
    return Bounds(config.query_log_bytes_max, config.query_log_days, config.query_log_text == "hashed")


class _Writer:
    """The queue and its thread. The thread knows this and not the log, which so ends when nobody uses it any more."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self.bounds = segments.bounds
        self._lock = forking.lock()
        self._begin()
        forking.in_child(self, _Writer._begin)

    def _begin(self) -> None:
        self._waiting: deque[Noted] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._resumes_at = 0.0
        self._segments.leave()
        self.logged = self.dropped = self.lost = 0
        self.fault: str | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing.is_set()

    def take(self, one: Noted) -> None:
        """Queue it, unless too many wait."""
        if len(self._waiting) >= _WAITING_MAX:
            self.dropped += 1
        else:
            self._waiting.append(one)
        if not self._awake.is_set():
            self._wake()

    def flush(self) -> None:
        """Write what waits now. What comes meanwhile is for the next time: there may be no end of it."""
        with self._lock:
            waiting = self._waiting
            if waiting:
                self._write([waiting.popleft() for _ in range(len(waiting))])

    def close(self) -> None:
        """Let the thread end, and write what waits."""
        thread = self._thread
        self._closing.set()
        self._awake.set()
        if thread is threading.current_thread():  # collected as garbage by it: it writes what waits when it looks again
            return
        if thread is not None:
            thread.join(_ENDED_SECONDS_MAX)
            if thread.is_alive():  # a disk that hangs
                return
        self.flush()

    def _wake(self) -> None:
        self._awake.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closing.is_set():
                    self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="outcrop-queries", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread to give: the next search asks again
            self._awake.clear()
            self._tell("the query log cannot be written, and waits for a thread; searches go on", error)
        else:
            self._thread = thread

    def _work(self) -> None:
        while not self._closing.is_set():
            self._awake.wait()
            self._closing.wait(_GATHERED_SECONDS)
            self._awake.clear()
            self.flush()
        self.flush()  # what came during the last one, where `close` does not write it

    def _write(self, searches: list[Noted]) -> None:
        if monotonic() < self._resumes_at:
            self.lost += len(searches)
            return
        try:
            bounds = self.bounds
            if bounds != self._segments.bounds:
                self._segments.allow(bounds)
            self._segments.append(searches)
        except (OSError, OutcropError) as error:
            self._failed(len(searches), error)
        except Exception as error:  # noqa: BLE001 - logged; searches and the thread go on
            _log.exception("the query log could not be written")
            self._failed(len(searches), error)
        else:
            self.logged += len(searches)
            self.fault = None

    def _failed(self, count: int, error: Exception) -> None:
        self.lost += count
        self._resumes_at = monotonic() + _FAILED_SECONDS
        self._tell("the query log cannot be written, and is tried again each minute; searches go on", error)

    def _tell(self, what: str, error: Exception) -> None:
        if self.fault is None:
            _log.warning("%s: %s", what, error)
        self.fault = str(error)
