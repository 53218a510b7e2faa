"""A part of the built-in index: an immutable folder with the slots, the vectors and the metadata columns of some chunks.

`slots.npy` holds the slot of each row (int64, ascending); `vectors.f32` and `index.faiss` are the vector leg's (absent without
vectors); `columns/` holds the metadata. All of it is durable before the row that lists the part is written.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import buffers
from outcrop.documents import PartRow
from outcrop.engines.builtin.columns import Columns, ColumnsWriter
from outcrop.engines.builtin.vector_facts import VectorFacts
from outcrop.engines.builtin.vectors import VectorPart, VectorPartWriter
from outcrop.engines.protocol import Ranking, SampleQueries
from outcrop.errors import Damaged
from outcrop.files import file_fact, storage_errors, storage_failed, sync_file, sync_folder
from outcrop.filters import Filter
from outcrop.model import Recipe

PARTS = "parts"
_FOLDER = "part-"
_SLOTS = "slots.npy"


class PartWriter:
    """Collects rows into a new part. Vectors and columns go to disk as they come; `seal` builds the index."""

    def __init__(self, generation: Path, recipe: Recipe) -> None:
        self.uuid = uuid4().hex
        self.row_count = 0
        self._generation = generation
        self._recipe = recipe
        self._directory = generation / PARTS / f"{_FOLDER}{self.uuid}"
        with storage_errors(self._directory):
            self._directory.mkdir(parents=True)
        self._slots = array("q")
        self._columns = ColumnsWriter()
        self._vectors = None if recipe.dimension is None else VectorPartWriter(self._directory, recipe.dimension, recipe.metric)

    def append(
        self,
        slots: Sequence[int],
        metadata: Sequence[Mapping[str, Any]],
        vectors: NDArray[np.float32] | None,
        *,
        as_stored: bool = False,
    ) -> None:
        """Take rows, whose slots ascend. `vectors` is float32 of shape (rows, dimension); `as_stored` if another part had them."""
        with storage_errors(self._directory):
            for slot, of_row in zip(slots, metadata, strict=True):
                self._columns.add(self.row_count, of_row)
                self._slots.append(slot)
                self.row_count += 1
            if self._vectors is not None and vectors is not None:
                self._vectors.append(vectors, as_stored=as_stored)

    def seal(self, sequence: int, *, queries: SampleQueries | None = None, threads: int | None = None) -> PartRow:
        """Build the vector index and make every file durable. The row is for the list of parts, to which the part is not added.

        `sequence` is the last write that the rows come from. `queries` gives vectors of what users may ask. All cores work, or
        `threads` of them.
        """
        with storage_errors(self._directory):
            np.save(self._directory / _SLOTS, np.frombuffer(self._slots, dtype=np.int64))
            self._columns.write(self._directory)
            self._columns = ColumnsWriter()  # its memory is the index's now
            buffers.process.let_go()  # and so is that of the batches
            spec, goal = self._recipe.index, self._recipe.goal
            vectors = None if self._vectors is None else self._vectors.seal(spec, goal=goal, queries=queries, threads=threads)
            files = sorted(path for path in self._directory.rglob("*") if path.is_file())
            for path in files:
                sync_file(path)
            for folder in [
                *(path for path in self._directory.rglob("*") if path.is_dir()),
                self._directory,
                self._directory.parent,
            ]:
                sync_folder(folder)
            sync_folder(self._generation)
            facts = tuple(file_fact(path, self._generation) for path in files)
        return PartRow(
            uuid=self.uuid,
            first_slot=self._slots[0],
            row_count=self.row_count,
            files=facts,
            facts={} if vectors is None else _stated(vectors),
            sequence=sequence,
        )

    def abort(self) -> None:
        """Remove what was written. Not for a part that is listed."""
        if self._vectors is not None:
            self._vectors.abort()
        shutil.rmtree(self._directory, ignore_errors=True)  # what stays behind is removed as any folder that no row lists


class Part:
    """An open part, memory-mapped. Its files stay readable while it is referenced, also when they were removed."""

    def __init__(self, generation: Path, row: PartRow, recipe: Recipe) -> None:
        directory = generation / PARTS / f"{_FOLDER}{row.uuid}"
        _check_sizes(generation, row)
        self.row = row
        try:
            self.slots: NDArray[np.int64] = np.asarray(np.load(directory / _SLOTS, mmap_mode="r"))
        except (FileNotFoundError, ValueError) as error:
            raise Damaged(f"{directory / _SLOTS} cannot be read: {error}", path=directory / _SLOTS) from error
        except OSError as error:
            raise storage_failed(directory / _SLOTS, error) from error
        self.columns = Columns.open(directory, row.row_count)
        self.facts = facts_of(row)
        self.vectors = None if self.facts is None else VectorPart.open(directory, self.facts, recipe.metric)

    def rows(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that hold these slots, in the order of the slots; slots that are elsewhere are left out."""
        return rows_of(self.slots, slots)[0]

    def close(self) -> None:
        """Release the files."""
        self.columns.close()
        if self.vectors is not None:
            self.vectors.close()


