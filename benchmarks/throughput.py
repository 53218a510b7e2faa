"""How many queries a second do several threads get, of what the cores could do?

Measured: processor time of one query (user and system, of the whole process) asked by one thread; then queries a second with 1, 2
and 8 threads, and the last as a share of cores / processor time of one query, which no scheduling could exceed. For the raw
libraries (Tantivy and FAISS one after the other, no fusion, nothing fetched), for Outcrop's three kinds of search with ten hits and
their documents, and for `search_many`; nothing is cached, vectors are given. The kinds take turns, several rounds; medians.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static`. Queries as in
benchmarks.latency. Seed 20260.
Run: python -m benchmarks.throughput
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median

import faiss
import msgspec
import numpy as np

from benchmarks.common import (
    Result,
    Settings,
    Target,
    active_generation,
    embedder_of,
    open_cached,
    queries,
    settings,
)
from benchmarks.raw import RawText, RawVectors
from outcrop import Collection

COUNT_MAX = 100_000
THREADS = (1, 2, 8)
DEPTH = 100
SHARE_TARGET = 0.85
_HYBRID = "Outcrop hybrid"
_BATCH = 200


class _Rate(msgspec.Struct, frozen=True):
    """Queries a second, and milliseconds of processor time for each."""

    per_second: float
    cpu_ms: float


def measure(chosen: Settings) -> Result:
    """The result: one row a kind of search."""
    db, collection = open_cached(chosen, min(COUNT_MAX, chosen.limit))
    with db:
        runs, count = _runs(collection, chosen)
        seconds, rounds = (0.5, 1) if chosen.quick else (1.5, 3)
        rates: dict[str, list[list[_Rate]]] = {name: [] for name in runs}
        for run in runs.values():
            for number in range(min(50, count)):
                run(number)
        for _ in range(rounds):
            for name, run in runs.items():
                rates[name].append([_rate(run, count, threads=threads, seconds=seconds) for threads in THREADS])
        batches = [_batch_rate(collection, chosen) for _ in range(rounds)]
        described = active_generation(collection).vector_index
    rows = [_row(name, found) for name, found in rates.items()]
    many = _Rate(median(one.per_second for one in batches), median(one.cpu_ms for one in batches))
    cpu_ms = next(row[1] for row in rows if row[0] == _HYBRID)
    rows.append(
        (f"search_many, hybrid, {_BATCH} queries", many.cpu_ms, None, None, many.per_second, _share(many.per_second, cpu_ms))
    )
    share = next(row[-1] for row in rows if row[0] == _HYBRID)
    return Result(
        question="How many queries a second do several threads get, of what the cores could do?",
        corpus=f"{min(COUNT_MAX, chosen.limit):,} of {chosen.corpus}; {count} queries; {described}; {_cores()} cores",
        columns=("run", "CPU ms a query", *(f"queries/s, {n} thread{'s' * (n > 1)}" for n in THREADS), "share with the most"),
        rows=tuple(rows),
        targets=(
            Target(
                name=f"{_HYBRID}, 8 threads, share of cores / CPU time of one query",
                found=share,
                wanted=f">= {SHARE_TARGET:.0%}",
                met=share >= SHARE_TARGET,
            ),
        ),
    )


def _runs(collection: Collection, chosen: Settings) -> tuple[dict[str, Callable[[int], object]], int]:
    texts, vectors = _asked(collection, chosen)
    generation = active_generation(collection)
    raw_text, raw_vectors = RawText(generation), RawVectors(generation)

    def raw(number: int) -> object:
        return raw_text.search(texts[number], DEPTH), raw_vectors.search(vectors[number], DEPTH)

    return {
        "raw, one after the other": raw,
        "Outcrop lexical": lambda number: collection.search(texts[number], mode="lexical", cache=False),
        "Outcrop vector": lambda number: collection.search(vector=vectors[number], mode="vector", cache=False),
        _HYBRID: lambda number: collection.search(texts[number], vector=vectors[number], mode="hybrid", cache=False),
    }, len(texts)


def _asked(collection: Collection, chosen: Settings) -> tuple[list[str], list[np.ndarray]]:
    embedder = embedder_of(active_generation(collection))
    pairs = [(text, embedder.embed_query(text)) for text in queries(chosen, 150 if chosen.quick else 500)]
    kept = [(text, vector) for text, vector in pairs if vector.any()]
    return [text for text, _ in kept], [vector for _, vector in kept]


def _rate(run: Callable[[int], object], count: int, *, threads: int, seconds: float) -> _Rate:
    done = [0] * threads
    until = time.perf_counter() + seconds

    def ask(caller: int) -> None:
        faiss.omp_set_num_threads(1)  # of this thread, for the raw runs
        number = caller * count // threads
        while time.perf_counter() < until:
            run(number % count)
            number += 1
            done[caller] += 1

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(threads)]
    began, cpu_began = time.perf_counter(), time.process_time()
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    total = sum(done)
    return _Rate(total / (time.perf_counter() - began), (time.process_time() - cpu_began) * 1e3 / total)


def _batch_rate(collection: Collection, chosen: Settings) -> _Rate:
    texts, vectors = _asked(collection, chosen)
    texts, vectors = texts[:_BATCH], vectors[:_BATCH]
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(3):
        collection.search_many(texts, vectors=vectors, mode="hybrid")
    total = 3 * len(texts)
    return _Rate(total / (time.perf_counter() - began), (time.process_time() - cpu_began) * 1e3 / total)


def _row(name: str, rounds: Sequence[Sequence[_Rate]]) -> tuple[object, ...]:
    cpu_ms = median(one[0].cpu_ms for one in rounds)
    rates = [median(one[place].per_second for one in rounds) for place in range(len(THREADS))]
    return (name, cpu_ms, *rates, _share(rates[-1], cpu_ms))


def _share(per_second: float, cpu_ms: float) -> float:
    return per_second * cpu_ms / (_cores() * 1e3)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())
