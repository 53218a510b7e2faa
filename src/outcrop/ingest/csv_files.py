"""CSV and TSV: a header, then a document a row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from outcrop.errors import InvalidDocument, InvalidSource
from outcrop.ingest.fields import ID_KEYS, RESERVED_KEYS, TEXT_KEYS, VECTOR_KEYS, document_from, named_keys
from outcrop.ingest.json_faults import json_fault
from outcrop.ingest.records import RECORD_BYTES_MAX, RECORD_FAULTS, BadRecord, Record, bad_record, unreadable
from outcrop.ingest.streams import ByteFile

_HEAD_BYTES = 64 * 1024
_LINE_END = re.compile(rb"\r\n?|\n")
_DELIMITERS = ",;\t|"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:e[+-][0-9]+)?")
_WORDS = {"true": True, "True": True, "false": False, "False": False}
_JSON_COLUMNS = frozenset(("metadata", *VECTOR_KEYS))


class CsvFile(msgspec.Struct, frozen=True):
    """The documents of a CSV or TSV file, plain or compressed, in UTF-8 (with or without a byte order mark).

    The columns are those of `document_from`; the cells of `metadata` and `vector` are JSON. Every other column becomes metadata,
    with a type only where the cell is written as a program writes that type: `12`, `-3.5`, `true`, `False`; `007`, `1.10`, `1e5`
    and `NaN` stay text. An empty cell is a missing value, except that an empty text is an empty text. A column without a name
    (pandas writes its row numbers so) is left out. Fields may be quoted with `"` over several lines, in TSV too.
    """

    path: Path
    delimiter: str
    description: str
    size_bytes: int
    document_count: None = None

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in the order of the rows; the line in `origin` is the row's first. See `Source.records`."""
        _allow_long_fields()
        with ByteFile(self.path) as file:
            lines = _Lines(file)
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            header = _header(self.path, next(reader))
            while True:
                lines.begin_record()
                origin = f"{self.path.name}:{lines.number + 1}"
                try:
                    row = next(reader)
                    if row:
                        yield Record(document_from(_fields(header, row)), origin, file.position_bytes)
                except StopIteration:
                    return
                except csv.Error as error:
                    reason = _quoting(error)
                    yield unreadable(origin, reason, path=str(self.path), line=lines.started, position_bytes=file.position_bytes)
                except RECORD_FAULTS as error:
                    if isinstance(error, InvalidSource):
                        raise
                    yield bad_record(origin, error, file.position_bytes)


def open_csv(path: Path) -> CsvFile:
    """The source for a CSV or TSV file. The header is read at once.

    The delimiter is the one of `,` `;` tab `|` under which the header has an id and a text. Raises `InvalidSource` when there is no
    header, when it names no id or no text, or names a column twice.
    """
    with ByteFile(path) as file:
        head = file.head(2)
        first = next(file.lines(universal=_ends_lines_with_cr(file)), (1, b""))[1]
    if head in (b"\xff\xfe", b"\xfe\xff"):
        raise InvalidSource(
            f"{path} is UTF-16; convert it to UTF-8, for example with `iconv -f utf-16 -t utf-8`", path=str(path), line=1
        )
    if not first or not first.strip():
        raise InvalidSource(
            f"{path} has no header: its first line must name the columns, an id and a text among them", path=str(path), line=1
        )
    header_line = first.decode("utf-8-sig", errors="replace")
    delimiter = max(_DELIMITERS, key=lambda candidate: _fitness(header_line, candidate))
    _header(path, _split(header_line, delimiter))
    return CsvFile(path, delimiter, f"the CSV file {path}", path.stat().st_size)


