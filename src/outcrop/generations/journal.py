"""The collection's durable, numbered record: every accepted write, who still needs which, generation numbers, promotions.

A *write* is a batch that the caller handed over in one call; it has one sequence. Its *entries* say what happens to single
documents. A later entry for a document absorbs the earlier ones, so the journal is bounded by the distinct documents changed:
whoever replays it, replays to the end.
"""

from __future__ import annotations

import getpass
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec

from outcrop import forking
from outcrop.errors import Damaged
from outcrop.generations.layout import GenerationName
from outcrop.sqlite_files import Connections, Kept, mapped_errors, readable, transaction, writable

EntryKind = Literal["put", "patch", "delete"]
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
    kind TEXT NOT NULL,                                 -- promote | rollback | quarantine
    intended_at TEXT NOT NULL, done_at TEXT,
    actor TEXT NOT NULL, source TEXT NOT NULL,          -- user, host and process; what the generation was built from
    forced INTEGER NOT NULL, gate TEXT                  -- the gate's report, JSON
);
CREATE TABLE IF NOT EXISTS writes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, written_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,                                 -- put | patch | delete
    document TEXT NOT NULL,
    body BLOB NOT NULL                                  -- put: the document with its prepared chunks; patch: metadata
);
CREATE INDEX IF NOT EXISTS entries_sequence ON entries (sequence);
CREATE INDEX IF NOT EXISTS entries_document ON entries (document);
CREATE TABLE IF NOT EXISTS barrier (sequence INTEGER NOT NULL);   -- the last write at which a build began
CREATE TABLE IF NOT EXISTS trimmed (sequence INTEGER NOT NULL);   -- entries up to here may be gone
CREATE TABLE IF NOT EXISTS holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sequence INTEGER NOT NULL, generation INTEGER NOT NULL, held_at TEXT NOT NULL
);
COMMIT;
"""
_PROMOTION = "SELECT id, generation, previous, kind, intended_at, done_at, actor, source, forced, gate FROM promotions"


class Promotion(msgspec.Struct, frozen=True):
    """One change of the active generation. `done_at` is None while it is only intended. `gate` is the gate's report as JSON."""

    id: int
    generation: int
    previous: int | None
    kind: str
    intended_at: str
    done_at: str | None
    actor: str
    source: str
    forced: bool
    gate: str | None


class Entry(msgspec.Struct, frozen=True):
    """What one write does to one document. `body` is empty for a delete."""

    sequence: int
    kind: EntryKind
    document_id: str
    body: bytes


class Hold(msgspec.Struct, frozen=True):
    """Somebody who needs every entry after `sequence`: a running build of the generation with this number."""

    id: int
    sequence: int
    generation: int
    held_at: str


