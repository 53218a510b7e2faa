"""The vector index: which kind, with which parameters, searched how hard, and what recall that gives.

Distances: `dot` for cosine too, because stored vectors have length 1 then; `l2` for l2. Quantized kinds fetch more than was asked
for and score it again by the vectors themselves (LanceDB's *refine*), so that a score does not depend on the index that found it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.engines.lancedb.library import lancedb
from outcrop.engines.lancedb.table import SLOT, VECTOR, Facts, normalized
from outcrop.index_values import IndexChoice, IndexSpec
from outcrop.model import Metric, Recipe

WITH_VECTOR = f"{VECTOR} IS NOT NULL AND {SLOT} >= 0"
"""The chunks that have a vector; so has the marker."""
KINDS = ("flat", "ivf_flat", "ivf_sq", "ivf_pq", "ivf_rq", "hnsw")
#: `auto` scans exactly up to this many numbers (rows x dimension): 4,000 rows of 256. At 5,000 x 256 a scan takes 5 ms, at
#: 20,000 x 256 it takes 14 ms, and an index 3.5 ms, most of which is what any query costs (2 cores).
FLAT_NUMBERS_MAX = 1_024_000
#: ... and takes `ivf_flat` up to this many, 40,000 rows of 256, and `hnsw` beyond. At 20,000 x 256 they take 3.7 and 6.3 ms, at
#: 100,000 x 256 14.3 and 6.8 ms, with the same recall; the graph takes half the room, and a third longer to build.
IVF_NUMBERS_MAX = 10_240_000
#: Below this many rows no kind of index is built: the codebooks of a product quantizer alone need 256 rows.
INDEXED_ROWS_MIN = 512

_ROWS_PER_PARTITION_MIN = 256  # fewer, and LanceDB trains fewer partitions than it was asked for
_RECALL_MARGIN = 0.005
_RECALL_K = 10
_RECALL_QUERIES = 200
_EF_LADDER = (50, 100, 150, 200, 300, 400, 600, 800)
_TRAINING_ROUNDS = 15
_SEED = 20_240_229


def chosen_kind(spec: IndexSpec, row_count: int, dimension: int) -> str:
    """The kind that is built for so many rows with vectors."""
    if spec.kind == "flat" or row_count < INDEXED_ROWS_MIN:
        return "flat"
    if spec.kind != "auto":
        return spec.kind
    numbers = row_count * dimension
    return "flat" if numbers <= FLAT_NUMBERS_MAX else "ivf_flat" if numbers <= IVF_NUMBERS_MAX else "hnsw"


def distance_type(metric: Metric) -> str:
    """LanceDB's name of the distance."""
    return "l2" if metric == "l2" else "dot"


