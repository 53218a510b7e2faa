from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.embedding import (
    CachedEmbedder,
    EmbeddingCache,
    HashingEmbedder,
    check_identity,
    check_probes,
    probe_texts,
    probe_vectors,
)
from outcrop.errors import EmbedderMismatch


class _Drifted(HashingEmbedder):
    """Calls itself the hashing embedder but turns one dimension by `drift`."""

    def __init__(self, drift: float) -> None:
        super().__init__(64)
        self.drift = drift

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = super().embed_documents(texts)
        rows[:, 0] += self.drift
        return rows


def test_the_same_embedder_passes() -> None:
    embedder = HashingEmbedder(64)
    check_identity(embedder.identity, HashingEmbedder(64).identity)
    check_probes(probe_vectors(embedder), HashingEmbedder(64))


def test_there_is_a_probe_vector_for_each_probe_text() -> None:
    vectors = probe_vectors(HashingEmbedder(64))
    assert vectors.shape == (len(probe_texts()), 64)
    assert (np.linalg.norm(vectors, axis=1) > 0.99).all()


def test_another_identity_is_an_error_that_names_both_and_the_difference() -> None:
    expected, found = HashingEmbedder(64).identity, HashingEmbedder(32).identity
    with pytest.raises(EmbedderMismatch) as caught:
        check_identity(expected, found)
    assert caught.value.expected == expected
    assert caught.value.found == found
    assert "'hashing:64'" in str(caught.value)
    assert "'hashing:32'" in str(caught.value)
    assert "dimension: 64 wanted, 32 found" in str(caught.value)


def test_another_prefix_alone_is_a_mismatch() -> None:
    identity = HashingEmbedder(64).identity
    with pytest.raises(EmbedderMismatch, match="query_prefix: '' wanted, 'query: ' found"):
        check_identity(identity, msgspec.structs.replace(identity, query_prefix="query: "))


def test_rounding_differences_pass_and_another_model_does_not() -> None:
    expected = probe_vectors(HashingEmbedder(64))
    check_probes(expected, _Drifted(0.005))
    with pytest.raises(EmbedderMismatch, match=r"cosine 0\.\d+ where 0\.999 is wanted"):
        check_probes(expected, _Drifted(0.2))


def test_an_embedder_that_makes_no_numbers_does_not_pass() -> None:
    with pytest.raises(EmbedderMismatch, match="embeds differently"):
        check_probes(probe_vectors(HashingEmbedder(64)), _Drifted(float("nan")))


def test_another_dimension_is_a_mismatch() -> None:
    with pytest.raises(EmbedderMismatch, match=r"\(4, 32\).*\(4, 64\)"):
        check_probes(probe_vectors(HashingEmbedder(64)), HashingEmbedder(32))


def test_probe_vectors_never_come_from_a_cache(tmp_path: Path) -> None:
    embedder = _Drifted(0.0)
    cached = CachedEmbedder(embedder, EmbeddingCache(tmp_path / "embeddings.sqlite"))
    before = cached.embed_documents(probe_texts())
    embedder.drift = 0.5
    assert np.array_equal(cached.embed_documents(probe_texts()), before)
    with pytest.raises(EmbedderMismatch):
        check_probes(before, cached)
