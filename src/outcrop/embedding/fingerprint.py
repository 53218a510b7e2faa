"""Is this the embedder that a generation was built with? Its identity must agree exactly, what it makes of a few texts nearly.

The identity is what an embedder says of itself; the probes show what it does. They catch a server that serves another model under
the same name, and libraries that compute something else than they did.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from outcrop.embedding.cached import CachedEmbedder
from outcrop.embedding.failures import mapped_failures
from outcrop.embedding.protocol import Embedder
from outcrop.errors import EmbedderMismatch
from outcrop.model import EmbedderIdentity

# Floats differ between machines and library versions, in the fourth digit at most; another model is far below this.
COSINE_MIN = 0.999

# Prose, a name with digits, code, and another script: what models and tokenizers differ in. They must never change.
_PROBES = (
    "The outcrop shows the layers of rock that lie under the whole valley.",
    "Flight BA-117 left gate 42 at 07:15 on 3 March 2021.",
    "def mean(values):\n    return sum(values) / len(values)",
    "Der Fluß trägt Sand und Kies ins Tal; 河流把沙子带到山谷。",
)


def probe_texts() -> tuple[str, ...]:
    """The texts that every embedder is probed with."""
    return _PROBES


def probe_vectors(embedder: Embedder) -> NDArray[np.float32]:
    """What the embedder makes of the probe texts: float32 of shape (len(probe_texts()), dimension). Never from a cache."""
    while isinstance(embedder, CachedEmbedder):
        embedder = embedder.embedder
    with mapped_failures(embedder):
        return embedder.embed_documents(_PROBES)


def check_identity(expected: EmbedderIdentity, found: EmbedderIdentity) -> None:
    """Raise `EmbedderMismatch`, which names both embedders and what differs, unless the two are equal."""
    if expected == found:
        return
    fields = [name for name in EmbedderIdentity.__struct_fields__ if getattr(expected, name) != getattr(found, name)]
    differences = "; ".join(f"{name}: {getattr(expected, name)!r} wanted, {getattr(found, name)!r} found" for name in fields)
    raise EmbedderMismatch(
        f"the generation was built with the embedder {expected.spec!r}, found {found.spec!r} ({differences}). Install what it was"
        " built with, or build a generation with the embedder of now.",
        expected=expected,
        found=found,
    )


def check_probes(expected: NDArray[np.float32], embedder: Embedder) -> None:
    """Raise `EmbedderMismatch` unless the embedder's probe vectors have a cosine of at least 0.999 with these, row by row.

    `expected` is what `probe_vectors` gave when the generation was built, float32 of shape (number of probes, dimension).
    """
    found = probe_vectors(embedder)
    identity = embedder.identity
    if expected.shape != found.shape:
        raise EmbedderMismatch(
            f"the embedder {identity.spec!r} makes probe vectors of shape {found.shape}, the generation was built with"
            f" {expected.shape}. Build a generation with the embedder of now.",
            expected=expected.shape,
            found=found.shape,
        )
    lowest = float(_cosines(expected, found).min())
    if not lowest >= COSINE_MIN:  # also when it is not a number
        raise EmbedderMismatch(
            f"the embedder {identity.spec!r} ({identity.model}, {identity.revision}) calls itself the one that the generation was"
            f" built with, but embeds differently: cosine {lowest:.4f} where {COSINE_MIN} is wanted. Has the server or the library"
            " changed its model? Build a generation with the embedder of now.",
            expected=COSINE_MIN,
            found=lowest,
        )


def _cosines(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row; 1 where both rows are zero."""
    dots = np.einsum("ij,ij->i", expected.astype(np.float64), found.astype(np.float64))
    lengths = np.linalg.norm(expected.astype(np.float64), axis=1) * np.linalg.norm(found.astype(np.float64), axis=1)
    both_zero = ~expected.any(axis=1) & ~found.any(axis=1)
    cosines: NDArray[np.float64] = np.where(both_zero, 1.0, dots / np.where(lengths > 0, lengths, 1.0))
    return cosines
