"""What does HTTP cost over the same search in process, and what does the server do when it is asked for too much?

Measured: milliseconds of a hybrid search with ten hits and their documents, uncached, by text: in process, and over HTTP on
loopback from a server in a process of its own, by one caller that keeps its connection; the two take turns. Then percentiles of
100 searches a second that come at random moments, whether the ones before are answered or not, counted from when each was due, in
process too; and answers a second from 1, 8 and 256 callers that ask without a pause. 256 are more than are let in: what is refused
(429) is counted and not timed. Then twice as many a second as 8 callers had answers, at random moments. The same of a server of two
processes (`--readers 1`). Callers over HTTP are a process of their own on the same cores, and read no JSON.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static`. Queries as in
benchmarks.latency. Seed 20260.
Run: python -m benchmarks.serving
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    COLLECTION,
    ROOT,
    SEED,
    Result,
    Settings,
    Target,
    interleaved_ms,
    open_cached,
    queries,
    run_child,
    settings,
)
from outcrop import Collection

COUNT_MAX = 100_000
CALLERS = (1, 8, 256)
PER_SECOND = 100
P50_MS, P95_MS = 3.0, 10.0
_COUNT = 300
_PACED_CALLERS = 32
_COME_AGAIN_SECONDS = 0.05
_PERCENTILES = (50, 75, 95, 99)
_PATH = f"/v1/collections/{COLLECTION}/search"
_LENGTH = re.compile(rb"content-length: *([0-9]+)\r\n", re.IGNORECASE)


def measure(chosen: Settings) -> Result:
    """The result: a row for each way to ask."""
    texts = queries(chosen, 60 if chosen.quick else _COUNT)
    db, collection = open_cached(chosen, min(COUNT_MAX, chosen.limit))
    paced = {"callers": _PACED_CALLERS, "per_second": PER_SECOND}
    with db:
        with server(db.path) as port:
            rows = _alone(collection, port, texts, chosen.seed)
            alone = rows[0][1]
            load = {
                f"in process, {PER_SECOND} a second": asking(
                    lambda: _answered(collection), texts, seconds=_seconds(chosen), **paced
                )
            }
            load[f"HTTP, {PER_SECOND} a second"] = _loaded(chosen, port, texts, **paced)
            for callers in CALLERS:
                load[f"HTTP, {callers} at once" if callers > 1 else "HTTP, 1 caller"] = _loaded(chosen, port, texts, callers)
            twice = round(2 * load["HTTP, 8 at once"]["per_second"])
            load[f"HTTP, {twice} a second"] = _loaded(chosen, port, texts, CALLERS[-1], per_second=twice)
        with server(db.path, "--readers", "1") as port:
            load[f"HTTP of two processes, {PER_SECOND} a second"] = _loaded(chosen, port, texts, **paced)
            load["HTTP of two processes, 8 at once"] = _loaded(chosen, port, texts, 8)
        size = collection.count()
    for name, found in load.items():
        rows.append((name, *found["ms"], found["per_second"], found["refused"], found["ms"][0] / alone))
    p50, _, p95, _ = load[f"HTTP, {PER_SECOND} a second"]["ms"]
    return Result(
        question="What does HTTP cost over the same search in process?",
        corpus=f"{size:,} texts, {len(texts)} queries",
        columns=("way", "p50 ms", "p75 ms", "p95 ms", "p99 ms", "answers/s", "refused/s", "p50 / in process"),
        rows=tuple(rows),
        targets=(
            Target(name=f"p50 over HTTP at {PER_SECOND} a second, ms", found=p50, wanted=f"<= {P50_MS:g}", met=p50 <= P50_MS),
            Target(name=f"p95 over HTTP at {PER_SECOND} a second, ms", found=p95, wanted=f"<= {P95_MS:g}", met=p95 <= P95_MS),
        ),
    )


def _alone(collection: Collection, port: int, texts: Sequence[str], seed: int) -> list[tuple[Any, ...]]:
    """In process and over HTTP in turns."""
    caller = Caller(port)
    runs = {
        "in process, with snippets": lambda number: collection.search(texts[number], cache=False).to_dicts(),
        "HTTP, in turns with that": lambda number: caller.ask(texts[number]),
    }
    took = interleaved_ms(runs, len(texts), warm_up=30, seed=seed)
    plain = float(np.median(took["in process, with snippets"]))
    percentiles = {name: [float(value) for value in np.percentile(each, _PERCENTILES)] for name, each in took.items()}
    return [(name, *each, None, None, each[0] / plain) for name, each in percentiles.items()]


def _answered(collection: Collection) -> Callable[[str], int]:
    def ask(text: str) -> int:
        collection.search(text, cache=False).to_dicts()
        return http.client.OK

    return ask


def _seconds(chosen: Settings) -> float:
    return 1 if chosen.quick else 5


def _loaded(chosen: Settings, port: int, texts: Sequence[str], callers: int, *, per_second: int = 0) -> dict[str, Any]:
    """What a process of callers finds."""
    asked = chosen.cache / "serving-queries.json"
    asked.write_text(json.dumps(texts))
    options = (
        "--child",
        str(port),
        "--callers",
        str(callers),
        "--seconds",
        str(_seconds(chosen)),
        "--texts",
        str(asked),
        "--rate",
        str(per_second),
    )
    return run_child("benchmarks.serving", *options)


def asking(
    calling: Callable[[], Callable[[str], int]], texts: Sequence[str], callers: int, *, seconds: float, per_second: int
) -> dict[str, Any]:
    """Percentiles of the answers, and how many there were and how many were refused, a second.

    `calling` makes a caller, which searches for a text and gives the status of the answer. Each asks without a pause; or all of
    them together `per_second` times, at random moments.
    """
    took: list[float] = []
    refused: list[None] = []
    due = iter(_moments(seconds, per_second))
    began = time.perf_counter()

    def ask(caller: int) -> None:
        search = calling()
        for number in count(caller * len(texts) // callers):
            asked_at = next(due, seconds) if per_second else time.perf_counter() - began
            if asked_at >= seconds:
                return
            time.sleep(max(0.0, asked_at - (time.perf_counter() - began)))
            if search(texts[number % len(texts)]) == http.client.OK:
                took.append((time.perf_counter() - began - asked_at) * 1e3)
            else:
                refused.append(None)
                time.sleep(_COME_AGAIN_SECONDS)

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ms = [float(value) for value in np.percentile(took, _PERCENTILES)]
    return {"ms": ms, "per_second": len(took) / seconds, "refused": len(refused) / seconds}


def _moments(seconds: float, per_second: int) -> list[float]:
    """When searches come that nobody has arranged."""
    if not per_second:
        return []
    waits = np.random.default_rng(SEED).exponential(1 / per_second, round(2 * seconds * per_second))
    return [float(moment) for moment in np.cumsum(waits)]


class Caller:
    """A connection that is kept. Python's own client would take longer to read an answer's head than the server to make it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, text: str) -> int:
        """The status of the answer to a search, which is read to its end."""
        body = json.dumps({"query": text, "cache": False}).encode()
        head = f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        found = b""
        while (end := found.find(b"\r\n\r\n")) < 0:
            found += self._more()
        length = _LENGTH.search(found, 0, end + 2)
        assert length is not None, "an answer without a length"
        missing = int(length[1]) - (len(found) - end - 4)
        while missing > 0:
            missing -= len(self._more())
        return int(found[9:12])

    def _more(self) -> bytes:
        more = self._socket.recv(65_536)
        assert more, "the server has hung up"
        return more


