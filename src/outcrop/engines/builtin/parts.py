"""A part of the built-in index: an immutable folder with the slots, the vectors and the metadata columns of a run of chunks.

`slots.npy` holds the slot of each row (int64, ascending); `vectors.f32` and `index.faiss` are the vector leg's (absent without
vectors); `columns/` holds the metadata. All of it is durable before the row that lists the part is written.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.documents import PartRow, list_part
from outcrop.engines.builtin.columns import Columns, ColumnsWriter
from outcrop.engines.builtin.vectors import VectorFacts, VectorPart, VectorPartWriter
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import Damaged
from outcrop.files import file_fact, storage_errors, sync_file, sync_folder
from outcrop.model import Recipe

PARTS = "parts"
_SLOTS = "slots.npy"


class PartWriter:
    """Collects chunks into a new part. Vectors and columns go to disk as they come; `seal` builds the index and lists the part."""

    def __init__(self, generation: Path, recipe: Recipe) -> None:
        self.uuid = uuid4().hex
        self.row_count = 0
        self._generation = generation
        self._recipe = recipe
        self._directory = generation / PARTS / f"part-{self.uuid}"
        with storage_errors(self._directory):
            self._directory.mkdir(parents=True)
        self._slots = array("q")
        self._columns = ColumnsWriter()
        self._vectors = None if recipe.dimension is None else VectorPartWriter(self._directory, recipe.dimension, recipe.metric)

    def append(self, chunks: Sequence[IndexedChunk]) -> None:
        """Take chunks, whose slots ascend."""
        with storage_errors(self._directory):
            for chunk in chunks:
                self._columns.add(self.row_count, chunk.metadata)
                self._slots.append(chunk.slot)
                self.row_count += 1
            if self._vectors is not None:
                self._vectors.append(np.stack([chunk.vector for chunk in chunks if chunk.vector is not None]))

    def seal(self) -> None:
        """Build the vector index, make every file durable, and list the part as belonging to the generation."""
        with storage_errors(self._directory):
            np.save(self._directory / _SLOTS, np.frombuffer(self._slots, dtype=np.int64))
            self._columns.write(self._directory)
            vectors = None if self._vectors is None else self._vectors.seal(self._recipe.index)
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
        row = PartRow(
            uuid=self.uuid,
            first_slot=self._slots[0],
            row_count=self.row_count,
            files=facts,
            facts={} if vectors is None else {"vectors": msgspec.to_builtins(vectors)},
        )
        list_part(self._generation, row)

    def abort(self) -> None:
        """Let go of the files; the folder is thrown away with the build."""
        if self._vectors is not None:
            self._vectors.abort()


class Part:
    """An open part, memory-mapped."""

    def __init__(self, generation: Path, row: PartRow, recipe: Recipe) -> None:
        directory = generation / PARTS / f"part-{row.uuid}"
        _check_sizes(generation, row)
        try:
            self.slots: NDArray[np.int64] = np.asarray(np.load(directory / _SLOTS, mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise Damaged(f"{directory / _SLOTS} cannot be read: {error}", path=directory / _SLOTS) from error
        self.columns = Columns.open(directory, row.row_count)
        self.facts = msgspec.convert(row.facts["vectors"], VectorFacts) if "vectors" in row.facts else None
        self.vectors = None if self.facts is None else VectorPart.open(directory, self.facts, recipe.metric)

    def close(self) -> None:
        """Release the files."""
        self.columns.close()
        if self.vectors is not None:
            self.vectors.close()


def _check_sizes(generation: Path, row: PartRow) -> None:
    """The cheap check of every opening: each file is there and has the size it was written with."""
    for fact in row.files:
        path = generation / fact.path
        try:
            found = path.stat().st_size
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}", path=path) from error
        if found != fact.size_bytes:
            raise Damaged(f"{path} has {found} bytes; {fact.size_bytes} were written", path=path)