class _Lines:
    """The file's lines as text, for csv.reader; it also watches the size of a record, which an unclosed quote may stretch to the
    end.

    Bytes that are not UTF-8 come through as surrogates, so that they spoil their own row only.
    """

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._lines = file.lines(universal=_ends_lines_with_cr(file))
        self._record_bytes = 0
        self.number = 0
        self.started = 1

    def begin_record(self) -> None:
        self._record_bytes = 0
        self.started = self.number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        self._record_bytes += RECORD_BYTES_MAX + 1 if line is None else len(line)
        if line is None or self._record_bytes > RECORD_BYTES_MAX:
            path = self._file.path
            raise InvalidSource(
                f"{path.name}:{self.started}: the row is longer than {RECORD_BYTES_MAX // 2**20} MiB; a quote may not be closed",
                path=str(path),
                line=self.started,
            )
        if self.number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode(errors="surrogateescape")


def _ends_lines_with_cr(file: ByteFile) -> bool:
    """Whether the header ends with a bare carriage return, as Excel's "CSV (Macintosh)" writes it. To be asked before reading."""
    head = file.head(_HEAD_BYTES)
    found = _LINE_END.search(head)
    return found is not None and found[0] == b"\r" and found.end() < len(head)


def _allow_long_fields() -> None:
    """The csv module's limit of 128 KiB a field is one for the whole process; it is only ever raised here."""
    if csv.field_size_limit() < RECORD_BYTES_MAX:
        csv.field_size_limit(RECORD_BYTES_MAX)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter, strict=True))]
    except csv.Error:
        return []


def _fitness(line: str, delimiter: str) -> tuple[int, int]:
    names = _split(line, delimiter)
    return any(name in ID_KEYS for name in names) + any(name in TEXT_KEYS for name in names), len(names)


def _header(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    named = [name for name in names if name]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise InvalidSource(f"{path}: the header names the column {twice!r} twice; rename one", path=str(path), line=1)
    for what, spellings in (("id", ID_KEYS), ("text", TEXT_KEYS)):
        if not any(name in spellings for name in named):
            wanted = " or ".join(repr(spelling) for spelling in spellings)
            raise InvalidSource(
                f"{path}: the header names no {what}: {named_keys(named)}; name that column {wanted}; line 1 is the header",
                path=str(path),
                line=1,
            )
    return names


def _fields(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise InvalidDocument(f"the row has {len(row)} cells, the header {len(header)}; quote the cells that hold the delimiter")
    return {
        name: _value(name, cell)
        for name, cell in zip(header, row, strict=True)
        if name and (cell or name in TEXT_KEYS or name in ID_KEYS)
    }


def _value(name: str, cell: str) -> Any:
    if not cell.isascii():
        _check_encoding(name, cell)
    if "\0" in cell:
        raise InvalidDocument(f"the column {name!r} holds a NUL byte; this is not text")
    if name in _JSON_COLUMNS:
        return _json(name, cell)
    return cell if name in RESERVED_KEYS else typed(cell)


def typed(cell: str) -> str | int | float | bool:
    """A cell as the number or truth value that it is the canonical spelling of, or as the text that it is.

    >>> [typed(cell) for cell in ("12", "007", "-3.5", "1.10", "true", "yes")]
    [12, '007', -3.5, '1.10', True, 'yes']
    """
    if cell in _WORDS:
        return _WORDS[cell]
    if _INTEGER.fullmatch(cell):
        number = int(cell)
        return number if -(2**63) <= number < 2**63 else cell
    if _FLOAT.fullmatch(cell) and repr(float(cell)) == cell:
        return float(cell)
    return cell


def _check_encoding(name: str, cell: str) -> None:
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        byte = ord(cell[error.start]) - 0xDC00
        raise InvalidDocument(f"the column {name!r} is not valid UTF-8 (byte 0x{byte:02x}); convert the file to UTF-8") from None


def _json(name: str, cell: str) -> Any:
    try:
        return msgspec.json.decode(cell)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidDocument(
            f"the column {name!r} must hold JSON: {json_fault(cell.encode(), error)}; found {cell!r:.60}"
        ) from None


def _quoting(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opened in this row is never closed"
    if "expected after" in str(error):
        return 'a quoted cell goes on after its closing quote; write a quote inside a cell as ""'
    return f"the row cannot be read: {error}"
