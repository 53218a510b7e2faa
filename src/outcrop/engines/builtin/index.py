"""The built-in engine: Tantivy for text, FAISS for vectors, SQLite for documents, all in the generation's own folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from outcrop import files
from outcrop.documents import Documents, PartRow
from outcrop.engines.builtin import absorbing
from outcrop.engines.builtin.building import Building
from outcrop.engines.builtin.serving import TEXT, Serving
from outcrop.engines.builtin.snapshot import BuiltinSnapshot
from outcrop.engines.builtin.text import TextReader
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import KEEP_SECONDS, Availability, IndexedChunk, IndexStats, Publishing, SampleQueries
from outcrop.errors import Closed, Damaged, IllegalState, OutcropError
from outcrop.model import Capabilities, Recipe

_FLOAT_BYTES = 4
_PART_ROWS_MAX = 1_000_000
_PART_ROWS_MIN = 4_096  # as many as are searched one by one anyway
_PART_BYTES_MAX = 512 * 1024**2
_MEMORY_BYTES = 400_000_000
_TEXT_SHARE = 0.5
# What a row of a part takes while its columns are collected, and then, besides its code, while its graph is built: 163 bytes were
# measured with M = 16 (40,000 x 256).
_METADATA_ROW_BYTES = 400
_GRAPH_ROW_BYTES = 164


class BuiltinEngine:
    """The engine that is always there.

    A build holds about `memory_bytes`: half of them for words that are not written yet, the rest for the part that is being filled.
    `part_bytes_max` bounds the vectors of one part besides.
    """

    name = "builtin"
    capabilities = Capabilities(filters=True, metrics=("cosine", "dot", "l2"), index_kinds=("flat", "hnsw", "ivf_flat", "ivf_pq"))

    def __init__(self, *, part_bytes_max: int = _PART_BYTES_MAX, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._part_bytes_max = part_bytes_max
        self._text_bytes = int(memory_bytes * _TEXT_SHARE)
        self._part_memory_bytes = memory_bytes - self._text_bytes

    def availability(self) -> Availability:
        """Always available: its libraries are core dependencies."""
        return Availability(available=True)

    def create(self, recipe: Recipe, directory: Path) -> BuiltinIndex:
        """An empty index for a new generation."""
        rows_max = self._part_rows_max(recipe)
        building = Building(directory, recipe, part_rows_max=rows_max, text_bytes=self._text_bytes)
        return BuiltinIndex(directory, recipe, rows_max, building)

    def open(self, recipe: Recipe, directory: Path) -> BuiltinIndex:
        """The sealed index of an existing generation; everything is memory-mapped, so size does not matter."""
        return BuiltinIndex(directory, recipe, self._part_rows_max(recipe), Serving(directory, recipe))

    def verify(self, recipe: Recipe, directory: Path) -> None:
        """Compare files with their checksums (Tantivy keeps its own), and the text index's chunks with documents.sqlite's."""
        with closing(Documents(directory)) as documents:
            verified: set[str] = set()
            while parts := [part for part in documents.parts() if part.uuid not in verified]:  # they may be merged meanwhile
                _verify_part(documents, directory, parts[0])
                verified.add(parts[0].uuid)
        with closing(TextReader.open(directory / TEXT, recipe.analyzer)) as text:
            text.verify()
            shown = text.newest()  # first this: rows are always written before
        with closing(Documents(directory)) as documents:
            head = documents.head()
        if shown.sequence > head.sequence:
            raise Damaged(f"{directory}: the text index is ahead of its documents: copied while written?", path=directory)
        if shown.sequence == head.sequence and shown.chunk_count != head.chunks:
            found = f"the text index holds {shown.chunk_count} chunks; documents.sqlite has {head.chunks}"
            raise Damaged(f"{directory}: {found}. Build a new generation", path=directory)

    def drop(self, directory: Path) -> None:
        """Nothing lies outside the generation's folder."""

    def _part_rows_max(self, recipe: Recipe) -> int:
        bounded = max(_PART_ROWS_MIN, min(self._part_memory_bytes // _row_bytes(recipe), _PART_ROWS_MAX))
        if recipe.dimension is None:
            return bounded
        return max(1, min(self._part_bytes_max // (recipe.dimension * _FLOAT_BYTES), bounded))


class BuiltinIndex:
    """One generation's index: first building, then, once sealed, serving."""

    def __init__(self, directory: Path, recipe: Recipe, part_rows_max: int, state: Building | Serving) -> None:
        self._directory = directory
        self._recipe = recipe
        self._part_rows_max = part_rows_max
        self._building = state if isinstance(state, Building) else None
        self._serving = state if isinstance(state, Serving) else None

    def __repr__(self) -> str:
        state = "serving" if self._serving else "building" if self._building else "closed"
        return f"BuiltinIndex({str(self._directory)!r}, {state})"

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Take chunks in and slots out. Of an open index only the text is written: rows and vectors are in documents.sqlite."""
        if self._building is not None:
            self._building.apply(upserts, deletes, sequence)
            return
        self._open()
        with closing(TextWriter.open(self._directory / TEXT, self._recipe.analyzer)) as text:
            text.delete(deletes)
            text.add(upserts)
            text.commit(sequence)

    def seal(self, queries: SampleQueries | None = None) -> IndexStats:
        """Build the vector index of the last part, commit the text index, make all of it durable, and open it."""
        if self._building is None:
            raise IllegalState(f"{self._directory} is sealed already")
        self._building.seal(queries)
        self._building = None
        self._serving = Serving(self._directory, self._recipe)
        return self._serving.stats()

    def snapshot(self) -> BuiltinSnapshot:
        """The index as of the last complete write."""
        return self._open().snapshot()

    def follow(self, seconds_max: float) -> bool:  # noqa: ARG002 - see there
        """Nothing lags."""
        return True

    def absorb(
        self, publishing: Publishing, *, keep_seconds: float = KEEP_SECONDS, floor: int | None = None, timeout_seconds: float = 0.0
    ) -> int:
        """Write a part from the tail, merge parts, remove what no row lists, and forget chunks that ended long ago."""
        return absorbing.absorb(
            self._open(),
            publishing,
            rows_max=self._part_rows_max,
            keep_seconds=keep_seconds,
            floor=floor,
            timeout_seconds=timeout_seconds,
        )

    def stats(self) -> IndexStats:
        """What the index holds."""
        return self._open().stats()

    def close(self) -> None:
        """Release everything. A build that was not sealed is thrown away with its folder."""
        if self._building is not None:
            self._building.abort()
            self._building = None
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    def _open(self) -> Serving:
        serving = self._serving
        if serving is None:
            raise Closed(f"the index in {self._directory} is {'still being built' if self._building else 'closed'}")
        return serving


def _row_bytes(recipe: Recipe) -> int:
    """What a row takes in memory while its part is built: first its metadata, then what the vector index keeps of it."""
    if recipe.dimension is None or recipe.index.kind == "flat":
        return _METADATA_ROW_BYTES
    # Inverted files keep the rows themselves, or learn from a sample that may be as large.
    code = recipe.dimension * (_FLOAT_BYTES if recipe.index.kind.startswith("ivf") else 1)
    return max(_METADATA_ROW_BYTES, code + _GRAPH_ROW_BYTES)


def _verify_part(documents: Documents, directory: Path, part: PartRow) -> None:
    """Read the files of a part; what is wrong with one that is not listed any more is no fault."""
    try:
        for fact in part.files:
            files.check_file(directory, fact)
    except OutcropError:
        if any(listed.uuid == part.uuid for listed in documents.parts()):
            raise
