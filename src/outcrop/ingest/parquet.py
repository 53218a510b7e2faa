"""Parquet: a document a row, read batch by batch (extra `arrow`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from outcrop.errors import InvalidSource
from outcrop.ingest.arrow import arrow, check_columns, rows
from outcrop.ingest.fields import document_from
from outcrop.ingest.records import RECORD_FAULTS, BadRecord, Record, bad_record

_BATCH_ROWS = 1024
# Otherwise PyArrow reads ahead and keeps all that it has read: as much memory as the file is large.
_READING = {"pre_buffer": False, "buffer_size": 1 << 20}


class ParquetFile(msgspec.Struct, frozen=True):
    """The documents of a Parquet file. The columns are those of `document_from`; a list of floats is a vector.

    Null (and, in a column of floats, NaN) is a missing value. Dates and times become ISO 8601 text and decimals become floats,
    since metadata is JSON. The index that pandas adds (`__index_level_0__`) is left out.
    """

    path: Path
    description: str
    size_bytes: int
    document_count: int

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in the order of the rows; the number in `origin` is the row's, from 1. See `Source.records`."""
        row = 0
        with _opened(self.path) as file:
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=names, use_threads=False)
            while (batch := _next_batch(self.path, batches, row)) is not None:
                for fields in rows(batch):
                    row += 1
                    origin = f"{self.path.name}:{row}"
                    position_bytes = self.size_bytes * row // self.document_count
                    try:
                        yield Record(document_from(fields), origin, position_bytes)
                    except RECORD_FAULTS as error:
                        yield bad_record(origin, error, position_bytes)


def open_parquet(path: Path) -> ParquetFile:
    """The source for a Parquet file. Raises `MissingExtra` without pyarrow, `InvalidSource` when it is none or has no id or no
    text."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        count = file.metadata.num_rows
    check_columns(names, str(path), str(path))
    return ParquetFile(path, f"the Parquet file {path}", path.stat().st_size, count)


def _opened(path: Path) -> Any:
    pyarrow = arrow()
    from pyarrow import parquet  # not loaded with pyarrow itself

    try:
        return parquet.ParquetFile(path, **_READING)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidSource(f"cannot read {path} as Parquet: {error}", path=str(path)) from error


def _next_batch(path: Path, batches: Any, row: int) -> Any:
    import pyarrow

    try:
        return next(batches, None)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidSource(f"cannot read {path} after row {row}: {error}; the file is damaged", path=str(path)) from error
