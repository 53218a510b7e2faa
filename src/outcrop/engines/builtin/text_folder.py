"""The text index's folder: its schema, opening it, and what can go wrong with it, shared by its writer and its reader."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import tantivy

from outcrop import file_locks, forking
from outcrop.analysis import Analyzer
from outcrop.engines.builtin.text_filter import add_filter_fields
from outcrop.errors import CollectionLocked, Damaged, OutcropError, StorageFailed
from outcrop.files import storage_errors, storage_failed

FIELDS = ("text", "title")
MARKER = 1
_FOOTER_MAGIC = 1337
_SEGMENT_FILES = (".fast", ".fieldnorm", ".idx", ".pos", ".store", ".term")
_SEGMENT_FILE = re.compile(rf"[0-9a-f]{{32}}({'|'.join(map(re.escape, _SEGMENT_FILES))}|\.[0-9]+\.del)")
# What failed to fit has been removed again when we ask, so that a full disk has a little room.
_FULL_DISK_FREE_BYTES_MAX = 1024 * 1024
_READING = ("open", "search", "explain")
_TANTIVY_LOCKS = frozenset({".tantivy-writer.lock", ".tantivy-meta.lock"})


def schema(analyzer: Analyzer) -> tantivy.Schema:
    """The fields of a text index. Nothing is stored: documents.sqlite holds the texts."""
    builder = tantivy.SchemaBuilder()
    # Signed: deleting by a term of an unsigned field deletes nothing.
    builder.add_integer_field("slot", indexed=True, fast=True)
    builder.add_integer_field("marker", indexed=True)
    builder.add_integer_field("sequence", fast=True)
    for field in FIELDS:
        builder.add_text_field(field, tokenizer_name=_tokenizer_name(analyzer), index_option="freq")
    add_filter_fields(builder)
    return builder.build()


def create_index(directory: Path, analyzer: Analyzer) -> tantivy.Index:
    """A new index in an existing folder."""
    with tantivy_errors(directory, "create"):
        return _prepared(tantivy.Index(schema(analyzer), str(directory)), analyzer)


def open_index(directory: Path, analyzer: Analyzer) -> tantivy.Index:
    """Open what is there, if it is ours and was made with this analyzer; otherwise raise `Damaged`."""
    try:
        content = (directory / "meta.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise damaged(directory, "there is no text index (meta.json is missing)") from error
    except OSError as error:
        raise storage_failed(directory, error) from error
    try:
        fields = {field["name"]: field.get("options", {}) for field in json.loads(content)["schema"]}
        found = fields["text"]["indexing"]["tokenizer"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(directory, f"meta.json is not that of a text index ({error!r})") from error
    wanted = _tokenizer_name(analyzer)
    if found != wanted:
        raise damaged(directory, f"it was made with the analyzer {found!r}, not {wanted!r}")
    with tantivy_errors(directory, "open"):
        return _prepared(tantivy.Index.open(str(directory)), analyzer)


def verify_files(directory: Path) -> None:
    """Read every file of the index and compare it with the CRC-32 that Tantivy wrote at its end; raise `Damaged` for the first
    that differs. Opening an index checks only that the files are whole. About a second per gigabyte.

    Others may write meanwhile: files that no commit lists yet, or any more, are not looked at.
    """
    verified: set[str] = set()
    while True:
        listed = _listed_files(directory) - verified
        if not listed:
            return
        for name in sorted(listed):
            if not _is_whole(directory / name) and name in _listed_files(directory):
                raise damaged(directory, f"{name} is not what was written (it is missing, or its checksum differs)")
        verified |= listed


def remove_strays(directory: Path) -> None:
    """Remove segment files of which Tantivy knows nothing, for whoever is the only writer.

    They are what a copy of a folder that was being written can hold: a file that came into being after the list of files was
    copied. Tantivy would never remove them, and a commit that needs the name of one would fail for ever.
    """
    with storage_errors(directory):
        known = {*_listed_files(directory), *_managed_files(directory)}
        for name in os.listdir(directory):
            if name not in known and _SEGMENT_FILE.fullmatch(name):
                (directory / name).unlink(missing_ok=True)


def damaged(directory: Path, found: str) -> Damaged:
    """The error for an index that is not what was written."""
    return Damaged(
        f"the text index in {directory} cannot be used: {found}. Rebuild the generation or restore its folder.", path=directory
    )


@contextmanager
def tantivy_errors(directory: Path, action: str) -> Iterator[None]:
    """Turn Tantivy's exceptions (mostly `ValueError` with a text, and Rust panics) into ours; a fork waits until it is left.

    (Not for merges, which may take long: what a child inherits of them it never touches.)
    """
    try:
        with nullcontext() if action == "merge" else forking.undisturbed():
            yield
    except OutcropError:
        raise
    except (ValueError, OSError, RuntimeError, SystemError) as error:
        raise _mapped(directory, action, str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # PyO3 derives it from BaseException
            raise
        raise _mapped(directory, action, str(error)) from error


class _TantivyLocks:
    """Tantivy gives up a lock by closing its file, and a forked child has copies of the descriptors: nobody else could write any
    more until the child ends."""

    def __init__(self) -> None:
        forking.in_child(self, _TantivyLocks.let_go)

    def let_go(self) -> None:
        file_locks.let_go(_TANTIVY_LOCKS)


_tantivy_locks = _TantivyLocks()


def _listed_files(directory: Path) -> set[str]:
    """The files of the segments that the last commit lists. Each is complete before the commit and never changes."""
    with storage_errors(directory):
        content = (directory / "meta.json").read_bytes()
    try:
        segments = json.loads(content)["segments"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(directory, f"meta.json is not that of a text index ({error!r})") from error
    names = {f"{segment['segment_id'].replace('-', '')}{suffix}" for segment in segments for suffix in _SEGMENT_FILES}
    deletes = ((segment["segment_id"].replace("-", ""), segment.get("deletes")) for segment in segments)
    return names | {f"{segment}.{found['opstamp']}.del" for segment, found in deletes if found}


def _managed_files(directory: Path) -> set[str]:
    """The files that Tantivy itself removes when no commit lists them any more."""
    try:
        return set(json.loads((directory / ".managed.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return set()


def _is_whole(path: Path) -> bool:
    """Whether a file's checksum holds: its content, a JSON footer, the footer's length and a magic number, both 32 bits."""
    try:
        content = memoryview(path.read_bytes())
        length, magic = struct.unpack("<II", content[-8:])
        footer = json.loads(bytes(content[-8 - length : -8]))
        return magic == _FOOTER_MAGIC and bool(footer["crc"] == zlib.crc32(content[: -8 - length]))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_failed(path, error) from error
    except (struct.error, ValueError, KeyError, TypeError):
        return False


def _tokenizer_name(analyzer: Analyzer) -> str:
    return f"outcrop_{analyzer.name}"


def _prepared(index: tantivy.Index, analyzer: Analyzer) -> tantivy.Index:
    """With our analyzer, and read only when asked: otherwise a thread of Tantivy's reads the folder again after every commit."""
    index.register_tokenizer(_tokenizer_name(analyzer), analyzer.tantivy)
    index.config_reader("manual")
    return index


def _mapped(directory: Path, action: str, found: str) -> OutcropError:
    if "LockBusy" in found:
        message = f"the text index in {directory} is being written by another writer; wait for it to finish"
        return CollectionLocked(message, path=directory, owner=None)
    refused = re.search(r"Os \{ code: (\d+)", found)
    if refused:
        return storage_failed(directory, OSError(int(refused[1]), os.strerror(int(refused[1]))))
    if action in _READING or "FileDoesNotExist" in found or "InvalidData" in found or "corrupt" in found:
        return damaged(directory, found)
    if _is_full(directory):  # Tantivy's writing threads do not say what stopped them
        message = f"cannot {action} the text index in {directory}. The disk is full: free some space and try again."
        return StorageFailed(message, path=directory, errno_name="ENOSPC")
    return StorageFailed(f"cannot {action} the text index in {directory}: {found}", path=directory, errno_name=None)


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _FULL_DISK_FREE_BYTES_MAX
    except OSError:
        return False
