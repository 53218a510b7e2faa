"""Two generations of one collection to hold against each other, and a clock that only embedders move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop import Collection, Document
from outcrop.embedding.hashing import HashingEmbedder
from outcrop.judging import Side, searcher
from outcrop.model import EmbedderIdentity

_ROCKS = [
    Document("slate", "Slate splits into thin layers and covers roofs.", metadata={"hardness": 3}),
    Document("granite", "Granite is hard and coarse. It cools slowly, deep below.", metadata={"hardness": 7}),
    Document("shale", "Shale is soft mud turned to stone, in thin layers.", metadata={"hardness": 2}),
    Document("basalt", "Basalt cools quickly at the surface, so its crystals are small.", metadata={"hardness": 6}),
    Document("marble", "Marble was limestone once, until heat and pressure changed it.", metadata={"hardness": 4}),
    Document("chalk", "Chalk is made of shells that sank to the floor of a warm sea.", metadata={"hardness": 1}),
    Document("sandstone", "Sandstone was a dune or a beach; grains of quartz lie in layers.", metadata={"hardness": 5}),
    Document("obsidian", "Obsidian cools so quickly that no crystals grow: it is glass.", metadata={"hardness": 5}),
    Document("pumice", "Pumice floats on water, for it is full of bubbles of gas.", metadata={"hardness": 6}),
    Document("gneiss", "Gneiss shows bands of dark and light minerals.", metadata={"hardness": 7}),
]
#: Words that an English analyzer finds in other forms, and a simple one does not.
_JUDGED = [
    {"query": "splitting layer", "relevant": {"slate": 2, "shale": 1}},
    {"query": "quick cooling", "relevant": {"basalt": 1, "obsidian": 2}},
    {"query": "shell", "relevant": {"chalk": 1}},
    {"query": "floating bubble", "relevant": {"pumice": 1}},
    {"query": "dark mineral", "relevant": {"gneiss": 1}},
]


class _Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _TimedEmbedder:
    """Embeds as `hashing:16` does, and says that a query took `seconds`, or raises `error`."""

    vector_weight = 0.3

    def __init__(self, name: str, clock: _Clock, seconds: float = 0.001, error: Exception | None = None) -> None:
        self._inner = HashingEmbedder(16)
        self._error = error
        self.identity: EmbedderIdentity = msgspec.structs.replace(self._inner.identity, spec=f"custom:{name}", model=name)
        self._clock, self._seconds = clock, seconds
        self.queries: list[str] = []

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        if self._error is not None:
            raise self._error
        self._clock.now += self._seconds
        self.queries.append(text)
        return self._inner.embed_query(text)


@pytest.fixture
def rocks_documents() -> list[Document]:
    """Ten documents."""
    return _ROCKS


@pytest.fixture
def judged() -> list[dict[str, Any]]:
    """Queries with the documents of `rocks_documents` that are relevant."""
    return _JUDGED


@pytest.fixture
def clock() -> _Clock:
    """A clock that stands still but for the embedders of `timed`."""
    return _Clock()


@pytest.fixture
def timed(clock: _Clock) -> Callable[..., _TimedEmbedder]:
    """`timed("slow", seconds=0.006)`: an embedder, which keeps the queries that it embedded in `queries`."""
    return lambda name, **how: _TimedEmbedder(name, clock, **how)


@pytest.fixture
def side() -> Iterator[Callable[[Collection, int], Side]]:
    """`side(collection, 2)`: a generation as one of two, pinned until the test ends."""
    with ExitStack() as held:

        def pinned(collection: Collection, number: int) -> Side:
            opened = collection._open.pin(number)
            held.callback(opened.unpin)
            info = next(one for one in collection.generations() if one.number == number)
            return Side(info=info, documents=opened.documents, search=searcher(collection._open.shared.executor, opened))

        yield pinned
