"""The metadata of one immutable part as sorted columns, from which a filter gives a mask of rows without reading a document.

A column holds all values of one type of one field, sorted, each with the row that it came from. So a comparison is a binary search
and a slice of row numbers, a list is several entries with one row, and a field may hold several types. Layout under `columns/`:

- `data.bin`: all arrays end to end, each aligned to 8 bytes; memory-mapped as one file, however many fields there are.
- `index.msgpack`: for each column its field, its kind and where its arrays lie. Field names never become file names.

A number x is kept as the float64 d nearest to it and the integer x - d, which is 0 but for integers beyond 2**53. The pair orders
integers and floats together exactly.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.errors import Closed, Damaged, OutcropError, UnsupportedFormat
from outcrop.files import storage_errors, storage_failed
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Operator, Or, kind, leaves, number_key

FORMAT = 1
_Kind: TypeAlias = Literal["number", "boolean", "text"]
_ALIGNMENT = 8
_DTYPES: dict[str, Any] = {
    "values": np.dtype("<f8"),
    "residuals": np.dtype("<i2"),
    "rows": np.dtype("<i4"),
    "starts": np.dtype("<i8"),
    "ends": np.dtype("<i8"),
    "text": np.dtype("u1"),
}


class ColumnsWriter:
    """Collects the metadata of a part's rows and writes it as columns. Takes about 12 bytes a value, and every distinct text."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, _Kind], _TextBuffer | _NumberBuffer] = {}

    def add(self, row: int, metadata: Mapping[str, Any]) -> None:
        """Take in the metadata of one row. Rows are 0-based and may come in any order, each once."""
        for path, value in leaves(metadata):
            key = path, kind(value)
            buffer = self._buffers.get(key)
            if buffer is None:
                buffer = self._buffers[key] = _TextBuffer() if isinstance(value, str) else _NumberBuffer()
            buffer.add(row, value)

    def write(self, directory: Path) -> None:
        """Write `directory/columns/`. The files are complete but not fsynced: whoever commits the part does that.

        Raises `StorageFailed`.
        """
        folder = directory / "columns"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "data.bin").open("wb") as file:
                index = _write_arrays(file.write, self._columns())
            (folder / "index.msgpack").write_bytes(msgspec.msgpack.encode(index))

    def columns(self, row_count: int) -> Columns:
        """The same columns without files, for rows that are not part of a part yet."""
        blob = bytearray()
        index = _write_arrays(blob.extend, self._columns())
        return Columns(index, np.frombuffer(blob, np.uint8), row_count, None)

    def _columns(self) -> Iterator[tuple[str, _Kind, dict[str, NDArray[Any]]]]:
        for (field, of_kind), buffer in sorted(self._buffers.items()):
            yield field, of_kind, buffer.arrays()


class Columns:
    """The columns of one part, read-only. `fields` are the paths that hold a value, sorted. Safe to use from many threads."""

    def __init__(self, index: _Index, data: NDArray[np.uint8], row_count: int, path: Path | None) -> None:
        self._path = path
        self._row_count = row_count
        self._columns: dict[tuple[str, str], _Numbers | _Texts] | None = {
            (entry.field, entry.kind): _column(entry, data) for entry in index.columns
        }
        self.fields: tuple[str, ...] = tuple(sorted({entry.field for entry in index.columns}))

    @classmethod
    def open(cls, directory: Path, row_count: int) -> Columns:
        """The columns in `directory/columns/`, memory-mapped, of a part with `row_count` rows.

        Raises `Damaged` (attributes `path`, and `missing`: whether a file is not there), `UnsupportedFormat` and `StorageFailed`.
        """
        folder = directory / "columns"
        try:
            index, data = _read_files(folder)
            return cls(index, data, row_count, folder)
        except FileNotFoundError as error:
            raise Damaged(f"the columns in {folder} lack {error.filename}", path=folder, missing=True) from error
        except OutcropError:  # Damaged is an OSError too
            raise
        except OSError as error:
            raise storage_failed(folder, error) from error
        except ValueError as error:
            raise Damaged(
                f"the columns in {folder} disagree with their index: {error}; run verify", path=folder, missing=False
            ) from error

    def mask(self, where: Filter) -> NDArray[np.bool_]:
        """Which rows `where` selects: bool of shape (row_count,), new at each call.

        Exactly what `outcrop.filters.matches` says of each row's metadata. Raises `Damaged`, and `Closed` after `close`.
        """
        if self._columns is None:
            raise Closed("these columns have been closed")
        try:
            return self._mask(where, self._columns)
        except IndexError as error:
            place = f"the columns in {self._path} are not consistent with each other or with {self._row_count} rows; run verify"
            raise Damaged(place, path=self._path, missing=False) from error

    def close(self) -> None:
        """Let go of the memory map, which ends when the last running `mask` does. Idempotent."""
        self._columns = None

    def _mask(self, where: Filter, columns: Mapping[tuple[str, str], _Numbers | _Texts]) -> NDArray[np.bool_]:
        match where:
            case And(parts):
                mask = np.ones(self._row_count, np.bool_)
                for part in parts:
                    mask &= self._mask(part, columns)
                return mask
            case Or(parts):
                mask = np.zeros(self._row_count, np.bool_)
                for part in parts:
                    mask |= self._mask(part, columns)
                return mask
            case Not(part):
                mask = self._mask(part, columns)
                return np.logical_not(mask, out=mask)
        mask = np.zeros(self._row_count, np.bool_)
        for rows in _selected(where, columns):
            mask[rows] = True
        return mask


