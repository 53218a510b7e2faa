"""The table of a generation: a row per chunk, and one marker row that holds the sequence of the last write in it.

Every write replaces the marker in the same version of the table that adds and removes chunks, so a reader sees all of it or
nothing. Rows hold what is searched: the terms that the generation's analyzer makes of title and text (so that every engine ranks by
the same terms), the vector (for cosine at length 1), and the columns that filters read. Documents are in documents.sqlite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import analysis
from outcrop.engines.lancedb import columns
from outcrop.engines.lancedb.library import arrow, calling, connect, connect_for_reading, run_beside
from outcrop.engines.lancedb.location import TABLE, Place
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import Damaged, IllegalState, InvalidInput
from outcrop.model import Recipe

SLOT, TERMS, TITLE_TERMS, VECTOR = "slot", "terms", "title_terms", "vector"
MARKER_SLOT = -1

_SEQUENCE, _FACTS = "sequence", "facts"


class Facts(msgspec.Struct, frozen=True):
    """What the marker says besides the sequence: which vector index there is, how it is searched, and how good that is.

    `fields` are paths of the build that have no columns of their own.
    """

    kind: str = "flat"
    parameters: dict[str, int] = {}
    recall: float | None = None
    fields: tuple[str, ...] = ()


class Marker(msgspec.Struct, frozen=True):
    """The last write that a version of the table holds, and the facts as of it."""

    sequence: int
    facts: Facts


class Tables:
    """A generation's table in its place: makes it, opens it, changes it. Who changes it holds the apply lock (or builds it)."""

    def __init__(self, place: Place, recipe: Recipe) -> None:
        self.place = place
        self.recipe = recipe

    def create(self) -> Any:
        """A new, empty table."""
        with calling(self.place, "written"):
            return run_beside(self.place, lambda: connect(self.place).create_table(TABLE, schema=self._first_schema()))

    def latest(self) -> Any:
        """A handle of its own on the last version, to change it. Raises `Damaged` if there is no table or it cannot be read."""
        self._check_present()
        with calling(self.place, "read"):
            return run_beside(self.place, lambda: connect(self.place).open_table(TABLE))

    async def reading(self, version: int | None = None) -> Any:
        """A handle of its own on a version, by default the last one, to be searched by coroutines."""
        self._check_present()
        connection = await connect_for_reading(self.place)
        table = await connection.open_table(TABLE)
        if version is not None:
            await table.checkout(version)
        return table

    def append(self, table: Any, chunks: Sequence[IndexedChunk]) -> None:
        """Add chunks to a table that is being built."""
        rows = self._rows(table, chunks)
        with calling(self.place, "written"):
            table.add(rows)

    def mark(self, table: Any, marker: Marker) -> None:
        """Put a marker in the place of the one that is there, or the first."""
        self.change(table, (), (), marker)

    def change(self, table: Any, chunks: Sequence[IndexedChunk], deletes: Sequence[int], marker: Marker) -> None:
        """Take chunks in and slots out and set the marker, in one version. May be done again."""
        rows = self._rows(table, chunks)
        pa = arrow()
        last = pa.Table.from_pylist([_marker_row(marker, self.recipe.dimension)], schema=rows.schema)
        gone = sorted({int(slot) for slot in deletes} - {chunk.slot for chunk in chunks})
        with calling(self.place, "written"):
            merge = table.merge_insert(SLOT).when_matched_update_all().when_not_matched_insert_all()
            if gone:
                merge = merge.when_not_matched_by_source_delete(f"{SLOT} IN ({', '.join(map(str, gone))})")
            merge.execute(pa.concat_tables([rows, last]), on_bad_vectors="null")

    async def marker(self, table: Any) -> Marker:
        """The marker of a version that was opened for reading. Raises `Damaged` unless there is exactly one."""
        query = table.query().where(f"{SLOT} = {MARKER_SLOT}").select([_SEQUENCE, _FACTS]).limit(2)
        found = (await query.to_arrow()).to_pylist()
        if len(found) != 1 or found[0][_SEQUENCE] is None:
            raise Damaged(
                f"the table in {self.place} holds {len(found)} markers instead of 1 (an unfinished build?)", path=self.place.path
            )
        facts = msgspec.json.decode(found[0][_FACTS] or b"{}", type=Facts)
        return Marker(sequence=found[0][_SEQUENCE], facts=facts)

    def _check_present(self) -> None:
        if self.place.is_missing():
            raise self.place.missing()

    def _rows(self, table: Any, chunks: Sequence[IndexedChunk]) -> Any:
        """The chunks as rows of the table, which gets the columns that it lacks for them."""
        values = [columns.values_of(chunk.metadata) for chunk in chunks]
        with calling(self.place, "written"):
            lacking = columns.lacking(values, table.schema.names)
            if lacking:
                table.add_columns(arrow().schema(lacking))
            schema = table.schema
        return rows_of(chunks, values, schema, self.recipe)

    def _first_schema(self) -> Any:
        pa = arrow()
        fields = [(SLOT, pa.int64()), (TERMS, pa.string()), (TITLE_TERMS, pa.string())]
        if self.recipe.dimension is not None:
            fields.append((VECTOR, pa.list_(pa.float32(), self.recipe.dimension)))
        fields += [(columns.PATHS, pa.list_(pa.string())), (columns.OTHERS, pa.list_(pa.string()))]
        return pa.schema([*fields, (_SEQUENCE, pa.int64()), (_FACTS, pa.string())])


