"""A table that is being built: chunks are appended in large batches; indexes come at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from outcrop import files, filter_terms
from outcrop.documents import Documents
from outcrop.engines.lancedb import columns, location, vector_index
from outcrop.engines.lancedb.library import calling, lancedb
from outcrop.engines.lancedb.table import SLOT, TERMS, TITLE_TERMS, Facts, Marker, Tables
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import IllegalState
from outcrop.filters import kind, leaves
from outcrop.model import Recipe

FILTER_INDEXES_MAX = 32
_BATCH_ROWS, _BATCH_ROWS_MIN = 8192, 256
_ROW_BYTES, _FLOAT_BYTES = 600, 4
_BATCH_CHARACTERS = 32_000_000


class Building:
    """The writing side of a build. One thread uses it; memory is bounded by a batch."""

    def __init__(self, directory: Path, recipe: Recipe, uri: str | None, *, memory_bytes: int) -> None:
        self._directory = directory
        self._recipe = recipe
        self._tables = Tables(location.made(directory, uri), recipe)
        self._table = self._tables.create()
        self._waiting: list[IndexedChunk] = []
        self._sequence: int | None = None
        self._characters = 0
        self._batch_rows, self._batch_characters = _batch(recipe, memory_bytes)
        self._vector_count = 0
        self._paths: set[tuple[str, str]] = set()

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in. A full batch is written."""
        if deletes:
            raise IllegalState("a build deletes nothing")
        self._sequence = sequence
        self._waiting += upserts
        self._characters += sum(len(chunk.text) for chunk in upserts)
        self._vector_count += sum(chunk.vector is not None for chunk in upserts)
        self._paths.update((path, kind(value)) for chunk in upserts for path, value in leaves(chunk.metadata))
        if len(self._waiting) >= self._batch_rows or self._characters >= self._batch_characters:
            self._write()

    def seal(self) -> None:
        """Write the rest and the marker, build the indexes, and make all of it durable. May be empty.

        The marker says the sequence that was given last: the rows may be further on, if this is built anew from them.
        """
        self._write()
        with closing(Documents(self._directory)) as documents:
            sequence = documents.sequence() if self._sequence is None else self._sequence
        self._tables.mark(self._table, Marker(sequence=sequence, facts=Facts()))
        with calling(self._tables.place, "written"):
            index_texts(self._table)
            index_fields(self._table)
            facts = Facts() if self._recipe.dimension is None else vector_index.build(self._table, self._recipe, self._vector_count)
        self._tables.mark(self._table, Marker(sequence=sequence, facts=self._with_fields(facts)))
        with self._tables.place.cleaning(), calling(self._tables.place, "written"):
            self._table.optimize(cleanup_older_than=timedelta(milliseconds=1))  # nobody has seen the versions of the build
        files.sync_folder(self._directory)

    def _write(self) -> None:
        if self._waiting:
            self._tables.append(self._table, self._waiting)
            self._waiting, self._characters = [], 0

    def _with_fields(self, facts: Facts) -> Facts:
        with calling(self._tables.place, "read"):
            known = columns.keys_in(self._table.schema.names)
        others = {path for path, of_kind in self._paths if filter_terms.key(path, of_kind) not in known}
        return msgspec.structs.replace(facts, fields=tuple(sorted(others)))


def _batch(recipe: Recipe, memory_bytes: int) -> tuple[int, int]:
    """How many chunks, and of how many characters, are written at a time: they are in memory twice, as Arrow's rows too."""
    row_bytes = _ROW_BYTES + _FLOAT_BYTES * (recipe.dimension or 0)
    half = memory_bytes // 4  # for the texts; the other half for the rest
    return max(_BATCH_ROWS_MIN, min(_BATCH_ROWS, half // row_bytes)), min(_BATCH_CHARACTERS, half)


def index_texts(table: Any) -> None:
    """The full-text indexes. The terms are the analyzer's already, so LanceDB's tokenizer only cuts at the spaces between them."""
    config = lancedb().index.FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        with_position=False,
    )
    for name in (TERMS, TITLE_TERMS):
        table.create_index(name, config=config, replace=True)


def index_fields(table: Any) -> None:
    """Scalar indexes on the slot and on the first fields, so that a filter need not read whole columns."""
    names = [name for name in table.schema.names if name.endswith((columns.LOW, columns.HIGH))][:FILTER_INDEXES_MAX]
    for name in (SLOT, *names):
        table.create_index(name, config=lancedb().index.BTree(), replace=True)
