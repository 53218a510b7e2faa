"""The collection's durable, numbered record: generation numbers given out, and promotions with their intent and their end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from outcrop.errors import Damaged
from outcrop.generations.layout import GenerationName
from outcrop.sqlite_files import mapped_errors, readable, transaction, writable

_APPLICATION_ID = 0x4F75744A  # "OutJ"
_SCHEMA = f"""
BEGIN;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = 1;
CREATE TABLE IF NOT EXISTS generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, begun_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS promotions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL, previous INTEGER,      -- numbers; previous is the one that was active
    kind TEXT NOT NULL,                                 -- promote | rollback
    intended_at TEXT NOT NULL, done_at TEXT
);
COMMIT;
"""


class Promotion(msgspec.Struct, frozen=True):
    """One change of the active generation. `done_at` is None while it is only intended."""

    id: int
    generation: int
    previous: int | None
    kind: str
    intended_at: str
    done_at: str | None


class Journal:
    """journal.sqlite. Every call opens and closes the file: it is asked rarely, and never on the way of a search."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the file, durable on return."""
        with mapped_errors(self.path), closing(writable(self.path)) as connection:
            connection.executescript(_SCHEMA)

    def next_generation(self) -> GenerationName:
        """A number that was never given out before, and a uuid."""
        uuid = uuid4().hex
        with self._writing() as connection, transaction(connection):
            cursor = connection.execute("INSERT INTO generations (uuid, begun_at) VALUES (?, ?)", (uuid, now()))
            number = cursor.lastrowid
        if number is None:  # pragma: no cover - SQLite sets it after every insert
            raise Damaged(f"{self.path}: no number was given out", path=self.path)
        return GenerationName(number=number, uuid=uuid)

    def intend(self, generation: int, previous: int | None, kind: str) -> int:
        """Record that a promotion is about to happen; its id."""
        with self._writing() as connection, transaction(connection):
            cursor = connection.execute(
                "INSERT INTO promotions (generation, previous, kind, intended_at) VALUES (?, ?, ?, ?)",
                (generation, previous, kind, now()),
            )
            return cursor.lastrowid or 0

    def finish(self, promotion_id: int) -> None:
        """Record that a promotion happened."""
        with self._writing() as connection, transaction(connection):
            connection.execute("UPDATE promotions SET done_at = ? WHERE id = ?", (now(), promotion_id))

    def settle(self, active: int | None) -> None:
        """Mark the last promotion done if it was cut short after its swap: its generation is the active one."""
        with self._writing() as connection, transaction(connection):
            connection.execute(
                "UPDATE promotions SET done_at = ? WHERE done_at IS NULL AND generation = ?"
                " AND id = (SELECT max(id) FROM promotions)",
                (now(), active),
            )

    def promotions(self) -> list[Promotion]:
        """Every promotion intended, oldest first."""
        with mapped_errors(self.path), closing(readable(self.path)) as connection:
            rows = connection.execute(
                "SELECT id, generation, previous, kind, intended_at, done_at FROM promotions ORDER BY id"
            ).fetchall()
        return [Promotion(*row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():  # never made anew: the collection was dropped, or its numbers are lost
            raise Damaged(f"{self.path} is missing: the collection was dropped, or the file must be restored", path=self.path)
        with mapped_errors(self.path), closing(writable(self.path)) as connection:
            yield connection


def now() -> str:
    """The time, UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
