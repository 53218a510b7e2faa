"""The file of one generation's documents and chunks."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from outcrop.documents import Counts, DocumentRow, Documents, DocumentsWriter, reader
from outcrop.errors import Closed, Damaged, DuplicateDocument
from outcrop.model import Chunk, Document


def row(number: int, document: Document, *texts: str) -> DocumentRow:
    chunks = [
        Chunk(
            number * 10 + i,
            document.id,
            i,
            text,
            document.title,
            document.source,
            document.metadata,
            f"h{i}",
            None,
            i,
            i + len(text),
        )
        for i, text in enumerate(texts)
    ]
    return DocumentRow(row=number, document=document, chunks=chunks)


def written(directory: Path, *rows: DocumentRow) -> Documents:
    writer = DocumentsWriter.create(directory)
    writer.add(rows, 7)
    writer.seal(7)
    writer.close()
    return Documents(directory)


def test_documents_come_back_as_they_were_put_in(tmp_path: Path) -> None:
    whole = Document("a", "one", "T", "s.md", {"n": 2**62, "f": 0.5, "l": [1, {"x": None}]}, vector=[0.25, -1.5])
    parted = Document("b", "one two", metadata={"µ": "ü"})
    stored = written(tmp_path, row(1, whole, "one"), row(2, parted, "one", "two"))

    assert stored.get(["b", "missing", "a"]) == [parted, whole]
    assert list(stored.scan()) == [whole, parted]
    assert list(stored.metadata()) == [(1, "a", whole.metadata), (2, "b", parted.metadata)]
    assert stored.counts() == Counts(documents=2, chunks=3)
    assert stored.sequence() == 7


def test_to_count_chunks_without_a_vector_does_not_read_all_of_them(tmp_path: Path) -> None:
    """It is done at the first search after each write."""
    written(tmp_path, row(1, Document("a", "one"), "one")).close()
    with closing(sqlite3.connect(tmp_path / "documents.sqlite")) as connection:
        steps = [found[-1] for found in connection.execute(f"EXPLAIN QUERY PLAN {reader._UNEMBEDDED}")]
    assert steps[0] == "SCAN u"
    assert [step.partition(" USING")[0] for step in steps[1:]] == ["SEARCH c"]


@pytest.mark.parametrize("text", ["a\0b", '"quoted" \\ /\b\f\n\r\t\x1f\x7f', "🎉 \u2028 \ufffd é \U0010ffff", "x" * 300_000])
def test_fetch_gives_any_text_as_it_was_put_in(tmp_path: Path, text: str) -> None:
    document = Document("a", text, text[:99], text[:99], {text[:99]: [text, 2**63 - 1, 1e-300, True, None]})
    stored = written(tmp_path, row(1, document, text))
    (found,) = stored.fetch([10])
    assert (found.text, found.title, found.source, found.metadata) == (text, document.title, document.source, document.metadata)


def test_fetch_calls_metadata_that_is_no_json_damaged(tmp_path: Path) -> None:
    stored = written(tmp_path, row(1, Document("a", "x"), "x"))
    with closing(sqlite3.connect(stored.path)) as connection, connection:
        connection.execute("UPDATE documents SET metadata = x'7b31'")
    with pytest.raises(Damaged, match=r"documents\.sqlite"):
        stored.fetch([10])


def test_fetch_keeps_the_order_asked_and_leaves_out_unknown_slots(tmp_path: Path) -> None:
    stored = written(tmp_path, row(1, Document("a", "x y"), "x", "y"), row(2, Document("b", "z"), "z"))

    found = stored.fetch([20, 99, 11, 10])

    assert [(chunk.id, chunk.text, chunk.heading) for chunk in found] == [
        ("b#0", "z", "h0"),
        ("a#1", "y", "h1"),
        ("a#0", "x", "h0"),
    ]
    assert stored.fetch([]) == []


def test_a_duplicate_id_refuses_the_whole_batch(tmp_path: Path) -> None:
    writer = DocumentsWriter.create(tmp_path)
    writer.add([row(1, Document("a", "x"), "x")], 0)

    with pytest.raises(DuplicateDocument):
        writer.add([row(2, Document("b", "y"), "y"), row(3, Document("a", "again"), "again")], 0)

    assert writer.known(["a", "b"]) == {"a"}
    writer.add([row(2, Document("b", "y"), "y")], 0)
    writer.close()
    assert Documents(tmp_path).counts() == Counts(documents=2, chunks=2)


def test_more_documents_than_a_page_are_scanned_once_each(tmp_path: Path) -> None:
    rows = [row(number, Document(f"d{number}", "x"), "x") for number in range(1, 700)]
    stored = written(tmp_path, *rows)
    assert [document.id for document in stored.scan()] == [one.document.id for one in rows]


def test_every_thread_may_read_and_none_after_close(tmp_path: Path) -> None:
    stored = written(tmp_path, row(1, Document("a", "x"), "x"))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(stored.fetch([10])))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]

    stored.close()
    with pytest.raises(Closed):
        stored.fetch([10])


def test_a_given_vector_keeps_its_exact_numbers(tmp_path: Path) -> None:
    vector = np.random.default_rng(1).normal(size=8).astype(np.float32)
    stored = written(tmp_path, row(1, Document("a", "x", vector=vector), "x"))
    assert stored.get(["a"])[0].vector.tolist() == vector.tolist()


def test_another_file_in_its_place_is_damage(tmp_path: Path) -> None:
    (tmp_path / "documents.sqlite").write_bytes(b"not a database, but long enough to look like a page" * 100)
    with pytest.raises(Damaged):
        Documents(tmp_path)