def as_scores(distances: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Scores, higher is better: LanceDB's distances are squared for l2, and one less the product for dot."""
    return -np.sqrt(np.maximum(distances, 0.0)) if metric == "l2" else np.float32(1.0) - distances


def build(table: Any, recipe: Recipe, row_count: int) -> Facts:
    """Build the index of a table with so many vectors, and choose the least effort that reaches the target recall.

    The caller calls LanceDB by `calling`.
    """
    assert recipe.dimension is not None
    kind = chosen_kind(recipe.index, row_count, recipe.dimension)
    if kind == "flat":
        return Facts(kind="flat", recall=1.0)
    parameters = _parameters(kind, recipe.index, row_count, recipe.dimension)
    table.create_index(VECTOR, config=_config(kind, parameters, recipe.metric), replace=True)
    return _with_chosen_effort(table, Facts(kind=kind, parameters=parameters), recipe)


def tuned(query: Any, k: int, *, facts: Facts, metric: Metric, share: float = 1.0, exact: bool = False) -> Any:
    """A query for the `k` nearest rows through the index, searched as hard as the facts say; `exact` goes past the index.

    `share` of the rows are selected by a filter: as many selected ones are looked at as without it.
    """
    made = query.distance_type(distance_type(metric)).limit(k)
    if exact or facts.kind == "flat":
        return made.bypass_vector_index()
    probes = min(ceil(facts.parameters.get("nprobe", 1) / share), facts.parameters.get("nlist", 1))
    made = made.nprobes(probes)
    if facts.kind != "ivf_flat":
        made = made.refine_factor(_refine(facts.kind, k))
    if facts.kind == "hnsw":
        made = made.ef(max(ceil(facts.parameters["ef_search"] / share), k * _refine(facts.kind, k)))
    return made


def described(facts: Facts) -> str:
    """For people: `ivf_flat (nlist 78, nprobe 24)`."""
    listed = ", ".join(f"{name} {value}" for name, value in facts.parameters.items())
    return f"{facts.kind} ({listed})" if listed else facts.kind


def choice_of(facts: Facts, recipe: Recipe) -> IndexChoice | None:
    """How the index was chosen: the kind goes by the number of vectors whatever is to be least, the effort by the target."""
    if facts.recall is None:
        return None
    return IndexChoice(
        target_recall=recipe.goal.target_recall,
        optimize_for=recipe.goal.optimize_for,
        recall=facts.recall,
        met=facts.recall >= recipe.goal.target_recall,
        reason="on LanceDB the kind goes by the number of vectors" if recipe.index.kind == "auto" else "given by hand",
        queries="none" if facts.kind == "flat" else f"{_RECALL_QUERIES} stored vectors with noise",
        curve=(),
    )


def _refine(kind: str, k: int) -> int:
    spare = k // 8 + 16 if kind in ("ivf_sq", "hnsw") else 4 * k + 64
    return ceil((k + spare) / k)


def _parameters(kind: str, spec: IndexSpec, row_count: int, dimension: int) -> dict[str, int]:
    if kind == "hnsw":
        return {"m": 20 if spec.m is None else max(spec.m, 2), "ef_construction": spec.ef_construction or 150}
    wanted = round(row_count**0.5) if spec.nlist is None else spec.nlist
    nlist = max(1, min(wanted, row_count // _ROWS_PER_PARTITION_MIN))
    if kind != "ivf_pq":
        return {"nlist": nlist}
    pieces = _divisor_from(dimension, ceil(dimension / 4) if spec.pq_bytes is None else spec.pq_bytes)
    return {"nlist": nlist, "pq_bytes": pieces}


def _config(kind: str, parameters: dict[str, int], metric: Metric) -> Any:
    kinds = lancedb().index
    distance = distance_type(metric)
    if kind == "hnsw":
        return kinds.HnswSq(
            max_iterations=_TRAINING_ROUNDS,
            distance_type=distance,
            num_partitions=1,
            m=parameters["m"],
            ef_construction=parameters["ef_construction"],
        )
    if kind == "ivf_pq":
        return kinds.IvfPq(
            max_iterations=_TRAINING_ROUNDS,
            distance_type=distance,
            num_partitions=parameters["nlist"],
            num_sub_vectors=parameters["pq_bytes"],
        )
    made = {"ivf_flat": kinds.IvfFlat, "ivf_sq": kinds.IvfSq, "ivf_rq": kinds.IvfRq}[kind]
    return made(max_iterations=_TRAINING_ROUNDS, distance_type=distance, num_partitions=parameters["nlist"])


def _divisor_from(dimension: int, wanted: int) -> int:
    """The smallest divisor of `dimension` that is at least `wanted`: a product quantizer cuts vectors into equal pieces."""
    return next(size for size in range(min(wanted, dimension), dimension + 1) if dimension % size == 0)


def _with_chosen_effort(table: Any, facts: Facts, recipe: Recipe) -> Facts:
    """The least effort that reaches the target on half of the sample queries; the other half measures the recall."""
    queries, limits = _truth(table, recipe.metric)
    name, given = ("ef_search", recipe.index.ef_search) if facts.kind == "hnsw" else ("nprobe", recipe.index.nprobe)
    chosen = facts
    for effort in _efforts(facts) if given is None else (given,):
        chosen = msgspec.structs.replace(facts, parameters={**facts.parameters, name: effort})
        found = _recall(table, queries[::2], limits[::2], facts=chosen, metric=recipe.metric)
        if found >= min(1.0, recipe.goal.target_recall + _RECALL_MARGIN):
            break
    measured = _recall(table, queries[1::2], limits[1::2], facts=chosen, metric=recipe.metric)
    return msgspec.structs.replace(chosen, recall=measured)


def _efforts(facts: Facts) -> tuple[int, ...]:
    if facts.kind == "hnsw":
        return _EF_LADDER
    nlist = facts.parameters["nlist"]
    steps = sorted({effort for power in range(1, 16) for effort in (2**power, 3 * 2**power // 2) if effort < nlist})
    return (*steps, nlist)


def _truth(table: Any, metric: Metric) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Queries, rows with noise as long as the row itself, and for each the true score of its 10th nearest row."""
    rng = np.random.default_rng(_SEED)
    rows = _sample(table, rng)
    noise = normalized(rng.standard_normal(rows.shape, dtype=np.float32))
    queries = rows + noise * np.linalg.norm(rows, axis=1, keepdims=True)
    queries = normalized(queries) if metric == "cosine" else queries
    best = np.full((len(queries), _RECALL_K), -np.inf, np.float32)
    for block in vector_blocks(table):
        scores = _scores(queries, block, metric)
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :_RECALL_K]
    return queries, best[:, -1]


def vector_blocks(table: Any) -> Iterator[NDArray[np.float32]]:
    """All vectors of a table in blocks, float32 of shape (n, dimension)."""
    for batch in table.search().where(WITH_VECTOR).select([VECTOR]).to_batches():
        if len(batch):
            yield np.asarray(batch.column(0).flatten()).reshape(len(batch), -1)


def _sample(table: Any, rng: np.random.Generator) -> NDArray[np.float32]:
    found = table.search().where(WITH_VECTOR).select([SLOT]).to_arrow().column(0).to_numpy()
    slots = np.sort(rng.choice(np.sort(found), min(_RECALL_QUERIES, len(found)), replace=False))
    listed = ", ".join(map(str, slots.tolist()))
    rows = table.search().where(f"{SLOT} IN ({listed})").select([SLOT, VECTOR]).to_arrow().sort_by(SLOT)
    return np.asarray(rows.column(VECTOR).combine_chunks().flatten()).reshape(len(slots), -1)


def _scores(queries: NDArray[np.float32], block: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    products: NDArray[np.float32] = queries @ block.T
    if metric != "l2":
        return products
    squares = (queries**2).sum(axis=1)[:, None] + (block**2).sum(axis=1)[None, :] - 2 * products
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0.0))
    return -distances


def _recall(table: Any, queries: NDArray[np.float32], limits: NDArray[np.float32], *, facts: Facts, metric: Metric) -> float:
    hits = 0
    for one, limit in zip(queries, limits, strict=True):
        begun = table.search(one, vector_column_name=VECTOR, query_type="vector")
        found = tuned(begun, _RECALL_K, facts=facts, metric=metric).select(["_distance"]).to_arrow().column(0).to_numpy()
        hits += int(np.count_nonzero(as_scores(found, metric) >= limit - 1e-5 * max(1.0, abs(float(limit)))))
    return min(1.0, hits / (_RECALL_K * len(queries)))
