"""Reads documents.sqlite from any thread: documents by id, chunks by slot, and what an index is made of at a sequence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from outcrop.documents import rows as decoding
from outcrop.documents.rows import Changes, Counts, Head, Label, PartRow, StoredDocument, TailRow, View
from outcrop.documents.schema import FILE_NAME, check, missing
from outcrop.errors import Damaged, SnapshotExpired
from outcrop.model import Chunk, Document
from outcrop.sqlite_files import Connections

_CHUNK = """SELECT c.slot, d.id, c.ordinal, c.text, d.title, d.source, d.metadata, c.heading, c.page, c.start, c.stop{}
FROM chunks c JOIN documents d ON d.row = c.document WHERE {}"""
_DOCUMENT = """SELECT d.id, coalesce(d.text, (SELECT c.text FROM chunks c WHERE c.document = d.row AND c.ordinal = 0)),
d.title, d.source, d.metadata, d.vector, d.row
FROM documents d WHERE """
_GONE = """SELECT DISTINCT id FROM documents a WHERE died > ?
AND NOT EXISTS (SELECT 1 FROM documents b WHERE b.id = a.id AND b.died IS NULL)
UNION SELECT id FROM gone g WHERE died > ?
AND NOT EXISTS (SELECT 1 FROM documents b WHERE b.id = g.id AND b.died IS NULL)"""
# From the few to their rows: left to choose, SQLite would read every chunk.
_UNEMBEDDED = "SELECT count(*) FROM unembedded u CROSS JOIN chunks c ON c.slot = u.slot WHERE c.died IS NULL"
_ALIVE_AT = "born <= {0} AND (died IS NULL OR died > {0})"
_SCAN_PAGE = 256
_SCAN_CHARACTERS = 4_000_000
_IDS_PER_STATEMENT = 500
_Page = TypeVar("_Page")


class Documents:
    """Reads one generation's documents from any thread. Idle connections are kept: as many as ever read at once.

    Without a sequence a method answers as of now; `at` asks for what was alive after that write. What ended is remembered for some
    minutes at least.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        missing(self.path)
        self._connections = Connections(self.path)
        with self._connections.borrowed() as connection:
            check(self.path, connection)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots, in the order asked; unknown slots are left out. One statement, whatever the number.

        And one row: the interpreter is let go of, and other threads fight for it, at every row.
        """
        if not slots:
            return []
        found = self._connections.fetch_all(_page_statement(len(slots)), slots)
        return decoding.page(found[0][0], self.path)

    def get(self, ids: Sequence[str], at: int | None = None) -> list[Document]:
        """The living documents with these ids, in the order asked; unknown ids are left out."""
        found: dict[str, Document] = {}
        alive = "d.died IS NULL" if at is None else _ALIVE_AT.format(at)
        for page in _pages(ids):
            condition = f"{alive} AND d.id IN ({','.join('?' * len(page))})"
            found |= {one.id: one for one, _ in self._select(condition, page)}
        return [found[document_id] for document_id in ids if document_id in found]

    def stored(self, ids: Sequence[str]) -> list[StoredDocument]:
        """The living documents with these ids as they are stored, in the order asked; unknown ids are left out."""
        found: dict[str, StoredDocument] = {}
        for page in _pages(ids):
            with self._reading() as connection:
                condition = f"d.died IS NULL AND d.id IN ({','.join('?' * len(page))})"
                documents = connection.execute(_DOCUMENT + condition, page).fetchall()
                chunks = connection.execute(_chunks_statement(len(documents)), [row[-1] for row in documents]).fetchall()
            found |= {one.document.id: one for one in decoding.stored(documents, chunks)}
        return [found[document_id] for document_id in dict.fromkeys(ids) if document_id in found]

    def scan(self, at: int | None = None) -> Iterator[Document]:
        """Every living document in the order of writing, read in short pages so that no transaction stays open.

        A page has as many documents as fit in a few million characters, so that memory is bounded whatever their size. Without
        `at` the documents are those of the moment when the scan began. Raises `SnapshotExpired` when the scan lasts so long that
        documents which it should yield are not remembered any more.
        """
        bound = self.sequence() if at is None else at
        after, count = -1, 1
        condition = f"{_ALIVE_AT.format(bound)} AND d.row > ? ORDER BY d.row LIMIT ?"
        while page := self._remembered(bound, self._select(condition, (after, count))):
            for document, _ in page:
                yield document
            after = page[-1][1]
            characters = sum(len(document.text) for document, _ in page)
            count = max(1, min(_SCAN_PAGE, 2 * count, _SCAN_CHARACTERS * len(page) // max(1, characters)))

    def metadata(self, at: int | None = None, *, after_row: int = -1) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Row, id and metadata of every living document in the order of writing, of rows after `after_row`. Raises as `scan`."""
        bound = self.sequence() if at is None else at
        alive = _ALIVE_AT.format(bound)
        statement = f"SELECT row, id, metadata FROM documents WHERE {alive} AND row > ? ORDER BY row LIMIT ?"  # noqa: S608
        while page := self._remembered(bound, self._connections.fetch_all(statement, (after_row, _SCAN_PAGE))):
            for row, document_id, metadata in page:
                yield row, document_id, decoding.decode_metadata(metadata)
            after_row = page[-1][0]

    def ids(self) -> Iterator[str]:
        """The id of every living document, in the order of the ids."""
        statement = "SELECT id FROM documents WHERE died IS NULL AND id > ? ORDER BY id LIMIT ?"
        after = ""
        while page := self._connections.fetch_all(statement, (after, 16 * _SCAN_PAGE)):
            yield from (one for (one,) in page)
            after = page[-1][0]

    def metadata_of(self, slots: Sequence[int]) -> list[dict[str, Any]]:
        """The metadata of the chunks in these slots, in the order asked. Raises `Damaged` if one is not there."""
        found: dict[int, bytes] = {}
        for page in _pages(slots):
            found.update(self._connections.fetch_all(_metadata_statement(len(page)), page))
        try:
            return [decoding.decode_metadata(found[slot]) for slot in slots]
        except KeyError as error:
            raise Damaged(f"{self.path} lacks the chunk in slot {error}, which a part has; run verify", path=self.path) from None

    def written_since(self, sequence: int) -> tuple[list[str], list[str]]:
        """Ids of the documents alive that were written after `sequence`, and of those that ended after it and are gone."""
        with self._reading() as connection:
            put = connection.execute(
                "SELECT id FROM documents WHERE died IS NULL AND born > ? ORDER BY row", (sequence,)
            ).fetchall()
            gone = connection.execute(_GONE, (sequence, sequence)).fetchall()
        return [one for (one,) in put], [one for (one,) in gone]

    def gone_since(self, sequence: int) -> list[str]:
        """Ids of the documents that ended after `sequence` and are gone."""
        return [one for (one,) in self._connections.fetch_all(_GONE, (sequence, sequence))]

    def born_since(self, sequence: int, ids: Sequence[str]) -> frozenset[str]:
        """Those of these documents that are there and were written after `sequence`."""
        found: set[str] = set()
        for page in _pages(ids):
            statement = f"SELECT id FROM documents WHERE died IS NULL AND born > ? AND id IN ({','.join('?' * len(page))})"  # noqa: S608
            found.update(one for (one,) in self._connections.fetch_all(statement, (sequence, *page)))
        return frozenset(found)

    def gone_ids(self) -> Iterator[str]:
        """The id of every document that was there and is not any more, in the order of the ids. Read in one transaction."""
        with self._reading() as connection:
            for (document_id,) in connection.execute(
                "SELECT id FROM documents a WHERE died IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM documents b WHERE b.id = a.id AND b.died IS NULL)"
                " UNION SELECT id FROM gone g WHERE NOT EXISTS (SELECT 1 FROM documents b WHERE b.id = g.id AND b.died IS NULL)"
                " ORDER BY id"
            ):
                yield document_id

    def count(self, at: int) -> int:
        """How many documents were alive after the write `at`: at once for the last one, else by counting."""
        head = self.head()
        if head.sequence == at:
            return head.documents
        statement = f"SELECT count(*) FROM documents WHERE {_ALIVE_AT.format(at)}"  # noqa: S608
        count: int = self._connections.fetch_all(statement, ())[0][0]
        return count

    def counts(self) -> Counts:
        """How many living documents and chunks there are."""
        head = self.head()
        return Counts(documents=head.documents, chunks=head.chunks)

    def unembedded(self) -> int:
        """How many living chunks should have a vector and have none."""
        count: int = self._connections.fetch_all(_UNEMBEDDED, ())[0][0]
        return count

    def head(self) -> Head:
        """Where the rows stand."""
        return Head(*self._connections.fetch_all("SELECT * FROM head", ())[0])

    def sequence(self) -> int:
        """The sequence of the last write that these rows hold. Asked before every search: a few microseconds."""
        sequence: int = self._connections.fetch_all("SELECT sequence FROM head", ())[0][0]
        return sequence

    def position(self) -> tuple[int, int]:
        """The head's sequence, and how often the list of parts has changed. As cheap as `sequence`."""
        position: tuple[int, int] = self._connections.fetch_all("SELECT sequence, publications FROM head", ())[0]
        return position

    def parts(self) -> list[PartRow]:
        """The parts of the index in the order of their slots."""
        with self._connections.borrowed() as connection:
            return _parts(connection)

    def fields(self) -> list[str]:
        """The metadata fields of what was written after the build."""
        return [path for (path,) in self._connections.fetch_all("SELECT path FROM fields ORDER BY path", ())]

    def view(self, *, at: int, since: int = -1, tail_after: int = -1) -> View:
        """What the index is made of at the sequence `at`: see `View`."""
        with self._reading() as connection:
            ended = connection.execute("SELECT slot FROM chunks WHERE died > ? AND died <= ?", (since, at)).fetchall()
            tail = connection.execute(
                "SELECT c.slot, c.vector, d.metadata FROM chunks c JOIN documents d ON d.row = c.document"
                " WHERE c.vector IS NOT NULL AND c.slot > ? AND c.born <= ? AND (c.died IS NULL OR c.died > ?) ORDER BY c.slot",
                (tail_after, at, at),
            ).fetchall()
            parts = _parts(connection)
            publications, purged = connection.execute("SELECT publications, purged FROM head").fetchone()
        return View(
            publications=publications,
            purged=purged,
            parts=tuple(parts),
            ended=np.array([slot for (slot,) in ended], np.int64),
            tail=tuple(
                TailRow(slot, decoding.as_vector(vector), decoding.decode_metadata(metadata)) for slot, vector, metadata in tail
            ),
        )

    def tail_count(self) -> int:
        """How many living chunks have a vector that no part has yet."""
        statement = "SELECT count(*) FROM chunks WHERE vector IS NOT NULL AND died IS NULL"
        count: int = self._connections.fetch_all(statement, ())[0][0]
        return count

    def litter_count(self) -> int:
        """About how many chunks have ended that no part has: they still have their vector, or their slot is behind the parts'."""
        statement = (
            "SELECT count(*) FROM chunks WHERE died IS NOT NULL"
            " AND (vector IS NOT NULL OR slot >= (SELECT coalesce(max(first_slot + row_count), 0) FROM parts))"
        )
        count: int = self._connections.fetch_all(statement, ())[0][0]
        return count

    def ended_count(self) -> int:
        """How many chunks have ended and are still remembered."""
        count: int = self._connections.fetch_all("SELECT count(*) FROM chunks WHERE died IS NOT NULL", ())[0][0]
        return count

    def marked_at(self) -> float:
        """When it was last noted where the head is, in seconds since 1970; 0 if never."""
        at: float = self._connections.fetch_all("SELECT coalesce(max(at), 0.0) FROM marks", ())[0][0]
        return at

    def chunks(self, after_slot: int, *, at: int, count: int) -> list[Chunk]:
        """The first `count` chunks that were alive after the write `at`, of slots after `after_slot`, in the order of the slots."""
        condition = "c.slot > ? AND c.born <= ? AND (c.died IS NULL OR c.died > ?) ORDER BY c.slot LIMIT ?"
        rows = self._connections.fetch_all(_CHUNK.format("", condition), (after_slot, at, at, count))
        return [decoding.chunk(row) for row in rows]

    def sample(self, at: int, count_max: int) -> tuple[int, list[int]]:
        """How many chunks were alive after the write `at`, and the slots of at most `count_max` of them, evenly taken, in order."""
        alive = _ALIVE_AT.format(at)
        with self._reading() as connection:
            total: int = connection.execute(f"SELECT count(*) FROM chunks WHERE {alive}").fetchone()[0]  # noqa: S608
            numbered = f"SELECT slot, row_number() OVER (ORDER BY slot) AS n FROM chunks WHERE {alive}"  # noqa: S608
            taken = "1" if total <= count_max else "(n * :wanted) / :total > ((n - 1) * :wanted) / :total"
            statement = f"SELECT json_group_array(slot) FROM ({numbered}) WHERE {taken}"  # noqa: S608
            found = connection.execute(statement, {"wanted": count_max, "total": total}).fetchone()[0]
        return total, sorted(decoding.decode_slots(found))

    def labels(self, slots: Sequence[int], characters: int) -> list[Label]:
        """What to call the chunks of these slots, in the order asked, with the beginnings of their texts. Raises `Damaged`."""
        found: dict[int, Label] = {}
        for page in _pages(slots):
            rows = self._connections.fetch_all(_labels_statement(len(page)), (characters, *page))[0][0]
            found |= {slot: Label(*values) for slot, values in decoding.decode_labels(rows)}
        try:
            return [found[slot] for slot in slots]
        except KeyError as error:
            raise Damaged(f"{self.path} lacks the chunk in slot {error}, which the index has; run verify", path=self.path) from None

    def changes(self, after: int, *, until: int | None = None) -> Changes:
        """What happened to the chunks since the write `after`, for an index that holds nothing later: to the head, or `until`."""
        with self._reading() as connection:
            sequence = until if until is not None else connection.execute("SELECT sequence FROM head").fetchone()[0]
            # Slots ascend with `born`, so the newest come first and the rest need not be looked at.
            born = []
            for row in connection.execute("SELECT slot, born, died FROM chunks ORDER BY slot DESC"):
                if row[1] <= after:
                    break
                if row[1] <= sequence and (row[2] is None or row[2] > sequence):
                    born.append(row[0])
            ended = connection.execute("SELECT slot FROM chunks WHERE died > ? AND died <= ?", (after, sequence)).fetchall()
            chunks = [
                decoding.chunk(row)
                for page in _pages(sorted(born))
                for row in connection.execute(_fetch_statement(len(page)), page).fetchall()
            ]
        return Changes(born=tuple(chunks), ended=tuple(slot for (slot,) in ended), sequence=sequence)

    def ended(self, until: int) -> list[int]:
        """The slots of chunks that ended at or before the write `until` and are still remembered."""
        return [slot for (slot,) in self._connections.fetch_all("SELECT slot FROM chunks WHERE died <= ?", (until,))]

    def quick_check(self) -> str | None:
        """What SQLite finds wrong with the file, or None."""
        result = self._connections.fetch_all("PRAGMA quick_check(1)", ())[0][0]
        return None if result == "ok" else str(result)

    def close(self) -> None:
        """Release the file; a reading that runs ends first. Idempotent."""
        self._connections.close()

    def _remembered(self, sequence: int, page: _Page) -> _Page:
        """The page, which was read before, if all that was alive after this write is remembered; else raises `SnapshotExpired`."""
        purged: int = self._connections.fetch_all("SELECT purged FROM head", ())[0][0]
        if purged > sequence:
            raise SnapshotExpired(
                f"{self.path}: this reading began at write {sequence}, and of what has ended since then everything up to write"
                f" {purged} is forgotten. Begin again; beside many writes, read faster or in the process that writes.",
                sequence=sequence,
                purged=purged,
            )
        return page

    def _select(self, condition: str, values: Sequence[object]) -> list[tuple[Document, int]]:
        return [(decoding.document(row[:-1]), row[-1]) for row in self._connections.fetch_all(_DOCUMENT + condition, values)]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in one read transaction: all statements see the same state."""
        with self._connections.borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()


def _parts(connection: sqlite3.Connection) -> list[PartRow]:
    found = connection.execute("SELECT uuid, first_slot, row_count, facts FROM parts ORDER BY first_slot, uuid").fetchall()
    return [decoding.part(*row) for row in found]


def _pages(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _IDS_PER_STATEMENT] for start in range(0, len(values), _IDS_PER_STATEMENT))


@lru_cache(maxsize=256)
def _metadata_statement(count: int) -> str:
    marks = ",".join("?" * count)
    return f"SELECT c.slot, d.metadata FROM chunks c JOIN documents d ON d.row = c.document WHERE c.slot IN ({marks})"  # noqa: S608


@lru_cache(maxsize=256)
def _labels_statement(count: int) -> str:
    """One row, as `_page_statement`."""
    columns = "d.id, c.ordinal, d.title, substr(c.text, 1, ?), json(CAST(d.metadata AS TEXT))"
    return (
        f"SELECT json_group_array(json_array(c.slot, json_array({columns}))) FROM chunks c JOIN documents d ON d.row = c.document"  # noqa: S608
        f" WHERE c.slot IN ({','.join('?' * count)})"
    )


@lru_cache(maxsize=256)
def _page_statement(count: int) -> str:
    """Chunks as one text of JSON, in the order asked: a cross join is run as it is written."""
    columns = "c.slot, d.id, c.ordinal, c.text, d.title, d.source, CAST(d.metadata AS TEXT), c.heading, c.page, c.start, c.stop"
    asked = ",".join(["(?)"] * count)
    return (
        f"SELECT json_group_array(json_array({columns})) FROM (VALUES {asked}) a"  # noqa: S608
        " CROSS JOIN chunks c ON c.slot = a.column1 CROSS JOIN documents d ON d.row = c.document"
    )


@lru_cache(maxsize=256)
def _fetch_statement(count: int) -> str:
    return _CHUNK.format("", f"c.slot IN ({','.join('?' * count)})")


@lru_cache(maxsize=256)
def _chunks_statement(count: int) -> str:
    columns = "document, slot, ordinal, text, heading, page, start, stop, vector"
    return f"SELECT {columns} FROM chunks WHERE document IN ({','.join('?' * count)}) ORDER BY document, ordinal"  # noqa: S608
