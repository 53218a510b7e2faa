"""What does LanceDB cost beside the built-in engine, and what does Outcrop cost beside LanceDB called directly?

Measured for the built-in engine, LanceDB (mode lancedb_test) and raw LanceDB with its own fusion: milliseconds a query, lexical,
vector and hybrid, ten hits with their texts, vectors given, one caller, the runs taking turns in one process, each with another
query; then, each in a process of its own: build from the compressed files with embedding, disk, the most memory of the build and of
searching, and queries a second with 1, 2 and 8 threads. Recall@10 of the vector search against exact search over the same vectors.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static` (256 dimensions), chunker
`none`. Queries: titles and first words sampled from the corpus, a third claims of SciFact. Seed 20260.
Run: python -m benchmarks.engines
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import outcrop
from benchmarks.common import (
    COLLECTION,
    Result,
    Settings,
    Target,
    active_generation,
    documents,
    embedder_named,
    interleaved_ms,
    peak_memory_bytes,
    queries,
    run_child,
    settings,
)
from benchmarks.raw_lance import Chosen, RawLance, build, searched_text
from outcrop import Config, files
from outcrop.engines.lancedb import LanceEngine

COUNT_MAX = 100_000
P50_TARGET_MS, P95_TARGET_MS, RATIO_TARGET = 100.0, 200.0, 1.10
K = 10
BUILT_IN, LANCE, RAW = "built-in", "LanceDB", "raw LanceDB"
MODES = ("lexical", "vector", "hybrid")
THREADS = (1, 2, 8)
_CONFIGS = {BUILT_IN: "mvp_only", LANCE: "lancedb_test"}
_RAW_SAME_DEPTH, _RAW_SHALLOW = f"{RAW}, hybrid, 100 deep", f"{RAW}, hybrid"
_MEGABYTE = 1_000_000
_TOLERANCE = 1e-5
Search = Callable[[str, NDArray[np.float32]], Sequence[str]]


def measure(chosen: Settings) -> Result:
    """The result: one row a side and kind of search. Of LanceDB there are rows where it is installed."""
    has_lance = importlib.util.find_spec("lancedb") is not None
    sides = (BUILT_IN, LANCE, RAW) if has_lance else (BUILT_IN,)
    folder = chosen.cache / "engines"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        built = {side: _child(chosen, "build", side, folder) for side in sides}
        searched = {side: _child(chosen, "search", side, folder) for side in sides}
        took_ms, found = _turns(chosen, folder, sides)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    recall = _recall(chosen, found)
    rows = tuple(_row(name, samples, searched, recall) for name, samples in took_ms.items())
    return Result(
        question="What does LanceDB cost beside the built-in engine, and Outcrop beside LanceDB called directly?",
        corpus=f"{count(chosen):,} of {chosen.corpus}; {query_count(chosen)} queries",
        columns=("search", "p50 ms", "p95 ms", *(f"queries/s, {n} thread{'s' * (n > 1)}" for n in THREADS), "recall@10"),
        rows=rows,
        targets=_targets(took_ms) if has_lance else (),
        notes=(*(_note(side, built[side], searched[side]) for side in sides), *([_shallow(took_ms)] if has_lance else [])),
    )


def count(chosen: Settings) -> int:
    """How many texts."""
    return min(COUNT_MAX, chosen.limit)


def query_count(chosen: Settings) -> int:
    """How many queries."""
    return 100 if chosen.quick else 400


def searches(side: str, folder: Path, held: ExitStack) -> dict[str, Search]:
    """Each kind of search of a side: it gives the ids of ten hits whose texts it has read."""
    if side == RAW:
        raw = RawLance(folder / RAW, chosen_index(folder))
        return {
            "lexical": lambda text, _: [row["id"] for row in raw.lexical(text)],
            "vector": lambda _, vector: [row["id"] for row in raw.nearest(vector)],
            "hybrid": lambda text, vector: [row["id"] for row in raw.hybrid(text, vector)],
            "hybrid, 100 deep": lambda text, vector: [row["id"] for row in raw.hybrid(text, vector, 100)],
            "hybrid, synchronous": lambda text, vector: [row["id"] for row in raw.hybrid_synchronous(text, vector)],
        }
    db = held.enter_context(outcrop.open(folder / side, config=_config(side)))
    collection = db.collection(COLLECTION)

    def search(mode: str) -> Search:
        if mode == "lexical":
            return lambda text, _: [hit.document_id for hit in collection.search(text, k=K, mode=mode, cache=False)]
        return lambda text, vector: [hit.document_id for hit in collection.search(text, vector=vector, k=K, mode=mode, cache=False)]

    return {mode: search(mode) for mode in MODES}


def chosen_index(folder: Path) -> Chosen:
    """The index that Outcrop has chosen on LanceDB, so that both look equally hard; one partition of a small table."""
    with outcrop.open(folder / LANCE, config=_config(LANCE)) as db:
        generation = active_generation(db.collection(COLLECTION))
    index = LanceEngine().open(generation.recipe, Path(generation.path))
    facts = index.snapshot().version.facts
    index.close()
    return Chosen(facts.kind, dict(facts.parameters))


def _config(side: str) -> Config:
    made: Config = getattr(Config, _CONFIGS[side])(background=False)
    return made


def _turns(chosen: Settings, folder: Path, sides: Sequence[str]) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[Any]]]:
    """Milliseconds of every search, and what the vector searches found."""
    texts, vectors = _asked(chosen)
    with ExitStack() as held:
        all_of = {f"{side}, {kind}": one for side in sides for kind, one in searches(side, folder, held).items()}
        runs = {name: lambda number, one=one: one(texts[number], vectors[number]) for name, one in all_of.items()}
        took_ms = interleaved_ms(runs, len(texts), warm_up=30, seed=chosen.seed)
        found = {
            name: [one(text, vector) for text, vector in zip(texts, vectors, strict=True)]
            for name, one in all_of.items()
            if name.endswith("vector")
        }
    return took_ms, found


def _asked(chosen: Settings) -> tuple[list[str], list[NDArray[np.float32]]]:
    embedder = embedder_named("static")
    pairs = [(text, embedder.embed_query(text)) for text in queries(chosen, query_count(chosen))]
    kept = [(text, vector / np.linalg.norm(vector)) for text, vector in pairs if np.any(vector)]
    return [text for text, _ in kept], [vector for _, vector in kept]


def _recall(chosen: Settings, found: Mapping[str, list[Any]]) -> dict[str, float]:
    """The share of the exact ten nearest that were found, by score: equal texts have equal vectors."""
    rows: dict[str, int] = {}
    texts = []
    for number, document in enumerate(documents(chosen, count(chosen))):
        rows[document.id] = number
        texts.append(searched_text(document))
    stored = embedder_named("static").embed_documents(texts)
    stored /= np.maximum(np.linalg.norm(stored, axis=1, keepdims=True), 1e-12)
    hits = dict.fromkeys(found, 0)
    _, vectors = _asked(chosen)
    for number, vector in enumerate(vectors):
        scores = stored @ vector
        least = np.partition(scores, -K)[-K] - _TOLERANCE
        for name, answers in found.items():
            hits[name] += sum(scores[rows[one]] >= least for one in answers[number][:K])
    return {name: float(total) / (K * len(vectors)) for name, total in hits.items()}


def _row(name: str, samples: NDArray[np.float64], searched: Mapping[str, Any], recall: Mapping[str, float]) -> tuple[Any, ...]:
    side, _, kind = name.partition(", ")
    rates = searched[side]["per_second"].get(kind, {})
    p50, p95 = (float(value) for value in np.percentile(samples, [50, 95]))
    return (name, p50, p95, *(rates.get(str(threads)) for threads in THREADS), recall.get(name))


def _targets(took_ms: Mapping[str, NDArray[np.float64]]) -> tuple[Target, ...]:
    p50, p95 = (float(value) for value in np.percentile(took_ms[f"{LANCE}, hybrid"], [50, 95]))
    ratio = p50 / float(np.median(took_ms[_RAW_SAME_DEPTH]))
    return (
        Target(name="hybrid on LanceDB, p50 ms", found=p50, wanted=f"<= {P50_TARGET_MS:g}", met=p50 <= P50_TARGET_MS),
        Target(name="hybrid on LanceDB, p95 ms", found=p95, wanted=f"<= {P95_TARGET_MS:g}", met=p95 <= P95_TARGET_MS),
        Target(name=f"its p50 over {_RAW_SAME_DEPTH}", found=ratio, wanted=f"<= {RATIO_TARGET}", met=ratio <= RATIO_TARGET),
    )


def _shallow(took_ms: Mapping[str, NDArray[np.float64]]) -> str:
    """What is no target, since it finds less: raw LanceDB's search keeps fewer candidates when only ten are fused."""
    ratio = float(np.median(took_ms[f"{LANCE}, hybrid"]) / np.median(took_ms[_RAW_SHALLOW]))
    return f"hybrid on LanceDB, p50 over {_RAW_SHALLOW} (ten of each leg, lower recall): {ratio:.2f}"


