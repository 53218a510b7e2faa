from __future__ import annotations

import bz2
import gzip
import json
import lzma
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from outcrop.errors import InvalidDocument, InvalidSource, OutcropError
from outcrop.ingest import BadRecord, Record, open_source, records, streams
from outcrop.ingest import csv_files as csv_module
from outcrop.model import Document

ROCKS = [
    {"_id": "slate", "title": "Slate", "text": "Slate splits into layers.", "metadata": {"year": 1931}},
    {"_id": "chalk", "title": "", "text": "", "metadata": {}},
    {"_id": "岩", "title": None, "text": "岩は層になる。🪨", "metadata": {"lang": "ja"}},
]
ROCK_LINES = "".join(json.dumps(rock, ensure_ascii=False) + "\n" for rock in ROCKS).encode()


def documents(source: object) -> list[Document]:
    found = list(open_source(source).records())  # type: ignore[arg-type]
    assert all(isinstance(item, Record) for item in found), [item.error for item in found if isinstance(item, BadRecord)]
    return [item.document for item in found if isinstance(item, Record)]


def faults(source: object) -> dict[str, OutcropError]:
    found = list(open_source(source).records())  # type: ignore[arg-type]
    for item in found:
        if isinstance(item, BadRecord):
            assert str(item.error).startswith(f"{item.origin}: ")
            assert item.error.origin == item.origin
    return {item.origin: item.error for item in found if isinstance(item, BadRecord)}


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_jsonl_file_gives_its_documents_with_line_and_offset(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "rocks.jsonl", ROCK_LINES))
    found = list(source.records())
    assert [item.origin for item in found] == ["rocks.jsonl:1", "rocks.jsonl:2", "rocks.jsonl:3"]
    assert [item.document for item in found if isinstance(item, Record)] == [
        Document(id="slate", title="Slate", text="Slate splits into layers.", metadata={"year": 1931}),
        Document(id="chalk", title="", text=""),
        Document(id="岩", text="岩は層になる。🪨", metadata={"lang": "ja"}),
    ]
    lengths = [len(line) + 1 for line in ROCK_LINES.splitlines()]
    assert [item.position_bytes for item in found] == [lengths[0], lengths[0] + lengths[1], sum(lengths)]
    assert source.size_bytes == sum(lengths)
    assert next(iter(source.records())).origin == "rocks.jsonl:1", "a file can be read again"


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_a_compressed_file_reads_as_its_content_and_counts_compressed_bytes(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    two_members = compress(ROCK_LINES[:100]) + compress(ROCK_LINES[100:])
    source = open_source(written(tmp_path / f"rocks.jsonl{suffix}", two_members))
    found = list(source.records())
    assert [item.document.id for item in found if isinstance(item, Record)] == ["slate", "chalk", "岩"]
    assert found[-1].position_bytes == source.size_bytes == len(two_members)


def test_zstandard_reads_all_its_frames(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd")
    two_frames = zstd.compress(ROCK_LINES[:100]) + zstd.compress(ROCK_LINES[100:])
    path = written(tmp_path / "rocks.jsonl.zst", two_frames)
    assert [document.id for document in documents(path)] == ["slate", "chalk", "岩"]
    cut_off = written(tmp_path / "cut.jsonl.zst", zstd.compress(ROCK_LINES * 50)[:-20])
    with pytest.raises(InvalidSource, match="cut off"):
        list(open_source(cut_off).records())
    with pytest.raises(InvalidSource, match=r"not valid \.zst data"):
        open_source(written(tmp_path / "not.jsonl.zst", ROCK_LINES))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_cut_off_compressed_file_is_a_fault_of_the_file_after_its_last_whole_line(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    many = b"".join(b'{"id": %d, "text": "%d"}\n' % (number, number * 7919) for number in range(20_000))
    path = written(tmp_path / f"rocks.jsonl{suffix}", compress(many)[:-30])
    with pytest.raises(InvalidSource, match=rf"rocks\.jsonl\{suffix}.*cut off"):
        list(open_source(path).records())


def test_damaged_compression_is_a_fault_of_the_file(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(ROCK_LINES * 1000))
    packed[-6] ^= 0xFF  # in the checksum
    path = written(tmp_path / "rocks.jsonl.gz", bytes(packed))
    with pytest.raises(InvalidSource, match=r"not valid \.gz data"):
        list(open_source(path).records())
    with pytest.raises(InvalidSource, match=r"not valid \.gz data"):
        open_source(written(tmp_path / "plain.jsonl.gz", ROCK_LINES))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"hello", "not a JSON object"),
        (b"[1]", "must be a JSON object, found an array"),
        (b"7", "found a number"),
        (b"null", "found null"),
        (b'{"id": "a", "text": "\xff"}', "not valid UTF-8 .byte 0xff at byte 22 of the line"),
        (b'{"id": "a", "text": "x\x00y"}', "invalid character"),
        (b'{"id": "a", "text": "b"} {"id": "c"}', "trailing characters"),
        (b'{"id": "a", "text": "\\ud800"}', r"\\ud800 is half of a surrogate pair"),
        (b'{"id": "a", "text": "\\\\ud83d \\ud83d\\ude00 \\uD800 and more of it"}', r"\\uD800 is half of a surrogate pair"),
        (b'{"id": "a", "text": "\\udc00 and more of it"}', r"\\udc00 is half of a surrogate pair"),
        (b'{"id": "a", "text": "\\ud800\\ud801 and more of it"}', r"\\ud800 is half of a surrogate pair"),
        (b"{" + b'"a":{' * 5000 + b"}" * 5001, "nested too deep"),
        (b'{"id": "a", "text": NaN}', "NaN is not JSON, which has only finite numbers"),
        (b'{"id": "a", "text": "NaN", "n": Infinity}', "object: Infinity is not JSON"),
        (b'{"id": "a", "text": "b", "vector": [1, -Infinity]}', "-Infinity is not JSON"),
        (b'{"id": "a", "text": "NaN" oops}', "not a JSON object: JSON is malformed"),
        (b'{"text": "b", "year": 3}', "no id: its keys are 'text', 'year'"),
        (
            b'{"id": "a", "abstract": "b"}',
            "no text: its keys are 'id', 'abstract'; name the text 'text', 'contents', 'content' or 'body'",
        ),
        (b'{"id": "a", "_id": "b", "text": "c"}', "both 'id' and '_id'"),
        (b'{"id": "a", "text": "b", "content": "c"}', "both 'text' and 'content'"),
        (b'{"id": "a", "text": "b", "year": 1, "metadata": {"year": 2}}', "'year' both at the top and in its metadata"),
        (b'{"id": "", "text": "b"}', "must not be empty"),
        (b'{"id": true, "text": "b"}', "must be text, found bool"),
        (b'{"id": 1.0, "text": "b"}', "must be text, found float"),
        (b'{"id": "a\\u0007", "text": "b"}', "control character"),
        (b'{"id": "a", "text": null}', "text must be text"),
        (b'{"id": "a", "text": "b", "metadata": [1]}', "metadata must be a mapping"),
        (b'{"id": "a", "text": "b", "vector": [1, "x"]}', "not a sequence of numbers"),
        (b'{"id": "a", "text": "b", "n": 99999999999999999999999}', "64 bits"),
    ],
)
def test_a_bad_line_is_given_with_its_file_and_line_and_the_next_is_read(tmp_path: Path, line: bytes, message: str) -> None:
    path = written(tmp_path / "mixed.jsonl", b'{"id": "before", "text": ""}\n\n' + line + b'\n{"id": "after", "text": ""}\n')
    found = list(open_source(path).records())
    assert [item.document.id for item in found if isinstance(item, Record)] == ["before", "after"]
    errors = faults(path)
    assert list(errors) == ["mixed.jsonl:3"]
    with pytest.raises(OutcropError, match=message):
        raise errors["mixed.jsonl:3"]


