"""What is measured of the peers, each part a function over their processes. Peers take turns, in another order each time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.process import PeerProcess
from benchmarks.peers.protocol import K
from benchmarks.peers.registry import HYBRID, LEXICAL, LIMIT, VECTOR, Entry
from benchmarks.resident import Peak, resident
from outcrop import files

RECALL_WANTED = 0.97
DEPTH = 100
THREADS = (1, 2, 8)
_TURN = 10
_WARM_UP = 30
_BLOCKS = 10


class Size(NamedTuple):
    """How much is asked. The first `tuning` queries choose efforts only; `measured` others are timed."""

    tuning: int
    measured: int
    filtered: int
    opens: int
    rate_seconds: float
    rate_rounds: int
    upserts: int


class Workload(NamedTuple):
    """A kind of search: its mode, how deep each leg looks, and the filter."""

    mode: str
    depth: int = K
    below: int | None = None

    def request(self, effort: int) -> dict[str, Any]:
        """As a peer's process is asked for it."""
        return {"mode": self.mode, "depth": self.depth, "below": self.below, "effort": effort}


WORKLOADS = {
    "hybrid": Workload(HYBRID, DEPTH),
    "hybrid of 10": Workload(HYBRID),
    "vector": Workload(VECTOR),
    "lexical": Workload(LEXICAL),
}


def built(entry: Entry, corpus: Path, folder: Path) -> dict[str, Any]:
    """Build in a fresh process: seconds, peak memory, disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    process = PeerProcess(entry.name, corpus, folder)
    try:
        imported = resident(process.pid)
        with Peak(process.pid) as peak:
            seconds = process.ask("build")["seconds"]
    finally:
        process.close()
    return {
        "seconds": seconds,
        "imports_own_bytes": imported.own,
        "own_bytes": peak.own_bytes,
        "files_bytes": peak.files_bytes,
        "disk_bytes": files.size_bytes(folder),
    }


def opened(entries: list[Entry], corpus: Path, folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Open and first answer in fresh processes that take turns; the first round, with cold files, is not counted."""
    found: dict[str, list[tuple[float, float]]] = {entry.name: [] for entry in entries}
    for number in range(rounds + 1):
        for entry in entries:
            process = PeerProcess(entry.name, corpus, folder / entry.module)
            try:
                took = process.ask("open", start=number, **_best(entry).request(_middle(entry)))
            finally:
                process.close()
            found[entry.name].append((took["open_ms"], took["first_ms"]))
    return {name: _opening(np.array(times[1:])) for name, times in found.items()}


def tuned(process: PeerProcess, entry: Entry, count: int) -> dict[str, dict[str, Any]]:
    """For each depth, the least effort whose recall@10 is what is wanted, or the one that has most."""
    if VECTOR not in entry.modes:
        return {}
    return {str(depth): _effort(process, entry, depth, count) for depth in (K, DEPTH)}


