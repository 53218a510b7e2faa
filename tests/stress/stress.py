"""Readers and a writer in processes of their own while generations are promoted and rolled back: `make stress`.

Four readers search all the time, a writer writes and deletes, and this process promotes and rolls back, 200 times in all, building
a new generation every tenth time. What is shown:

- every answer comes from exactly one generation: its documents carry the stamp of the build that they come from;
- no operation fails, and every acknowledged write is there in the end, in the active generation and after every rollback;
- how long queries take within 100 ms of a promotion, against all others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import outcrop
from outcrop import Collection, Config, Document, Gate

READERS = 4
BASE = 500
NEAR_SECONDS = 0.1
READER_PAUSE_SECONDS = 0.02
WRITER_PAUSE_SECONDS = 0.02
RATIO_MAX = 2.0
ANYTHING = Gate(vanished_share_max=1.0)
WORDS = "basalt granite schist chalk shale gneiss marble slate tuff flint".split()


class Answer(NamedTuple):
    """One query: when it began (monotonic, which processes share), how long it took, who answered, the stamps among its hits."""

    began: float
    seconds: float
    generation: int
    stamps: tuple[int, ...]


def config(symlinks: str) -> Config:
    return Config.default(symlinks=symlinks, embedder="hashing:64", lock_timeout_seconds=60.0)  # type: ignore[arg-type]


def base(stamp: int) -> Iterator[Document]:
    rng = random.Random(stamp)
    for number in range(BASE):
        text = f"base {' '.join(rng.choices(WORDS, k=12))}"
        yield Document(f"base-{number}", text, metadata={"stamp": stamp})


def read(path: Path, symlinks: str, stop: Event, answers: Connection) -> None:
    found: list[Answer] = []
    rng = random.Random(multiprocessing.current_process().pid)
    with outcrop.open(path, config=config(symlinks)) as db:
        collection = db.collection("rocks")
        collection.search("base granite")
        while not stop.is_set():
            began = time.monotonic()
            hits = collection.search(f"base {rng.choice(WORDS)}", k=20)
            seconds = time.monotonic() - began
            stamps = {hit.metadata["stamp"] for hit in hits if hit.document_id.startswith("base-")}
            found.append(Answer(began, seconds, hits.generation, tuple(stamps)))
            time.sleep(READER_PAUSE_SECONDS)
    answers.send(found)


def write(path: Path, symlinks: str, stop: Event, done: Connection) -> None:
    alive: dict[str, str] = {}
    rng = random.Random(7)
    number = 0
    with outcrop.open(path, config=config(symlinks)) as db:
        collection = db.collection("rocks")
        while not stop.is_set():
            number += 1
            if rng.random() < 0.2 and alive:
                gone = rng.choice(sorted(alive))
                collection.delete([gone])
                del alive[gone]
            else:
                batch = [Document(f"w-{rng.randrange(400)}", f"written {number} {rng.choice(WORDS)}") for _ in range(3)]
                batch = list({one.id: one for one in batch}.values())
                collection.upsert(batch)
                alive |= {one.id: one.text for one in batch}
            time.sleep(WRITER_PAUSE_SECONDS)
    done.send((alive, number))


def everything(collection: Collection, stamp: int) -> Iterator[Document]:
    """The base with a new stamp, and what the writer wrote: as a nightly job reads its source of truth."""
    yield from base(stamp)
    yield from (one for one in collection.scan() if one.id.startswith("w-"))


def main() -> int:
    """Run, print what was found, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=200, help="promotions and rollbacks")
    parser.add_argument("--symlinks", choices=["auto", "never"], default="auto")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="outcrop-stress-"))
    try:
        return run(folder, asked.changes, asked.symlinks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, changes: int, symlinks: str) -> int:
    """Do it all in one folder."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with outcrop.open(folder, config=config(symlinks)) as db:
        collection = db.create_collection("rocks", embedder="hashing:64", chunker="none")
        collection.build(base(1), promote=True)
        collection.build(base(2))
        workers = []
        for target in (*[read] * READERS, write):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=target, args=(folder, symlinks, stop, there))
            process.start()
            there.close()
            workers.append((process, here))
        time.sleep(3.0)  # the workers import and open; their first queries are no news
        swaps = change(collection, changes, random.Random(1))
        stop.set()
        results = [outcome(process, here) for process, here in workers]
        written, count = results.pop() or ({}, 0)
        return report(
            collection, swaps, [one for one in results if one is not None], (written, count), failures=results.count(None)
        )


def change(collection: Collection, changes: int, rng: random.Random) -> list[tuple[float, float]]:
    """Promote and roll back; when each change began and ended."""
    swaps = []
    for number in range(changes):
        if number % 10 == 9:
            made = collection.build(everything(collection, 100 + number))
            time.sleep(0.3)
            began = time.monotonic()
            collection.promote(made, gate=ANYTHING)
            collection.gc()
        elif rng.random() < 0.5:
            began = time.monotonic()
            collection.rollback() if number else collection.promote(2, gate=ANYTHING)
        else:
            other = rng.choice([one.number for one in collection.generations() if one.status in ("archived", "ready")])
            began = time.monotonic()
            collection.promote(other, gate=ANYTHING)
        swaps.append((began, time.monotonic()))
        time.sleep(0.25)
    return swaps


def outcome(process: Any, here: Connection) -> Any:
    """What a worker sends, or None if it failed."""
    try:
        found = here.recv()
    except EOFError:
        found = None
    process.join(60)
    return found if process.exitcode == 0 else None


def report(
    collection: Collection,
    swaps: list[tuple[float, float]],
    answers: list[list[Answer]],
    written: tuple[dict[str, str], int],
    *,
    failures: int,
) -> int:
    """Print what was found; 1 if a promise was broken."""
    every = [answer for found in answers for answer in found]
    mixed = [answer for answer in every if len(answer.stamps) != 1]
    of_generation: dict[int, set[int]] = {}
    for answer in every:
        of_generation.setdefault(answer.generation, set()).update(answer.stamps)
    ambiguous = {generation: stamps for generation, stamps in of_generation.items() if len(stamps) > 1}
    there = {one.id: one.text for one in collection.scan() if one.id.startswith("w-")}
    lost = {one for one in written[0] if there.get(one) != written[0][one]} | (set(there) - set(written[0]))
    near, far = split(every, swaps)
    near_p99, far_p99 = np.percentile(near, 99), np.percentile(far, 99)
    print(f"{len(swaps)} promotions and rollbacks, {written[1]} writes, {len(every)} queries by {len(answers)} readers")
    print(f"failed processes: {failures}; mixed answers: {len(mixed)}; generations with two stamps: {len(ambiguous)}")
    print(f"lost or revived writes: {len(lost)}")
    for name, values in (("all others", far), ("within 100 ms of a change", near)):
        figures = " ".join(f"p{p} {np.percentile(values, p) * 1e3:.2f}" for p in (50, 95, 99))
        print(f"query ms, {name}: {len(values)} queries, {figures} max {max(values) * 1e3:.2f}")
    print(f"p99 ratio: {near_p99 / far_p99:.2f} (at most {RATIO_MAX})")
    broken = failures or mixed or ambiguous or lost or near_p99 > RATIO_MAX * far_p99
    print("broken" if broken else "kept")
    return 1 if broken else 0


def split(answers: list[Answer], swaps: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Seconds of the queries within 100 ms of the end of a change, and of all others."""
    ends = np.array(sorted(end for _, end in swaps))
    near, far = [], []
    for answer in answers:
        place = int(np.searchsorted(ends, answer.began - NEAR_SECONDS))
        close = place < len(ends) and ends[place] <= answer.began + answer.seconds + NEAR_SECONDS
        (near if close else far).append(answer.seconds)
    return near, far


if __name__ == "__main__":
    sys.exit(main())
