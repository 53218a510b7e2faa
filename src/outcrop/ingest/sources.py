"""Streams of documents out of whatever the user has: an iterator, a file of records, a file or a folder of texts."""

from __future__ import annotations

import difflib
import importlib.util
import io
import os
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, BinaryIO

from outcrop.errors import InvalidSource
from outcrop.ingest.arrow import open_arrow, speaks_arrow
from outcrop.ingest.beir import beir_corpus, open_beir
from outcrop.ingest.csv_files import open_csv
from outcrop.ingest.folder import FORMATS, open_folder, open_text_file
from outcrop.ingest.items import Items, stepped
from outcrop.ingest.jsonl import lines_of, open_jsonl
from outcrop.ingest.parquet import open_parquet
from outcrop.ingest.records import RECORD_BYTES_MAX, BadRecord, Record, Source
from outcrop.ingest.streams import COMPRESSIONS
from outcrop.model import Document

__all__ = ["RECORD_BYTES_MAX", "BadRecord", "Items", "Record", "Source", "SourceLike", "open_source"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters at least: a drive is no scheme
_RECORD_FILES: dict[str, Callable[[Path], Source]] = {
    ".jsonl": open_jsonl,
    ".ndjson": open_jsonl,
    ".json": open_jsonl,
    ".csv": open_csv,
    ".tsv": open_csv,
}
_WHOLE_FILES: dict[str, Callable[[Path], Source]] = {".parquet": open_parquet, **dict.fromkeys(FORMATS, open_text_file)}


SourceLike = (
    str
    | os.PathLike[str]
    | Iterable[Document]
    | Iterable[Mapping[str, Any]]
    | AsyncIterable[Document]
    | AsyncIterable[Mapping[str, Any]]
    | BinaryIO
)
"""What `open_source` takes, besides tables and record batches of Arrow."""


def open_source(source: SourceLike) -> Source:
    """A source of documents: the path of a file or a folder, or an iterable of Documents or of dicts with the same keys.

    Files are told by their extension: `.jsonl` `.ndjson` `.json` (one object a line), `.csv` `.tsv`, each also compressed (`.gz`
    `.bz2` `.xz` `.zst`); `.parquet`; `.md` `.markdown` `.txt` `.html` `.htm`, one document each. A folder is a BEIR folder if it
    has a `corpus.jsonl`, otherwise a folder of text files. A binary file object such as `sys.stdin.buffer` is read as JSON lines,
    plain or compressed, and is not closed. An iterable may be asynchronous, run in an event loop of its own, and its items may be
    record batches; a table, a batch or a reader of PyArrow, or a frame of pandas or Polars, is read batch by batch too.

    What can be checked without reading everything is checked now. Raises `InvalidSource`; `MissingExtra` for Parquet, HTML and
    `.zst` without their extras.
    """
    if isinstance(source, str) and _ADDRESS.match(source):
        raise InvalidSource(_address(source), path=source)
    if isinstance(source, str | os.PathLike) and not isinstance(source, bytes):
        return _open_path(Path(source))
    if isinstance(source, Document):
        raise InvalidSource("a source is many documents, found a single Document; put it into a list")
    if isinstance(source, Mapping):
        raise InvalidSource("a source is many documents, found a single dict; put it into a list")
    if isinstance(source, bytes | bytearray | memoryview):
        raise InvalidSource("a source is a path or an iterable of documents, found bytes; decode them, or write them to a file")
    if hasattr(source, "read"):
        return _open_stream(source)
    if speaks_arrow(source) and _has_arrow():
        return open_arrow(source)
    rows = _rows_of_a_table(source)
    if rows is not None:
        raise InvalidSource(
            f"a source is a path or an iterable of documents, found a {type(source).__name__}; give its rows: {rows}"
        )
    if isinstance(source, AsyncIterable):
        return Items(stepped(source), description="an asynchronous iterable of documents")
    if not isinstance(source, Iterable):
        raise InvalidSource(f"a source is a path or an iterable of documents, found {type(source).__name__}: {source!r:.80}")
    return Items(source, len(source) if isinstance(source, Sized) else None)


def is_source_name(name: str) -> bool:
    """Whether a file of this name is read: by its extension.

    >>> is_source_name("a.jsonl.gz"), is_source_name("a.parquet"), is_source_name("a.md.gz"), is_source_name("a.exe")
    (True, True, False, False)
    """
    try:
        _opener(Path(name))
    except InvalidSource:
        return False
    return True


def _open_stream(stream: Any) -> Source:
    """JSON lines from a file object: told from one of text by what it reads."""
    if isinstance(stream, io.TextIOBase):
        raise InvalidSource("a file object is read as bytes, found one of text; open it with mode 'rb', or give sys.stdin.buffer")
    name = getattr(stream, "name", None)
    return lines_of(stream, "stdin" if name in (0, "<stdin>") else name if isinstance(name, str) else "a stream")


def _has_arrow() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def _rows_of_a_table(source: object) -> str | None:
    """How a table of pandas, polars or Arrow gives its rows, told by its methods; None for what is no such table."""
    if hasattr(source, "iter_rows") and hasattr(source, "to_dicts"):
        return "table.iter_rows(named=True)"
    if hasattr(source, "to_pylist"):
        return "table.to_pylist()"
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return 'table.to_dict("records")'
    return None


def _address(source: str) -> str:
    return f"{source} is an address, and addresses are not read: a source is a local file or folder; download it first"


def _open_path(path: Path) -> Source:
    if str(path).startswith(("http:", "https:")):
        raise InvalidSource(_address(str(path)), path=str(path))
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # no right to look into the folder; a NUL in the path
        raise InvalidSource(f"cannot read {str(path)!r}: {error}", path=str(path)) from error
    if not exists:
        raise InvalidSource(_missing(path), path=str(path))
    if is_folder:
        corpus = beir_corpus(path)
        return open_folder(path) if corpus is None else open_beir(corpus)
    return _opener(path)(path)


def _opener(path: Path) -> Callable[[Path], Source]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in COMPRESSIONS and len(suffixes) > 1 and suffixes[-2] in _RECORD_FILES:
        return _RECORD_FILES[suffixes[-2]]
    opener = _RECORD_FILES.get(last) or _WHOLE_FILES.get(last)
    if opener is None:
        found = f"its extension is {''.join(suffixes[-2:])!r}" if last else "it has no extension"
        raise InvalidSource(
            f"cannot tell what {path} is: {found}; known are {', '.join(_RECORD_FILES)} (each also with {', '.join(COMPRESSIONS)})"
            f" and {', '.join(_WHOLE_FILES)}",
            path=str(path),
        )
    return opener


def _missing(path: Path) -> str:
    """What to say of a path that does not exist: the first part of it that is missing, and the nearest name beside it."""
    missing = path
    while missing.parent != missing and not missing.parent.exists():
        missing = missing.parent
    try:
        beside = [item.name for item in missing.parent.iterdir()]
    except OSError:
        beside = []
    nearest = difflib.get_close_matches(missing.name, beside, n=1)
    hint = f"; did you mean {missing.parent / nearest[0]}?" if nearest else ""
    where = "" if missing == path else f" (there is no {missing})"
    return f"{path} does not exist{where}{hint}"
