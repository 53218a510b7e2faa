"""Brings the first engine's index to where the rows of the generation are, or builds it anew from them.

One process at a time does it, under a lock of its own, so that neither writers nor searches wait for it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import files
from outcrop.documents import Documents
from outcrop.engines.protocol import Engine, GenerationIndex, IndexedChunk, IndexSnapshot
from outcrop.errors import OutcropError
from outcrop.model import Chunk, Recipe

_log = logging.getLogger("outcrop")
_PAGE = 2_000


class Rows(msgspec.Struct, frozen=True, eq=False):
    """What an index is brought up to: the rows as of `second`, a snapshot of the other engine, which has their vectors.

    `check` is called between pages and raises when nobody wants the work to go on.
    """

    documents: Documents
    second: IndexSnapshot
    check: Callable[[], None]


def caught_up(index: GenerationIndex, rows: Rows) -> bool:
    """Apply what the index lacks of the rows. False if that is not remembered any more: it must be built anew."""
    behind, until = index.snapshot().sequence, rows.second.sequence
    if behind > rows.documents.sequence():  # the folder was copied while it was written
        return False
    if behind >= until:
        return True
    if rows.documents.head().purged > behind:
        return False
    changes = rows.documents.changes(behind, until=until)
    if rows.documents.head().purged > behind:  # while this was reading
        return False
    pages = [changes.born[start : start + _PAGE] for start in range(0, len(changes.born), _PAGE)]
    for page in pages[:-1]:  # what it shows meanwhile is not searched, because it is behind
        rows.check()
        index.apply(_indexed(page, rows.second), (), behind)
    rows.check()
    index.apply(_indexed(pages[-1], rows.second) if pages else [], changes.ended, until)
    return True


def rebuilt(engine: Engine, recipe: Recipe, directory: Path, rows: Rows) -> None:
    """Build the engine's index anew from the living rows, in the place of what is there.

    That goes when the new one is whole; if there comes to be none, it is put back.
    """
    folder = directory / engine.name
    _remove_what_lies_aside(engine, directory)
    before = _put_aside(folder)
    try:
        _build(engine, recipe, directory, rows)
    except BaseException:
        failed = _put_aside(folder)
        if before is not None:
            with files.storage_errors(folder):
                before.rename(folder)
        if failed is not None:
            _remove(engine, failed)
        raise
    _remove_what_lies_aside(engine, directory)


def _build(engine: Engine, recipe: Recipe, directory: Path, rows: Rows) -> None:
    index = engine.create(recipe, directory)
    try:
        for page in _living(rows):
            rows.check()
            index.apply(_indexed(page, rows.second), (), rows.second.sequence)
        index.apply((), (), rows.second.sequence)  # also where nothing is alive, the index is as of this write
        index.seal()
    finally:
        index.close()


def _put_aside(folder: Path) -> Path | None:
    """Rename the folder of an index, if it is there, so that nobody finds it; where it lies now."""
    with files.storage_errors(folder):
        if not folder.exists():
            return None
        return folder.rename(folder.with_name(f".{folder.name}-{uuid4().hex[:8]}"))


def _remove_what_lies_aside(engine: Engine, directory: Path) -> None:
    """Of now, or by a crash."""
    for aside in directory.glob(f".{engine.name}-*"):
        _remove(engine, aside)


def _remove(engine: Engine, aside: Path) -> None:
    try:
        engine.drop(aside)
    except OutcropError as error:  # what was put aside says where it lies, to whoever tries again
        _log.warning("what was put aside as %s stays for now: %s", aside, error)
    else:
        shutil.rmtree(aside, ignore_errors=True)


def _living(rows: Rows) -> Iterator[Sequence[Chunk]]:
    after = -1
    while page := rows.documents.chunks(after, at=rows.second.sequence, count=_PAGE):
        yield page
        after = page[-1].slot


def _indexed(chunks: Sequence[Chunk], second: IndexSnapshot) -> list[IndexedChunk]:
    vectors: Sequence[NDArray[np.float32] | None] = second.vectors([chunk.slot for chunk in chunks])
    return [
        IndexedChunk(slot=chunk.slot, title=chunk.title, text=chunk.text, metadata=chunk.metadata, vector=vector)
        for chunk, vector in zip(chunks, vectors, strict=True)
    ]