@pytest.mark.parametrize("text", [b"half", b"\\ud83d", b"\\ud83d\\ude", b"\\\\ud800 x", b"\\"])
def test_a_line_that_ends_within_a_text_or_a_pair_of_surrogates_was_cut_off(tmp_path: Path, text: bytes) -> None:
    errors = faults(written(tmp_path / "half.jsonl", b'{"id": "a", "text": "' + text))
    assert "the line ends in the middle of a JSON value, as does the file" in str(errors["half.jsonl:1"])


def test_half_a_line_at_the_end_says_that_the_file_was_cut_off(tmp_path: Path) -> None:
    error = faults(written(tmp_path / "half.jsonl", ROCK_LINES[:-20]))["half.jsonl:3"]
    assert isinstance(error, InvalidSource)
    assert error.line == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'\n [{"id": 1}]', "one JSON array; write one object a line"),
        (b'\xef\xbb\xbf[\n{"id": 1}\n]', "one JSON array"),
        (b'{\n  "id": 1\n}', "over several lines"),
        ('{"id": 1}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_json_that_is_not_lines_is_refused_when_it_is_opened(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidSource, match=message):
        open_source(written(tmp_path / "rocks.json", content))


def test_a_line_over_the_limit_is_passed_over_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.ByteFile.lines, "__defaults__", (1000,))
    long = b'{"id": "long", "text": "' + b"x" * 2_000_000 + b'"}\n'
    path = written(tmp_path / "long.jsonl", ROCK_LINES + long + b'{"id": "z", "text": ""}\n' + long.rstrip())
    found = list(open_source(path).records())
    assert [item.document.id for item in found if isinstance(item, Record)] == ["slate", "chalk", "岩", "z"]
    assert list(faults(path)) == ["long.jsonl:4", "long.jsonl:6"]
    assert "longer than" in str(faults(path)["long.jsonl:4"])
    assert found[-1].position_bytes == path.stat().st_size
    assert records.RECORD_BYTES_MAX == 64 * 1024 * 1024


