"""What an embedder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from outcrop.model import EmbedderIdentity


@runtime_checkable
class Embedder(Protocol):
    """Turns text into vectors. Safe to call from many threads at once.

    `vector_weight` is the weight of the vector leg in the default fusion, in [0, 1], as measured for this model.
    """

    @property
    def identity(self) -> EmbedderIdentity:
        """Which embedder this is."""
        ...

    @property
    def vector_weight(self) -> float:
        """The weight of the vector leg in the default fusion."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension), C-contiguous. Never empty rows: a text without tokens gets a zero vector."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (dimension,)."""
        ...


@runtime_checkable
class EmbedsQueries(Embedder, Protocol):
    """An embedder that also takes many queries in one call, for `search_many`. Others are asked once for each query."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension): for each text what `embed_query` gives."""
        ...
