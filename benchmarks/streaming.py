"""How much memory does it take to ingest a stream that is twenty times the memory budget?

Measured: the most anonymous and shared-dirty memory of a process of its own, looked at four times a second from outside, and its
mapped files apart, which the system takes back when it needs them; for a build and for a bulk upsert of a generator. Linux only.
Corpus: texts of about 4,000 characters, made as they are read from 20,000 sentences of 50,000 words, 20 times `memory_budget` in
all; embedder `static`, chunker `none`. Seed 20260.
Run: python -m benchmarks.streaming [--budget 64MB] [--doing build,upsert]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import COLLECTION, ROOT, Result, Settings, Target, settings
from benchmarks.resident import Peak, resident

TIMES_THE_BUDGET = 20
MORE_THAN_BUDGET_BYTES = 300_000_000
BUDGET = "64MB"
DOING = ("build", "upsert")
_SENTENCES, _WORDS, _SENTENCES_PER_TEXT = 20_000, 50_000, 55
_SYLLABLES = ("ba", "co", "di", "fe", "gu", "la", "mo", "ni", "pe", "ru", "sa", "to", "vi", "ze", "sha", "kri")
_MEGABYTE = 1_000_000


def measure(chosen: Settings, *, budget: str = BUDGET, doing: tuple[str, ...] = DOING) -> Result:
    """The result: a row for each way in."""
    columns = ("way in", "budget MB", "texts MB", "texts", "seconds", "before MB", "peak MB", "over budget MB", "peak of files MB")
    question = "How much memory does it take to ingest a stream that is twenty times the memory budget?"
    corpus = f"generated texts, seed {chosen.seed}"
    if not Path("/proc/self/smaps_rollup").exists():
        return Result(question=question, corpus=corpus, columns=columns, rows=(), notes=("needs Linux",))
    rows, targets = [], []
    for way in doing:
        found = _watched(chosen, way, budget)
        over = found["peak"] - found["budget"]
        rows.append(
            (
                way,
                *_megabytes(found, "budget", "text_bytes"),
                found["texts"],
                found["seconds"],
                *_megabytes(found, "before", "peak"),
                over / _MEGABYTE,
                *_megabytes(found, "peak_files"),
            )
        )
        met = over <= MORE_THAN_BUDGET_BYTES
        name = f"peak memory of the {way} over the budget, MB"
        targets.append(Target(name=name, found=over / _MEGABYTE, wanted=f"<= {MORE_THAN_BUDGET_BYTES // _MEGABYTE}", met=met))
    return Result(question=question, corpus=corpus, columns=columns, rows=tuple(rows), targets=tuple(targets))


def texts(seed: int, size_bytes: int) -> Iterator[dict[str, Any]]:
    """Documents with about `size_bytes` of text in all."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(2, 5))) for _ in range(_WORDS)]
    sentences = [" ".join(words[int(_WORDS * rng.random() ** 3)] for _ in range(rng.randint(6, 14))) for _ in range(_SENTENCES)]
    number = made = 0
    while made < size_bytes:
        text = ". ".join(rng.choices(sentences, k=_SENTENCES_PER_TEXT))
        yield {"id": f"t-{number}", "text": text, "metadata": {"number": number, "shelf": f"s{number % 100}"}}
        number, made = number + 1, made + len(text)


def _watched(chosen: Settings, way: str, budget: str) -> dict[str, Any]:
    """What the child says and what its memory was while it ran."""
    chosen.cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="streaming-", dir=chosen.cache))
    command = [sys.executable, "-m", "benchmarks.streaming", "--child", way, "--folder", str(folder), "--budget", budget]
    try:
        with subprocess.Popen([*command, "--seed", str(chosen.seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            with Peak(child.pid) as peak:
                child.wait()  # it prints one line, which no pipe is too small for
            assert child.stdout is not None
            lines = child.stdout.read().strip().splitlines()
        if child.returncode:
            raise SystemExit(f"the {way} failed with {child.returncode}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "peak": peak.own_bytes, "peak_files": peak.files_bytes}


def ingest(way: str, folder: Path, budget: str, seed: int) -> dict[str, Any]:
    """Ingest the stream in this process, and report."""
    import outcrop

    with outcrop.open(folder / "kb", config=outcrop.Config.default(memory_budget=budget)) as db:
        limit = db.config.memory_budget
        collection = db.create_collection(COLLECTION, embedder="static", chunker="none")
        before = resident(os.getpid()).own
        began = time.perf_counter()
        source = texts(seed, TIMES_THE_BUDGET * limit)
        if way == "build":
            collection.build(source, promote=True)
        else:
            collection.upsert_many(source)
        seconds = time.perf_counter() - began
        stats = collection.stats()
    return {
        "budget": limit,
        "text_bytes": TIMES_THE_BUDGET * limit,
        "texts": stats.document_count,
        "seconds": seconds,
        "before": before,
    }


def _megabytes(found: dict[str, Any], *names: str) -> tuple[float, ...]:
    return tuple(found[name] / _MEGABYTE for name in names)


def main() -> None:
    """Measure and print; or, as a child, ingest and print JSON."""
    hidden = {"help": argparse.SUPPRESS}
    chosen, parsed = settings(
        __doc__, child=hidden, folder={**hidden, "type": Path}, budget={"default": BUDGET}, doing={"default": ",".join(DOING)}
    )
    if parsed.child is None:
        print(measure(chosen, budget=parsed.budget, doing=tuple(parsed.doing.split(","))).markdown())
    else:
        print(json.dumps(ingest(parsed.child, parsed.folder, parsed.budget, chosen.seed)))


if __name__ == "__main__":
    main()
