"""A million chunks on one machine: does the build stay within its memory, can it be resumed, and how fast is a search then?

Measured: seconds and the most memory of the build, from generated rows to the promoted generation, in a process of its own; with
--interrupt that process is killed after so many seconds and the build taken up by another one; then, in a fresh process, opening
and first answer, milliseconds a hybrid query (vectors given, ten hits with their texts, nothing cached), recall@10 of the vector
search against exact search, and memory: the process's own and pages of files apart.
Corpus: variations of ../shared/data/text (generated texts where it is absent): a variation has a sixth of its words from another
text, and the `static` vector (256 numbers) of its original moved by noise of length 0.4, so that vectors lie in clusters. Seed
20260.
Run: python -m benchmarks.million [--limit 200000] [--interrupt 60]; then python -m benchmarks.render build/bench/million.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import outcrop
from benchmarks.common import COLLECTION, ROOT, Result, Settings, Target, environment, run_child, settings, write_json
from benchmarks.peers.corpus import Files
from benchmarks.peers.preparing import prepared
from benchmarks.resident import Peak, resident
from outcrop import Config, Document

COUNT = 1_000_000
ORIGINALS_MAX = 181_095
QUERY_COUNT = 400
TARGETS_MS = (10.0, 20.0)
MEMORY_TARGET_BYTES = 1_500_000_000
_NOISE = 0.4
_BATCH = 5000
_RECALL_QUERIES = 100
_K = 10
_GIGABYTE = 1_000_000_000


def rows(corpus: Files, count: int, seed: int) -> Iterator[tuple[list[tuple[str, str]], NDArray[np.float32]]]:
    """Batches of (title, text) and their vectors; a batch depends on the seed and its number alone."""
    lines = (corpus.folder / "texts.jsonl").read_bytes().splitlines()
    for start in range(0, count, _BATCH):
        numbers = np.arange(start, min(start + _BATCH, count))
        originals = numbers % corpus.row_count
        rng, chance = np.random.default_rng([seed, start]), random.Random(seed + start)
        moved = rng.standard_normal((len(numbers), corpus.dimension), np.float32)
        moved *= _NOISE / np.linalg.norm(moved, axis=1, keepdims=True)
        moved[numbers < corpus.row_count] = 0.0
        vectors = corpus.vectors[originals] + moved
        texts = [_varied(lines, number, corpus.row_count, chance) for number in numbers.tolist()]
        yield texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _varied(lines: list[bytes], number: int, row_count: int, chance: random.Random) -> tuple[str, str]:
    title, text = msgspec.json.decode(lines[number % row_count], type=tuple[str, str])
    if number < row_count:
        return title, text
    words, others = text.split(), msgspec.json.decode(chance.choice(lines), type=tuple[str, str])[1].split()
    if words and others:
        for _ in range(1 + len(words) // 6):
            words[chance.randrange(len(words))] = chance.choice(others)
    return title, " ".join(words)


def _documents(corpus: Files, count: int, seed: int) -> Iterator[Document]:
    number = 0
    for texts, vectors in rows(corpus, count, seed):
        for (title, text), vector in zip(texts, vectors, strict=True):
            yield Document(f"v{number}", text, title=title, vector=vector)
            number += 1


def measure(chosen: Settings, count: int, interrupt: float | None) -> tuple[Result, dict[str, Any]]:
    """The result, and all figures."""
    corpus = prepared(chosen, min(ORIGINALS_MAX, count), QUERY_COUNT)
    folder = chosen.cache / "million"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = ("--folder", str(folder), "--corpus", str(corpus), "--limit", str(count), "--seed", str(chosen.seed))
    built = _built(arguments, interrupt)
    searched = run_child("benchmarks.million", "--child", "search", *arguments)
    shutil.rmtree(folder, ignore_errors=True)
    found = {"rows": count, "build": built, "search": searched}
    return _result(chosen, count, found), found


def _built(arguments: tuple[str, ...], interrupt: float | None) -> dict[str, Any]:
    """Build, after an interrupted attempt if one is wanted; the most memory of all attempts."""
    began = time.perf_counter()
    attempts = [_attempt(arguments, limit) for limit in ((None,) if interrupt is None else (interrupt, None))]
    return {
        "seconds": time.perf_counter() - began,
        "own_bytes": max(one["own_bytes"] for one in attempts),
        "files_bytes": max(one["files_bytes"] for one in attempts),
        "attempts": attempts,
    }


def _attempt(arguments: tuple[str, ...], limit: float | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.million", "--child", "build", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with Peak(process.pid) as peak:
        try:
            text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            text = json.dumps({"killed_after_seconds": limit})
    if process.returncode and "killed" not in text:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return json.loads(text.strip().splitlines()[-1]) | {"own_bytes": peak.own_bytes, "files_bytes": peak.files_bytes}


def _build_here(corpus: Files, folder: Path, count: int, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    phases: dict[str, float] = {}
    resumed = any(not (left.parent / "manifest.json").exists() for left in folder.glob("db/*/generations/*/documents.sqlite"))
    with outcrop.open(folder / "db", config=Config.mvp_only(background=False)) as db:
        exists = COLLECTION in db.collections()
        collection = db.collection(COLLECTION) if exists else db.create_collection(COLLECTION, embedder="none", chunker="none")
        note = lambda progress: phases.setdefault(progress.phase, time.perf_counter() - began)  # noqa: E731 -- one expression
        built = collection.build(_documents(corpus, count, seed), promote=True, progress=note)
    return {
        "seconds": time.perf_counter() - began,
        "resumed": resumed,
        "phases_began": phases,
        "size_bytes": built.size_bytes,
        "vector_index": str(built.vector_index),
        "recall_when_sealed": built.recall,
    }


def _search_here(corpus: Files, folder: Path, count: int, seed: int) -> dict[str, Any]:
    texts, vectors = corpus.query_texts, corpus.query_vectors
    began = time.perf_counter()
    with outcrop.open(folder / "db", config=Config.mvp_only(background=False)) as db:
        collection = db.collection(COLLECTION)
        collection.search(texts[0], vector=vectors[0], k=_K, cache=False)
        opened = time.perf_counter() - began
        took_ms = []
        for text, vector in zip(texts, vectors, strict=True):
            started = time.perf_counter_ns()
            collection.search(text, vector=vector, k=_K, cache=False)
            took_ms.append((time.perf_counter_ns() - started) / 1e6)
        memory = resident(os.getpid())
        asked = vectors[:_RECALL_QUERIES]
        scores = [[hit.score for hit in collection.search(vector=vector, k=_K, cache=False)] for vector in asked]
    least = _true_tenth(corpus, count, seed)  # last: it needs memory
    p50, p95 = np.percentile(took_ms[len(took_ms) // 4 :], [50, 95]).tolist()
    recall = float(np.mean([np.sum(np.array(one) >= score - 1e-5) / _K for one, score in zip(scores, least, strict=True)]))
    figures = {"open_and_first_ms": opened * 1e3, "p50_ms": p50, "p95_ms": p95, "recall": recall}
    return figures | {"own_bytes": memory.own, "files_bytes": memory.files}


def _true_tenth(corpus: Files, count: int, seed: int) -> NDArray[np.float32]:
    """The true tenth best score of each query that recall is measured on."""
    asked = corpus.query_vectors[:_RECALL_QUERIES]
    best = np.full((len(asked), _K), -1.0, np.float32)
    for _, vectors in rows(corpus, count, seed):
        scores = np.concatenate([best, asked @ vectors.T], axis=1)
        best = np.partition(scores, -_K, axis=1)[:, -_K:]
    return best.min(axis=1)


def _result(chosen: Settings, count: int, found: dict[str, Any]) -> Result:
    built, searched = found["build"], found["search"]
    last = built["attempts"][-1]
    times = (searched["p50_ms"], searched["p95_ms"])
    own = searched["own_bytes"]
    met = [
        Target(name=f"hybrid {name} ms", found=time_ms, wanted=f"<= {most:g}", met=time_ms <= most)
        for name, time_ms, most in zip(("p50", "p95"), times, TARGETS_MS, strict=True)
    ]
    memory = Target(name="own memory, GB", found=own / _GIGABYTE, wanted="<= 1.5", met=own <= MEMORY_TARGET_BYTES)
    build_sizes = (built["own_bytes"] / _GIGABYTE, built["files_bytes"] / _GIGABYTE, last["size_bytes"] / _GIGABYTE)
    sizes = (own / _GIGABYTE, searched["files_bytes"] / _GIGABYTE)
    return Result(
        question="A million chunks on one machine?",
        corpus=f"{count:,} variations of {chosen.corpus}; {QUERY_COUNT} queries; {last['vector_index']}",
        columns=(
            "build s",
            "build, own GB",
            "build, files GB",
            "disk GB",
            "open + first ms",
            "hybrid p50 ms",
            "p95 ms",
            "recall@10",
            "searching, own GB",
            "files GB",
        ),
        rows=((built["seconds"], *build_sizes, searched["open_and_first_ms"], *times, searched["recall"], *sizes),),
        targets=(*met, memory),
        notes=tuple(f"killed after {one['killed_after_seconds']:g} s, then resumed" for one in built["attempts"][:-1]),
    )


def main() -> None:
    """Measure, print and write build/bench/million.json; or, as a child, build or search and print JSON."""
    hidden = {"help": argparse.SUPPRESS}
    interrupt = {"type": float, "help": "kill the build after so many seconds, and resume it"}
    chosen, parsed = settings(
        __doc__, child=hidden, folder={**hidden, "type": Path}, corpus={**hidden, "type": Path}, interrupt=interrupt
    )
    count = COUNT if parsed.limit is None else parsed.limit
    if parsed.child is not None:
        doing = {"build": _build_here, "search": _search_here}[parsed.child]
        print(json.dumps(doing(Files(parsed.corpus), parsed.folder, count, chosen.seed)))
        return
    machine = environment()
    result, found = measure(chosen, count, parsed.interrupt)
    print(result.markdown())
    write_json(chosen.cache / "million.json", {"environment": machine, "seed": chosen.seed, **found, "result": result})


if __name__ == "__main__":
    main()