def rows_of(chunks: Sequence[IndexedChunk], values: Sequence[columns.Values], schema: Any, recipe: Recipe) -> Any:
    """An Arrow table of this schema with a row for each chunk."""
    pa = arrow()
    analyzer = analysis.analyzer(recipe.analyzer)
    titles = [analyzer.terms(chunk.title) if chunk.title else [] for chunk in chunks]
    texts = [[*title, *analyzer.terms(chunk.text)] for title, chunk in zip(titles, chunks, strict=True)]
    made = columns.arrays(values, schema.names)
    made[SLOT] = pa.array([chunk.slot for chunk in chunks], pa.int64())
    made[TERMS] = pa.array([" ".join(terms) for terms in texts], pa.string())
    made[TITLE_TERMS] = pa.array([" ".join(terms) if terms else None for terms in titles], pa.string())
    if recipe.dimension is not None:
        made[VECTOR] = _vectors([chunk.vector for chunk in chunks], recipe)
    nothing = {name: pa.nulls(len(chunks), schema.field(name).type) for name in (_SEQUENCE, _FACTS)}
    return pa.table([(made | nothing)[name] for name in schema.names], schema=schema)


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows at length 1; rows of zeros as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return made


def _vectors(vectors: Sequence[NDArray[np.float32] | None], recipe: Recipe) -> Any:
    pa = arrow()
    if recipe.dimension is None:
        raise IllegalState("a generation without vectors has no column for them")
    made = np.zeros((len(vectors), recipe.dimension), np.float32)
    missing = np.array([vector is None for vector in vectors], bool)
    for place, vector in enumerate(vectors):
        if vector is not None:
            if vector.shape != (recipe.dimension,) or not np.isfinite(vector).all():
                raise InvalidInput(
                    f"a vector is {recipe.dimension} finite numbers here, found shape {vector.shape}, {vector!r:.80}"
                )
            made[place] = vector
    if recipe.metric == "cosine":
        made = normalized(made)
    return pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), recipe.dimension, mask=pa.array(missing))


def _marker_row(marker: Marker, dimension: int | None) -> dict[str, Any]:
    """It has a vector, because LanceDB cannot add rows to an index none of which has one."""
    row = {SLOT: MARKER_SLOT, _SEQUENCE: marker.sequence, _FACTS: msgspec.json.encode(marker.facts).decode()}
    return row if dimension is None else row | {VECTOR: [0.0] * dimension}
