"""Who has a generation open: a shared lock on its file `lease`, which the collector of garbage must get for itself alone.

A lease belongs to an open file. So several in one process are independent of each other, and a forked child shares those that its
parent had: it goes on searching, and the generation stays until parent and child have both let go of it. That is why a lease is
given up by closing the file: unlocking would give it up for the child too.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outcrop import file_locks
from outcrop.errors import CollectionLocked
from outcrop.files import storage_errors

LEASE = "lease"
_WAITED_SECONDS_MAX = 10.0
_POLLED_SECONDS = 0.001


class Lease:
    """Keeps a generation from being deleted until it is released, or its process and the children that it forked have ended."""

    def __init__(self, file: io.FileIO | None) -> None:
        self._file = file

    def __del__(self) -> None:
        self.release()

    @property
    def protects(self) -> bool:
        """Whether it keeps anybody from deleting the generation: not after its release, nor where there could be no lease."""
        return self._file is not None

    def release(self) -> None:
        """Let the generation go. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def take(directory: Path) -> Lease | None:
    """A lease on the generation in `directory`, or None if it is gone: then look for another one.

    Makes the file `lease` if it is not there. Where that is not allowed (read-only media, somebody else's folder) or the file
    system has no locks, the lease protects nothing, and reading works all the same: on read-only media nobody can delete anything,
    and elsewhere whoever promoted the generation has made the file. Waits for a collector that looks at the generation just now;
    raises `CollectionLocked` if that takes 10 s, and `StorageFailed`.
    """
    path = directory / LEASE
    deadline = time.monotonic() + _WAITED_SECONDS_MAX
    with storage_errors(path):
        while time.monotonic() < deadline:
            try:
                file = file_locks.opened(path, writable=False, inherited=True)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                    return Lease(None)
                raise
            lease = _locked(file, path)
            if lease is not None:
                return lease
            time.sleep(_POLLED_SECONDS)
    raise CollectionLocked(f"{directory} is being removed by another process; try again", path=directory, owner=None)


@contextmanager
def try_exclusive(directory: Path) -> Iterator[bool]:
    """Whether nobody has the generation open; if so, nobody can take a lease on it while the block runs. Does not wait.

    In the block the folder may be renamed: whoever asked for a lease meanwhile then finds it gone. Keep it short, as forks wait for
    it. (On Windows a lease may be taken all the same; then the folder cannot be renamed.)
    """
    path = directory / LEASE
    if sys.platform == "win32":
        yield _is_free_on_windows(path)
        return
    try:
        file = file_locks.opened(path, writable=False)
    except OSError:  # it is gone, or not ours to touch
        yield False
        return
    with file_locks.tried(file) as free:
        yield free and file_locks.is_at(file, path)


def is_taken(directory: Path) -> bool:
    """Whether somebody has the generation open, as far as this can be told without writing anything."""
    path = directory / LEASE
    if sys.platform == "win32":
        return not _is_free_on_windows(path)
    return file_locks.is_locked(path)


def _locked(file: io.FileIO, path: Path) -> Lease | None:
    """A lease on the open file; None, and the file closed, if it is the collector's or was renamed away."""
    try:
        if file_locks.lock(file, shared=True) and file_locks.is_at(file, path):
            return Lease(file)
        file.close()
    except OSError:  # a file system without locks
        file.close()
        return Lease(None)
    except BaseException:
        file.close()
        raise
    return None


def _is_free_on_windows(path: Path) -> bool:
    """Nobody can rename a file that somebody has open, not even to its own name."""
    try:
        os.replace(path, path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
