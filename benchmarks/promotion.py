"""How long does a promotion keep writers waiting, and how long is the swap of the pointer itself?

Measured: on two generations of 100,000 chunks that take turns, while another process writes single documents all the time: the
swap alone (a link made, renamed over the old one, the folder synced) beside the system calls without us and one fsync of a small
file; then whole promotions: how long they take, and how much longer than its median the longest write lasted that overlapped one.
Both with links and with the pointer file. Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent),
embedder `static`, default recipe. Seed 20260.
Run: python -m benchmarks.promotion
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

import outcrop
from benchmarks.common import COLLECTION, Result, Settings, Target, open_cached, settings
from outcrop import Config, Document, Gate
from outcrop.generations import pointer
from outcrop.generations.layout import CollectionFolder

CHUNK_COUNT = 100_000
SWAP_TARGET_MS, PAUSE_TARGET_MS = 1.0, 50.0
_SWAPS = 200
_PROMOTIONS = 30
_GATE = Gate(vanished_share_max=1.0)


def measure(chosen: Settings) -> Result:
    """The result, on a copy of the cached collection."""
    cached, _ = open_cached(chosen, min(CHUNK_COUNT, chosen.limit))
    source = cached.path
    cached.close()
    folder = chosen.cache / "promotion"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, symlinks=True)
    try:
        with outcrop.open(folder) as db:
            collection = db.collection(COLLECTION)
            second = collection.build(analyzer="simple")
            numbers = [one.number for one in collection.generations()]
            chunk_count = second.chunk_count
        rows, figures = [], {}
        for symlinks in ("auto", "never"):
            of_kind, figures[symlinks] = _measured(folder, symlinks, numbers[-2:])
            rows += of_kind
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    swap = max(one for one, _ in figures.values())
    pause = max(one for _, one in figures.values())
    return Result(
        question="How long does a promotion keep writers waiting?",
        corpus=f"two generations of {chunk_count:,} chunks; {_SWAPS} swaps and {_PROMOTIONS} promotions each",
        columns=("what", "p50 ms", "p95 ms", "max ms"),
        rows=tuple(rows),
        targets=(
            Target(name="swap of the pointer, median ms", found=swap, wanted=f"< {SWAP_TARGET_MS:g}", met=swap < SWAP_TARGET_MS),
            Target(name="writers' pause, median ms", found=pause, wanted=f"< {PAUSE_TARGET_MS:g}", met=pause < PAUSE_TARGET_MS),
        ),
    )


def _measured(folder: Path, symlinks: str, numbers: list[int]) -> tuple[list[tuple[Any, ...]], tuple[float, float]]:
    """The rows of one kind of pointer, and the medians of the swap and of the writers' pause in milliseconds."""
    swap_ms, bare_ms, fsync_ms = _swaps(folder, symlinks)
    whole, pauses, usual = _promotions(folder, symlinks, numbers)
    kind = "link" if symlinks == "auto" else "pointer file"
    measured = {
        f"swap of the {kind}": swap_ms,
        f"the same system calls alone, {kind}": bare_ms,
        "one fsync of a file of 4 kB": fsync_ms,
        f"whole promotion, {kind}": whole,
        "a write, usually": usual,
        f"a write's wait at a promotion, {kind}": pauses,
    }
    rows = [(name, *(float(np.percentile(values, p)) for p in (50, 95)), float(max(values))) for name, values in measured.items()]
    return rows, (float(np.median(swap_ms)), float(np.median(pauses)))


def _swaps(folder: Path, symlinks: str) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of our swap, of its bare system calls and of one fsync, in turn."""
    place = CollectionFolder(folder / COLLECTION)
    names = place.names()[-2:]
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for number in range(_SWAPS):
        steps = (
            lambda number=number: pointer.swap(place, names[number % 2], symlinks=symlinks == "auto"),
            lambda number=number: _bare(folder, number, symlinks),
            lambda: _fsync(folder),
        )
        for values, step in zip(found, steps, strict=True):
            began = time.perf_counter()
            step()
            values.append((time.perf_counter() - began) * 1e3)
    return found


def _bare(folder: Path, number: int, symlinks: str) -> None:
    temporary, final = folder / ".bare", folder / "bare"
    if symlinks == "auto":
        os.symlink(f"generations/{number}", temporary)
    else:
        _write_synced(temporary, b"generations/x\n")
    os.replace(temporary, final)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _fsync(folder: Path) -> None:
    _write_synced(folder / "fsync", bytes(4096))


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)


def _promotions(folder: Path, symlinks: Any, numbers: list[int]) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of whole promotions, of the longest overlapping write beyond the median write, and of a write."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    here, there = context.Pipe(duplex=False)
    writer = context.Process(target=_write, args=(folder, symlinks, stop, there))
    changes: list[tuple[float, float]] = []
    with outcrop.open(folder, config=Config.default(symlinks=symlinks)) as db:
        collection = db.collection(COLLECTION)
        writer.start()
        here.recv()  # it has written once
        for number in range(_PROMOTIONS + 1):
            began = time.monotonic()
            collection.promote(numbers[number % 2], gate=_GATE, force=True)
            changes.append((began, time.monotonic()))
            time.sleep(0.5)
    stop.set()
    writes: list[tuple[float, float]] = here.recv()
    writer.join()
    seconds = [end - begin for begin, end in writes]
    usual = float(np.median(seconds))
    longest = [
        max((end - begin for begin, end in writes if begin <= done and end >= start), default=usual) - usual
        for start, done in changes[1:]
    ]
    return [(end - begin) * 1e3 for begin, end in changes[1:]], [value * 1e3 for value in longest], [one * 1e3 for one in seconds]


def _write(folder: Path, symlinks: Any, stop: Event, done: Connection) -> None:
    writes = []
    with outcrop.open(folder, config=Config.default(symlinks=symlinks, lock_timeout_seconds=60.0)) as db:
        collection = db.collection(COLLECTION)
        collection.upsert([Document("bench-0", "the first write opens everything")])
        done.send(None)
        number = 0
        while not stop.is_set():
            number += 1
            began = time.monotonic()
            collection.upsert([Document(f"bench-{number % 500}", f"written {number} while generations change places")])
            writes.append((began, time.monotonic()))
    done.send(writes)


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())
