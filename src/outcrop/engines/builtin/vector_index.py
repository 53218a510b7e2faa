"""The approximate index of one part: built as `vector_choice` decides, and searched.

Whatever an index finds is scored again from the float32 rows, so that a score never depends on the index that found it.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.builtin.vector_choice import Part, choose, scans
from outcrop.engines.builtin.vector_facts import VectorFacts, fetched_count, work
from outcrop.engines.builtin.vector_kinds import building_threads, search_on_one_thread
from outcrop.engines.builtin.vector_recall import made_queries, search_of
from outcrop.engines.builtin.vector_scan import best, exact_nearest, scores_of_rows
from outcrop.engines.protocol import SampleQueries
from outcrop.errors import InvalidConfig
from outcrop.index_values import IndexChoice, IndexSpec, RecallGoal
from outcrop.model import Metric

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
_HAND_PARAMETERS = ("m", "ef_construction", "ef_search", "nlist", "nprobe", "pq_bytes", "refine")


def build(
    vectors: NDArray[np.float32],
    metric: Metric,
    spec: IndexSpec,
    *,
    goal: RecallGoal | None = None,
    queries: SampleQueries | None = None,
    threads: int | None = None,
) -> tuple[Any, VectorFacts]:
    """A FAISS index of these rows (None for `flat`), ready to be searched or written, and the facts about it.

    `vectors` is float32 of shape (n, dimension), usually a memory map: the rows are read in place. All cores build, or `threads` of
    them, from 10,000 rows on. `queries`, asked only if there is an index to measure, gives vectors of what users may ask. With
    `auto` exact search is taken where nothing else reaches the target. Raises `InvalidConfig` when a parameter is not positive.
    """
    _check(spec)
    goal = RecallGoal() if goal is None else goal
    rows, dimension = vectors.shape
    exact = partial(VectorFacts, kind="flat", row_count=rows, dimension=dimension, parameters={}, recall=1.0)
    if scans(spec, goal, rows, dimension):
        return None, exact(choice=_exact(goal, "given by hand" if spec.kind == "flat" else "few vectors"))
    given = None if queries is None else queries()
    with building_threads(rows, threads):
        part = Part(
            vectors=vectors,
            metric=metric,
            goal=goal,
            queries=made_queries(vectors, metric, given),
            search=lambda index, rows: search_of(index, rows, metric, nearest),
        )
        chosen = choose(part, spec)
    if chosen is None:
        return None, exact(choice=_exact(goal, "no index that was tried reaches the target"))
    return chosen.index, chosen.facts


def nearest(
    index: Any,
    vectors: NDArray[np.float32],
    vector: NDArray[np.float32],
    k: int,
    *,
    facts: VectorFacts,
    metric: Metric,
    mask: NDArray[np.bool_] | None = None,
) -> Found:
    """The `k` nearest rows that `mask` selects, through the index where that is cheaper than a scan of the selected rows.

    Never a row that is not selected and never fewer than min(k, selected rows): when the index finds too few, a scan answers.
    """
    search_on_one_thread()
    row_count = facts.row_count
    selected = row_count if mask is None else int(np.count_nonzero(mask))
    if index is None or not selected or selected <= work(facts, k, widened=row_count / selected):
        return exact_nearest(vectors, vector, k, metric, mask=mask)
    parameters = None if mask is None or selected == row_count else _filtered(facts, mask, selected)
    rows = index.search(vector[None], fetched_count(facts, k), params=parameters)[1][0]
    if rows[-1] < 0:  # FAISS fills up what it has not found
        rows = rows[rows >= 0]
    if len(rows) < min(k, selected):
        return exact_nearest(vectors, vector, k, metric, mask=mask)
    return best(rows, scores_of_rows(vectors, rows, vector, metric), k)


def _filtered(facts: VectorFacts, mask: NDArray[np.bool_], selected: int) -> Any:
    """Search parameters for a mask: as many *selected* rows must be met as an unfiltered search meets rows."""
    selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
    widened = facts.row_count / selected
    if facts.kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=ceil(facts.parameters["ef_search"] * widened), sel=selector)
    nprobe = min(facts.parameters["nlist"], ceil(facts.parameters["nprobe"] * widened))
    return faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)


def _exact(goal: RecallGoal, reason: str) -> IndexChoice:
    return IndexChoice(
        target_recall=goal.target_recall,
        optimize_for=goal.optimize_for,
        recall=1.0,
        met=True,
        reason=reason,
        queries="none",
        curve=(),
    )


def _check(spec: IndexSpec) -> None:
    for name in _HAND_PARAMETERS:
        value = getattr(spec, name)
        if value is not None and value < 1:
            raise InvalidConfig(
                f"the vector index cannot be built: {name} is {value}. Give a number from 1, or none to have it chosen", key=name
            )
