"""How does the server compare with Chroma's, and what does HTTP cost either of them?

Measured with wrk (a client in C, which must be installed): milliseconds and answers a second of searches for ten rows with their
texts over HTTP on loopback, vectors given, from 1, 8 and 32 callers that ask without a pause: the vector search of Outcrop's server
and of Chroma's (`chroma run`), and Outcrop's hybrid search, uncached; Outcrop's server is one process, then two (`--readers 1`).
The servers take turns, and only one of them is up at a time. What each finds of the true ten is that of benchmarks.peers, whose
corpus and indexes are used and made if they are absent.
Seed 20260.
Run: python -m benchmarks.serving_peers, in the environment of the peers (.venv-bench)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.common import Result, Settings, Target, settings
from benchmarks.peers import measuring
from benchmarks.peers.preparing import prepared
from benchmarks.peers.registry import OUTCROP, entry
from benchmarks.serving import free_port, server, started

CHROMA = "Chroma"
CALLERS = (1, 8, 32)
COUNT_MAX = 100_000
ROUNDS = 3
_QUERIES = 280
_SECONDS = 4
_NAME = "rows"
_OURS = ("Outcrop", "Outcrop of two processes")  # by how many readers there are besides
_OF_CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_FOUND = re.compile(r"percentiles (\S+) (\S+) (\S+) rate (\S+) failed (\d+)")
# What wrk does: the bodies in turn; at the end percentiles in microseconds, the rate, and what was no answer.
_SCRIPT = """
local bodies = {}
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
local at = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
function request() at = at % #bodies + 1; return wrk.format(nil, nil, nil, bodies[at]) end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("percentiles %f %f %f rate %f failed %d\\n", latency:percentile(50), latency:percentile(95),
    latency:percentile(99), summary.requests / summary.duration * 1e6, failed))
end
"""


def measure(chosen: Settings) -> Result:
    """The result: a row for each server, search and number of callers."""
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk, for example: apt-get install wrk")
    corpus = prepared(chosen, min(COUNT_MAX, chosen.limit), _QUERIES)
    folder = corpus.with_name(corpus.name.replace("corpus", "indexes"))
    for name in (OUTCROP, CHROMA):
        if not (folder / entry(name).module).exists():
            measuring.built(entry(name), corpus, folder / entry(name).module)
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for _ in range(1 if chosen.quick else ROUNDS):
        for server_up, searches in (
            _of_outcrop(folder, corpus),
            _of_outcrop(folder, corpus, readers=1),
            _of_chroma(folder, corpus),
        ):
            with server_up as port:
                for search, path, bodies in searches(port):
                    for callers in CALLERS:
                        found.setdefault((search, callers), []).append(
                            _asked(f"http://127.0.0.1:{port}{path}", bodies, callers, chosen)
                        )
    rows = [
        (search, callers, *(statistics.median(each) for each in zip(*runs, strict=True)))
        for (search, callers), runs in found.items()
    ]
    rate = {(search, callers): row[-1] for (search, callers, *row) in rows}
    faster = [max(rate[f"{one}, vector", many] for one in _OURS) / rate["Chroma, vector", many] for many in CALLERS]
    return Result(
        question="How does the server compare with Chroma's?",
        corpus=f"{len(np.load(corpus / 'vectors.npy', mmap_mode='r')):,} texts, vectors of 256 numbers; medians of {ROUNDS} rounds",
        columns=("search", "callers", "p50 ms", "p95 ms", "p99 ms", "answers/s"),
        rows=tuple(rows),
        targets=(
            Target(
                name="answers a second of the vector search (one process or two) over Chroma's, with 1, 8, 32 callers, the least",
                found=min(faster),
                wanted=">= 1",
                met=min(faster) >= 1,
            ),
        ),
    )


_Searches = Callable[[int], Iterator[tuple[str, str, list[str]]]]


def _of_outcrop(folder: Path, corpus: Path, *, readers: int = 0) -> tuple[Any, _Searches]:
    texts, vectors = _queries(corpus)

    def searches(_port: int) -> Iterator[tuple[str, str, list[str]]]:
        for mode in ("vector", "hybrid"):
            bodies = [
                json.dumps({"query": text, "vector": vector, "mode": mode, "cache": False})
                for text, vector in zip(texts, vectors, strict=True)
            ]
            yield f"{_OURS[readers]}, {mode}", f"/v1/collections/{_NAME}/search", bodies

    return server(folder / entry(OUTCROP).module / "db", "--readers", str(readers)), searches


def _of_chroma(folder: Path, corpus: Path) -> tuple[Any, _Searches]:
    _, vectors = _queries(corpus)

    def searches(port: int) -> Iterator[tuple[str, str, list[str]]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{_OF_CHROMA}/{_NAME}") as answer:
            about = json.load(answer)
        bodies = [
            json.dumps({"query_embeddings": [vector], "n_results": 10, "include": ["documents", "metadatas", "distances"]})
            for vector in vectors
        ]
        yield f"{CHROMA}, vector", f"{_OF_CHROMA}/{about['id']}/query", bodies

    return _chroma(folder / entry(CHROMA).module / "rows"), searches


@contextmanager
def _chroma(rows: Path) -> Iterator[int]:
    port = free_port()
    program = Path(sys.executable).with_name("chroma")
    command = [str(program), "run", "--path", str(rows), "--host", "127.0.0.1", "--port", str(port)]
    environ = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    with started(command, port, "/api/v2/heartbeat", env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield port


def _queries(corpus: Path) -> tuple[list[str], list[list[float]]]:
    texts = msgspec.json.decode((corpus / "queries.json").read_bytes(), type=list[str])
    return texts, [[round(float(one), 6) for one in vector] for vector in np.load(corpus / "query_vectors.npy")]


def _asked(address: str, bodies: list[str], callers: int, chosen: Settings) -> tuple[float, ...]:
    """Milliseconds at the percentiles, and answers a second."""
    sent, script = chosen.cache / "serving-bodies.txt", chosen.cache / "serving.lua"
    sent.write_text("\n".join(bodies))
    script.write_text(_SCRIPT.replace("BODIES", str(sent)))
    for seconds in (1, 1 if chosen.quick else _SECONDS):  # the first warms up
        command = ["wrk", "-t", "1", "-c", str(callers), "-d", f"{seconds}s", "-s", str(script), address]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = _FOUND.search(told)
    if found is None or int(found[5]):
        raise SystemExit(f"wrk got no clean answers from {address}:\n{told}")
    return (*(float(found[number]) / 1e3 for number in (1, 2, 3)), float(found[4]))


def main() -> None:
    """Measure and print."""
    chosen, _ = settings(__doc__)
    print(measure(chosen).markdown())


if __name__ == "__main__":
    main()