def test_ids_aliases_and_other_keys_find_their_place(tmp_path: Path) -> None:
    lines = (
        '\ufeff{"id": 7, "contents": "a", "year": 3, "metadata": {"tag": "x"}, "source": "s", "embedding": [1, 2.5]}\r\n'
        '{"_id": "b", "body": "c", "metadata": null, "vector": null, "note": null}'
    )
    first, second = documents(written(tmp_path / "a.ndjson", lines))
    assert first == Document(id="7", text="a", source="s", metadata={"tag": "x", "year": 3}, vector=[1, 2.5])
    assert second == Document(id="b", text="c", metadata={"note": None})


def test_an_empty_jsonl_file_has_no_documents(tmp_path: Path) -> None:
    assert documents(written(tmp_path / "none.jsonl", b"\n \n")) == []


def test_csv_cells_become_values_only_in_their_canonical_spelling(tmp_path: Path) -> None:
    path = written(
        tmp_path / "rocks.csv",
        "\ufeffid,text,title,year,code,price,share,open,note,metadata,vector\r\n"
        '007,"Slate, split\r\nin two ""layers""",Slate,1931,007,1.5,1.10,true,,"{""a"": [1]}","[1, 0.5]"\r\n'
        "\r\n"
        "2,,,-4,99999999999999999999,-0.25,nan,False,é 岩,,\r\n",
    )
    found = list(open_source(path).records())
    assert [item.origin for item in found] == ["rocks.csv:2", "rocks.csv:5"]
    first, second = (item.document for item in found if isinstance(item, Record))
    metadata = {"year": 1931, "code": "007", "price": 1.5, "share": "1.10", "open": True, "a": [1]}
    assert first == Document(id="007", text='Slate, split\r\nin two "layers"', title="Slate", metadata=metadata, vector=[1, 0.5])
    expected = {"year": -4, "code": "99999999999999999999", "price": -0.25, "share": "nan", "open": False, "note": "é 岩"}
    assert second == Document(id="2", text="", metadata=expected)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_under_which_the_header_has_an_id_and_a_text(tmp_path: Path, delimiter: str) -> None:
    rows = [["note a;b|c,d\te", "_id", "text"], ["x", "1", "one; two | three, four\tfive"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    (document,) = documents(written(tmp_path / "rocks.csv", text))
    assert (document.id, document.text) == ("1", rows[1][2])


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    (document,) = documents(written(tmp_path / "pandas.csv", ",id,text,n\n0,a,b,5\n"))
    assert document == Document(id="a", text="b", metadata={"n": 5})


@pytest.mark.parametrize("name", ["mac.csv", "mac.csv.gz"])
def test_a_csv_file_whose_lines_end_with_carriage_returns_reads_row_by_row(tmp_path: Path, name: str) -> None:
    content = 'id,text,n\ra,"two\nlines, é",1\rb,short\rc,"x\r\ny",3\r'.encode()
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    found = list(open_source(path).records())
    assert [item.document for item in found if isinstance(item, Record)] == [
        Document(id="a", text="two\nlines, é", metadata={"n": 1}),
        Document(id="c", text="x\r\ny", metadata={"n": 3}),
    ]
    assert list(faults(path)) == [f"{name}:4"]
    assert found[-1].position_bytes == path.stat().st_size


def test_a_row_over_the_limit_is_refused_also_between_carriage_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_module, "RECORD_BYTES_MAX", 1000)
    path = written(tmp_path / "mac.csv", "id,text\ra,b\rc," + "x" * 2000 + "\r")
    with pytest.raises(InvalidSource, match=r"mac\.csv:3: the row is longer"):
        list(open_source(path).records())


def test_a_compressed_tsv_reads_too(tmp_path: Path) -> None:
    (document,) = documents(written(tmp_path / "rocks.tsv.gz", gzip.compress(b"id\ttext\na\tb, c\n")))
    assert document == Document(id="a", text="b, c")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"a,b,c", "3 cells, the header 2"),
        (b"a", "1 cells, the header 2"),
        (b"a,\xe9t\xe9", "column 'text' is not valid UTF-8 .byte 0xe9"),
        (b"a,b\x00c", "NUL byte"),
        (b'a,"b"c', 'write a quote inside a cell as ""'),
        (b",b", "must not be empty"),
    ],
)
def test_a_bad_row_is_given_with_its_line_and_the_next_is_read(tmp_path: Path, row: bytes, message: str) -> None:
    path = written(tmp_path / "mixed.csv", b'id,text\nbefore,"two\nlines"\n' + row + b"\nafter,x\n")
    assert [item.document.id for item in open_source(path).records() if isinstance(item, Record)] == ["before", "after"]
    errors = faults(path)
    assert list(errors) == ["mixed.csv:4"]
    with pytest.raises(OutcropError, match=message):
        raise errors["mixed.csv:4"]


