"""Prepares the corpus once: rows with their vectors, queries, and for each query the score of the true tenth nearest."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Settings, documents, embedder_named, queries
from benchmarks.peers.corpus import Files
from benchmarks.peers.protocol import K

SELECTIVITIES = {"0.1 %": 1, "1 %": 10, "10 %": 100, "50 %": 500}
_BATCH = 5000
_COMPLETE = "complete"


def prepared(chosen: Settings, count: int, query_count: int) -> Path:
    """The folder with the first `count` texts, their vectors by `static`, and so many queries; made if the cache has none."""
    kind = "shared" if chosen.data else "generated"
    folder = chosen.cache / "peers" / f"corpus-{kind}-{count}-{query_count}-{chosen.seed}"
    if not (folder / _COMPLETE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_rows(chosen, count, folder)
        _write_queries(chosen, query_count, folder)
        write_answers(folder)
        (folder / _COMPLETE).touch()
    return folder


def _write_rows(chosen: Settings, count: int, folder: Path) -> None:
    embedder = embedder_named("static")
    source, vectors, buckets = documents(chosen, count), [], []
    with (folder / "texts.jsonl").open("wb") as lines:
        while batch := list(islice(source, _BATCH)):
            lines.writelines(msgspec.json.encode((one.title, one.text)) + b"\n" for one in batch)
            buckets += [one.metadata["bucket"] for one in batch]
            made = embedder.embed_documents([f"{one.title}\n{one.text}" if one.title else one.text for one in batch])
            vectors.append(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12))
    np.save(folder / "vectors.npy", _never_zero(np.concatenate(vectors)))
    np.save(folder / "buckets.npy", np.array(buckets))


def _never_zero(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors, with a direction given to those of texts that the embedder knows no word of: not every peer takes a zero."""
    vectors[~np.any(vectors, axis=1), 0] = 1.0
    return vectors.astype(np.float32)


def _write_queries(chosen: Settings, count: int, folder: Path) -> None:
    embedder = embedder_named("static")
    texts = [text for text in queries(chosen, count) if any(one.isalnum() for one in text)]
    vectors = np.array([embedder.embed_query(text) for text in texts], np.float32)
    kept = np.flatnonzero(np.any(vectors, axis=1))
    vectors = vectors[kept] / np.linalg.norm(vectors[kept], axis=1, keepdims=True)
    (folder / "queries.json").write_bytes(msgspec.json.encode([texts[index] for index in kept]))
    np.save(folder / "query_vectors.npy", vectors.astype(np.float32))


def write_answers(folder: Path) -> None:
    """For every query, with and without each filter, the score of the true tenth nearest."""
    files = Files(folder)
    for below in (None, *SELECTIVITIES.values()):
        selected = files.vectors if below is None else files.vectors[files.buckets < below]
        depth = min(K, len(selected))
        if depth:
            least = [np.partition(selected @ vector, -depth)[-depth] for vector in files.query_vectors]
            name = "all" if below is None else f"below-{below}"
            np.save(folder / f"least-{name}.npy", np.array(least, np.float32))
