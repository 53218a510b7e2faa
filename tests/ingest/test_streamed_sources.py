"""Sources that are no files: asynchronous iterables, Arrow, file objects."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outcrop.errors import InvalidSource
from outcrop.ingest import BadRecord, Record, fingerprint, open_source
from outcrop.model import Document

LINES = b'{"id": "a", "text": "Slate"}\n{"id": "b", "text": "Sand"}\n'


def ids(source: object) -> list[str]:
    return [item.document.id if isinstance(item, Record) else str(item.error) for item in open_source(source).records()]  # type: ignore[arg-type]


async def dunes(closed: list[bool], count: int = 3) -> AsyncIterator[dict[str, str]]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield {"id": f"d{number}", "text": "Wind"}
    finally:
        closed.append(True)


class TestAsynchronous:
    def test_the_items_come_out_in_order_and_the_generator_is_closed(self) -> None:
        closed: list[bool] = []
        assert ids(dunes(closed)) == ["d0", "d1", "d2"]
        assert closed == [True]
        early = open_source(dunes(closed)).records()
        assert isinstance(next(early), Record)
        early.close()  # type: ignore[attr-defined]
        assert closed == [True, True]

    def test_a_thread_may_go_on_where_another_began(self) -> None:
        records = open_source(dunes([])).records()
        found = [next(records)]
        thread = threading.Thread(target=lambda: found.extend(records))
        thread.start()
        thread.join(30)
        assert [item.document.id for item in found if isinstance(item, Record)] == ["d0", "d1", "d2"]

    def test_it_is_read_beside_a_loop_that_runs_in_the_same_thread(self) -> None:
        async def within() -> list[str]:
            return ids(dunes([]))

        assert asyncio.run(within()) == ["d0", "d1", "d2"]

    def test_what_belongs_to_another_loop_is_refused_with_advice(self) -> None:
        async def within() -> None:
            mine = asyncio.get_running_loop().create_future()

            async def source() -> AsyncIterator[Document]:
                yield Document("a", await mine)

            with pytest.raises(InvalidSource, match="belongs to another event loop"):
                ids(source())

        asyncio.run(within())

    def test_an_exception_of_the_source_is_the_callers(self) -> None:
        async def source() -> AsyncIterator[Document]:
            yield Document("a", "b")
            raise KeyError("gone")

        with pytest.raises(KeyError, match="gone"):
            ids(source())


class TestArrow:
    def test_tables_batches_readers_and_iterables_of_batches_give_their_rows(self) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        columns = {"id": ["a", "b", "c"], "text": ["x", "y", "z"], "year": [2020, None, 2024], "vector": [[1.0, 2.0]] * 3}
        table = pyarrow.table(columns)
        reader = table.to_reader(max_chunksize=2)
        for source in (table, table.to_batches()[0], reader, iter(table.to_batches(max_chunksize=1))):
            found = [item.document for item in open_source(source).records() if isinstance(item, Record)]
            assert [document.id for document in found] == ["a", "b", "c"]
            assert [document.metadata for document in found] == [{"year": 2020}, {}, {"year": 2024}]
            assert [list(document.vector) for document in found] == [[1, 2]] * 3
        assert (open_source(table).document_count, open_source(table).description) == (3, "the rows of a Table")

    def test_vectors_of_one_length_are_taken_from_a_slice_where_it_begins(self) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array([float(n) for n in range(10)], pyarrow.float32()), 2)
        table = pyarrow.table({"id": list("abcde"), "text": list("abcde"), "vector": vectors})
        found = [item.document for item in open_source(table.slice(3)).records() if isinstance(item, Record)]
        assert [list(document.vector) for document in found] == [[6, 7], [8, 9]]

    def test_a_bad_row_is_numbered_and_a_table_without_a_text_is_refused_at_once(self) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        (good, bad) = open_source(pyarrow.table({"id": ["a", ""], "text": ["x", "y"]})).records()
        assert isinstance(good, Record)
        assert isinstance(bad, BadRecord)
        assert str(bad.error).startswith("row 2: ")
        with pytest.raises(InvalidSource, match="the Table has no text: its keys are 'id'"):
            open_source(pyarrow.table({"id": ["a"]}))


class TestFileObjects:
    def test_json_lines_are_read_from_a_file_object_which_stays_open(self, tmp_path: Path) -> None:
        (tmp_path / "rocks.jsonl").write_bytes(LINES)
        with (tmp_path / "rocks.jsonl").open("rb") as file:
            assert ids(file) == ["a", "b"]
            assert not file.closed
        assert ids(io.BytesIO(LINES)) == ["a", "b"]

    @pytest.mark.parametrize("compression", ["gzip", "bz2", "lzma"])
    def test_compression_is_told_by_the_first_bytes(self, compression: str) -> None:
        module = pytest.importorskip(compression)
        assert ids(io.BytesIO(module.compress(LINES))) == ["a", "b"]

    def test_zstandard_is_told_by_the_first_bytes(self) -> None:
        zstd = pytest.importorskip("backports.zstd")
        assert ids(io.BytesIO(zstd.compress(LINES))) == ["a", "b"]

    def test_a_cut_off_stream_is_a_fault_with_its_name(self) -> None:
        with pytest.raises(InvalidSource, match="cannot read a stream: its compressed data ends too early"):
            ids(io.BytesIO(gzip.compress(LINES)[:-9]))

    def test_text_is_refused_with_advice(self) -> None:
        with pytest.raises(InvalidSource, match="open it with mode 'rb'"):
            open_source(io.StringIO(LINES.decode()))  # type: ignore[arg-type]

    def test_a_line_is_given_as_soon_as_it_is_there(self) -> None:
        class Pipe(io.RawIOBase):
            """Has one line now; whoever asks for more waits for ever."""

            given = False

            def readable(self) -> bool:
                return True

            def read(self, _: int = -1) -> bytes:
                assert not self.given, "it asks for more before the line is used"
                self.given = True
                return LINES[: LINES.index(b"\n") + 1]

        first = next(iter(open_source(Pipe()).records()))  # type: ignore[arg-type]
        assert isinstance(first, Record)

    def test_a_stream_is_never_taken_for_a_file_of_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a stream").write_bytes(LINES)
        assert fingerprint(open_source(io.BytesIO(LINES))) is None


def test_an_iterator_is_read_no_further_than_asked() -> None:
    def endless() -> Iterator[Document]:
        number = 0
        while True:
            yield Document(str(number), "x")
            number += 1

    records = open_source(endless()).records()
    assert isinstance(next(records), Record)
