"""Collections whose answers are cached, an embedder that tells how often it was asked, and what two answers are compared by."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import outcrop
from outcrop import Config, Document, EmbedderIdentity, Hits, TookMs
from outcrop.embedding import HashingEmbedder

SECONDS = 3600.0
LIMIT_SECONDS = 30.0


class Telling:
    """Hashes words, remembers the queries, and lets a query wait while `gate` is not set."""

    vector_weight = 0.5

    def __init__(self, spec: str = "custom:telling", dimension: int = 16) -> None:
        self._inner = HashingEmbedder(dimension)
        self.identity: EmbedderIdentity = msgspec.structs.replace(self._inner.identity, spec=spec, model=spec)
        self.queries: list[str] = []
        self.errors: list[Exception] = []
        self.asked, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        self.queries.append(text)
        self.asked.set()
        assert self.gate.wait(LIMIT_SECONDS)
        if self.errors:
            raise self.errors.pop()
        return self._inner.embed_query(text)


def config(**overrides: Any) -> Config:
    """Mode test, with caches."""
    return Config.test(**{"query_cache_seconds": SECONDS, **overrides})


def rocks(count: int, word: str = "granite", begin: int = 0) -> list[Document]:
    return [
        Document(f"d{n}", f"{word} of quarry number{n}", f"Stone {n}", metadata={"n": n, "kind": {"name": word, "of": ["rock"]}})
        for n in range(begin, begin + count)
    ]


def opened(folder: Path, **overrides: Any) -> outcrop.Database:
    return outcrop.open(folder / "kb", config=config(**overrides))


def answer(hits: Hits) -> object:
    """Everything in an answer but how it came about."""
    return msgspec.to_builtins(msgspec.structs.replace(hits, took_ms=TookMs(total=0.0), cached=False))
