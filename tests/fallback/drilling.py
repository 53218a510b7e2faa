"""Collections that run on LanceDB with the built-in fallback, and what the drills ask of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import outcrop
from outcrop import Collection, Config, Document, Hits

LIMIT_SECONDS = 60.0


def config(**overrides: Any) -> Config:
    """Mode production, with little patience, so that a drill is short, and without answers from memory."""
    given = {
        "background": False,
        "query_cache_seconds": 0.0,
        "breaker_open_seconds": 0.2,
        "breaker_failures_max": 3,
        "lancedb_apply_seconds": 5.0,
    }
    return Config.production(**{**given, "lock_timeout_seconds": 20.0, **overrides})


def rocks(count: int, word: str = "granite", begin: int = 0) -> list[Document]:
    return [
        Document(f"d{n}", f"{word} of quarry number{n}", f"Stone {n}", metadata={"n": n, "kind": word})
        for n in range(begin, begin + count)
    ]


@contextmanager
def opened(folder: Path, chosen: Config | None = None, **options: Any) -> Iterator[Collection]:
    """The collection `rocks` of a database, made with 30 documents if it is not there."""
    with outcrop.open(folder, config=config() if chosen is None else chosen, **options) as db:
        if "rocks" in db.collections():
            yield db.collection("rocks")
            return
        made = db.create_collection("rocks", embedder="hashing:32")
        made.build(rocks(30), promote=True)
        yield made


def generation(folder: Path) -> Path:
    """The folder of the newest generation."""
    return max((folder / "rocks" / "generations").iterdir())


def found(collection: Collection, query: str, **options: Any) -> set[str]:
    return {hit.document_id for hit in collection.search(query, k=90, **options)}


def eventually(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


def answered_by(collection: Collection, query: str = "granite") -> str:
    """Which engine answers; if it is not LanceDB, the answer must say so, and only then."""
    hits = collection.search(query)
    assert_honest(hits)
    return hits.engine


def assert_honest(hits: Hits) -> None:
    assert (hits.engine == "builtin") == bool(hits.degraded), (hits.engine, hits.degraded)
    if hits.degraded:
        assert hits.degraded.reason.startswith("LanceDB: ")
        assert hits.degraded.since.endswith("Z")


def recovers(collection: Collection) -> None:
    """LanceDB answers again, by itself."""
    eventually(lambda: answered_by(collection) == "lancedb")
    assert str(collection.stats().running) == "LanceDB with built-in fallback"
