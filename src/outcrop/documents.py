"""I have a slot, give me its chunk: the SQLite file that holds one generation's documents and chunks.

Rows are versioned: `born` is the sequence of the write that made a row, `died` the sequence of the one that ended it (null while
it lives). A build writes every row with the sequence at which it began. The file is touched through SQLite only: opening it by
other means and closing that descriptor would drop SQLite's locks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from outcrop.errors import Damaged, DuplicateDocument
from outcrop.model import Chunk, Document
from outcrop.sqlite_files import Connections, mapped_errors, transaction, writable

FILE_NAME = "documents.sqlite"
_APPLICATION_ID = 0x4F757443  # "OutC"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,          -- never reused
    id TEXT NOT NULL,
    title TEXT, source TEXT,
    text TEXT,                        -- null: the only chunk has the whole text
    metadata BLOB NOT NULL,           -- JSON
    born INTEGER NOT NULL, died INTEGER,
    vector BLOB                       -- float32, if the vector came with the document: nothing else could bring it back
);
CREATE UNIQUE INDEX documents_alive ON documents (id) WHERE died IS NULL;
CREATE TABLE chunks (
    slot INTEGER PRIMARY KEY,         -- never reused; what it holds never changes
    document INTEGER NOT NULL REFERENCES documents (row),
    ordinal INTEGER NOT NULL,
    text TEXT NOT NULL, heading TEXT, page INTEGER,
    start INTEGER NOT NULL, stop INTEGER NOT NULL,
    born INTEGER NOT NULL, died INTEGER,
    vector BLOB                       -- float32, only until a part has it
);
CREATE INDEX chunks_document ON chunks (document, ordinal);
CREATE TABLE parts (uuid TEXT PRIMARY KEY, first_slot INTEGER NOT NULL, row_count INTEGER NOT NULL, facts BLOB NOT NULL);
CREATE TABLE head (sequence INTEGER NOT NULL);
INSERT INTO head VALUES (0);
"""
_FETCH = """SELECT c.slot, d.id, c.ordinal, c.text, d.title, d.source, d.metadata, c.heading, c.page, c.start, c.stop
FROM chunks c JOIN documents d ON d.row = c.document WHERE c.slot IN ({})"""
_DOCUMENT = """SELECT d.id, coalesce(d.text, (SELECT c.text FROM chunks c WHERE c.document = d.row AND c.ordinal = 0)),
d.title, d.source, d.metadata, d.vector, d.row
FROM documents d WHERE d.died IS NULL AND """
_SCAN_PAGE = 256
_SCAN_CHARACTERS = 4_000_000
_IDS_PER_STATEMENT = 500

_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class FileFact(msgspec.Struct, frozen=True):
    """An immutable file as it was written. `path` is relative to the generation's folder."""

    path: str
    size_bytes: int
    sha256: str


class PartRow(msgspec.Struct, frozen=True):
    """An immutable part of the index: its folder's uuid, the slots it covers, its files and what the engine noted about it."""

    uuid: str
    first_slot: int
    row_count: int
    files: tuple[FileFact, ...]
    facts: dict[str, Any]


class DocumentRow(msgspec.Struct, frozen=True):
    """A document ready to be written, with its chunks."""

    row: int
    document: Document
    chunks: Sequence[Chunk]


class Counts(msgspec.Struct, frozen=True):
    """How many living documents and chunks there are."""

    documents: int
    chunks: int


class DocumentsWriter:
    """Writes a new generation's documents. One thread uses it. Nothing is promised durable before `seal` has returned."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        with mapped_errors(self.path):
            self._connection = writable(self.path)
            # Checkpoints sync; single transactions of a build need not, since an unfinished build is thrown away.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
            self._connection.executescript(_SCHEMA)

    def add(self, rows: Sequence[DocumentRow], sequence: int) -> None:
        """Write documents and chunks in one transaction, born at `sequence`.

        Raises `DuplicateDocument` if an id is there already or occurs twice; then none of `rows` is written.
        """
        with mapped_errors(self.path), transaction(self._connection):
            try:
                self._connection.executemany(
                    "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)", [_document_values(row, sequence) for row in rows]
                )
            except sqlite3.IntegrityError:
                raise DuplicateDocument(f"{self.path}: at least one document id occurs twice", path=self.path) from None
            self._connection.executemany(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                [
                    (c.slot, row.row, c.ordinal, c.text, c.heading, c.page, c.start, c.end, sequence)
                    for row in rows
                    for c in row.chunks
                ],
            )

    def seal(self, sequence: int) -> None:
        """Set the head sequence and make everything durable."""
        with mapped_errors(self.path):
            with transaction(self._connection):
                self._connection.execute("UPDATE head SET sequence = ?", (sequence,))
            self._connection.execute("PRAGMA synchronous = FULL")
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Damaged(f"{self.path} is open elsewhere although its build is not finished", path=self.path)

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._connection.close()

    def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of `ids` that are there already."""
        with mapped_errors(self.path):
            statement = "SELECT 1 FROM documents WHERE id = ? AND died IS NULL"
            return frozenset(one for one in ids if self._connection.execute(statement, (one,)).fetchone())