def timed(
    processes: Mapping[str, PeerProcess], asked: Mapping[str, dict[str, Any]], queries: range, rng: random.Random
) -> dict[str, dict[str, Any]]:
    """Milliseconds and recall of every peer on each of the queries, ten at a time, every peer beginning elsewhere among them."""
    names, count = list(asked), len(queries)
    took_ms: dict[str, list[float]] = {name: [] for name in names}
    recall: dict[str, list[float]] = {name: [] for name in names}
    shift = {name: place * count // len(names) // _TURN * _TURN for place, name in enumerate(names)}
    for name in names:
        processes[name].ask("turn", start=queries.start, count=min(_WARM_UP, count), **asked[name])
    for turn in range(0, count, _TURN):
        rng.shuffle(names)
        for name in names:
            part = queries[(turn + shift[name]) % count :][:_TURN]
            done = processes[name].ask("turn", start=part.start, count=len(part), **asked[name])
            took_ms[name] += done["took_ms"]
            recall[name] += done["recall"]
    return {name: summary(np.array(took_ms[name]), recall[name]) for name in asked}


def summary(took_ms: Any, recall: list[float]) -> dict[str, Any]:
    """Percentiles, the medians of ten blocks in the order of time, and the mean recall."""
    low, p50, high, p95, p99 = (float(value) for value in np.percentile(took_ms, [25, 50, 75, 95, 99]))
    blocks = [float(np.median(block)) for block in np.array_split(took_ms, min(_BLOCKS, len(took_ms)))]
    found = {"p25_ms": low, "p50_ms": p50, "p75_ms": high, "p95_ms": p95, "p99_ms": p99, "blocks_ms": blocks}
    return found | ({"recall": float(np.mean(recall))} if recall else {})


def rates(
    processes: Mapping[str, PeerProcess], asked: Mapping[str, dict[str, Any]], size: Size, rng: random.Random
) -> dict[str, dict[str, Any]]:
    """Queries a second of every peer from 1, 2 and 8 threads: the median of the rounds, in which the peers take turns alone."""
    found: dict[str, dict[int, list[dict[str, float]]]] = {name: {threads: [] for threads in THREADS} for name in asked}
    names = list(asked)
    for _ in range(size.rate_rounds):
        rng.shuffle(names)
        for name in names:
            for threads in THREADS:
                done = processes[name].ask("rate", threads=threads, seconds=size.rate_seconds, **asked[name])
                found[name][threads].append(done)
    return {name: {str(threads): _rate(done) for threads, done in by.items()} for name, by in found.items()}


def upserted(processes: Mapping[str, PeerProcess], names: list[str], batches: int) -> dict[str, dict[str, Any]]:
    """Rows a second, by batches of a thousand in turns; the indexes are other ones afterwards."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(batches):
        for name in names:
            done = processes[name].ask("upsert", start=number)
            found[name].append(done["rows"] / done["seconds"])
    return {name: _spread(values) for name, values in found.items()}


def effort_of(efforts: Mapping[str, dict[str, Any]], depth: int) -> int:
    """The effort that was chosen for a depth; 0 where there is none to choose."""
    return int(efforts[str(depth)]["effort"]) if efforts else 0


def _effort(process: PeerProcess, entry: Entry, depth: int, count: int) -> dict[str, Any]:
    """Rising efforts, until the recall is what is wanted; all that were tried are told."""
    tried: list[dict[str, Any]] = []
    least = 0 if entry.name == LIMIT else depth  # below the depth an effort means nothing
    for effort in [one for one in entry.efforts if one >= least] or [0]:
        done = process.ask("turn", start=0, count=count, **Workload(VECTOR, depth).request(effort))
        tried.append({"effort": effort, "recall": float(np.mean(done["recall"])), "p50_ms": float(np.median(done["took_ms"]))})
        if tried[-1]["recall"] >= RECALL_WANTED:
            break
    best = max(tried, key=lambda one: (min(one["recall"], RECALL_WANTED), -one["effort"]))
    return best | {"tried": tried}


def _best(entry: Entry) -> Workload:
    return WORKLOADS[next(mode for mode in (HYBRID, VECTOR, LEXICAL) if mode in entry.modes)]


def _middle(entry: Entry) -> int:
    return 128 if entry.efforts else 0


def _opening(times: Any) -> dict[str, Any]:
    totals = times.sum(axis=1)
    return {
        "open_ms": float(np.median(times[:, 0])),
        "first_ms": float(np.median(times[:, 1])),
        "total_ms": float(np.median(totals)),
        "total_max_ms": float(totals.max()),
    }


def _rate(done: list[dict[str, float]]) -> dict[str, Any]:
    return _spread([one["per_second"] for one in done]) | {"cpu_ms": float(np.median([one["cpu_ms_per_query"] for one in done]))}


def _spread(values: list[float]) -> dict[str, Any]:
    return {"median": float(np.median(values)), "least": min(values), "most": max(values)}
