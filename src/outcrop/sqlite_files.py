"""How SQLite files of ours are opened, shared between threads and processes, and what their errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outcrop.errors import Closed, Damaged, StorageFailed

_BUSY_TIMEOUT_SECONDS = 10.0
_MAPPED_BYTES_MAX = 1 << 30


class Connections:
    """Reading connections to one file. A thread borrows one for the time of a statement; idle ones are kept for the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._inherited: list[list[sqlite3.Connection]] = []

    @contextmanager
    def borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread. SQLite's errors come out as `Damaged`, `StorageFailed` or `Closed`."""
        if self._process != os.getpid():
            self._forget_inherited()
        if self._closed:
            raise Closed(f"{self._path} is closed", path=self._path)
        with mapped_errors(self._path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = readable(self._path)
            try:
                yield connection
            finally:
                self._give_back(connection)

    def fetch_all(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows of one statement. For the way of every search: nothing but what it needs."""
        if self._process != os.getpid() or self._closed or not self._idle:
            with self.borrowed() as connection:
                return connection.execute(statement, values).fetchall()
        try:
            connection = self._idle.pop()
        except IndexError:  # another thread was quicker
            return self.fetch_all(statement, values)
        try:
            return connection.execute(statement, values).fetchall()
        except sqlite3.Error:
            with mapped_errors(self._path):
                raise
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close the idle connections; those that are borrowed close when they come back. Idempotent."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def _forget_inherited(self) -> None:
        """After a fork: the parent's connections must be neither used nor closed here, so they are only kept."""
        self._inherited.append(self._idle)
        self._idle, self._lock, self._process = [], threading.Lock(), os.getpid()


def writable(path: Path) -> sqlite3.Connection:
    """A connection that may write, and makes the file if it is not there. WAL, every commit synced."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_SECONDS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def readable(path: Path) -> sqlite3.Connection:
    """A connection that only reads.

    Where SQLite cannot make the files that it needs beside this one (no permission, a full disk) and there is no log, nobody
    writes: the file is then read as one that does not change.
    """
    try:
        return _reading(path, "mode=rw")
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return _reading(path, "mode=ro&immutable=1")


def _reading(path: Path, parameters: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?{parameters}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_SECONDS)
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
    """Turn SQLite's errors about `path` into `Damaged`, `StorageFailed` or `Closed`."""
    try:
        yield
    except sqlite3.ProgrammingError as error:  # used after close by another thread
        raise Closed(f"{path} is closed", path=path) from error
    except sqlite3.OperationalError as error:
        if not path.exists():
            raise Damaged(f"{path} is missing; restore it from a backup", path=path) from error
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
