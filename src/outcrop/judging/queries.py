"""Queries to hold two generations against: from a file, or at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from outcrop import evaluation
from outcrop.errors import InvalidSource
from outcrop.evaluation import JudgedQueries

#: A `golden.jsonl` or a BEIR folder, judged queries, or texts and mappings such as `{"query": ..., "relevant": {id: grade}}`.
QueriesLike = str | os.PathLike[str] | JudgedQueries | Iterable[str | Mapping[str, object]]


def queries_of(given: QueriesLike) -> JudgedQueries:
    """The queries, read and checked. A text is a path. Raises `InvalidSource` with the file and the line, or the place."""
    if isinstance(given, JudgedQueries):
        if not given.queries:
            raise InvalidSource(f"judged queries {given.name!r}: there are no queries")
        return given
    if isinstance(given, str | os.PathLike):
        return evaluation.load(os.fspath(given))
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InvalidSource(f"queries are a path, or a list of texts and mappings; found {type(given).__name__}: {given!r:.80}")
    return evaluation.golden(given)


def only(queries: JudgedQueries, wanted: Iterable[str]) -> JudgedQueries:
    """The queries with these ids, and their judgements."""
    kept = set(wanted)
    return JudgedQueries(
        name=queries.name,
        queries={query_id: text for query_id, text in queries.queries.items() if query_id in kept},
        judgements={query_id: grades for query_id, grades in queries.judgements.items() if query_id in kept},
    )
