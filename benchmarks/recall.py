"""How much does the default vector index miss, and does a filter make it miss more?

Measured: recall@10 of the default index against exact search over the same vectors, without a filter and with filters that select
0.1, 1, 10, 50 and 100 % of the chunks at random; and milliseconds a query, the selectivities taking turns.
The target is what the collection states (by default 0.97).
A found chunk that scores as well as the tenth exact one counts: duplicate texts have equal vectors.
Corpus: ../shared/data/text (181,095 short texts; generated ones where it is absent), embedder `static`, default recipe. Seed 20260.
Run: python -m benchmarks.recall
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import (
    BUCKET_COUNT,
    Result,
    Settings,
    Target,
    active_generation,
    embedder_of,
    interleaved_ms,
    open_cached,
    queries,
    settings,
    spread,
)
from benchmarks.raw import part_folder, the_part
from outcrop import filters
from outcrop.documents import Documents
from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.protocol import GenerationIndex, Ranking
from outcrop.filters import Filter
from outcrop.model import GenerationInfo

K = 10
SELECTIVITIES = (None, 0.001, 0.01, 0.1, 0.5, 1.0)
_TOLERANCE = 1e-5
_PAGE = 1000


def measure(chosen: Settings) -> Result:
    """The result: one row a selectivity."""
    db, collection = open_cached(chosen)
    with db:
        generation = active_generation(collection)
        texts = queries(chosen, 100 if chosen.quick else 300)
        embedder = embedder_of(generation)
        vectors = [vector / np.linalg.norm(vector) for vector in map(embedder.embed_query, texts) if np.any(vector)]
        stored, buckets = _stored_vectors(generation), _buckets(generation)
    index = BuiltinEngine().open(generation.recipe, Path(generation.path))
    rows = _rows(index, np.array(vectors), stored, buckets, seed=chosen.seed)
    index.close()
    target = generation.recipe.goal.target_recall
    recalls = [float(row[2]) for row in rows]
    plain, worst = recalls[0], min(recalls)
    return Result(
        question="How much does the default vector index miss, and does a filter make it miss more?",
        corpus=f"{chosen.corpus}; {len(vectors)} queries; {generation.vector_index}",
        columns=("filter selects", "chunks", "recall@10", "lowest query", "p50 ms", "p95 ms"),
        rows=rows,
        targets=(
            Target(name="recall@10 against exact", found=plain, wanted=f">= {target}", met=plain >= target),
            Target(
                name="recall@10 with the least favourable filter",
                found=worst,
                wanted=f">= {target}",
                met=worst >= target,
            ),
        ),
    )


def _rows(
    index: GenerationIndex, vectors: NDArray[np.float32], stored: NDArray[np.float32], buckets: NDArray[np.int64], *, seed: int
) -> tuple[tuple[Any, ...], ...]:
    cases = {_name(share): (_filter(share), _mask(share, buckets)) for share in SELECTIVITIES}
    exact = {name: _exact_scores(vectors, stored, mask) for name, (_, mask) in cases.items()}
    runs: dict[str, Callable[[int], Ranking]] = {
        name: partial(_nearest, index, vectors, where) for name, (where, _) in cases.items()
    }
    took_ms = interleaved_ms(runs, len(vectors), warm_up=20, seed=seed)
    rows = []
    for name, (_, mask) in cases.items():
        recalls = [_recall(runs[name](number), exact[name][number]) for number in range(len(vectors))]
        _, median_ms, _, slow_ms = spread(took_ms[name])
        rows.append((name, int(mask.sum()), float(np.mean(recalls)), float(min(recalls)), median_ms, slow_ms))
    return tuple(rows)


def _nearest(index: GenerationIndex, vectors: NDArray[np.float32], where: Filter | None, number: int) -> Ranking:
    return index.snapshot().nearest(vectors[number], K, where)


def _recall(found: Ranking, exact: NDArray[np.float32]) -> float:
    """The share of the exact best that was found, by score."""
    return float((found.scores[:K] >= exact[-1] - _TOLERANCE).sum() / len(exact))


def _exact_scores(vectors: NDArray[np.float32], stored: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Float32 of shape (queries, min(10, selected)): the best cosine similarities, best first."""
    selected = stored[mask]
    lengths = np.linalg.norm(selected, axis=1)
    best = np.empty((len(vectors), min(K, len(selected))), np.float32)
    for number, vector in enumerate(vectors):
        scores = selected @ vector / np.where(lengths > 0, lengths, 1)
        best[number] = np.sort(scores)[::-1][: best.shape[1]]
    return best


def _name(share: float | None) -> str:
    return "no filter" if share is None else f"{share:.1%}"


def _filter(share: float | None) -> Filter | None:
    return None if share is None else filters.parse(f"bucket < {round(share * BUCKET_COUNT)}")


def _mask(share: float | None, buckets: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = buckets < (BUCKET_COUNT if share is None else round(share * BUCKET_COUNT))
    return mask


def _stored_vectors(generation: GenerationInfo) -> NDArray[np.float32]:
    """Float32 of shape (rows, dimension): the vectors as the index has them."""
    row = the_part(generation)
    return np.memmap(part_folder(generation, row) / "vectors.f32", np.float32, "r").reshape(row.row_count, -1)


def _buckets(generation: GenerationInfo) -> NDArray[np.int64]:
    """Int64 of shape (rows,): the bucket of the document that each row's chunk belongs to."""
    folder = part_folder(generation, the_part(generation))
    slots = np.load(folder / "slots.npy").tolist()
    documents = Documents(Path(generation.path))
    pages = (documents.fetch(slots[start : start + _PAGE]) for start in range(0, len(slots), _PAGE))
    buckets = [chunk.metadata["bucket"] for page in pages for chunk in page]
    documents.close()
    return np.array(buckets)


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())
