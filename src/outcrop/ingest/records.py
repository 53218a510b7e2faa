"""What a source is and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, TypeAlias, get_args

import msgspec

from outcrop.errors import InvalidConfig, InvalidInput, InvalidSource, OutcropError
from outcrop.model import Document

#: What is done about a bad record.
OnError: TypeAlias = Literal["stop", "skip"]

RECORD_BYTES_MAX = 64 * 1024 * 1024
"""The longest record (a line, a CSV row, a file of a folder) that is read, in bytes after decompression: 64 MiB. It bounds
memory."""


class Record(msgspec.Struct, frozen=True, eq=False):
    """One document and where it was found.

    `origin` is fit for people: `corpus.jsonl:17` (file and line, 1-based), `docs/install.md` or `item 17`. `position_bytes` is how
    much of the source's `size_bytes` has been read: for an uncompressed file of lines the exact offset after this record, for a
    compressed one the compressed bytes read so far, for Parquet an estimate by rows, for a folder the sizes of the files so far.
    """

    document: Document
    origin: str
    position_bytes: int | None = None


class BadRecord(msgspec.Struct, frozen=True, eq=False):
    """A record that is not a document. The message of `error` begins with `origin`; its attribute `origin` is set too."""

    origin: str
    error: OutcropError
    position_bytes: int | None = None


def check_on_error(on_error: str) -> None:
    """Raise `InvalidConfig` unless it says what is to be done about a bad record."""
    if on_error not in get_args(OnError):
        raise InvalidConfig(f"on_error is {on_error!r}; use 'stop' or 'skip'", key="on_error")


class Source(Protocol):
    """Where documents come from. `open_source` makes one."""

    @property
    def description(self) -> str:
        """What is read, for people: `the JSONL file kb/corpus.jsonl.gz`."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """The size on disk, compressed where the file is; None when there is none."""
        ...

    @property
    def document_count(self) -> int | None:
        """How many records there are, where that is known without reading them."""
        ...

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in order, each read when asked for.

        Bad records are yielded, so that the caller may stop or skip. A fault of the whole file (cut-off compression, a disk error)
        raises `InvalidSource`. Files and folders can be read again; an iterator only once.
        """
        ...


def bad_record(origin: str, error: OutcropError, position_bytes: int | None = None) -> BadRecord:
    """`error` with its origin in front of the message and as an attribute."""
    values = {**error.values, "origin": origin}
    return BadRecord(origin, type(error)(f"{origin}: {error.message}", **values), position_bytes)


def unreadable(origin: str, reason: str, *, path: str, line: int | None = None, position_bytes: int | None = None) -> BadRecord:
    """A record that could not even be decoded."""
    return BadRecord(origin, InvalidSource(f"{origin}: {reason}", path=path, line=line, origin=origin), position_bytes)


RECORD_FAULTS = (InvalidInput,)
"""What makes one record bad; anything else is a fault of the source or of the program."""