def _note(side: str, built: Mapping[str, Any], searched: Mapping[str, Any]) -> str:
    return (
        f"{side}: built in {built['seconds']:.1f} s with at most {built['peak_bytes'] / _MEGABYTE:,.0f} MB,"
        f" {built['size_bytes'] / _MEGABYTE:,.0f} MB on disk, searched with at most {searched['peak_bytes'] / _MEGABYTE:,.0f} MB"
        f" ({searched['first_bytes'] / _MEGABYTE:,.0f} MB after one query); {built['vector_index']}"
    )


def _child(chosen: Settings, doing: str, side: str, folder: Path) -> dict[str, Any]:
    data = ("--data", str(chosen.data)) if chosen.data else ("--data", "none")
    quick = ("--quick",) if chosen.quick else ()
    more = ("--limit", str(chosen.limit), "--seed", str(chosen.seed), *quick)
    return run_child("benchmarks.engines", "--child", doing, "--side", side, "--folder", str(folder), *data, *more)


def _built(chosen: Settings, side: str, folder: Path) -> dict[str, Any]:
    """Build a side's index in this process, and report."""
    began = time.perf_counter()
    if side == RAW:
        same = chosen_index(folder)
        began = time.perf_counter()
        build(folder / RAW, documents(chosen, count(chosen)), embedder_named("static"), same)
        seconds, size_bytes = time.perf_counter() - began, files.size_bytes(folder / RAW)
        described = f"{same.kind} {same.parameters}"
    else:
        with outcrop.open(folder / side, config=_config(side)) as db:
            collection = db.create_collection(COLLECTION, embedder="static", chunker="none")
            info = collection.build(documents(chosen, count(chosen)), promote=True)
        seconds, size_bytes, described = time.perf_counter() - began, info.size_bytes, str(info.vector_index)
    return {"seconds": seconds, "peak_bytes": peak_memory_bytes(), "size_bytes": size_bytes, "vector_index": described}


