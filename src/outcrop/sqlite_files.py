"""How SQLite files of ours are opened, shared between threads and processes, and what their errors mean.

SQLite keeps, for each file that a process has open, what locks the process has. A forked child inherits that record and not the
locks: what it then reads may be stale, and what it writes may be lost. So everything is closed before a fork, which waits for
whoever is at work, and opened again at the next use, on both sides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from outcrop import forking
from outcrop.errors import Closed, Damaged, StorageFailed

_BUSY_TIMEOUT_SECONDS = 10.0
_MAPPED_BYTES_MAX = 1 << 30
_Kind = TypeVar("_Kind", bound=sqlite3.Connection)


class _Unchanging(sqlite3.Connection):
    """Reads a file as one that does not change, which is right as long as `state` is what it was when this was opened."""

    state: tuple[object, ...] = ()


class Connections:
    """Reading connections to one file. A thread borrows one for the time of a statement; idle ones are kept for the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = forking.lock()
        self._closed = False
        forking.before(self, Connections._close_idle)

    @contextmanager
    def borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread. SQLite's errors come out as `Damaged`, `StorageFailed` or `Closed`."""
        if self._closed:
            raise Closed(f"{self._path} is closed", path=self._path)
        with mapped_errors(self._path):
            connection = self._taken()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def fetch_all(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows of one statement. For the way of every search: nothing but what it needs."""
        if self._closed or not self._idle:
            with self.borrowed() as connection:
                return connection.execute(statement, values).fetchall()
        with forking.undisturbed():
            connection = self._taken()
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.Error:
                with mapped_errors(self._path):
                    raise
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close the idle connections; those that are borrowed close when they come back. Idempotent."""
        with forking.undisturbed():
            with self._lock:
                self._closed = True
            self._close_idle()

    def _taken(self) -> sqlite3.Connection:
        """An idle connection that may still be used, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                with mapped_errors(self._path):
                    return readable(self._path)
            if not isinstance(connection, _Unchanging) or connection.state == _state(self._path):
                return connection
            connection.close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Kept:
    """One connection that is kept between uses, by one thread at a time, and opened by `reopen` at the first use after a fork."""

    def __init__(self, reopen: Callable[[], sqlite3.Connection], connection: sqlite3.Connection | None = None) -> None:
        self._reopen = reopen
        self._connection = connection
        forking.before(self, Kept.close)

    def get(self) -> sqlite3.Connection:
        """The connection. Not to be used outside of `mapped_errors`, which a fork waits for."""
        if self._connection is None:
            self._connection = self._reopen()
        return self._connection

    def close(self) -> None:
        """Close it until the next use. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with forking.undisturbed():
                connection.close()


def writable(path: Path) -> sqlite3.Connection:
    """A connection that may write, and makes the file if it is not there. WAL, every commit synced."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_SECONDS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def readable(path: Path) -> sqlite3.Connection:
    """A connection that only reads.

    Where SQLite cannot make the files that it needs beside this one (no permission, a full disk) and there is no log, nobody
    writes: the file is then read as one that does not change. Use it at once: when the disk has room again, somebody may write.
    """
    try:
        return _reading(path, "mode=rw", sqlite3.Connection)
    except sqlite3.OperationalError:
        state = _state(path)
        if _log(path).exists():
            raise
        connection = _reading(path, "mode=ro&immutable=1", _Unchanging)
        connection.state = state
        return connection


def _state(path: Path) -> tuple[object, ...]:
    """What is different after anybody has written: there is a log, or it was folded into the file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, _log(path).exists()


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _reading(path: Path, parameters: str, kind: type[_Kind]) -> _Kind:
    address = f"{path.absolute().as_uri()}?{parameters}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_SECONDS, factory=kind
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES_MAX}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file and its log now, not at first use
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into `Damaged`, `StorageFailed` or `Closed`. A fork waits for the block: keep it short."""
    with forking.undisturbed():
        try:
            yield
        except sqlite3.ProgrammingError as error:  # used after close by another thread
            raise Closed(f"{path} is closed", path=path) from error
        except sqlite3.OperationalError as error:
            if not path.exists():
                raise Damaged(f"{path} is missing; restore it from a backup", path=path) from error
            if "no such table" in str(error) or "no such column" in str(error):  # cut off, or emptied
                raise Damaged(f"{path} is damaged ({error}); restore it from a backup", path=path) from error
            raise StorageFailed(f"{path}: {error}. Check the free space and the permissions of the folder.", path=path) from error
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{path} is damaged ({error}); restore it or roll back to another generation", path=path) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction: committed when the block ends, rolled back when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    connection.commit()
