"""Parquet: a document a row, read batch by batch (extra `arrow`)."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from outcrop.errors import InvalidSource, MissingExtra
from outcrop.ingest.fields import ID_KEYS, TEXT_KEYS, VECTOR_KEYS, document_from, named_keys
from outcrop.ingest.records import RECORD_FAULTS, BadRecord, Record, bad_record

_BATCH_ROWS = 1024


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
            batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=names)
            while (batch := _next_batch(self.path, batches, row)) is not None:
                for fields in _rows(batch):
                    row += 1
                    origin = f"{self.path.name}:{row}"
                    position_bytes = self.size_bytes * row // self.document_count
                    try:
                        yield Record(document_from(_plain(fields)), origin, position_bytes)
                    except RECORD_FAULTS as error:
                        yield bad_record(origin, error, position_bytes)


def open_parquet(path: Path) -> ParquetFile:
    """The source for a Parquet file. Raises `MissingExtra` without pyarrow, `InvalidSource` when it is none or has no id or no
    text."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        count = file.metadata.num_rows
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidSource(f"{path} has two columns named {twice!r}; rename one", path=str(path))
    for what, spellings in (("id", ID_KEYS), ("text", TEXT_KEYS)):
        if not any(name in spellings for name in names):
            wanted = " or ".join(repr(spelling) for spelling in spellings)
            raise InvalidSource(f"{path} has no {what}: {named_keys(names)}; name that column {wanted}", path=str(path))
    return ParquetFile(path, f"the Parquet file {path}", path.stat().st_size, count)


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(
            "reading Parquet needs the extra 'arrow': pip install 'outcrop[arrow]'",
            extra="arrow",
            remedy="pip install 'outcrop[arrow]'",
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidSource(f"cannot read {path} as Parquet: {error}", path=str(path)) from error


def _next_batch(path: Path, batches: Any, row: int) -> Any:
    import pyarrow

    try:
        return next(batches, None)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidSource(f"cannot read {path} after row {row}: {error}; the file is damaged", path=str(path)) from error


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows as dicts. Vectors go by way of numpy: a Python float for every number would cost more than all the rest."""
    vectors = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in VECTOR_KEYS if name in batch.schema.names}
    rest = batch.drop_columns(list(vectors)) if vectors else batch
    for index, fields in enumerate(rest.to_pylist(maps_as_pydicts="lossy")):
        for name, column in vectors.items():
            fields[name] = column[index]
        yield fields


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    plain = {name: _json_value(value) for name, value in fields.items()}
    return {name: value for name, value in plain.items() if value is not None or name in TEXT_KEYS or name in ID_KEYS}


def _json_value(value: Any) -> Any:
    """The JSON value nearest to an Arrow one; None for NaN."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return value
