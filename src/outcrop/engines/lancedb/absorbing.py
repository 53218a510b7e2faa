"""Puts what is searched one by one into the indexes, and tidies up: small files are joined, old versions and ended rows go.

LanceDB does all of it in one call that fails beside a writer, so the apply lock is held meanwhile.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from outcrop.engines.absorb_lock import alone
from outcrop.engines.lancedb import vector_index
from outcrop.engines.lancedb.building import index_texts
from outcrop.engines.lancedb.library import calling
from outcrop.engines.lancedb.location import FOLDER
from outcrop.engines.lancedb.serving import Serving
from outcrop.engines.lancedb.table import TERMS, TITLE_TERMS, VECTOR, Marker
from outcrop.engines.protocol import Publishing
from outcrop.engines.purging import purge

_KEPT_VERSIONS = timedelta(hours=1)
"""Whoever reads an older version of the table must have begun longer ago than this."""
_NEVER = timedelta(days=36_500)
_SEGMENTS_MAX = 8
"""Every call adds a piece to an index, and each costs every query some: with more of them, the index is built anew."""


def absorb(serving: Serving, publishing: Publishing, *, keep_seconds: float, floor: int | None, timeout_seconds: float) -> int:
    """As `GenerationIndex.absorb` says."""
    with alone(serving.directory / "absorb.lock", timeout_seconds) as only_one:
        if not only_one:
            return 0
        with publishing():
            absorbed = serving.snapshot().lag
            index(serving, first_vectors_too=True)
        _purge(serving, publishing, keep_seconds, floor)
    return absorbed


def index(serving: Serving, *, first_vectors_too: bool) -> None:
    """Put everything into the indexes that there are, and into a vector index that is due if `first_vectors_too`; join small files.

    For who holds the apply lock.
    """
    _optimize(serving)
    if first_vectors_too:
        _build_vector_index(serving)


def _optimize(serving: Serving) -> None:
    """LanceDB's own tidying: new rows into indexes, small files joined, old versions removed."""
    place = serving.tables.place
    place.begin()
    table = serving.tables.latest()
    with calling(place, "written"):
        table.optimize(cleanup_older_than=_NEVER)
    place.settle()  # before what it stands for is removed
    with place.cleaning(), calling(place, "written"):
        table.optimize(cleanup_older_than=_KEPT_VERSIONS)
        if max(_segments(table, TERMS), _segments(table, TITLE_TERMS)) > _SEGMENTS_MAX:
            index_texts(table)


def _build_vector_index(serving: Serving) -> None:
    """The first vector index of a table that has grown beyond what is searched without one, or the same index in one piece."""
    recipe, version = serving.recipe, serving.snapshot().version
    if recipe.dimension is None:
        return
    tables = serving.tables
    table = tables.latest()
    with calling(tables.place, "written"):
        row_count = table.count_rows(vector_index.WITH_VECTOR)
        due = vector_index.chosen_kind(recipe.index, row_count, recipe.dimension) != "flat"
        if not due or (version.facts.kind != "flat" and _segments(table, VECTOR) <= _SEGMENTS_MAX):
            return
        facts = vector_index.build(table, recipe, row_count)
    facts = msgspec.structs.replace(facts, fields=version.facts.fields)
    tables.mark(table, Marker(sequence=version.sequence, facts=facts))
    tables.place.settle()


def _segments(table: Any, column: str) -> int:
    return max((one.num_segments or 1 for one in table.list_indices() if one.columns == [column]), default=1)


def _purge(serving: Serving, publishing: Publishing, keep_seconds: float, floor: int | None) -> None:
    """Forget chunks that ended long ago.

    Not where the generation has an index in another engine too: that one may lack what this one has.
    """
    if serving.recipe.engine != FOLDER:
        return
    shown = serving.snapshot().sequence
    until = shown if floor is None else min(shown, floor)
    purge(serving.directory, serving.documents, publishing, keep_seconds=keep_seconds, until=until)
