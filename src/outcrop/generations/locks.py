"""Who may change a collection: one builder, one writer, and for each generation one that brings it up to date. Reading needs none.

The operating system drops a lock when its process ends, however it ends; a forked child keeps none. What is written into a lock
file (pid, host, time) only makes the error message useful; it never decides anything.

Locks are taken in the order build, writer, apply. Threads exclude each other as processes do.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from outcrop import file_locks
from outcrop.errors import CollectionLocked
from outcrop.files import storage_errors
from outcrop.generations.layout import CollectionFolder

_POLLED_SECONDS_MIN, _POLLED_SECONDS_MAX = 0.0005, 0.005
_OWNER_BYTES_MAX = 1024


class Owner(msgspec.Struct, frozen=True):
    """Who holds a lock. `since` is the time, UTC, ISO 8601."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        mine = self.pid == os.getpid() and self.host == socket.gethostname()
        return f"process {self.pid}{' (this one)' if mine else ''} on {self.host} since {self.since}"


@contextmanager
def held(path: Path, *, timeout_seconds: float, action: str) -> Iterator[None]:
    """Hold the lock file `path`; wait for it up to `timeout_seconds`, then raise `CollectionLocked` naming its owner.

    `action` says what the owner does, for the message: "being built". Not to be taken twice by one thread. Raises `StorageFailed`.
    """
    file = _acquired(path, time.monotonic() + timeout_seconds)
    if file is None:
        raise _locked(path, timeout_seconds, action)
    with _owned(file):
        yield


@contextmanager
def writing(folder: CollectionFolder, timeout_seconds: float) -> Iterator[None]:
    """Be the one who writes into the collection or swaps its pointer; wait for it up to `timeout_seconds`, as in `held`.

    Whoever waits stands in a queue of one, which a busy writer must pass too: nobody gets the lock twice while one waits for it.
    """
    deadline = time.monotonic() + timeout_seconds
    queue = _acquired(folder.writer_queue, deadline)
    if queue is None:
        raise _locked(folder.writer_lock, timeout_seconds, "being written")
    try:
        file = _acquired(folder.writer_lock, deadline)
    finally:
        _release(queue)
    if file is None:
        raise _locked(folder.writer_lock, timeout_seconds, "being written")
    with _owned(file):
        yield


@contextmanager
def applying(directory: Path, timeout_seconds: float) -> Iterator[None]:
    """Be the one who brings a generation's index up to date or publishes its parts; as in `held`."""
    with held(directory / "apply.lock", timeout_seconds=timeout_seconds, action="being brought up to date"):
        yield


def _acquired(path: Path, deadline: float) -> io.FileIO | None:
    """The lock file, open and locked; None if that did not come about in time."""
    pause = _POLLED_SECONDS_MIN
    with storage_errors(path):
        file = file_locks.opened(path, writable=True)
        try:
            while True:
                if file_locks.lock(file):
                    if file_locks.is_at(file, path):
                        return file
                    file.close()  # renamed away with its folder
                    file = file_locks.opened(path, writable=True)
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    file.close()
                    return None
                time.sleep(min(pause, left))
                pause = min(2 * pause, _POLLED_SECONDS_MAX)
        except BaseException:
            file.close()
            raise


def _release(file: io.FileIO) -> None:
    """Unlock, not only close: a child that another library forked may have a copy of the descriptor."""
    if not file.closed:  # as it is in a child that was forked meanwhile
        with file, suppress(OSError):
            file_locks.unlock(file)


@contextmanager
def _owned(file: io.FileIO) -> Iterator[None]:
    owner = Owner(pid=os.getpid(), host=socket.gethostname(), since=datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        _note(file, msgspec.json.encode(owner))
        yield
    finally:
        try:
            _note(file, b"")
        finally:  # an interrupt may come at any line
            _release(file)


def _note(file: io.FileIO, line: bytes) -> None:
    with suppress(OSError, ValueError):  # a full disk; closed in a child that was forked meanwhile
        file.seek(0)
        file.write(line + b"\n")


def _locked(path: Path, waited_seconds: float, action: str) -> CollectionLocked:
    owner = _owner(path)
    who = "another process or thread" if owner is None else str(owner)
    return CollectionLocked(
        f"{path.parent} is {action} by {who} (waited {waited_seconds:g} s). Wait for it and try again, wait longer"
        " (lock_timeout_seconds), or end that process: its lock ends with it. Searching needs no lock.",
        path=path.parent,
        owner=owner,
    )


def _owner(path: Path) -> Owner | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_OWNER_BYTES_MAX).partition(b"\n")[0], type=Owner)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