def test_an_unclosed_quote_is_found_at_the_end_or_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "open.csv", 'id,text\na,b\nc,"never closed\n' + "d,e\n" * 1000)
    assert list(faults(path)) == ["open.csv:3"]
    assert "never closed" in str(faults(path)["open.csv:3"])
    monkeypatch.setattr(csv_module, "RECORD_BYTES_MAX", 1000)
    with pytest.raises(InvalidSource, match=r"open\.csv:3.*a quote may not be closed") as caught:
        list(open_source(path).records())
    assert caught.value.line == 3


def test_a_csv_cell_may_be_longer_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    (document,) = documents(written(tmp_path / "long.csv", "id,text\na," + "x" * 300_000 + "\n"))
    assert len(document.text) == 300_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"name,text\na,b\n", "names no id: its keys are 'name', 'text'; name that column 'id' or '_id'"),
        (b"id,abstract\na,b\n", "names no text"),
        (b"id,text,text\na,b,c\n", "'text' twice"),
        ("id,text\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_csv_header_is_checked_when_the_file_is_opened(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidSource, match=message):
        open_source(written(tmp_path / "rocks.csv", content))


def test_a_file_that_vanishes_after_it_was_opened_is_a_fault_of_the_file(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "rocks.jsonl", ROCK_LINES))
    (tmp_path / "rocks.jsonl").unlink()
    with pytest.raises(InvalidSource, match="No such file"):
        list(source.records())


def test_many_threads_read_one_source_each_for_itself(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "rocks.jsonl", ROCK_LINES * 200))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(sum(1 for _ in source.records()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [600] * 4


def test_real_collections_read_whole(shared_data: Path) -> None:
    cranfield = open_source(shared_data / "cranfield")
    found = documents(shared_data / "cranfield")
    assert len(found) == 1400
    assert sum(not document.text.strip() for document in found) == 2, "documents 471 and 995 are empty"
    assert "BEIR folder" in cranfield.description
    first = next(iter(open_source(shared_data / "text" / "wordnet" / "corpus.jsonl.gz").records()))
    assert isinstance(first, Record)
    assert first.document.metadata == {"pos": "noun", "lexfile": "03"}


def test_errors_know_whether_the_line_or_the_document_is_bad(tmp_path: Path) -> None:
    path = written(tmp_path / "two.jsonl", b'oops\n{"id": "", "text": ""}\n')
    errors = faults(path)
    assert isinstance(errors["two.jsonl:1"], InvalidSource)
    assert isinstance(errors["two.jsonl:2"], InvalidDocument)
