"""Who tidies a generation's index up: one at a time, over all processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from outcrop import file_locks, files

_POLLED_SECONDS = 0.01


@contextmanager
def alone(path: Path, timeout_seconds: float) -> Iterator[bool]:
    """Whether this is the only one, over all processes, who holds the lock file `path`. Waits for another so long."""
    with files.storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        held = _Held(path)
    with closing(held):
        yield held.locked(time.monotonic() + timeout_seconds)


class _Held:
    """The lock file."""

    def __init__(self, path: Path) -> None:
        self._file = file_locks.opened(path, writable=True)

    def locked(self, deadline: float) -> bool:
        while not file_locks.lock(self._file):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLLED_SECONDS)
        return True

    def close(self) -> None:
        if not self._file.closed:
            with self._file:
                file_locks.unlock(self._file)
