"""How fast is a build, and how much memory does it take?

Measured: texts a second from reading the compressed files to the promoted generation, and the most memory that the process held,
each in a fresh process; first with an empty embedding cache, then with a full one; and how long each phase took.
Corpus: ../shared/data/text (181,095 short texts; generated ones where it is absent), embedder `static`, default recipe. Seed 20260.
Run: python -m benchmarks.build
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import outcrop
from benchmarks.common import COLLECTION, Result, Settings, Target, documents, peak_memory_bytes, run_child, settings

RATE_TARGET = 2_000
MEMORY_TARGET_BYTES = 1_500_000_000
_MEGABYTE = 1_000_000


def measure(chosen: Settings) -> Result:
    """The result of one cold and one warm build."""
    chosen.cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=chosen.cache))
    try:
        cold, warm = _build_apart(chosen, folder), _build_apart(chosen, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = tuple(_row(name, found, tuple(cold["phases"])) for name, found in (("empty", cold), ("full", warm)))
    rate, peak = rows[0][3], cold["peak_bytes"]
    return Result(
        question="How fast is a build, and how much memory does it take?",
        corpus=chosen.corpus,
        columns=(
            "embedding cache",
            "texts",
            "seconds",
            "texts/s",
            "CPU s",
            "peak MB",
            *(f"{phase} s" for phase in cold["phases"]),
            "on disk MB",
            "chunks",
        ),
        rows=rows,
        targets=(
            Target(name="texts a second, cache empty", found=rate, wanted=f">= {RATE_TARGET:,}", met=rate >= RATE_TARGET),
            Target(name="peak memory, MB", found=peak / _MEGABYTE, wanted="< 1,500", met=peak < MEMORY_TARGET_BYTES),
        ),
        notes=(
            f"imports and opening took {cold['start_seconds']:.2f} s and are not in the rate",
            f"the steps of the first phase overlap; reading alone takes {cold['read_seconds']:.1f} s",
            f"vector index: {cold['vector_index']}, recall@10 {cold['recall']:.3f}",
        ),
    )


def build_here(chosen: Settings, folder: Path, started: float) -> dict[str, Any]:
    """Build a new collection in `folder` and report, in this process."""
    phases: list[tuple[str, float]] = []

    def note(progress: outcrop.Progress) -> None:
        if not phases or phases[-1][0] != progress.phase:
            phases.append((progress.phase, time.perf_counter()))

    with outcrop.open(folder / "db") as db:
        if COLLECTION in db.collections():
            db.drop_collection(COLLECTION)
        collection = db.create_collection(COLLECTION, embedder="static")
        began, cpu_began = time.perf_counter(), time.process_time()
        built = collection.build(documents(chosen), promote=True, progress=note)
        ended, cpu_ended = time.perf_counter(), time.process_time()
    peak = peak_memory_bytes()
    return {
        "start_seconds": began - started,
        "seconds": ended - began,
        "cpu_seconds": cpu_ended - cpu_began,
        "phases": _durations(phases, began, ended),
        "peak_bytes": peak,
        "documents": built.document_count,
        "chunks": built.chunk_count,
        "size_bytes": built.size_bytes,
        "vector_index": built.vector_index,
        "recall": built.recall,
        "read_seconds": _reading_seconds(chosen),
    }


def _build_apart(chosen: Settings, folder: Path) -> dict[str, Any]:
    data = ("--data", str(chosen.data)) if chosen.data else ("--data", "none")
    return run_child("benchmarks.build", "--child", str(folder), *data, "--limit", str(chosen.limit), "--seed", str(chosen.seed))


def _durations(phases: list[tuple[str, float]], began: float, ended: float) -> dict[str, float]:
    """Seconds of each phase: from its first report to the next phase's; the first phase starts with the build."""
    starts = [began, *(start for _, start in phases[1:]), ended]
    totals: dict[str, float] = {}
    for (phase, _), start, end in zip(phases, starts, starts[1:], strict=False):
        totals[phase] = totals.get(phase, 0.0) + end - start
    return totals


def _reading_seconds(chosen: Settings) -> float:
    began = time.perf_counter()
    for _ in documents(chosen):
        pass
    return time.perf_counter() - began


def _row(name: str, found: dict[str, Any], phases: tuple[str, ...]) -> tuple[Any, ...]:
    rate = found["documents"] / found["seconds"]
    return (
        name,
        found["documents"],
        found["seconds"],
        rate,
        found["cpu_seconds"],
        found["peak_bytes"] / _MEGABYTE,
        *(found["phases"].get(phase) for phase in phases),
        found["size_bytes"] / _MEGABYTE,
        found["chunks"],
    )


def main() -> None:
    """Measure and print; or, as a child, build once and print JSON."""
    started = time.perf_counter()
    chosen, parsed = settings(__doc__, child={"help": argparse.SUPPRESS, "type": Path})
    if parsed.child is not None:
        print(json.dumps(build_here(chosen, parsed.child, started)))
    else:
        print(measure(chosen).markdown())


if __name__ == "__main__":
    main()
