from __future__ import annotations

import datetime
import decimal
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcrop.errors import InvalidSource, MissingExtra, OutcropError
from outcrop.ingest import BadRecord, Record, open_source, sources
from outcrop.model import Document


def documents(source: object) -> list[Document]:
    found = list(open_source(source).records())  # type: ignore[arg-type]
    assert all(isinstance(item, Record) for item in found), [item.error for item in found if isinstance(item, BadRecord)]
    return [item.document for item in found if isinstance(item, Record)]


def test_documents_and_dicts_of_an_iterable_come_out_in_order_and_bad_ones_are_numbered() -> None:
    items: list[object] = [
        Document(id="a", text="x"),
        {"id": 2, "text": "y", "n": 1},
        ("no",),
        {"id": "d"},
        Document(id="e", text=""),
    ]
    source = open_source(items)  # type: ignore[arg-type]
    assert (source.document_count, source.size_bytes) == (5, None)
    found = list(source.records())
    assert [item.document.id for item in found if isinstance(item, Record)] == ["a", "2", "e"]
    assert {item.origin: str(item.error) for item in found if isinstance(item, BadRecord)} == {
        "item 3": "item 3: a document is a Document or a dict, found tuple: ('no',)",
        "item 4": "item 4: the record 'd' has no text: its keys are 'id'; name the text 'text', 'contents', 'content' or 'body'",
    }


def test_a_generator_is_read_only_as_far_as_it_is_asked_for() -> None:
    given: list[int] = []

    def endless() -> Iterator[Document]:
        while True:
            given.append(1)
            yield Document(id=str(len(given)), text="")

    source = open_source(endless())
    assert source.document_count is None
    records = source.records()
    assert [next(records).origin for _ in range(3)] == ["item 1", "item 2", "item 3"]
    assert len(given) == 3


def test_an_exception_of_the_callers_own_iterator_passes_through_unchanged() -> None:
    mistake = KeyError("theirs")

    def broken() -> Iterator[Document]:
        yield Document(id="a", text="")
        raise mistake

    with pytest.raises(KeyError) as caught:
        list(open_source(broken()).records())
    assert caught.value is mistake


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Document(id="a", text="b"), "a single Document; put it into a list"),
        ({"id": "a", "text": "b"}, "a single dict; put it into a list"),
        (b"corpus.jsonl", "found bytes"),
        (7, "found int: 7"),
        (None, "found NoneType"),
        ("https://example.org/corpus.jsonl", "^https://example.org/corpus.jsonl is an address, and addresses are not read"),
        ("S3://rocks/corpus.jsonl", "^S3://rocks/corpus.jsonl is an address"),
        (Path("http://example.org/x"), "is an address"),
        ("a\0b", "does not exist"),
    ],
)
def test_what_is_no_source_is_refused_at_once(source: object, message: str) -> None:
    with pytest.raises(InvalidSource, match=message):
        open_source(source)  # type: ignore[arg-type]


def test_without_pyarrow_a_table_is_refused_with_the_way_to_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    columns = {"id": ["a"], "text": ["b"]}
    frame, table = pandas.DataFrame(columns), pyarrow.table(columns)
    for rows in (frame.to_dict("records"), table.to_pylist(), frame, table):
        assert documents(rows) == [Document(id="a", text="b")]
    monkeypatch.setattr(sources, "_has_arrow", lambda: False)
    with pytest.raises(InvalidSource, match=r'found a DataFrame; give its rows: table\.to_dict\("records"\)'):
        open_source(frame)
    for arrow in (table, table.to_batches()[0]):
        with pytest.raises(InvalidSource, match=r"give its rows: table\.to_pylist\(\)"):
            open_source(arrow)


def test_a_table_of_polars_is_told_by_its_methods() -> None:
    class Frame:
        def iter_rows(self, *, named: bool = False) -> Iterator[object]:
            yield {"id": "a", "text": "b"} if named else ("a", "b")

        def to_dicts(self) -> list[dict[str, str]]:
            return [{"id": "a", "text": "b"}]

        def to_dict(self) -> dict[str, list[str]]:
            return {"id": ["a"], "text": ["b"]}

    with pytest.raises(InvalidSource, match=r"iter_rows\(named=True\)"):
        open_source(Frame())  # type: ignore[arg-type]


def test_an_iterable_of_documents_may_have_methods_that_tables_have() -> None:
    class Shelf(list[Document]):
        def to_dict(self) -> dict[str, Document]:
            return {one.id: one for one in self}

    assert documents(Shelf([Document(id="a", text="b")])) == [Document(id="a", text="b")]


def test_a_missing_path_names_the_nearest_and_the_part_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(InvalidSource, match=r"does not exist; did you mean .*corpus\.jsonl\?"):
        open_source(tmp_path / "corpsu.jsonl")
    (tmp_path / "papers").mkdir()
    with pytest.raises(InvalidSource, match=r"does not exist .there is no .*paper.; did you mean .*papers\?"):
        open_source(str(tmp_path / "paper" / "x" / "corpus.jsonl"))
    with pytest.raises(InvalidSource) as caught:
        open_source(tmp_path / "zzzzzz")
    assert "did you mean" not in str(caught.value)
    assert caught.value.path == str(tmp_path / "zzzzzz")


