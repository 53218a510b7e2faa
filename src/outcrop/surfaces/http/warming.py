"""Collections are opened, and their embedders loaded, before anybody searches them: else the first search of each would pay for it.

On threads of its own, those first that were used last, as many as `server.warm_collections_max` says. Until that is done, or has
taken `server.warm_seconds_max`, the server says that it is not ready; whoever asks meanwhile is answered all the same, when what is
needed for it is open. Then it is looked now and then for what has come since: a new collection, another generation. What cannot be
opened is tried again, told once in the log, and told in `/health` and `/metrics` as long as it cannot.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec

from outcrop import Database
from outcrop.errors import OutcropError, UnknownCollection
from outcrop.generations.layout import CollectionFolder

_log = logging.getLogger("outcrop.http")
_THREADS = 4
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 30.0
_END_SECONDS = 5.0
_MARK = "warm-"
_Stamp = tuple[int, int]


class Warmth(msgspec.Struct, frozen=True):
    """How far it is. `cold` are the collections that cannot be opened, and why; `seconds` is what the first round took, once it
    is over."""

    open: int
    collections: int
    cold: Mapping[str, Exception]
    seconds: float | None


class Together:
    """The processes of one server, which tell each other by files in `folder` that they are warm. Without one there is one process.

    A process that is begun anew later does not make a server unready that was ready.
    """

    def __init__(self, folder: Path | None = None, processes: int = 1) -> None:
        self._folder = folder
        self.processes = 1 if folder is None else processes
        self._is_warm = False

    def tell(self) -> None:
        """This process is warm, or has tried for long enough."""
        self._is_warm = True
        if self._folder is not None:
            (self._folder / f"{_MARK}{os.getpid()}").touch()

    def warm(self) -> int:
        """How many are, or were."""
        return int(self._is_warm) if self._folder is None else len(list(self._folder.glob(f"{_MARK}*")))


class Warming:
    """Opens the collections of a database. `told` is called from its threads whenever something has changed."""

    def __init__(self, db: Database, told: Callable[[Warmth], None], together: Together) -> None:
        self._db = db
        self._told = told
        self._together = together
        self._began = monotonic()
        self._seconds: float | None = None
        self._seen: dict[str, _Seen] = {}
        self._last: Warmth | None = None  # that was told
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def warmth(self) -> Warmth:
        """How far it is now."""
        with self._lock:
            seen = dict(self._seen)
        cold = {name: one.error for name, one in seen.items() if one.error is not None}
        is_open = sum(one.state == "open" for one in seen.values())
        return Warmth(open=is_open, collections=len(seen), cold=cold, seconds=self._seconds)

    def waits_for(self) -> str | None:
        """What has to come before the server is ready, in words; None when it is ready."""
        processes, warm = self._together.processes, self._together.warm()
        if warm >= processes or monotonic() - self._began > self._db.config.server.warm_seconds_max:
            return None
        if self._seconds is None:
            warmth = self.warmth
            return f"{warmth.open} of {warmth.collections} collections are open"
        return f"{warm} of {processes} processes have their collections open"

    def begin(self) -> None:
        """Open what there is, and then what comes, until the `end`."""
        self._start(self._run, "outcrop-warm")

    def end(self) -> None:
        """Begin nothing any more, and wait a moment for what is being opened."""
        self._ended.set()
        deadline = monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _run(self) -> None:
        self._look()
        if self._ended.is_set():
            return
        self._seconds = monotonic() - self._began
        self._together.tell()
        warmth = self.warmth
        about = {"event": "ready", "open": warmth.open, "collections": warmth.collections, "seconds": round(self._seconds, 3)}
        _log.info("ready: %d of %d collections are open", warmth.open, warmth.collections, extra=about)
        self._tell()
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()
            self._tell()

    def _look(self) -> None:
        try:
            self._round()
        except OutcropError as error:  # `/readyz` tells that the folder cannot be read
            _log.debug("%s", error)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            _log.warning("collections cannot be opened ahead: %s", error, exc_info=error)

    def _tell(self) -> None:
        """Tell what has changed: also what has come of an opening that was waited for no longer."""
        warmth = self.warmth
        if self._ended.is_set() or warmth == self._last:
            return
        try:
            self._told(warmth)
            self._last = warmth
        except Exception as error:  # noqa: BLE001 - the next time it may be told
            _log.warning("how far the collections are open cannot be told: %s", error)

    def _round(self) -> None:
        """Open what is to be opened. What hangs is left to its thread. Raises what looking for it raises."""
        due = self._due()
        with self._lock:
            self._seen |= {name: _Seen(stamp, "opening", monotonic(), self._error_of(name)) for name, stamp in due}
        left = deque(due)
        threads = self._opening_threads(left)
        deadline = monotonic() + self._db.config.server.warm_seconds_max
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if self._ended.is_set():
            return
        for name in self._opening(due):
            _log.warning("collection %r is still being opened", name, extra={"event": "collection_cold", "collection": name})

    def _opening_threads(self, left: deque[tuple[str, _Stamp]]) -> list[threading.Thread]:
        """As many as are wanted; if the system has fewer to give, those, and if it has none, this one does it."""
        threads: list[threading.Thread] = []
        wanted = min(_THREADS, len(left))
        try:
            while len(threads) < wanted:
                threads.append(self._start(lambda: self._open_each(left), "outcrop-warm-open"))
        except RuntimeError:
            if not threads:
                self._open_each(left)
        return threads

    def _due(self) -> list[tuple[str, _Stamp]]:
        """Which to open: those that have changed, and new ones as far as there may be more, those first that were used last."""
        most = self._db.config.server.warm_collections_max
        stamps = {name: _stamp(self._db.path / name) for name in (self._db.collections() if most else ())}
        with self._lock:
            self._seen = {name: one for name, one in self._seen.items() if name in stamps}
            seen = dict(self._seen)
        again = [name for name, one in seen.items() if one.is_due(stamps[name])]
        room = max(0, most - len(seen))
        new = sorted(stamps.keys() - seen.keys(), key=lambda name: _used(self._db.path / name), reverse=True) if room else []
        return [(name, stamps[name]) for name in (*again, *new[:room])]

    def _open_each(self, left: deque[tuple[str, _Stamp]]) -> None:
        while left and not self._ended.is_set():
            try:
                name, stamp = left.popleft()
            except IndexError:  # another thread was quicker
                return
            self._open(name, stamp)

    def _open(self, name: str, stamp: _Stamp) -> None:
        before, error = self._error_of(name), None
        try:
            self._db.collection(name).warm()
        except Exception as found:  # noqa: BLE001 - whatever it is: the others are opened, and the server gets ready
            if isinstance(found, UnknownCollection) or not (self._db.path / name).is_dir():  # it was dropped meanwhile
                with self._lock:
                    self._seen.pop(name, None)
                return
            error = found
        if self._ended.is_set():
            return
        with self._lock:
            self._seen[name] = _Seen(stamp, "open" if error is None else "cold", monotonic(), error)
        about = {"event": "collection_cold" if error else "collection_warm", "collection": name}
        if error is not None and str(before) != str(error):
            trace = None if isinstance(error, OutcropError) else error
            _log.warning("collection %r cannot be opened: %s", name, error, extra=about, exc_info=trace)
        elif error is None and before is not None:
            _log.warning("collection %r can be opened again", name, extra=about)

    def _error_of(self, name: str) -> Exception | None:
        seen = self._seen.get(name)
        return None if seen is None else seen.error

    def _opening(self, due: list[tuple[str, _Stamp]]) -> list[str]:
        with self._lock:
            return [name for name, _ in due if name in self._seen and self._seen[name].state == "opening"]

    def _start(self, call: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=call, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread


class _Seen(msgspec.Struct, frozen=True):
    """A collection when it was last opened, or tried to be."""

    stamp: _Stamp
    state: Literal["opening", "open", "cold"]
    at: float
    error: Exception | None = None

    def is_due(self, stamp: _Stamp) -> bool:
        """Whether to open it again: another generation may be active, or what was wrong may be mended."""
        if self.state == "open":
            return stamp != self.stamp
        return self.state == "cold" and monotonic() - self.at > _AGAIN_SECONDS


def _stamp(folder: Path) -> _Stamp:
    """What changes when another generation is made active in a collection, or another collection has its name."""
    try:
        found = folder.stat()
    except OSError:
        return (0, 0)
    return found.st_ino, found.st_mtime_ns


def _used(path: Path) -> int:
    """When a collection was last searched (as far as that is logged) or written."""
    folder, last = CollectionFolder(path), 0
    for one in (folder.queries, folder.journal, folder.journal.with_name(f"{folder.journal.name}-wal")):
        try:
            last = max(last, one.stat().st_mtime_ns)
        except OSError:
            continue
    return last
