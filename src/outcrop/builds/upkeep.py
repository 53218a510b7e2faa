"""What keeps a collection fast while it is written to: the tail is absorbed, earlier generations are kept caught up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from outcrop import forking

_log = logging.getLogger("outcrop")
_UNATTENDED_SECONDS = 1.0
_POLLED_SECONDS = 0.02


class Upkeep:
    """Runs the same work on a thread of its own, once at a time, whenever it is woken. A forked child begins anew."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = forking.lock()
        self._again = False
        self._runs_in: int | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._unattended = False

    def wake(self) -> None:
        """Have the work done soon; once more if it is being done."""
        with self._lock:
            if self._closed:
                return
            self._again = True
            if self._runs_in == os.getpid():
                return
            self._thread = threading.Thread(target=self._run, name="outcrop-upkeep", daemon=True)
            self._thread.start()
            self._runs_in = os.getpid()

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """What the work does in this block may take as long as it likes: `close` does not wait for it, and it may end with the
        process at any moment."""
        self._unattended = True
        try:
            yield
        finally:
            self._unattended = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is wanted."""
        return self._closed

    def close(self) -> None:
        """Begin nothing more, and wait for what is being done unless it is unattended. Idempotent."""
        with self._lock:
            self._closed = True
            thread = self._thread if self._runs_in == os.getpid() else None
        if thread is None or thread is threading.current_thread():
            return
        deadline = monotonic() + _UNATTENDED_SECONDS
        while thread.is_alive() and not (self._unattended and monotonic() > deadline):
            thread.join(_POLLED_SECONDS)

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._again:
                    self._runs_in = None
                    return
                self._again = False
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - it is done again after a later write; what it improves works without it
                _log.warning("upkeep: %s", error)
