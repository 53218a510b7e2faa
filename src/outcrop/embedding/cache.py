"""The embedding cache: one SQLite file, so that the same text is never embedded twice with the same embedder.

It is a cache and nothing else: it may be deleted at any time, trouble with it costs time and never a build, and since it is not
synced to disk, each vector is stored with a checksum, so that a row that a power cut garbled is a miss and never a wrong vector.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.model import EmbedderIdentity

SIZE_BYTES_MAX = 2 * 1024**3

_log = logging.getLogger(__name__)

_FORMAT = 1
# Vectors of 256 to 1,536 float32 fill pages of 16 KiB to 75-95 %; of smaller pages, the large ones leave half empty.
_PAGE_BYTES = 16_384
_LOG_BYTES_MAX = 16 * 1024**2
_BUSY_SECONDS = 5.0
_KEY_BYTES = 16
_KEYS_PER_LOOKUP = 256
# Evict down to this share of the bound, so that one eviction is followed by many stores without one.
_KEPT_SHARE = 0.8
_SECONDS_PER_TICK = 3600

# Two tables, because a vector's last use changes often and its kilobytes never: touching is a write to the small one only.
_SCHEMA = f"""
CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE entries (
    key BLOB PRIMARY KEY, vector_id INTEGER NOT NULL, checksum INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
"""
_KNOWN = "SELECT key FROM entries WHERE key IN ({})"
_LOOKUP = "SELECT key, vector_id, checksum, used, vector FROM entries JOIN vectors ON id = vector_id WHERE key IN ({})"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class EmbeddingCache:
    """Vectors by embedder and text in the file `path`, at most about `size_bytes_max` bytes of them (0: no caching at all).

    Safe to use from many threads and processes. Opened at the first use. `size_bytes_max` may be set at any time: a lower bound is
    reached when the next vectors are stored. When the bound is reached, the vectors that were not used
    for longest go (a fifth of them at once; last use is kept to the hour). A damaged file is renamed to `<name>.damaged` and begun
    anew; a file that cannot be written (full disk, read-only folder) turns the cache off until the process ends. Both are logged as
    warnings; no method raises for the file's sake.
    """

    def __init__(self, path: str | os.PathLike[str], size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self.path = Path(path)
        self.size_bytes_max = size_bytes_max
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file_id: tuple[int, int] | None = None
        self._off = False
        forking.before(self, EmbeddingCache.close)

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.path)!r}, size_bytes_max={self.size_bytes_max}{'' if self.enabled else ', off'})"

    @property
    def enabled(self) -> bool:
        """False when the bound is 0 or the file turned out to be unusable."""
        return not self._off and self.size_bytes_max > 0

    def load(self, keys: Sequence[bytes], dimension: int) -> dict[bytes, NDArray[np.float32]]:
        """The float32 vectors of shape (dimension,) of those keys that are in the cache, read-only. Keys are from `cache_keys`."""
        found: dict[bytes, NDArray[np.float32]] = {}
        self._guarded(lambda connection: _load(connection, keys, dimension, found))
        return found

    def store(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Keep the rows of `vectors`, float32 of shape (len(keys), dimension), under these distinct keys.

        A known key keeps its vector."""
        self._guarded(lambda connection: _store(connection, keys, vectors, self.size_bytes_max))

    def count(self) -> int:
        """How many vectors the cache holds."""
        counts: list[int] = []
        self._guarded(lambda connection: counts.extend(connection.execute("SELECT count(*) FROM entries").fetchone()))
        return counts[-1] if counts else 0

    def close(self) -> None:
        """Close the file. A later use opens it again."""
        with forking.undisturbed(), self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _guarded(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """Run the action on the open file. Begins a damaged file anew and tries once more; anything else that fails is logged."""
        with forking.undisturbed(), self._lock:
            for attempt in range(2):
                if not self.enabled:
                    return
                try:
                    action(self._opened())
                    return
                except (sqlite3.Error, OSError) as error:
                    self._recover(error, last=attempt == 1)
                    if _code(error) in _BUSY:
                        return

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open(self.path)
            self._file_id = _file_id(self.path)
        return self._connection

    def _recover(self, error: sqlite3.Error | OSError, *, last: bool) -> None:
        if _code(error) in _BUSY:
            _log.debug("the embedding cache %s was busy for %g s; went on without it", self.path, _BUSY_SECONDS)
            return
        self.close()
        if _code(error) in _DAMAGED and not last:
            try:
                self._set_aside(error)
                return
            except OSError as second:
                error = second
        self._off = True
        _log.warning("the embedding cache %s cannot be used (%s); embeddings are not cached", self.path, error)

    def _set_aside(self, error: Exception) -> None:
        """Rename the damaged file, unless another process has done so since we opened it."""
        if self._file_id is not None and _file_id(self.path) != self._file_id:
            self._file_id = None
            return
        _log.warning("the embedding cache %s is damaged (%s); set aside as *.damaged and begun anew", self.path, error)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(self.path.with_name(self.path.name + ".damaged"))
        self._file_id = None


def cache_keys(identity: EmbedderIdentity, texts: Iterable[str], *, scope: str = "") -> list[bytes]:
    """One key of 16 bytes a text: a SHA-256 over the embedder's identity and the exact text, cut to half, which no two texts share
    by chance. `scope` tells apart what the identity does not, such as two servers."""
    embedder = hashlib.sha256(msgspec.json.encode((identity, scope)))
    keys = []
    for text in texts:
        digest = embedder.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        keys.append(digest.digest()[:_KEY_BYTES])
    return keys


class _OtherFormat(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_NOTADB


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_MAX}")
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in _SCHEMA.strip().split(";\n"):
                connection.execute(statement)
        connection.execute("COMMIT")
        if found not in (0, _FORMAT):
            raise _OtherFormat(f"its format is {found}, not {_FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _load(connection: sqlite3.Connection, keys: Sequence[bytes], dimension: int, found: dict[bytes, NDArray[np.float32]]) -> None:
    now = _tick()
    stale: list[tuple[int, bytes]] = []
    garbled: list[tuple[bytes, int]] = []
    for start in range(0, len(keys), _KEYS_PER_LOOKUP):
        group = keys[start : start + _KEYS_PER_LOOKUP]
        for key, vector_id, checksum, used, vector in connection.execute(_LOOKUP.format(",".join("?" * len(group))), group):
            if _checksum(key, vector) != checksum or len(vector) != 4 * dimension:
                garbled.append((key, vector_id))
                continue
            found[key] = np.frombuffer(vector, dtype="<f4")
            if used < now:
                stale.append((now, key))
    if stale or garbled:
        with _transaction(connection):
            connection.executemany("UPDATE entries SET used = ? WHERE key = ?", stale)
            _delete(connection, garbled)


def _store(connection: sqlite3.Connection, keys: Sequence[bytes], vectors: NDArray[np.float32], size_bytes_max: int) -> None:
    now = _tick()
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    row_bytes = rows.shape[1] * rows.itemsize
    with _transaction(connection):
        known = _known(connection, keys)
        vector_id = connection.execute("SELECT coalesce(max(id), 0) FROM vectors").fetchone()[0]
        new_entries, new_vectors, buffer = [], [], rows.tobytes()
        for position, key in enumerate(keys):
            if key in known:
                continue
            vector_id += 1
            vector = buffer[position * row_bytes : (position + 1) * row_bytes]
            new_vectors.append((vector_id, vector))
            new_entries.append((key, vector_id, _checksum(key, vector), now))
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", new_vectors)
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", new_entries)
        _evict(connection, size_bytes_max)
    pages_beyond = connection.execute("PRAGMA page_count").fetchone()[0] - size_bytes_max // _PAGE_BYTES
    if pages_beyond > 0:
        # As a script, because `execute` takes one step of a statement without columns, and each step gives back one page.
        connection.executescript(f"PRAGMA incremental_vacuum({pages_beyond})")


def _known(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    for start in range(0, len(keys), _KEYS_PER_LOOKUP):
        group = keys[start : start + _KEYS_PER_LOOKUP]
        rows = connection.execute(_KNOWN.format(",".join("?" * len(group))), group)
        known.update(key for (key,) in rows)
    return known


def _evict(connection: sqlite3.Connection, size_bytes_max: int) -> None:
    """When the pages in use pass the bound, delete the entries that were not used for longest."""
    page_count = connection.execute("PRAGMA page_count").fetchone()[0]
    used_bytes = (page_count - connection.execute("PRAGMA freelist_count").fetchone()[0]) * _PAGE_BYTES
    if used_bytes <= size_bytes_max:
        return
    count = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    surplus = math.ceil(count * (1 - _KEPT_SHARE * size_bytes_max / used_bytes))
    oldest = connection.execute("SELECT key, vector_id FROM entries ORDER BY used, vector_id LIMIT ?", (surplus,)).fetchall()
    _delete(connection, oldest)


def _delete(connection: sqlite3.Connection, entries: Sequence[tuple[bytes, int]]) -> None:
    connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key, _ in entries])
    connection.executemany("DELETE FROM vectors WHERE id = ?", [(vector_id,) for _, vector_id in entries])


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself after a full disk
            connection.execute("ROLLBACK")
        raise


def _checksum(key: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(key))


def _tick() -> int:
    return int(time.time()) // _SECONDS_PER_TICK


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 for another error."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
