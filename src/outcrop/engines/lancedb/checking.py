"""Whether a table is still what was written: every file by its checksum, every row by the documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.documents import Documents
from outcrop.engines.lancedb import location
from outcrop.engines.lancedb.library import NO_LIMIT, calling, run
from outcrop.engines.lancedb.table import SLOT, Marker, Tables
from outcrop.errors import Damaged
from outcrop.model import Recipe


def verify(recipe: Recipe, directory: Path, documents: Documents) -> None:
    """Raise `Damaged` for the first file that is not what was written, a row that cannot be read, or rows that do not add up."""
    place = location.of(directory)
    place.check_content()
    tables = Tables(place, recipe)
    with calling(place, "read"):
        table = run(tables.reading())
        marker, found = run(_read(tables, table), seconds_max=NO_LIMIT)
    if len(np.unique(found)) != len(found):
        raise Damaged(f"the table in {place} holds a slot twice; build a new generation", path=place.path)
    head = documents.head()
    if head.sequence == marker.sequence and head.chunks != len(found) - 1:
        raise Damaged(
            f"the table in {place} holds {len(found) - 1} chunks; documents.sqlite has {head.chunks}: build anew",
            path=place.path,
        )


async def _read(tables: Tables, table: Any) -> tuple[Marker, NDArray[np.int64]]:
    """The marker and all slots of the last version, after reading every column of every row."""
    await table.checkout(await table.version())
    marker = await tables.marker(table)
    slots = []
    async for batch in await table.query().to_batches():
        batch.validate(full=True)
        slots.append(batch.column(SLOT).to_numpy())
    return marker, np.concatenate(slots) if slots else np.empty(0, np.int64)
