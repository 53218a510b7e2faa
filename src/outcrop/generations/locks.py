"""Who may change a collection: one builder, one writer. Readers take no lock.

The operating system drops a lock when its process ends, however it ends. The JSON file beside a lock (pid, host, time) only makes
the error message useful; it never decides anything and may be deleted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import filelock
import msgspec

from outcrop.errors import CollectionLocked
from outcrop.files import storage_errors, storage_failed


class Owner(msgspec.Struct, frozen=True):
    """Who holds a lock."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def held(path: Path, *, timeout_seconds: float, action: str) -> Iterator[None]:
    """Hold the lock file `path`; wait for it up to `timeout_seconds`, then raise `CollectionLocked` naming its owner.

    `action` says what the owner does, for the message: "being built".
    """
    lock = filelock.FileLock(path, timeout=timeout_seconds, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        owner = _owner(path)
        who = str(owner) if owner else "another process or thread"
        raise CollectionLocked(
            f"{path.parent} is {action} by {who} (waited {timeout_seconds:g} s). Wait for it; searching needs no lock.",
            path=path.parent,
            owner=owner,
        ) from None
    except OSError as error:
        raise storage_failed(path, error) from error
    try:
        _note_owner(path)
        yield
    finally:
        with suppress(OSError):  # a hint that stays behind harms nobody; a lock would
            _owner_file(path).unlink(missing_ok=True)
        lock.release()


def _owner_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _note_owner(path: Path) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    with storage_errors(path):
        _owner_file(path).write_bytes(msgspec.json.encode(Owner(pid=os.getpid(), host=socket.gethostname(), since=since)))


def _owner(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode(_owner_file(path).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None