def _searched(chosen: Settings, side: str, folder: Path) -> dict[str, Any]:
    """Search a side's index in this process from 1, 2 and 8 threads, and report."""
    texts, vectors = _asked(chosen)
    with ExitStack() as held:
        kinds = searches(side, folder, held)
        kinds["hybrid"](texts[0], vectors[0])
        first_bytes = peak_memory_bytes()
        seconds = 1.0 if chosen.quick else 4.0
        per_second = {
            kind: {str(threads): _rate(kinds[kind], texts, vectors, threads=threads, seconds=seconds) for threads in THREADS}
            for kind in MODES
        }
    return {"first_bytes": first_bytes, "peak_bytes": peak_memory_bytes(), "per_second": per_second}


def _rate(search: Search, texts: Sequence[str], vectors: Sequence[NDArray[np.float32]], *, threads: int, seconds: float) -> float:
    """Queries a second of so many threads, for so many seconds."""
    done = [0] * threads
    until = time.perf_counter() + seconds

    def ask(caller: int) -> None:
        number = caller * len(texts) // threads
        while time.perf_counter() < until:
            search(texts[number % len(texts)], vectors[number % len(texts)])
            number += 1
            done[caller] += 1

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(threads)]
    began = time.perf_counter()
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    return sum(done) / (time.perf_counter() - began)


def main() -> None:
    """Measure and print; or, as a child, build or search and print JSON."""
    hidden = {"help": argparse.SUPPRESS}
    chosen, parsed = settings(__doc__, child=hidden, side=hidden, folder={**hidden, "type": Path})
    if parsed.child is None:
        print(measure(chosen).markdown())
        return
    doing = {"build": _built, "search": _searched}[parsed.child]
    print(json.dumps(doing(chosen, parsed.side, parsed.folder)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
