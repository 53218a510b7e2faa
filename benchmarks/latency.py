"""What does a hybrid search cost over its two raw legs?

Measured: milliseconds a query for Tantivy and FAISS called directly on the generation's own files (alone, one after the other, and
both at once with their rankings fused and nothing else), and for Outcrop's searches with the documents of ten hits fetched; nothing
is cached but in the row that says so; one caller; the runs take turns in one process, each with another query.
Corpus: ../shared/data/text (181,095 short texts; generated ones where it is absent), embedder `static`, default recipe and a legs'
depth of 100. Queries: titles and first words sampled from the corpus, a third claims of SciFact. Seed 20260.
Run: python -m benchmarks.latency
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import (
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
from benchmarks.raw import RawHybrid, RawText, RawVectors
from outcrop import Collection

DEPTH = 100
K = 10
RATIO_TARGET = 1.6
_RAW_HYBRID = "raw, both at once and fused"
_HYBRID = "Outcrop hybrid, vector given"


def measure(chosen: Settings) -> Result:
    """The result: one row a run, with its ratio to the raw legs at once."""
    db, collection = open_cached(chosen)
    with db:
        texts = queries(chosen, 150 if chosen.quick else 500)
        took_ms = interleaved_ms(_runs(collection, texts), len(texts), warm_up=50, seed=chosen.seed)
        generation = active_generation(collection)
    base_ms = float(np.median(took_ms[_RAW_HYBRID]))
    rows = tuple((name, *spread(samples), float(np.median(samples)) / base_ms) for name, samples in took_ms.items())
    ratio = next(row[-1] for row in rows if row[0] == _HYBRID)
    return Result(
        question="What does a hybrid search cost over its two raw legs?",
        corpus=f"{chosen.corpus}; {len(texts)} queries; {generation.vector_index}",
        columns=("run", "p25 ms", "p50 ms", "p75 ms", "p95 ms", f"p50 / {_RAW_HYBRID}"),
        rows=rows,
        targets=(
            Target(name=f"{_HYBRID}, p50 over {_RAW_HYBRID}", found=ratio, wanted=f"<= {RATIO_TARGET}", met=ratio <= RATIO_TARGET),
        ),
    )


def _runs(collection: Collection, texts: list[str]) -> dict[str, Callable[[int], object]]:
    generation = active_generation(collection)
    embedder = embedder_of(generation)
    vectors = [embedder.embed_query(text) for text in texts]
    raw_text, raw_vectors, raw_hybrid = RawText(generation), RawVectors(generation), RawHybrid(generation)

    def search(number: int, mode: str, *, cache: bool = False, **options: Any) -> Any:
        return collection.search(texts[number], k=K, mode=mode, candidates=DEPTH, cache=cache, **options)

    for number in range(len(texts)):
        search(number, "hybrid", cache=True)
    return {
        "raw Tantivy": lambda number: raw_text.search(texts[number], DEPTH),
        "raw FAISS, 1 thread": lambda number: raw_vectors.search(vectors[number], DEPTH),
        "raw one after the other": lambda number: (
            raw_text.search(texts[number], DEPTH),
            raw_vectors.search(vectors[number], DEPTH),
        ),
        _RAW_HYBRID: lambda number: raw_hybrid.search(texts[number], vectors[number], DEPTH, K),
        "embedding a query": lambda number: embedder.embed_query(texts[number]),
        "Outcrop lexical": lambda number: search(number, "lexical"),
        "Outcrop vector, vector given": lambda number: search(number, "vector", vector=vectors[number]),
        _HYBRID: lambda number: search(number, "hybrid", vector=vectors[number]),
        "Outcrop hybrid, text only": lambda number: search(number, "hybrid"),
        "Outcrop hybrid, text only, cached": lambda number: search(number, "hybrid", cache=True),
        "Outcrop hybrid, with snippets": lambda number: [hit.snippet for hit in search(number, "hybrid", vector=vectors[number])],
    }


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())