@contextmanager
def server(folder: Path, *options: str) -> Iterator[int]:
    """A server of the database, in processes of its own; its port. It logs every request, as by default, and nobody reads that."""
    port = free_port()
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(port), "--no-query-log", *options]
    with started(command, port, "/livez", env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.DEVNULL):
        yield port


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    return found


@contextmanager
def started(command: Sequence[str], port: int, path: str, **options: Any) -> Iterator[None]:
    """A program that serves, from its first answer on; it is told to end afterwards."""
    with subprocess.Popen(command, cwd=ROOT, **options) as process:
        try:
            while process.poll() is None and not _answers(port, path):
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False


def main() -> None:
    """Measure and print; or, as a child, ask and print JSON."""
    hidden = {"help": argparse.SUPPRESS}
    number = {**hidden, "type": int}
    chosen, parsed = settings(
        __doc__, child=number, callers=number, seconds={**hidden, "type": float}, texts={**hidden, "type": Path}, rate=number
    )
    if parsed.child is None:
        print(measure(chosen).markdown())
    else:
        print(
            json.dumps(
                asking(
                    lambda: Caller(parsed.child).ask,
                    json.loads(parsed.texts.read_text()),
                    parsed.callers,
                    seconds=parsed.seconds,
                    per_second=parsed.rate,
                )
            )
        )


if __name__ == "__main__":
    main()