class LivePart(msgspec.Struct, frozen=True, eq=False):
    """A part as of one write. `alive` is bool of shape (rows,), or None if no row has ended; `dead_count` says how many have."""

    part: Part
    alive: NDArray[np.bool_] | None = None
    dead_count: int = 0

    def without(self, ended: NDArray[np.int64]) -> LivePart:
        """The part when these slots have ended too: itself if it has none of them."""
        rows = self.part.rows(ended)
        if not len(rows):
            return self
        alive = np.ones(self.part.row.row_count, np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return LivePart(self.part, alive, len(alive) - int(np.count_nonzero(alive)))

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None, *, exact: bool = False) -> Ranking:
        """The nearest living rows that `where` selects; with `exact` past the index."""
        vectors = self.part.vectors
        if vectors is None:
            return NOTHING
        mask = self.alive
        if where is not None:
            mask = self.part.columns.mask(where)
            if self.alive is not None:
                mask &= self.alive
        rows, scores = (vectors.nearest_exact if exact else vectors.nearest)(vector, k, mask)
        return Ranking(slots=self.part.slots.take(rows), scores=scores)


def facts_of(row: PartRow) -> VectorFacts | None:
    """What is known of a part's vectors; None if it has none."""
    stated = row.facts.get("index", row.facts.get("vectors"))
    return None if stated is None else msgspec.convert(stated, VectorFacts)


def _stated(facts: VectorFacts) -> dict[str, Any]:
    """As the list of parts keeps it. Older versions know no fast-scan: they are told to score every row, and overlook the index."""
    stated = msgspec.to_builtins(facts)
    if not facts.is_fast_scan:
        return {"vectors": stated}
    exact = msgspec.structs.replace(facts, kind="flat", parameters={}, recall=1.0, index_size_bytes=0, choice=None)
    return {"vectors": msgspec.to_builtins(exact), "index": stated}


NOTHING = Ranking(slots=np.empty(0, np.int64), scores=np.empty(0, np.float32))


def rows_of(held: NDArray[np.int64], slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where `slots` lie in the ascending `held`: the rows of those that are there, and the positions in `slots` of those."""
    if not len(held) or not len(slots):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.searchsorted(held, slots)
    found = held[np.minimum(rows, len(held) - 1)] == slots
    return rows[found], np.flatnonzero(found)


def unlisted(generation: Path, listed: Sequence[PartRow]) -> list[Path]:
    """The folders of parts that are not listed: being written, or left by a crash, or replaced."""
    folder = generation / PARTS
    names = {f"{_FOLDER}{row.uuid}" for row in listed}
    with storage_errors(folder):
        return [path for path in sorted(folder.glob(f"{_FOLDER}*")) if path.name not in names]


def _check_sizes(generation: Path, row: PartRow) -> None:
    """The cheap check of every opening: each file is there and has the size it was written with."""
    for fact in row.files:
        path = generation / fact.path
        try:
            found = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}", path=path) from error
        except OSError as error:  # no permission, too many open files: the file may be well
            raise storage_failed(path, error) from error
        if found != fact.size_bytes:
            raise Damaged(f"{path} has {found} bytes; {fact.size_bytes} were written", path=path)
