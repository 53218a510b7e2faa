"""An index that is being built: a text writer and the part that is being filled. Nothing of it can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from outcrop import buffers, files
from outcrop.documents import Documents, list_part
from outcrop.engines.builtin.parts import PartWriter
from outcrop.engines.builtin.serving import TEXT
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import IndexedChunk, SampleQueries
from outcrop.errors import IllegalState
from outcrop.model import Recipe


class Building:
    """The writing side of a build. One thread uses it; memory is bounded by `text_bytes` and a part of `part_rows_max` rows."""

    def __init__(self, directory: Path, recipe: Recipe, *, part_rows_max: int, text_bytes: int) -> None:
        self._directory = directory
        self._recipe = recipe
        self._part_rows_max = part_rows_max
        self._sequence = 0
        self._text = TextWriter.create(directory / TEXT, recipe.analyzer, buffer_bytes=text_bytes)
        self._part: PartWriter | None = None

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in. A full part is built and listed."""
        if deletes:
            raise IllegalState("a build deletes nothing")
        self._text.add(upserts)
        self._sequence = sequence
        # Those that lack the vector they should have are found by their text alone.
        remaining = [chunk for chunk in upserts if self._recipe.dimension is None or chunk.vector is not None]
        while remaining:
            if self._part is None:
                self._part = PartWriter(self._directory, self._recipe)
            room = self._part_rows_max - self._part.row_count
            _append(self._part, remaining[:room])
            remaining = remaining[room:]
            if self._part.row_count == self._part_rows_max:
                self._seal_part()

    def seal(self, queries: SampleQueries | None = None) -> None:
        """Build and list the last part, commit the text index with the rows' sequence, make all of it durable. May be empty."""
        self._seal_part(queries)
        with closing(Documents(self._directory)) as documents:
            self._text.commit(documents.sequence())
        self._text.close()
        for folder in ((self._directory / TEXT).parent, self._directory):
            files.sync_folder(folder)

    def abort(self) -> None:
        """Let go of the files; the folder is thrown away with the build."""
        if self._part is not None:
            self._part.abort()
        self._text.close()

    def _seal_part(self, queries: SampleQueries | None = None) -> None:
        """A part that is full before the build ends is measured without `queries`."""
        if self._part is not None:
            list_part(self._directory, self._part.seal(self._sequence, queries=queries))
            self._part = None


def _append(part: PartWriter, chunks: Sequence[IndexedChunk]) -> None:
    slots, metadata = [chunk.slot for chunk in chunks], [chunk.metadata for chunk in chunks]
    vectors = [chunk.vector for chunk in chunks if chunk.vector is not None]
    if not vectors:
        part.append(slots, metadata, None)
        return
    with buffers.process.borrowed((len(vectors), len(vectors[0])), np.float32) as rows:
        part.append(slots, metadata, np.stack(vectors, out=rows))
