"""Which index a part gets: the one of the lowest latency or memory that reaches the target recall, or the quickest to build.

`latency`: codes of 4 bits read by fast-scan and scored again, or a graph where that is less work. The graph takes several times as
long to build, so it is built only if one over a sample says that it may win: it needs more effort the more rows there are.
`memory`: codes of half the size, if they reach the target. `build`: exact search up to four times as many rows, and no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.builtin.vector_facts import VectorFacts, work
from outcrop.engines.builtin.vector_kinds import build_kind, sample
from outcrop.engines.builtin.vector_recall import Queries, Search, recall_of, tenth_scores, tuned
from outcrop.index_values import IndexChoice, IndexSpec, RecallGoal, RecallPoint
from outcrop.model import Metric

#: Every row is scored up to this many numbers (rows x dimension): 6,000 rows of 256, 4,000 of 384. At 5,000 x 256 a scan takes
#: 0.12 ms and HNSW 0.09 to 0.15; at 10,000 it is 0.37 against 0.19 to 0.23 ms (2 cores, AVX-512).
FLAT_NUMBERS_MAX = 1_536_000
#: Below this many rows no kind of index is built: a product quantizer alone needs 256 rows for its centroids.
INDEXED_ROWS_MIN = 256

_FLAT_FACTOR_OF_BUILD = 4
_CANDIDATES = 100
_SAMPLE_ROWS = 16_384
_GROWTH = 1.3
"""What a graph over a sample must win by: one over six times as many rows needs twice the effort."""
_OF_KIND = {"hnsw": ("m", "ef_construction", "ef_search"), "ivf_pq": ("nlist", "nprobe", "pq_bytes", "refine")}


class Candidate(msgspec.Struct, frozen=True, eq=False):
    """An index that was built, and tuned to the target."""

    index: Any
    facts: VectorFacts
    curve: tuple[RecallPoint, ...]
    met: bool


class Part(msgspec.Struct, frozen=True, eq=False):
    """The rows that an index is chosen for, what it shall reach, and the queries that tell. `search` is for an index of theirs."""

    vectors: NDArray[np.float32]
    metric: Metric
    goal: RecallGoal
    queries: Queries
    search: Callable[[Any, NDArray[np.float32]], Search]

    def built(self, kind: str, spec: IndexSpec) -> Candidate:
        """An index of a kind with the least effort that reaches the target.

        If what chose it was a little easier than what measures it, it is searched harder before the target counts as missed.
        """
        index, parameters = build_kind(kind, self.vectors, self.metric, spec)
        rows, dimension = self.vectors.shape
        facts = VectorFacts(kind=kind, row_count=rows, dimension=dimension, parameters=parameters, recall=0.0)
        search = self.search(index, self.vectors)
        target = wanted = self.goal.target_recall
        found = tuned(facts, spec, self.queries.half(0), search, target=target)
        measured = recall_of(found.facts, self.queries.half(1), search).recall
        while measured < target and wanted < 1:
            wanted = min(1.0, wanted + target - measured)
            harder = tuned(facts, spec, self.queries.half(0), search, target=wanted)
            if harder.facts == found.facts:
                break
            found, measured = harder, recall_of(harder.facts, self.queries.half(1), search).recall
        return Candidate(index, msgspec.structs.replace(found.facts, recall=measured), found.curve, met=measured >= target)


def scans(spec: IndexSpec, goal: RecallGoal, row_count: int, dimension: int) -> bool:
    """Whether so many rows are searched one by one."""
    if spec.kind == "flat" or row_count < INDEXED_ROWS_MIN:
        return True
    factor = _FLAT_FACTOR_OF_BUILD if goal.optimize_for == "build" else 1
    return spec.kind == "auto" and row_count * dimension <= factor * FLAT_NUMBERS_MAX


def choose(part: Part, spec: IndexSpec) -> Candidate | None:
    """The index, with the reason among its facts; None where exact search is the only way to reach the target.

    A kind that `spec` gives is taken whatever its recall, which is reported; a parameter of a kind settles the kind.
    """
    given = spec.kind if spec.kind != "auto" else _kind_of_parameters(spec)
    if given is not None:
        found, why = [part.built(given, spec)], "given by hand"
    elif part.goal.optimize_for == "memory":
        found, why = _smallest(part, spec)
    else:
        found, why = _fastest(part, spec)
    met = [one for one in found if one.met]
    if not met and spec.kind == "auto" and part.goal.optimize_for != "memory":
        return None
    if met:
        best = met[0] if part.goal.optimize_for == "memory" else min(met, key=_work)
    else:
        best = max(found, key=lambda one: one.facts.recall)
        why += "; nothing that was tried reaches the target"
    return _with_choice(best, found, part, why)


def _fastest(part: Part, spec: IndexSpec) -> tuple[list[Candidate], str]:
    codes = part.built("ivf_pq", spec)
    rows, dimension = part.vectors.shape
    graph = VectorFacts(kind="hnsw", row_count=rows, dimension=dimension, parameters={"ef_search": 1}, recall=0.0)
    least = work(graph, _CANDIDATES)
    why = f"codes are the work of {_work(codes):,.0f} rows a query"
    if part.goal.optimize_for == "build":
        return [codes], f"{why}; a graph takes longer to build"
    if codes.met and _work(codes) <= _GROWTH * least:
        return [codes], f"{why}, a graph that of {least:,.0f} at least"
    least = _work_of_graph_of_sample(part, spec)
    why += f", a graph over a sample that of {least:,.0f}"
    return ([codes], why) if codes.met and _work(codes) <= _GROWTH * least else ([codes, part.built("hnsw", spec)], why)


def _smallest(part: Part, spec: IndexSpec) -> tuple[list[Candidate], str]:
    """Codes of half the size, then of the usual one if those find too little."""
    dimension = part.vectors.shape[1]
    found: list[Candidate] = []
    for pq_bytes in (dimension // 8, None):
        found.append(part.built("ivf_pq", msgspec.structs.replace(spec, pq_bytes=None if pq_bytes is None else max(1, pq_bytes))))
        if found[-1].met:
            break
    return found, f"codes of {found[-1].facts.parameters['pq_bytes']} bytes a vector"


def _work_of_graph_of_sample(part: Part, spec: IndexSpec) -> float:
    """The work of a graph over some of the rows that reaches the target: one over all of them needs more."""
    rows = sample(part.vectors, _SAMPLE_ROWS)
    half = part.queries.half(0)
    queries = Queries(half.vectors, tenth_scores(rows, half.vectors, part.metric), half.given_count)
    index, parameters = build_kind("hnsw", rows, part.metric, spec)
    facts = VectorFacts(kind="hnsw", row_count=len(rows), dimension=rows.shape[1], parameters=parameters, recall=0.0)
    return work(tuned(facts, spec, queries, part.search(index, rows), target=part.goal.target_recall).facts, _CANDIDATES)


def _with_choice(best: Candidate, found: Sequence[Candidate], part: Part, why: str) -> Candidate:
    choice = IndexChoice(
        target_recall=part.goal.target_recall,
        optimize_for=part.goal.optimize_for,
        recall=best.facts.recall,
        met=best.met,
        reason=why,
        queries=str(part.queries),
        curve=tuple(point for one in found for point in one.curve),
    )
    return msgspec.structs.replace(best, facts=msgspec.structs.replace(best.facts, choice=choice))


def _work(candidate: Candidate) -> float:
    return work(candidate.facts, _CANDIDATES)


def _kind_of_parameters(spec: IndexSpec) -> str | None:
    given = (kind for kind, names in _OF_KIND.items() if any(getattr(spec, name) is not None for name in names))
    return next(given, None)
