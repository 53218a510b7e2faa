"""SQLite FTS5: the module's own BM25, one connection a thread."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path

from benchmarks.peers.protocol import Corpus, K, Query, Rows

_WORDS = re.compile(r"\w+")
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE kept (row INTEGER PRIMARY KEY, bucket INTEGER NOT NULL);
CREATE INDEX by_bucket ON kept (bucket);
CREATE VIRTUAL TABLE texts USING fts5(title, text, tokenize = 'porter unicode61');
"""
_SEARCH = "SELECT rowid, title, text FROM texts WHERE texts MATCH ? {where} ORDER BY rank LIMIT ?"


class Side:
    """A database in one file."""

    def __init__(self) -> None:
        self._held = threading.local()

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Insert everything in one transaction, then merge the index into one."""
        connection = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        for rows in corpus.batches(5000):
            _insert(connection, rows)
        connection.execute("COMMIT")
        connection.execute("INSERT INTO texts(texts) VALUES ('optimize')")
        connection.close()

    def open(self, folder: Path) -> None:
        """Connections are made when a thread first searches."""
        self._path = folder / "rows.sqlite"

    def lexical(self, query: Query) -> list[int]:
        """Any of the words, best first."""
        words = " OR ".join(f'"{word}"' for word in _WORDS.findall(query.text))
        where = "" if query.below is None else f"AND rowid IN (SELECT row FROM kept WHERE bucket < {query.below})"
        return [row for row, _, _ in self._connection().execute(_SEARCH.format(where=where), (words, K))] if words else []

    def nearest(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def hybrid(self, query: Query, depth: int, effort: int) -> list[int]:
        """It has none."""
        raise NotImplementedError(query.text, depth, effort)

    def upsert(self, rows: Rows) -> None:
        """Delete and insert in one transaction, synced."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM texts WHERE rowid = ?", [(row,) for row in rows.numbers])
        connection.executemany("DELETE FROM kept WHERE row = ?", [(row,) for row in rows.numbers])
        _insert(connection, rows)
        connection.execute("COMMIT")

    def close(self) -> None:
        """This thread's connection."""
        self._connection().close()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._held, "connection", None)
        if found is None:
            found = self._held.connection = sqlite3.connect(self._path, isolation_level=None)
            found.execute("PRAGMA synchronous = FULL")
        return found


def _insert(connection: sqlite3.Connection, rows: Rows) -> None:
    connection.executemany("INSERT INTO kept VALUES (?, ?)", zip(rows.numbers, rows.buckets, strict=True))
    values = zip(rows.numbers, rows.titles, rows.texts, strict=True)
    connection.executemany("INSERT INTO texts (rowid, title, text) VALUES (?, ?, ?)", values)
