"""A peer's process: it reads requests, does them with its own clock, and answers. For `benchmarks.peers`:
python -m benchmarks.peers.child PEER CORPUS FOLDER

A request and an answer are a line of JSON each. What libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.peers.corpus import Files
from benchmarks.peers.protocol import K, Query, Rows
from benchmarks.peers.registry import HYBRID, LEXICAL, VECTOR, Entry, entry

_BATCH = 1000
Search = Callable[[Query], Any]


class Asked(msgspec.Struct, frozen=True):
    """What the other side wants. Query numbers run from `start` to `start + count`, round and round."""

    do: str
    mode: str = HYBRID
    depth: int = K
    effort: int = 0
    below: int | None = None
    start: int = 0
    count: int = 0
    threads: int = 1
    seconds: float = 1.0


class Child:
    """The peer and the corpus."""

    def __init__(self, described: Entry, corpus: Files, folder: Path) -> None:
        self._peer = described.make()
        self._corpus, self._folder = corpus, folder
        self._fresh = corpus.row_count

    def build(self, _: Asked) -> dict[str, Any]:
        """Seconds from the prepared rows to an index on disk."""
        began = time.perf_counter()
        self._peer.build(self._folder, self._corpus)
        return {"seconds": time.perf_counter() - began}

    def open(self, asked: Asked) -> dict[str, Any]:
        """Milliseconds to open and to the first answer."""
        query = self._query(asked.start, None)
        began = time.perf_counter()
        self._peer.open(self._folder)
        opened = time.perf_counter()
        self._search(asked)(query)
        return {"open_ms": (opened - began) * 1e3, "first_ms": (time.perf_counter() - opened) * 1e3}

    def turn(self, asked: Asked) -> dict[str, Any]:
        """Milliseconds of each query, and of vector searches the share of the true ten that each found."""
        search = self._search(asked)
        took_ms, recall = [], []
        for number in range(asked.start, asked.start + asked.count):
            query = self._query(number, asked.below)
            began = time.perf_counter_ns()
            found = search(query)
            took_ms.append((time.perf_counter_ns() - began) / 1e6)
            if asked.mode == VECTOR:
                recall.append(self._corpus.recall(number % len(self._corpus.query_texts), list(found), asked.below))
        return {"took_ms": took_ms, "recall": recall}

    def rate(self, asked: Asked) -> dict[str, Any]:
        """How many queries so many threads have answered in so many seconds, and the processor's seconds for one."""
        search = self._search(asked)
        done = [0] * asked.threads
        until = time.perf_counter() + asked.seconds

        def ask(caller: int) -> None:
            number = caller * len(self._corpus.query_texts) // asked.threads
            while time.perf_counter() < until:
                search(self._query(number, None))
                number += 1
                done[caller] += 1

        callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(asked.threads)]
        began, cpu_began = time.perf_counter(), time.process_time()
        for one in callers:
            one.start()
        for one in callers:
            one.join()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        return {"per_second": sum(done) / seconds, "cpu_ms_per_query": cpu_seconds * 1e3 / max(1, sum(done))}

    def upsert(self, asked: Asked) -> dict[str, Any]:
        """Seconds for one batch, half of it new rows."""
        rows = self._batch(asked.start)
        began = time.perf_counter()
        self._peer.upsert(rows)
        return {"seconds": time.perf_counter() - began, "rows": len(rows.numbers)}

    def close(self, _: Asked) -> dict[str, Any]:
        """Let go of everything."""
        self._peer.close()
        return {}

    def _search(self, asked: Asked) -> Search:
        peer, depth, effort = self._peer, asked.depth, asked.effort
        kinds: dict[str, Search] = {
            LEXICAL: peer.lexical,
            VECTOR: lambda query: peer.nearest(query, depth, effort),
            HYBRID: lambda query: peer.hybrid(query, depth, effort),
        }
        return kinds[asked.mode]

    def _query(self, number: int, below: int | None) -> Query:
        index = number % len(self._corpus.query_texts)
        return Query(self._corpus.query_texts[index], self._corpus.query_vectors[index], below)

    def _batch(self, start: int) -> Rows:
        """Half of the rows replace one, half are new; their vectors are those of others, a little moved."""
        size = min(_BATCH, self._corpus.row_count)
        rng = np.random.default_rng(start)
        rows = next(iter(self._corpus.batches(size)))
        moved = rows.vectors + rng.normal(0, 0.02, rows.vectors.shape).astype(np.float32)
        vectors = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        old = rng.choice(self._corpus.row_count, size // 2, replace=False).tolist()
        new = list(range(self._fresh, self._fresh + size - len(old)))
        self._fresh += len(new)
        return rows._replace(numbers=[*old, *new], vectors=vectors)


def requests() -> Iterator[Asked]:
    """What is asked, until the other side is done."""
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=Asked)


def main(name: str, corpus: str, folder: str) -> None:
    """Answer until there is nothing more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    child = Child(entry(name), Files(Path(corpus)), Path(folder))
    answers.write(b"{}\n")
    doing = {"build": child.build, "open": child.open, "turn": child.turn, "rate": child.rate, "upsert": child.upsert}
    for asked in requests():
        done = doing.get(asked.do, child.close)(asked)
        answers.write(msgspec.json.encode(done) + b"\n")
    answers.flush()
    os._exit(0)  # some libraries' threads wait for ever


if __name__ == "__main__":
    main(*sys.argv[1:])