class Documents:
    """Reads one generation's documents from any thread. Idle connections are kept: as many as ever read at once."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        if not self.path.is_file():
            raise Damaged(f"{self.path} is missing; restore the folder or roll back to another generation", path=self.path)
        self._connections = Connections(self.path)
        self._check_format()

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots, in the order asked; unknown slots are left out. One statement, whatever the number."""
        if not slots:
            return []
        rows = self._connections.fetch_all(_fetch_statement(len(slots)), slots)
        by_slot = {row[0]: row for row in rows}
        return [_chunk(by_slot[slot]) for slot in slots if slot in by_slot]

    def get(self, ids: Sequence[str]) -> list[Document]:
        """The living documents with these ids, in the order asked; unknown ids are left out."""
        found: dict[str, Document] = {}
        for start in range(0, len(ids), _IDS_PER_STATEMENT):
            page = ids[start : start + _IDS_PER_STATEMENT]
            found |= {one.id: one for one, _ in self._select(f"d.id IN ({','.join('?' * len(page))})", page)}
        return [found[document_id] for document_id in ids if document_id in found]

    def scan(self) -> Iterator[Document]:
        """Every living document in the order of writing, read in short pages so that no transaction stays open.

        A page has as many documents as fit in a few million characters, so that memory is bounded whatever their size.
        """
        after, count = -1, 1
        while page := self._select("d.row > ? ORDER BY d.row LIMIT ?", (after, count)):
            for document, _ in page:
                yield document
            after = page[-1][1]
            characters = sum(len(document.text) for document, _ in page)
            count = max(1, min(_SCAN_PAGE, 2 * count, _SCAN_CHARACTERS * len(page) // max(1, characters)))

    def metadata(self) -> Iterator[dict[str, Any]]:
        """Every living document's metadata in the order of writing."""
        after = -1
        statement = "SELECT row, metadata FROM documents WHERE died IS NULL AND row > ? ORDER BY row LIMIT ?"
        while True:
            with self._connections.borrowed() as connection:
                page = connection.execute(statement, (after, _SCAN_PAGE)).fetchall()
            if not page:
                return
            for _, metadata in page:
                yield _decode_metadata(metadata)
            after = page[-1][0]

    def counts(self) -> Counts:
        """How many living documents and chunks there are."""
        with self._connections.borrowed() as connection:
            documents = connection.execute("SELECT count(*) FROM documents WHERE died IS NULL").fetchone()[0]
            chunks = connection.execute("SELECT count(*) FROM chunks WHERE died IS NULL").fetchone()[0]
        return Counts(documents=documents, chunks=chunks)

    def sequence(self) -> int:
        """The sequence of the last write that these rows hold."""
        with self._connections.borrowed() as connection:
            return cast("int", connection.execute("SELECT sequence FROM head").fetchone()[0])

    def parts(self) -> list[PartRow]:
        """The parts of the index in the order of their slots."""
        with self._connections.borrowed() as connection:
            rows = connection.execute("SELECT uuid, first_slot, row_count, facts FROM parts ORDER BY first_slot").fetchall()
            return [_part(*row) for row in rows]

    def quick_check(self) -> str | None:
        """What SQLite finds wrong with the file, or None."""
        with self._connections.borrowed() as connection:
            result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return None if result == "ok" else str(result)

    def close(self) -> None:
        """Release the file; a reading that runs ends first. Idempotent."""
        self._connections.close()

    def _select(self, condition: str, values: Sequence[object]) -> list[tuple[Document, int]]:
        with self._connections.borrowed() as connection:
            rows = connection.execute(_DOCUMENT + condition, values).fetchall()
        return [_stored(row) for row in rows]

    def _check_format(self) -> None:
        with self._connections.borrowed() as connection:
            found = connection.execute("PRAGMA application_id").fetchone()[0]
        if found != _APPLICATION_ID:
            raise Damaged(f"{self.path} is not a file of documents; restore it or roll back to another generation", path=self.path)


@lru_cache(maxsize=256)
def _fetch_statement(count: int) -> str:
    return _FETCH.format(",".join("?" * count))


def list_part(directory: Path, part: PartRow) -> None:
    """Make a part belong to the generation. Its files must be durable already."""
    path = directory / FILE_NAME
    facts = _encode({"files": part.files, "facts": part.facts})
    with mapped_errors(path), closing(writable(path)) as connection, transaction(connection):
        connection.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", (part.uuid, part.first_slot, part.row_count, facts))


def _document_values(row: DocumentRow, sequence: int) -> tuple[object, ...]:
    document = row.document
    whole = len(row.chunks) == 1 and row.chunks[0].text == document.text
    return (
        row.row,
        document.id,
        document.title,
        document.source,
        None if whole else document.text,
        _encode(document.metadata),
        sequence,
        None if document.vector is None else np.asarray(document.vector, dtype="<f4").tobytes(),
    )


def _chunk(row: tuple[Any, ...]) -> Chunk:
    slot, document_id, ordinal, text, title, source, metadata, heading, page, start, stop = row
    return Chunk(slot, document_id, ordinal, text, title, source, _decode_metadata(metadata), heading, page, start, stop)


def _stored(values: tuple[Any, ...]) -> tuple[Document, int]:
    document_id, text, title, source, metadata, vector, row = values
    given = None if vector is None else np.frombuffer(vector, dtype="<f4")
    return Document(document_id, text, title, source, _decode_metadata(metadata), given), row


def _part(uuid: str, first_slot: int, row_count: int, facts: bytes) -> PartRow:
    held = msgspec.json.decode(facts)
    return PartRow(
        uuid=uuid,
        first_slot=first_slot,
        row_count=row_count,
        files=msgspec.convert(held["files"], tuple[FileFact, ...]),
        facts=held["facts"],
    )