class _Entry(msgspec.Struct, frozen=True):
    """One column in the index. `arrays` maps an array's name to its offset in bytes and its length in elements."""

    field: str
    kind: _Kind
    arrays: dict[str, tuple[int, int]]


class _Index(msgspec.Struct, frozen=True):
    format: int
    size_bytes: int
    columns: list[_Entry]


class _Numbers(msgspec.Struct, frozen=True, eq=False):
    """Numbers, or booleans as 0 and 1, in ascending order: value + residual of each entry, and its row."""

    values: NDArray[np.float64]
    residuals: NDArray[np.int16] | None
    rows: NDArray[np.int32]

    def span(self, value: Any) -> tuple[int, int]:
        """Where the entries equal to `value` begin and end."""
        nearest, residual = number_key(value)
        low = int(np.searchsorted(self.values, nearest, "left"))
        high = int(np.searchsorted(self.values, nearest, "right"))
        if self.residuals is None:
            if not residual:
                return low, high
            return (high, high) if residual > 0 else (low, low)
        among = self.residuals[low:high]
        wanted = np.int16(residual)
        return low + int(np.searchsorted(among, wanted, "left")), low + int(np.searchsorted(among, wanted, "right"))


class _Texts(msgspec.Struct, frozen=True, eq=False):
    """Texts as a sorted dictionary: text i is UTF-8 up to ends[i], its rows are rows[starts[i]:starts[i + 1]]."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def span(self, value: Any) -> tuple[int, int]:
        """Where the entries equal to `value` begin and end. UTF-8 sorts as code points do."""
        wanted = value.encode()
        number = bisect.bisect_left(range(len(self.ends)), wanted, key=self._entry)
        found = number < len(self.ends) and self._entry(number) == wanted
        return int(self.starts[number]), int(self.starts[number + found])

    def _entry(self, number: int) -> bytes:
        return self.text[self.ends[number - 1] if number else 0 : self.ends[number]].tobytes()


def _selected(where: Compare | In | Exists, columns: Mapping[tuple[str, str], _Numbers | _Texts]) -> Iterator[NDArray[np.int32]]:
    """The rows that one condition selects, in pieces; a row may come more than once."""
    if isinstance(where, Exists):
        below = where.field + "."
        yield from (column.rows for (field, _), column in columns.items() if field == where.field or field.startswith(below))
        return
    for op, value in [(where.op, where.value)] if isinstance(where, Compare) else [("=", value) for value in where.values]:
        column = columns.get((where.field, kind(value)))
        if column is not None:
            start, end = column.span(value)
            yield from (column.rows[first:last] for first, last in _slices(op, start, end, len(column.rows)))


def _slices(op: Operator, start: int, end: int, count: int) -> list[tuple[int, int]]:
    """The slices of a sorted column that stand in a relation to the entries from `start` to `end`."""
    slices: dict[Operator, list[tuple[int, int]]] = {
        "=": [(start, end)],
        "!=": [(0, start), (end, count)],
        "<": [(0, start)],
        "<=": [(0, end)],
        ">": [(end, count)],
        ">=": [(start, count)],
    }
    return slices[op]


class _NumberBuffer:
    """The numbers, or booleans, of one field while a part is written."""

    def __init__(self) -> None:
        self._values = array("d")
        self._rows = array("i")
        self._residuals: dict[int, int] = {}

    def add(self, row: int, value: Any) -> None:
        nearest, residual = number_key(value)
        if residual:
            self._residuals[len(self._values)] = residual
        self._values.append(nearest)
        self._rows.append(row)

    def arrays(self) -> dict[str, NDArray[Any]]:
        values, rows = np.array(self._values, np.float64), np.array(self._rows, np.int32)
        if not self._residuals:
            order = np.argsort(values, kind="stable")
            return {"values": values[order], "rows": rows[order]}
        residuals = np.zeros(len(values), np.int16)
        residuals[list(self._residuals)] = list(self._residuals.values())
        order = np.lexsort((residuals, values))
        return {"values": values[order], "residuals": residuals[order], "rows": rows[order]}


class _TextBuffer:
    """The texts of one field while a part is written."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._entries = array("i")
        self._rows = array("i")

    def add(self, row: int, value: Any) -> None:
        self._entries.append(self._numbers.setdefault(value, len(self._numbers)))
        self._rows.append(row)

    def arrays(self) -> dict[str, NDArray[Any]]:
        texts = sorted(self._numbers)
        encoded = [text.encode() for text in texts]
        ranks = np.empty(len(texts), np.int32)
        ranks[[self._numbers[text] for text in texts]] = np.arange(len(texts), dtype=np.int32)
        entries = ranks[np.array(self._entries, np.int32)]
        order = np.argsort(entries, kind="stable")
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.bincount(entries, minlength=len(texts)), out=starts[1:])
        return {
            "text": np.frombuffer(b"".join(encoded), np.uint8),
            "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
            "starts": starts,
            "rows": np.array(self._rows, np.int32)[order],
        }


