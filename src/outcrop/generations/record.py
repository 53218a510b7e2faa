"""What a collection is: a small JSON file that is written once, when the collection is made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from outcrop import files
from outcrop.errors import Closed, Damaged, UnsupportedFormat
from outcrop.generations.layout import FORMAT, CollectionFolder
from outcrop.index_values import IndexSpec, RecallGoal
from outcrop.model import Metric, Recipe

_CHECKSUM = "sha256"


class CollectionRecord(msgspec.Struct, frozen=True):
    """A collection's name and uuid, and what its first generation is made with unless a build says otherwise."""

    format: int
    name: str
    uuid: str
    created_at: str
    embedder: str
    metric: Metric
    chunker: str
    analyzer: str
    index: IndexSpec
    goal: RecallGoal = RecallGoal()

    def following(self, recipe: Recipe) -> CollectionRecord:
        """The same with what a generation's recipe says: a build changes only what it is told to."""
        return msgspec.structs.replace(
            self,
            embedder="none" if recipe.embedder is None else recipe.embedder.spec,
            chunker=recipe.chunker,
            analyzer=recipe.analyzer,
            index=recipe.index,
            goal=recipe.goal,
        )


def write(folder: CollectionFolder, record: CollectionRecord) -> None:
    """Write the record with its checksum, durable on return."""
    values = msgspec.to_builtins(record)
    content = msgspec.json.encode({**values, _CHECKSUM: _checksum(values)})
    files.write_atomically(folder.collection_file, msgspec.json.format(content, indent=1) + b"\n")


def stamp(path: Path) -> tuple[int, ...] | None:
    """What tells this record's file from any other that was there before; None if it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def read(folder: CollectionFolder) -> CollectionRecord:
    """The record of a collection's folder. Raises `Damaged` or `UnsupportedFormat`."""
    path = folder.collection_file
    with files.storage_errors(path):
        content = path.read_bytes()
    try:
        values = msgspec.json.decode(content, type=dict[str, Any])
        expected = values.pop(_CHECKSUM, None)
        record = msgspec.convert(values, CollectionRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} cannot be read: {error}. Restore it from a backup.", path=path) from error
    if record.format > FORMAT:
        raise UnsupportedFormat(
            f"{path} has format {record.format}; this Outcrop reads up to {FORMAT}. Upgrade Outcrop.",
            path=path,
            found=record.format,
            supported=FORMAT,
        )
    if expected is not None and expected != _checksum(values):  # the first releases wrote none
        raise Damaged(f"{path} was changed after it was written: its checksum does not agree. Restore it from a backup.", path=path)
    return record


def check_same(folder: CollectionFolder, uuid: str) -> None:
    """Raise `Closed` if the collection with this uuid was dropped, also if another one has its name now."""
    if not folder.collection_file.exists() or read(folder).uuid != uuid:
        name = folder.path.name
        raise Closed(f"collection {name!r} was dropped meanwhile; open it again", collection=name, path=folder.path)


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()
