"""The configuration of a running server: its file is watched, and what it says is taken over or refused.

Each process of a server watches for itself. A file is read when two looks in a row found it alike, so one that is still being
written, or is gone for a moment while an editor renames, is left alone. What cannot be used is logged once, and told in `/health`
and `/metrics` until it can; what was in effect stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from outcrop import Database, Reloaded
from outcrop.config import FILE_NAME
from outcrop.errors import OutcropError

_log = logging.getLogger("outcrop")
_LOOK_SECONDS = 0.5
_Stamp = tuple[int, int, int]
_UNSEEN: _Stamp = (-1, -1, -1)


class State(msgspec.Struct, frozen=True):
    """The configuration in effect, when it was last read and could be used (seconds since 1970), and what is wrong with the file
    of now. `needs_restart` are the settings that were given another value, which waits."""

    hash: str
    loaded_at: float
    fault: str | None = None
    needs_restart: tuple[str, ...] = ()


class Configuration:
    """Keeps an open database's configuration as its file says. Safe from many threads; `state` is swapped whole."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._path = db.path / FILE_NAME
        self._looked: _Stamp | None = _UNSEEN
        self._taken: _Stamp | None = _UNSEEN
        self.state = State(hash=db.config.hash, loaded_at=time.time())

    @contextmanager
    def watched(self, announce: Callable[[State], None]) -> Iterator[None]:
        """Look at the file all the time while the block runs; `announce` is told the state now and after each reading of it."""
        announce(self.state)
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended, announce), name="outcrop-config", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def look(self) -> bool:
        """One look; whether the file has been read."""
        found = _stamp(self._path)
        is_settled, self._looked = found == self._looked, found
        if not is_settled or found == self._taken:
            return False
        self._taken = found
        self._read()
        return True

    def told(self, *, in_full: bool) -> dict[str, Any]:
        """For `/health`. Not `in_full`: not what the file says, and where it lies is told to nobody."""
        state = self.state
        fault = state.fault
        if fault is not None:
            fault = fault.replace(str(self._path), FILE_NAME) if in_full else f"{FILE_NAME} cannot be used; the log says why"
        return {
            "hash": state.hash,
            "loaded_at": datetime.fromtimestamp(state.loaded_at, UTC).isoformat(timespec="seconds"),
            "fault": fault,
            "needs_restart": list(state.needs_restart) if in_full else [],
        }

    def _watch(self, ended: threading.Event, announce: Callable[[State], None]) -> None:
        while not ended.wait(_LOOK_SECONDS):
            try:
                if self.look():
                    announce(self.state)
            except Exception:  # noqa: BLE001 - it is looked at again
                _log.exception("the configuration could not be looked at")

    def _read(self) -> None:
        before = self.state
        try:
            done = self._db.reload()
        except OutcropError as error:
            self.state = msgspec.structs.replace(before, fault=str(error))
            if before.fault != str(error):
                _log.error("the configuration stays as it was: %s", error, extra={"event": "config_refused"})
            return
        waiting = tuple(one.key for one in done.needs_restart)
        self.state = State(hash=done.hash, loaded_at=time.time(), needs_restart=waiting)
        _tell(done, before)


def _tell(done: Reloaded, before: State) -> None:
    if before.fault is not None:
        _log.warning("the configuration can be used again", extra={"event": "config_usable"})
    for change in done.changed:
        about = {"event": "config_changed", "setting": change.key}
        _log.info("%s was %r and is %r now (%s)", change.key, change.before, change.after, change.origin, extra=about)
    for one in done.needs_restart:
        if one.key not in before.needs_restart:
            about = {"event": "config_waits", "setting": one.key}
            _log.warning("%s = %r (%s) waits for a restart: %s", one.key, one.given, one.origin, one.reason, extra=about)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:  # if it is there and cannot be read, reading it says so
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