@pytest.mark.parametrize("name", ["corpus.docx", "corpus", "notes.md.gz", "corpus.gz", "table.parquet.gz"])
def test_an_unknown_extension_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidSource, match=r"cannot tell.*extension.*\.jsonl.*\.zst.*\.parquet.*\.html"):
        open_source(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_and_a_folder_without_permission_say_so(tmp_path: Path) -> None:
    locked = tmp_path / "corpus.jsonl"
    locked.write_text("{}")
    locked.chmod(0)
    with pytest.raises(InvalidSource, match="permission denied"):
        open_source(locked)
    (tmp_path / "folder").mkdir(mode=0)
    with pytest.raises(InvalidSource, match="cannot"):
        open_source(tmp_path / "folder")


def test_a_refusal_by_the_operating_system_is_a_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus.jsonl").write_text("{}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidSource, match=r"corpus\.jsonl: permission denied"):
        open_source(tmp_path / "corpus.jsonl")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("pyarrow", "a.parquet", "arrow"), ("selectolax.lexbor", "a.html", "html"), ("backports", "a.jsonl.zst", "zstd")],
)
def test_a_format_without_its_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    if extra == "zstd" and sys.version_info >= (3, 14):
        pytest.skip("Zstandard is in the standard library")
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'outcrop\[{extra}\]'") as caught:
        open_source(tmp_path / name)
    assert caught.value.extra == extra
    if extra == "html":
        with pytest.raises(MissingExtra):
            open_source(tmp_path)


class TestParquet:
    def write(self, path: Path, columns: dict[str, object], **options: object) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table(columns), path, **options)
        return path

    def test_columns_become_documents_with_json_metadata(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        moment = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
        path = self.write(
            tmp_path / "rocks.parquet",
            {
                "id": [1, 2],
                "text": ["Slate", ""],
                "title": ["S", None],
                "vector": pyarrow.array([[1.0, 2.0], None], type=pyarrow.list_(pyarrow.float32())),
                "day": [datetime.date(2026, 3, 1), None],
                "moment": [moment, None],
                "price": [decimal.Decimal("1.50"), None],
                "share": [0.5, float("nan")],
                "tags": [["a", "b"], []],
                "place": [{"at": moment, "deep": {"n": 1}}, None],
                "metadata": pyarrow.array([[("lang", "en")], None], type=pyarrow.map_(pyarrow.string(), pyarrow.string())),
                "__index_level_0__": [7, 8],
            },
        )
        source = open_source(path)
        assert source.document_count == 2
        found = list(source.records())
        assert [item.origin for item in found] == ["rocks.parquet:1", "rocks.parquet:2"]
        assert found[-1].position_bytes == source.size_bytes == path.stat().st_size
        metadata = {
            "lang": "en",
            "day": "2026-03-01",
            "moment": "2026-03-01T12:00:00+00:00",
            "price": 1.5,
            "share": 0.5,
            "tags": ["a", "b"],
            "place": {"at": "2026-03-01T12:00:00+00:00", "deep": {"n": 1}},
        }
        first, second = (item.document for item in found if isinstance(item, Record))
        assert first == Document(id="1", text="Slate", title="S", metadata=metadata, vector=[1, 2])
        assert second == Document(id="2", text="", metadata={"tags": []})

    def test_rows_beyond_a_batch_and_vectors_of_fixed_size_come_out_in_order(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        count = 5000
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array([float(n) for n in range(count * 2)], pyarrow.float32()), 2)
        columns = {"id": [str(n) for n in range(count)], "text": ["x"] * count, "embedding": vectors}
        found = documents(self.write(tmp_path / "many.parquet", columns, row_group_size=700))
        assert [document.id for document in found] == columns["id"]
        assert [list(document.vector) for document in found[-2:]] == [[9996, 9997], [9998, 9999]]

    def test_what_arrow_holds_of_a_file_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        count, size_bytes = 8_000, 4_000
        texts = random.Random(1).randbytes(count * size_bytes // 2).hex()
        columns = {
            "id": [str(n) for n in range(count)],
            "text": [texts[n * size_bytes : (n + 1) * size_bytes] for n in range(count)],
        }
        path = self.write(tmp_path / "large.parquet", columns, row_group_size=500, use_dictionary=False)
        before = pyarrow.total_allocated_bytes()
        most = max(pyarrow.total_allocated_bytes() for _ in open_source(path).records()) - before
        assert 0 < most < path.stat().st_size // 2

    def test_a_bad_row_is_numbered(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "mixed.parquet", {"id": ["a", "", None], "text": ["x", "y", "z"], "raw": [b"1", None, None]})
        found = list(open_source(path).records())
        assert [type(item).__name__ for item in found] == ["BadRecord"] * 3
        messages = [str(item.error) for item in found if isinstance(item, BadRecord)]
        assert "mixed.parquet:1: document 'a': metadata.raw is a bytes" in messages[0]
        assert "must not be empty" in messages[1]
        assert "found NoneType" in messages[2]

    def test_what_is_no_parquet_or_lacks_a_column_is_refused_when_it_is_opened(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        (tmp_path / "not.parquet").write_text("hello")
        with pytest.raises(InvalidSource, match="as Parquet"):
            open_source(tmp_path / "not.parquet")
        whole = self.write(tmp_path / "whole.parquet", {"id": ["a"], "text": ["b"]}).read_bytes()
        (tmp_path / "cut.parquet").write_bytes(whole[:-10])
        with pytest.raises(InvalidSource, match="as Parquet"):
            open_source(tmp_path / "cut.parquet")
        with pytest.raises(InvalidSource, match="has no text: its keys are 'id', 'abstract'"):
            open_source(self.write(tmp_path / "other.parquet", {"id": ["a"], "abstract": ["b"]}))

    def test_damage_inside_is_a_fault_of_the_file(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "hurt.parquet", {"id": [str(n) for n in range(5000)], "text": [f"text {n}" for n in range(5000)]}
        )
        content = bytearray(path.read_bytes())
        content[4:4000] = b"\xff" * 3996
        path.write_bytes(content)
        with pytest.raises(OutcropError, match=r"hurt\.parquet"):
            list(open_source(path).records())