def _write_arrays(write: Any, columns: Iterator[tuple[str, _Kind, dict[str, NDArray[Any]]]]) -> _Index:
    """Hand every array to `write`, end to end, and say where each lies."""
    offset = 0
    entries = []
    for field, of_kind, arrays in columns:
        places = {}
        for name, content in arrays.items():
            stored = content.astype(_DTYPES[name], copy=False)
            places[name] = offset, len(stored)
            padding = -stored.nbytes % _ALIGNMENT
            write(stored.tobytes() + bytes(padding))
            offset += stored.nbytes + padding
        entries.append(_Entry(field, of_kind, places))
    return _Index(FORMAT, offset, entries)


def _read_files(folder: Path) -> tuple[_Index, NDArray[np.uint8]]:
    index = _read_index(folder / "index.msgpack")
    path = folder / "data.bin"
    size_bytes = path.stat().st_size
    if size_bytes != index.size_bytes:
        found = f"{path} is {size_bytes} bytes long, its index says {index.size_bytes}; run verify"
        raise Damaged(found, path=path, missing=False)
    return index, np.asarray(np.memmap(path, np.uint8, "r")) if size_bytes else np.empty(0, np.uint8)


def _read_index(path: Path) -> _Index:
    try:
        index = msgspec.msgpack.decode(path.read_bytes(), type=_Index)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} is not an index of columns: {error}; run verify", path=path, missing=False) from error
    if index.format != FORMAT:
        raise UnsupportedFormat(
            f"{path} has format {index.format}; this Outcrop reads {FORMAT}. Upgrade Outcrop, or rebuild the collection",
            path=path,
            found=index.format,
            supported=FORMAT,
        )
    return index


def _column(entry: _Entry, data: NDArray[np.uint8]) -> _Numbers | _Texts:
    """The arrays of one column as views of the data. Raises `ValueError` where the index does not fit the data."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, (offset, count) in entry.arrays.items():
        dtype = _DTYPES.get(name)
        if dtype is None or offset < 0 or count < 0 or offset + count * dtype.itemsize > len(data):
            raise ValueError(f"array {name!r} of field {entry.field!r} lies outside the data")
        arrays[name] = data[offset : offset + count * dtype.itemsize].view(dtype)
    try:
        if entry.kind == "text":
            return _Texts(arrays["text"], arrays["ends"], arrays["starts"], arrays["rows"])
        return _Numbers(arrays["values"], arrays.get("residuals"), arrays["rows"])
    except KeyError as error:
        raise ValueError(f"field {entry.field!r} lacks its array {error}") from None
