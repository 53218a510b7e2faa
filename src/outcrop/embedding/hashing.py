"""The embedder `hashing:<dimension>`: deterministic, tiny, without a model. For tests and for trying things out.

Random indexing (Kanerva, Kristoferson and Holst 2000): a word is a row of +1 and -1 drawn from a hash of it, a text the sum of
its words. Two texts are near when they share words, and only then.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outcrop.embedding.arrays import unit_rows
from outcrop.errors import InvalidConfig
from outcrop.model import EmbedderIdentity

DIMENSION_MIN, DIMENSION_MAX = 8, 4096
VECTOR_WEIGHT = 0.3

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """A text's words, hashed into `dimension` dimensions (8 to 4096); the same on every machine and in every process.

    Raises `InvalidConfig` for another dimension.

    >>> embedder = HashingEmbedder(64)
    >>> layers, strata, tax = embedder.embed_documents(["layers of rock", "rock in layers", "income tax"])
    >>> bool(layers @ strata > layers @ tax)
    True
    """

    is_remote = False

    def __init__(self, dimension: int = 64) -> None:
        if not DIMENSION_MIN <= dimension <= DIMENSION_MAX:
            raise InvalidConfig(
                f"the embedder 'hashing' has {DIMENSION_MIN} to {DIMENSION_MAX} dimensions, found {dimension}", key="embedder"
            )
        self._identity = EmbedderIdentity(
            spec=f"hashing:{dimension}",
            provider="outcrop",
            model="hashing",
            revision="1",
            dimension=dimension,
            normalized=True,
        )

    @property
    def identity(self) -> EmbedderIdentity:
        """Which embedder this is."""
        return self._identity

    @property
    def vector_weight(self) -> float:
        """The weight of the vector leg in the default fusion."""
        return VECTOR_WEIGHT

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension), rows of length 1; a text without words gets a zero row."""
        dimension = self._identity.dimension
        rows = np.zeros((len(texts), dimension), dtype=np.float32)
        for position, text in enumerate(texts):
            for word in _WORD.findall(text.casefold()):
                rows[position] += _word_row(word, dimension)
        return unit_rows(rows)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (dimension,)."""
        row: NDArray[np.float32] = self.embed_documents([text])[0]
        return row

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension)."""
        return self.embed_documents(texts)


@functools.lru_cache(maxsize=16_384)
def _word_row(word: str, dimension: int) -> NDArray[np.float32]:
    digest = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest((dimension + 7) // 8)
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:dimension]
    row = bits.astype(np.float32) * 2 - 1
    row.flags.writeable = False
    return row
