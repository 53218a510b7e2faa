"""What keeps a collection fast while it is written to: the tail is absorbed, earlier generations are kept caught up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from outcrop import forking

_log = logging.getLogger("outcrop")


class Upkeep:
    """Runs the same work on a thread of its own, once at a time, whenever it is woken. A forked child begins anew."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = forking.lock()
        self._again = False
        self._runs_in: int | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the work done soon; once more if it is being done."""
        with self._lock:
            if self._closed:
                return
            self._again = True
            if self._runs_in == os.getpid():
                return
            self._runs_in = os.getpid()
            self._thread = threading.Thread(target=self._run, name="outcrop-upkeep", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Begin nothing more, and wait for what is being done. Idempotent."""
        with self._lock:
            self._closed = True
            thread = self._thread if self._runs_in == os.getpid() else None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

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
