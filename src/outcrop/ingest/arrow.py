"""Arrow: a document a row, from tables, record batches and whatever gives a stream of them (extra `arrow`)."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from outcrop.errors import InvalidSource, MissingExtra
from outcrop.ingest.fields import ID_KEYS, TEXT_KEYS, VECTOR_KEYS, document_from, named_keys
from outcrop.ingest.records import RECORD_FAULTS, BadRecord, Record, bad_record

_ROWS = 1024  # of a batch, made into objects at a time
_PANDAS_INDEX = "__index_level_"


class ArrowRows(msgspec.Struct, frozen=True, eq=False):
    """The documents of a stream of record batches. Columns, missing values, dates and decimals are those of a Parquet file."""

    batches: Iterable[Any]
    document_count: int | None = None
    description: str = "Arrow record batches"
    size_bytes: None = None

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in the order of the rows; the number in `origin` is the row's, from 1. See `Source.records`."""
        number = 0
        for batch in self.batches:
            for fields in rows(batch):
                number += 1
                origin = f"row {number}"
                try:
                    yield Record(document_from(fields), origin)
                except RECORD_FAULTS as error:
                    yield bad_record(origin, error)


def speaks_arrow(source: object) -> bool:
    """Whether it gives record batches by Arrow's protocol: what PyArrow has, a frame of pandas or Polars."""
    return hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")


def is_batch(item: object) -> bool:
    """Whether an item of an iterable is a record batch, and not one document."""
    return hasattr(item, "__arrow_c_array__") and hasattr(item, "schema")


def open_arrow(source: Any) -> ArrowRows:
    """The source for what `speaks_arrow`. Raises `MissingExtra` without pyarrow, `InvalidSource` when it has no id or no text."""
    pyarrow = arrow()
    kind = type(source).__name__
    try:
        if hasattr(source, "__arrow_c_stream__"):
            reader = pyarrow.RecordBatchReader.from_stream(source)
        else:
            batch = pyarrow.record_batch(source)
            reader = pyarrow.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise InvalidSource(f"cannot read the {kind} as Arrow record batches: {error}; give documents or dicts") from error
    check_columns(reader.schema.names, f"the {kind}")
    count = getattr(source, "num_rows", None)
    return ArrowRows(reader, count if isinstance(count, int) else None, f"the rows of a {kind}")


def arrow() -> Any:
    """PyArrow. Raises `MissingExtra`."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra(
            "reading Arrow and Parquet needs the extra 'arrow': pip install 'outcrop[arrow]'",
            extra="arrow",
            remedy="pip install 'outcrop[arrow]'",
        ) from error
    return pyarrow


def check_columns(names: list[str], where: str, path: str | None = None) -> None:
    """Raise `InvalidSource` if two columns have one name, or there is no id or no text."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidSource(f"{where} has two columns named {twice!r}; rename one", path=path)
    for what, spellings in (("id", ID_KEYS), ("text", TEXT_KEYS)):
        if not any(name in spellings for name in names):
            wanted = " or ".join(repr(spelling) for spelling in spellings)
            raise InvalidSource(f"{where} has no {what}: {named_keys(names)}; name that column {wanted}", path=path)


def rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a record batch as dicts of what JSON knows, a part of it at a time. The index that pandas adds is left out."""
    wanted = [name for name in batch.schema.names if not name.startswith(_PANDAS_INDEX)]
    for start in range(0, batch.num_rows, _ROWS):
        some = batch.slice(start, _ROWS)
        vectors = {name: _vectors(some.column(name)) for name in wanted if name in VECTOR_KEYS}
        rest = some.select([name for name in wanted if name not in vectors])
        for index, fields in enumerate(rest.to_pylist(maps_as_pydicts="lossy")):
            for name, column in vectors.items():
                fields[name] = column[index]
            yield _plain(fields)


def _vectors(column: Any) -> NDArray[Any]:
    """A vector for each row, or None. By way of numpy: a Python float for every number would cost more than all the rest.

    Lists of one length without gaps are rows of Arrow's own memory, not copied.
    """
    size = getattr(column.type, "list_size", -1)
    if size > 0 and not column.null_count:
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)  # type: ignore[no-any-return]
    return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


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
