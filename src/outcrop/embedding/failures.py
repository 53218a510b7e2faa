"""What an embedder raises becomes ours: it may be the caller's own, and whoever embeds must know what to expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from outcrop.embedding.protocol import Embedder
from outcrop.errors import EmbeddingFailed, OutcropError


@contextmanager
def mapped_failures(embedder: Embedder) -> Iterator[None]:
    """Turn whatever the embedder raises in the block into `EmbeddingFailed`; errors of ours stay as they are."""
    try:
        yield
    except OutcropError:
        raise
    except Exception as error:
        spec = embedder.identity.spec
        raise EmbeddingFailed(
            f"the embedder {spec!r} failed with {type(error).__name__}: {error}", embedder=spec, status=None
        ) from error
