"""How far an unfinished build has come: a row in its documents.sqlite, renewed with every batch that is written."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from outcrop.documents import DocumentsWriter
from outcrop.errors import Damaged, StorageFailed
from outcrop.model import Recipe


class Checkpoint(msgspec.Struct, frozen=True):
    """What a build was begun with, and how many documents it has prepared itself (the others came from an interrupted build).

    `fingerprint` tells whether the source is still the same, where that can be told. `sequence` is that of the last write that the
    build need not carry over.
    """

    recipe: Recipe
    fingerprint: str | None
    sequence: int
    prepared: int = 0

    def encoded(self, prepared: int) -> bytes:
        """As it is stored, with so many documents prepared."""
        return msgspec.json.encode(msgspec.structs.replace(self, prepared=prepared))


def read(directory: Path) -> Checkpoint | None:
    """The checkpoint of an unfinished build; None if it never wrote a batch or what it left cannot be read."""
    try:
        with closing(DocumentsWriter.open(directory)) as documents:
            held = documents.checkpoint()
        return None if held is None else msgspec.json.decode(held, type=Checkpoint)
    except (Damaged, StorageFailed, msgspec.MsgspecError):
        return None
