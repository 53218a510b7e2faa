"""Writes documents.sqlite: a build's rows, and then every write that is applied to the generation."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outcrop.documents.rows import Applied, Counts, DocumentRow, Head, PartRow, chunk_values, document_values, part_facts
from outcrop.documents.schema import FILE_NAME, create, open_existing
from outcrop.errors import Closed, Damaged, DuplicateDocument
from outcrop.filters import leaves
from outcrop.sqlite_files import Kept, mapped_errors, transaction

# Checkpoints sync; single transactions of a build need not, since an unfinished build is thrown away.
_BUILDING = "PRAGMA synchronous = NORMAL"
_INSERT_DOCUMENT = "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)"
_INSERT_CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"


class DocumentsWriter:
    """Writes one generation's documents. One thread uses it, and whoever does holds the generation's apply lock (or builds it).

    What `create` made promises nothing durable before `seal`; on what `open` gave every call is durable when it returns.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, building: bool) -> None:
        self.path = path
        self._building = building
        self._kept = Kept(self._reopened, connection)
        self._closed = False

    @classmethod
    def create(cls, directory: Path) -> DocumentsWriter:
        """Begin the file of a new generation."""
        path = directory / FILE_NAME
        connection = create(path)
        connection.execute(_BUILDING)
        return cls(path, connection, building=True)

    @classmethod
    def open(cls, directory: Path) -> DocumentsWriter:
        """Go on writing a file that is there. Raises `Damaged`."""
        path = directory / FILE_NAME
        return cls(path, open_existing(path), building=False)

    def head(self) -> Head:
        """Where the rows stand."""
        with mapped_errors(self.path):
            return Head(*self._connection.execute("SELECT * FROM head").fetchone())

    def add(self, rows: Sequence[DocumentRow], sequence: int, checkpoint: bytes | None = None) -> None:
        """Write new documents and chunks in one transaction, born at `sequence`; and how far the build has come.

        Raises `DuplicateDocument` if an id is there already or occurs twice; then none of `rows` is written.
        """
        with mapped_errors(self.path), transaction(self._connection):
            try:
                self._insert(rows, sequence)
            except sqlite3.IntegrityError:
                raise DuplicateDocument(f"{self.path}: at least one document id occurs twice", path=self.path) from None
            self._note_unembedded(rows)
            self._advance(rows, dead=Counts(0, 0))
            if checkpoint is not None:
                self._connection.execute("DELETE FROM build")
                self._connection.execute("INSERT INTO build VALUES (?)", (checkpoint,))

    def apply(self, rows: Sequence[DocumentRow], deletes: Iterable[str], sequence: int) -> Applied:
        """One write in one transaction: documents put or replaced, documents removed, and the head set to `sequence`.

        Rows and slots follow the head's, ids occur once. Rows that end keep their content: readers may still see them.
        """
        with mapped_errors(self.path), transaction(self._connection):
            replaced = self._end([row.document.id for row in rows], sequence)
            deleted = self._end(deletes, sequence, absent_too=True)
            self._insert(rows, sequence)
            self._connection.executemany(
                "INSERT OR IGNORE INTO fields VALUES (?)", {(path,) for row in rows for path, _ in leaves(row.document.metadata)}
            )
            self._note_unembedded(rows)
            dead_slots = (*replaced[1], *deleted[1])
            self._advance(rows, dead=Counts(replaced[0] + deleted[0], len(dead_slots)))
            self._connection.execute("UPDATE head SET sequence = ?", (sequence,))
        return Applied(dead_slots=dead_slots, replaced=replaced[0], deleted=deleted[0])

    def note_gone(self, ids: Iterable[str], sequence: int) -> None:
        """Remember that these documents, as far as they are not here, were deleted: as if by the write `sequence`."""
        with mapped_errors(self.path), transaction(self._connection):
            self._connection.executemany(
                "INSERT OR REPLACE INTO gone SELECT ?1, ?2"
                " WHERE NOT EXISTS (SELECT 1 FROM documents WHERE id = ?1 AND died IS NULL)",
                [(document_id, sequence) for document_id in ids],
            )

    def advance(self, sequence: int) -> None:
        """Set the head to `sequence`: what lies between changed nothing here."""
        with mapped_errors(self.path), transaction(self._connection):
            self._connection.execute("UPDATE head SET sequence = ?", (sequence,))

    def seal(self, sequence: int) -> None:
        """Set the head sequence of a build and make everything durable."""
        with mapped_errors(self.path):
            with transaction(self._connection):
                self._connection.execute("UPDATE head SET sequence = ?", (sequence,))
            self._building = False
            self._connection.execute("PRAGMA synchronous = FULL")
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Damaged(f"{self.path} is open elsewhere although its build is not finished", path=self.path)

    def publish(self, part: PartRow | None, *, instead_of: Sequence[str] = (), absorbed: NDArray[np.int64] | None = None) -> bool:
        """List a part whose files are durable, and no longer those that it stands `instead_of`; `absorbed` slots leave the tail.

        All in one transaction. False, and nothing is changed, if one of `instead_of` is not listed any more, or one of the
        `absorbed` chunks was purged or has left the tail.
        """
        with mapped_errors(self.path), transaction(self._connection):
            for uuid in instead_of:
                if self._connection.execute("DELETE FROM parts WHERE uuid = ?", (uuid,)).rowcount != 1:
                    self._connection.rollback()
                    return False
            if part is not None:
                values = part.uuid, part.first_slot, part.row_count, part_facts(part)
                self._connection.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", values)
            if absorbed is not None:
                slots = ((slot,) for slot in absorbed.tolist())
                taken = self._connection.executemany("UPDATE chunks SET vector = NULL WHERE slot = ? AND vector IS NOT NULL", slots)
                if taken.rowcount != len(absorbed):
                    self._connection.rollback()
                    return False
            self._connection.execute("UPDATE head SET publications = publications + 1")
        return True

    def mark(self, at: float) -> None:
        """Note that the head is where it is at the time `at` (seconds since 1970)."""
        with mapped_errors(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT INTO marks SELECT sequence, ? FROM head WHERE sequence > (SELECT coalesce(max(sequence), -1) FROM marks)",
                (at,),
            )

    def purgeable(self, before: float) -> int | None:
        """The highest sequence known to have been the head at the time `before`; older marks are forgotten. None if none is."""
        with mapped_errors(self.path), transaction(self._connection):
            found: int | None = self._connection.execute("SELECT max(sequence) FROM marks WHERE at <= ?", (before,)).fetchone()[0]
            if found is not None:
                self._connection.execute("DELETE FROM marks WHERE sequence < ?", (found,))
        return found

    def purge(self, slots: Sequence[int], until: int) -> None:
        """Forget chunks that ended not after the write `until`, whose slots are in no part.

        Of a document that ended only that it was there remains, and not even that if there is one with its id again.
        """
        with mapped_errors(self.path), transaction(self._connection):
            found = (self._connection.execute("SELECT document FROM chunks WHERE slot = ?", (slot,)).fetchall() for slot in slots)
            documents = {row for (row,) in chain.from_iterable(found)}
            self._connection.executemany("DELETE FROM chunks WHERE slot = ? AND died IS NOT NULL", [(slot,) for slot in slots])
            self._connection.executemany("DELETE FROM unembedded WHERE slot = ?", [(slot,) for slot in slots])
            ended = "row = ? AND died IS NOT NULL AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.document = row)"
            again = "EXISTS (SELECT 1 FROM documents b WHERE b.id = documents.id AND b.died IS NULL)"
            rows = [(row,) for row in sorted(documents)]
            self._connection.executemany(f"DELETE FROM documents WHERE {ended} AND {again}", rows)  # noqa: S608
            self._connection.executemany(
                f"UPDATE documents SET title = NULL, source = NULL, text = '', metadata = '{{}}', vector = NULL WHERE {ended}",  # noqa: S608
                rows,
            )
            self._connection.execute("UPDATE head SET purged = max(purged, ?)", (until,))

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._closed = True
        self._kept.close()

    def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of `ids` that are there already."""
        with mapped_errors(self.path):
            statement = "SELECT 1 FROM documents WHERE id = ? AND died IS NULL"
            return frozenset(one for one in ids if self._connection.execute(statement, (one,)).fetchone())

    def checkpoint(self) -> bytes | None:
        """How far the unfinished build has come, as it was given to `add`."""
        with mapped_errors(self.path):
            found = self._connection.execute("SELECT checkpoint FROM build").fetchone()
        return None if found is None else found[0]

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._closed:
            raise Closed(f"{self.path} is closed", path=self.path)
        return self._kept.get()

    def _reopened(self) -> sqlite3.Connection:
        connection = open_existing(self.path)
        if self._building:
            connection.execute(_BUILDING)
        return connection

    def _note_unembedded(self, rows: Sequence[DocumentRow]) -> None:
        slots = [(chunk.slot,) for row in rows if row.unembedded for chunk in row.chunks]
        self._connection.executemany("INSERT INTO unembedded VALUES (?)", slots)

    def _insert(self, rows: Sequence[DocumentRow], sequence: int) -> None:
        self._connection.executemany(_INSERT_DOCUMENT, [document_values(row, sequence) for row in rows])
        self._connection.executemany(_INSERT_CHUNK, [values for row in rows for values in chunk_values(row, sequence)])

    def _end(self, ids: Iterable[str], sequence: int, *, absent_too: bool = False) -> tuple[int, list[int]]:
        """End the living documents among `ids`: how many there were, and their chunks' slots."""
        count, slots = 0, []
        for document_id in ids:
            found = self._connection.execute("SELECT row FROM documents WHERE id = ? AND died IS NULL", (document_id,)).fetchone()
            if found is None:
                if absent_too:  # a build that keeps writes asks what was deleted, here or not
                    self._connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?)", (document_id, sequence))
                continue
            count += 1
            self._connection.execute("UPDATE documents SET died = ? WHERE row = ?", (sequence, *found))
            ended = self._connection.execute("SELECT slot FROM chunks WHERE document = ?", found).fetchall()
            slots += [slot for (slot,) in ended]
            self._connection.execute("UPDATE chunks SET died = ? WHERE document = ?", (sequence, *found))
        return count, slots

    def _advance(self, rows: Sequence[DocumentRow], dead: Counts) -> None:
        chunks = sum(len(row.chunks) for row in rows)
        self._connection.execute(
            "UPDATE head SET next_row = next_row + ?, next_slot = next_slot + ?, documents = documents + ?, chunks = chunks + ?",
            (len(rows), chunks, len(rows) - dead.documents, chunks - dead.chunks),
        )


def list_part(directory: Path, part: PartRow) -> None:
    """Make a part belong to the generation. Its files must be durable already."""
    writer = DocumentsWriter.open(directory)
    try:
        writer.publish(part)
    finally:
        writer.close()
