"""Do processes on one folder share its memory?

Measured: 1, 2, 5 and 10 processes open one folder of 100,000 chunks and make the same hybrid searches. When all have, the memory of
each is read from the system while all are there: its own (anonymous and dirty pages), and its share (a page that n processes have
counts 1/n in each, so that the sum is what the machine holds) of the folder's files and of others, which are libraries. Linux only.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static`, default recipe. Seed 20260.
Run: python -m benchmarks.sharing [--quick]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import outcrop
from benchmarks.common import COLLECTION, ROOT, Result, Settings, Target, open_cached, queries, settings
from benchmarks.resident import Held, held

CHUNK_COUNT = 100_000
PROCESSES = (1, 2, 5, 10)
QUERY_COUNT = 400
RATIO_TARGET = 1.1
_QUICK_QUERY_COUNT = 100
_MEGABYTE = 1_000_000
_READY = "ready"


def measure(chosen: Settings) -> Result:
    """The result: a row for each number of processes."""
    columns = ("processes", "own MB", "own MB a process", "folder's files MB", "if not shared MB", "other files MB")
    question = "Do processes on one folder share its memory?"
    count, asked = min(CHUNK_COUNT, chosen.limit), _QUICK_QUERY_COUNT if chosen.quick else QUERY_COUNT
    corpus = f"{count:,} of {chosen.corpus}; {asked} hybrid queries in each process"
    if not Path("/proc/self/smaps").exists():
        return Result(question=question, corpus=corpus, columns=columns, rows=(), notes=("needs Linux",))
    db, _ = open_cached(chosen, count)
    db.close()
    more = ["--data", str(chosen.data or "none"), "--limit", str(chosen.limit), "--seed", str(chosen.seed), "--queries", str(asked)]
    found = [_together(db.path, number, more) for number in PROCESSES]
    ratio = found[-1].folder / found[0].folder
    return Result(
        question=question,
        corpus=corpus,
        columns=columns,
        rows=tuple(_row(number, of_all, found[0]) for number, of_all in zip(PROCESSES, found, strict=True)),
        targets=(
            Target(
                name=f"the folder's files in memory with {PROCESSES[-1]} processes over those with one",
                found=ratio,
                wanted=f"<= {RATIO_TARGET}",
                met=ratio <= RATIO_TARGET,
            ),
        ),
    )


def _row(number: int, of_all: Held, of_one: Held) -> tuple[float, ...]:
    own, folder, others = (size_bytes / _MEGABYTE for size_bytes in of_all)
    return (number, own, own / number, folder, number * of_one.folder / _MEGABYTE, others)


def _together(folder: Path, number: int, arguments: Sequence[str]) -> Held:
    """What so many processes hold in all, when each has made its searches."""
    command = [sys.executable, "-m", "benchmarks.sharing", "--child", str(folder), *arguments]
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(number)
        ]
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != _READY:
                raise SystemExit("a process that searches has failed")
        of_each = [held(child.pid, folder) for child in children]
    return Held(*(sum(sizes) for sizes in zip(*of_each, strict=True)))


def _searched(folder: Path, texts: Sequence[str]) -> None:
    """As one of the processes: search, say so, and stay until the other end of the pipe is closed."""
    with outcrop.open(folder) as db:
        collection = db.collection(COLLECTION)
        for text in texts:
            collection.search(text, cache=False)
        print(_READY, flush=True)
        sys.stdin.read()


def main() -> None:
    """Measure and print; or, as a child, search and wait."""
    hidden = {"help": argparse.SUPPRESS}
    chosen, parsed = settings(__doc__, child={**hidden, "type": Path}, queries={**hidden, "type": int, "default": QUERY_COUNT})
    if parsed.child is None:
        print(measure(chosen).markdown())
    else:
        _searched(parsed.child, queries(chosen, parsed.queries))


if __name__ == "__main__":
    main()
