"""How a build is cancelled: between its steps, and between the calls of a slow embedder."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from threading import Event
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from outcrop.embedding import Embedder
from outcrop.errors import BuildCancelled
from outcrop.model import EmbedderIdentity

_TEXTS_MIN = 256
_SECONDS_WANTED = 1.0
_Item = TypeVar("_Item")


class Cancelling:
    """Whether a build is to go on. `event` is set by whoever wants it cancelled, from any thread; None is never set."""

    def __init__(self, event: Event | None) -> None:
        self._event = event

    def check(self) -> None:
        """Raise `BuildCancelled` if the build was cancelled."""
        if self._event is not None and self._event.is_set():
            raise BuildCancelled("the build was cancelled")

    def checked(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """The items, as long as the build goes on. A generator is closed then, and so the file that it reads."""
        try:
            for item in items:
                self.check()
                yield item
        finally:
            if isinstance(items, Generator):
                items.close()


class CancellableEmbedder:
    """An embedder that embeds as many texts at a time as it can within about a second, and asks in between whether to go on."""

    def __init__(self, embedder: Embedder, cancelling: Cancelling) -> None:
        self._embedder = embedder
        self._cancelling = cancelling
        self._count = _TEXTS_MIN

    @property
    def identity(self) -> EmbedderIdentity:
        """The wrapped embedder's identity."""
        return self._embedder.identity

    @property
    def vector_weight(self) -> float:
        """The wrapped embedder's weight."""
        return self._embedder.vector_weight

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension). Raises what the embedder raises, and `BuildCancelled`."""
        done: list[NDArray[np.float32]] = []
        place = 0
        while place < len(texts):
            self._cancelling.check()
            group, began = texts[place : place + self._count], time.monotonic()
            done.append(self._embedder.embed_documents(group))
            place += len(group)
            self._count = max(_TEXTS_MIN, int(_SECONDS_WANTED * len(group) / max(time.monotonic() - began, 1e-6)))
        return done[0] if len(done) == 1 else np.concatenate(done)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """As the wrapped embedder."""
        return self._embedder.embed_query(text)
