"""A thread that does the same work whenever it is asked, once at a time; whoever asks may wait, but not for ever.

What it calls may hang, in a library that cannot be interrupted. Then the thread is lost, and nobody else is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from outcrop import forking


class Follower:
    """Runs `work`, which must not raise, on a daemon thread. A forked child begins anew."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._lock = forking.lock()
        self._closed = False
        self._next: threading.Event | None = None
        self._thread: threading.Thread | None = None
        forking.in_child(self, Follower._begin)

    def ask(self) -> threading.Event:
        """Have the work done from now on; the event is set when a run that began after this call has ended."""
        with self._lock:
            if self._next is None:
                self._next = threading.Event()
            asked = self._next
            if self._closed:
                self._next = None
                asked.set()
            elif self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return asked

    def close(self, seconds_max: float) -> bool:
        """Begin nothing more, and wait for what is being done, but not longer than this. Whether nothing is being done."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds_max)
            return not thread.is_alive()
        return True

    def _begin(self) -> None:
        self._next = self._thread = None

    def _run(self) -> None:
        while True:
            with self._lock:
                asked, self._next = self._next, None
                if asked is None or self._closed:
                    self._thread = None
                    if asked is not None:
                        asked.set()
                    return
            try:
                self._work()
            finally:
                asked.set()