class Journal:
    """journal.sqlite. A call opens and closes the file, unless `keep_open`: then writes use one connection until `close`.

    Whoever accepts writes holds the writer lock. Safe to use from many threads.
    """

    def __init__(self, path: Path, *, keep_open: bool = False) -> None:
        self.path = path
        self._kept = Kept(lambda: writable(path)) if keep_open else None
        self._one_at_a_time = forking.lock()

    def create(self) -> None:
        """Make the file, durable on return."""
        with mapped_errors(self.path), closing(writable(self.path)) as connection:
            connection.executescript(_SCHEMA)

    def accept(self, entries: Sequence[tuple[EntryKind, str, bytes]]) -> int:
        """Record a write of entries (kind, document id, body): durable on return. Its sequence.

        A put or delete takes the place of everything recorded for its document before, a patch that of an earlier patch: its body
        holds that one's values too (see `latest_patches`). Whatever was accepted before must have been applied.
        """
        with self._writing() as connection, transaction(connection):
            sequence = connection.execute("INSERT INTO writes (written_at) VALUES (?)", (now(),)).lastrowid or 0
            barrier = _barrier(connection)
            for kind, document_id, _ in entries:
                condition = f" AND kind = 'patch' AND sequence > {barrier}" if kind == "patch" else ""
                connection.execute(f"DELETE FROM entries WHERE document = ?{condition}", (document_id,))  # noqa: S608
            connection.executemany(
                "INSERT INTO entries (sequence, kind, document, body) VALUES (?, ?, ?, ?)",
                [(sequence, *entry) for entry in entries],
            )
        return sequence

    def latest_patches(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The bodies of the documents' last entries, where those are patches and no build began since: it lacks that patch."""
        if not ids:
            return {}
        statement = "SELECT kind, body FROM entries WHERE document = ? AND sequence > ? ORDER BY id DESC LIMIT 1"
        with self._reading() as connection:
            barrier = _barrier(connection)
            found = ((one, connection.execute(statement, (one, barrier)).fetchone()) for one in ids)
            return {one: row[1] for one, row in found if row is not None and row[0] == "patch"}

    def head(self) -> int:
        """The sequence of the last write accepted; 0 if there was none."""
        with self._reading() as connection:
            found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'writes'").fetchone()
        return 0 if found is None else found[0]

    def entries(self, after: int, *, count: int) -> list[Entry]:
        """What was written after the sequence `after`, oldest first: whole writes, until there are at least `count` entries."""
        with self._reading() as connection:
            last = connection.execute(
                "SELECT sequence FROM entries WHERE sequence > ? ORDER BY sequence, id LIMIT 1 OFFSET ?", (after, count - 1)
            ).fetchone()
            until = connection.execute("SELECT max(sequence) FROM entries").fetchone()[0] if last is None else last[0]
            rows = connection.execute(
                "SELECT sequence, kind, document, body FROM entries WHERE sequence > ? AND sequence <= ? ORDER BY sequence, id",
                (after, until),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def entry_count(self, after: int) -> int:
        """How many entries there are after a sequence."""
        with self._reading() as connection:
            count: int = connection.execute("SELECT count(*) FROM entries WHERE sequence > ?", (after,)).fetchone()[0]
        return count

    def hold(self, sequence: int, generation: int) -> int:
        """Keep every entry after `sequence` for a generation that is being built; the hold's id."""
        with self._writing() as connection, transaction(connection):
            connection.execute("DELETE FROM holds WHERE generation = ?", (generation,))
            barrier = max(sequence, _barrier(connection))
            connection.execute("DELETE FROM barrier")
            connection.execute("INSERT INTO barrier VALUES (?)", (barrier,))
            statement = "INSERT INTO holds (sequence, generation, held_at) VALUES (?, ?, ?)"
            return connection.execute(statement, (sequence, generation, now())).lastrowid or 0

    def release(self, generation: int) -> None:
        """The generation holds nothing any more by itself: it is finished (then its own head counts) or gone."""
        with self._writing() as connection, transaction(connection):
            connection.execute("DELETE FROM holds WHERE generation = ?", (generation,))

    def holds(self) -> list[Hold]:
        """Every hold."""
        with self._reading() as connection:
            return [Hold(*row) for row in connection.execute("SELECT id, sequence, generation, held_at FROM holds ORDER BY id")]

    def trim(self, floor: int) -> int:
        """Forget the entries up to and with the sequence `floor`; how many there were."""
        with self._writing() as connection, transaction(connection):
            connection.execute("DELETE FROM trimmed WHERE sequence < ?", (floor,))
            connection.execute("INSERT INTO trimmed SELECT ? WHERE NOT EXISTS (SELECT 1 FROM trimmed)", (floor,))
            connection.execute("DELETE FROM writes WHERE sequence <= ?", (floor,))
            return connection.execute("DELETE FROM entries WHERE sequence <= ?", (floor,)).rowcount

    def trimmed(self) -> int:
        """Up to which sequence entries may be gone. Who holds less than that cannot be brought up to date any more."""
        with self._reading() as connection:
            found: int | None = connection.execute("SELECT max(sequence) FROM trimmed").fetchone()[0]
        return 0 if found is None else found

    def quick_check(self) -> str | None:
        """What SQLite finds wrong with the file, or None. Raises `Damaged` where it cannot even be opened."""
        with self._reading() as connection:
            result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            connection.execute("SELECT 1 FROM promotions, writes, entries, holds, barrier, trimmed LIMIT 0")
        return None if result == "ok" else str(result)

    def size_bytes(self) -> int:
        """What the entries take, without what SQLite holds free."""
        with self._reading() as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def next_generation(self) -> GenerationName:
        """A number that was never given out before, and a uuid."""
        uuid = uuid4().hex
        with self._writing() as connection, transaction(connection):
            cursor = connection.execute("INSERT INTO generations (uuid, begun_at) VALUES (?, ?)", (uuid, now()))
            number = cursor.lastrowid
        if number is None:  # pragma: no cover - SQLite sets it after every insert
            raise Damaged(f"{self.path}: no number was given out", path=self.path)
        return GenerationName(number=number, uuid=uuid)

    def name_of(self, number: int) -> GenerationName | None:
        """The name that was given out with this number, whether or not the generation is there."""
        with self._reading() as connection:
            found = connection.execute("SELECT uuid FROM generations WHERE number = ?", (number,)).fetchone()
        return None if found is None else GenerationName(number=number, uuid=found[0])

    def intend(self, generation: int, previous: int | None, kind: str, *, source: str, forced: bool = False) -> int:
        """Record that a promotion is about to happen; its id."""
        with self._writing() as connection, transaction(connection):
            cursor = connection.execute(
                "INSERT INTO promotions (generation, previous, kind, intended_at, actor, source, forced)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (generation, previous, kind, now(), _actor(), source, forced),
            )
            return cursor.lastrowid or 0

    def withdraw(self, promotion_id: int) -> None:
        """Forget an intent that came to nothing."""
        with self._writing() as connection, transaction(connection):
            connection.execute("DELETE FROM promotions WHERE id = ? AND done_at IS NULL", (promotion_id,))

    def finish(self, promotion_id: int) -> None:
        """Record that a promotion happened."""
        with self._writing() as connection, transaction(connection):
            connection.execute("UPDATE promotions SET done_at = ? WHERE id = ?", (now(), promotion_id))

    def confirm(self, promotion_id: int, *, previous: int | None, gate: str | None) -> int:
        """Record, under the writer lock just before the swap, what is active now and what the gate found; the intent's new id.

        Intents may overlap; confirmed ones are in the order of the swaps.
        """
        with self._writing() as connection, transaction(connection):
            cursor = connection.execute(
                "INSERT INTO promotions (generation, previous, kind, intended_at, actor, source, forced, gate)"
                " SELECT generation, ?, kind, intended_at, actor, source, forced, ? FROM promotions WHERE id = ?",
                (previous, gate, promotion_id),
            )
            connection.execute("DELETE FROM promotions WHERE id = ?", (promotion_id,))
            return cursor.lastrowid or 0

    def settle(self, active: int | None) -> None:
        """Mark the promotion done that made the generation `active`, if it was cut short after its swap."""
        with self._writing() as connection, transaction(connection):
            connection.execute(
                "UPDATE promotions SET done_at = ? WHERE done_at IS NULL AND generation = ?"
                " AND id = (SELECT max(id) FROM promotions WHERE generation = ?)"
                " AND id > (SELECT coalesce(max(id), 0) FROM promotions WHERE done_at IS NOT NULL)",
                (now(), active, active),
            )

    def promotions(self) -> list[Promotion]:
        """Every promotion intended, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(f"{_PROMOTION} ORDER BY id").fetchall()
        return [_promotion(row) for row in rows]

    def last_promotion(self) -> Promotion | None:
        """The promotion intended last."""
        with self._reading() as connection:
            row = connection.execute(f"{_PROMOTION} ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else _promotion(row)

    def close(self) -> None:
        """Release the connection that is kept. Idempotent."""
        if self._kept is not None:
            self._kept.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with mapped_errors(self.path), closing(readable(self.path)) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():  # never made anew: the collection was dropped, or its numbers are lost
            raise Damaged(f"{self.path} is missing: the collection was dropped, or the file must be restored", path=self.path)
        with mapped_errors(self.path):
            if self._kept is not None:
                with self._one_at_a_time:  # threads share the connection; not all of them hold the writer lock
                    yield self._kept.get()
                return
            with closing(writable(self.path)) as connection:
                yield connection


def has_entries(connections: Connections, after: int) -> bool:
    """Whether there are entries after a sequence. For who asks at every search, over connections to the file that stay open."""
    return bool(connections.fetch_all("SELECT EXISTS (SELECT 1 FROM entries WHERE sequence > ?)", (after,))[0][0])


def promotions_of(connections: Connections) -> list[Promotion]:
    """As `Journal.promotions`, for who asks again and again: the last connection that closes changes what lies in the folder."""
    return [_promotion(row) for row in connections.fetch_all(f"{_PROMOTION} ORDER BY id", ())]


def now() -> str:
    """The time, UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _barrier(connection: sqlite3.Connection) -> int:
    found: int | None = connection.execute("SELECT max(sequence) FROM barrier").fetchone()[0]
    return 0 if found is None else found


def _promotion(row: tuple[Any, ...]) -> Promotion:
    values: dict[str, Any] = dict(zip(Promotion.__struct_fields__, row, strict=True))
    return Promotion(**{**values, "forced": bool(values["forced"])})


def _actor() -> str:
    user = "unknown"
    with suppress(Exception):  # no such user in this container: the name is only for people
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
