"""How many documents can be written in a second, next to LanceDB's merge_insert and SQLite's FTS5?

Measured: documents put into a collection that holds some already, every call durable and searchable when it returns: single
documents, and batches of 1,000; lexical only, and with given vectors (256 numbers). Half of the ids are new, half replace a
document. The peers do what their documentation recommends for the same: LanceDB `merge_insert` on the id into a table with a
full-text index (and the vectors), then `optimize`, without which new rows are not in the index, once a batch and, for single
documents, once in a hundred; SQLite FTS5 in WAL mode with synchronous=FULL, delete and insert in one transaction. The sides take
turns. The corpus is made of words drawn from a fixed list. Seed 20260.
Run: python -m benchmarks.writes
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import outcrop
from benchmarks.common import Result, Settings, settings
from outcrop import Config, Document

_START = 10_000
_SINGLES = 200
_BATCHES = 8
_BATCH = 1000
_DIMENSION = 256
_OPTIMIZE_EVERY = 100
_BEGINNINGS, _ENDS = ("ba", "gra", "schi", "cha", "sha", "gnei", "mar"), ("salt", "nite", "st", "lk", "le", "ss", "ble")
_WORDS = [f"{beginning}{end}" for beginning in _BEGINNINGS for end in _ENDS]
Side = Callable[[Sequence[Document]], None]


def measure(chosen: Settings) -> Result:
    """The result: documents a second for each side, kind and size of write."""
    rows, notes = [], []
    for vectors in (False, True):
        folder = chosen.cache / "writes"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with ExitStack() as held:
                sides, missing = _sides(folder, held, vectors=vectors)
                notes += missing
                rows += _measured(sides, random.Random(chosen.seed), vectors=vectors)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Result(
        question="How many documents can be written in a second?",
        corpus=f"texts of 40 words; {_START:,} documents at the start, half of the writes replace one",
        columns=("what is written", "side", "documents/s", "p50 ms a call", "p95 ms a call", "x Outcrop"),
        rows=tuple(rows),
        notes=tuple(dict.fromkeys(notes)),
    )


def _measured(sides: dict[str, Side], rng: random.Random, *, vectors: bool) -> list[tuple[Any, ...]]:
    for side in sides.values():
        for start in range(0, _START, _BATCH):
            side([_document(number, rng, vectors=vectors) for number in range(start, start + _BATCH)])
    kind = "with given vectors" if vectors else "lexical only"
    rows = []
    for what, count, size in ((f"single documents, {kind}", _SINGLES, 1), (f"batches of {_BATCH:,}, {kind}", _BATCHES, _BATCH)):
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(count):
            ids = rng.sample(range(2 * _START), size)
            batch = [_document(number, rng, vectors=vectors) for number in ids]
            for name, side in sides.items():
                began = time.perf_counter()
                side(batch)
                seconds[name].append(time.perf_counter() - began)
        rates = {name: count * size / sum(values) for name, values in seconds.items()}
        for name, values in seconds.items():
            p50, p95 = (float(np.percentile(values, p)) * 1e3 for p in (50, 95))
            rows.append((what, name, round(rates[name], 1), p50, p95, rates[name] / rates["Outcrop"]))
    return rows


def _sides(folder: Path, held: ExitStack, *, vectors: bool) -> tuple[dict[str, Side], list[str]]:
    db = held.enter_context(outcrop.open(folder / "outcrop", config=Config.default()))
    collection = db.create_collection("written", embedder="none", chunker="none")
    sides: dict[str, Side] = {"Outcrop": lambda batch: _put(collection, batch)}
    if not vectors:
        sides["SQLite FTS5"] = _fts5(folder / "fts.sqlite", held)
    try:
        sides["LanceDB"] = _lancedb(folder / "lance", vectors=vectors)
    except ImportError:
        return sides, ["LanceDB is not installed here (pip install 'outcrop[lancedb]'): its rows are missing"]
    return sides, []


def _put(collection: outcrop.Collection, batch: Sequence[Document]) -> None:
    collection.upsert(batch)


def _document(number: int, rng: random.Random, *, vectors: bool) -> Document:
    text = " ".join(rng.choices(_WORDS, k=40))
    vector = np.random.default_rng(number).standard_normal(_DIMENSION, dtype=np.float32) if vectors else None
    return Document(f"d{number}", text, metadata={"year": 1990 + number % 40}, vector=vector)


def _fts5(path: Path, held: ExitStack) -> Side:
    connection = sqlite3.connect(path, isolation_level=None)
    held.callback(connection.close)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT UNIQUE, metadata TEXT);"
        "CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61');"
    )

    def put(batch: Sequence[Document]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for one in batch:
            found = connection.execute("SELECT row FROM documents WHERE id = ?", (one.id,)).fetchone()
            if found is not None:
                connection.execute("DELETE FROM texts WHERE rowid = ?", found)
                connection.execute("DELETE FROM documents WHERE row = ?", found)
            row = connection.execute("INSERT INTO documents (id, metadata) VALUES (?, ?)", (one.id, str(one.metadata))).lastrowid
            connection.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (row, one.text))
        connection.execute("COMMIT")

    return put


def _lancedb(path: Path, *, vectors: bool) -> Side:
    import lancedb
    import pyarrow
    from lancedb.index import FTS

    fields = [("id", pyarrow.string()), ("text", pyarrow.string()), ("year", pyarrow.int64())]
    if vectors:
        fields.append(("vector", pyarrow.list_(pyarrow.float32(), _DIMENSION)))
    schema = pyarrow.schema(fields)
    table = lancedb.connect(path).create_table("written", schema=schema)
    calls = 0

    def put(batch: Sequence[Document]) -> None:
        nonlocal calls
        columns: dict[str, Any] = {
            "id": [one.id for one in batch],
            "text": [one.text for one in batch],
            "year": [one.metadata["year"] for one in batch],
        }
        if vectors:
            flat = np.concatenate([one.vector for one in batch])
            columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), _DIMENSION)
        rows = pyarrow.table(columns, schema=schema)
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        calls += 1
        if calls == 1:
            table.create_index("text", config=FTS(stem=True, remove_stop_words=True))
        elif len(batch) > 1 or calls % _OPTIMIZE_EVERY == 0:
            table.optimize()

    return put


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())
