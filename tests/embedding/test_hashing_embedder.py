from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from outcrop.embedding import HashingEmbedder
from outcrop.embedding.protocol import Embedder
from outcrop.errors import InvalidConfig


def test_texts_that_share_words_are_nearer_than_texts_that_share_none() -> None:
    embedder = HashingEmbedder(64)
    query = embedder.embed_query("layers of sedimentary rock")
    near, far = embedder.embed_documents(["Sedimentary rock lies in layers.", "The parliament passed a budget."])
    assert query @ near > 0.6
    assert abs(query @ far) < 0.4


def test_the_vectors_are_the_same_in_another_process() -> None:
    program = (
        "from outcrop.embedding import HashingEmbedder\n"
        "print(HashingEmbedder(64).embed_query('Schiefer und 片岩 in layers').tobytes().hex())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60).stdout
    assert bytes.fromhex(elsewhere.strip()) == HashingEmbedder(64).embed_query("Schiefer und 片岩 in layers").tobytes()


def test_a_known_vector_stays_what_it_was_in_every_release() -> None:
    signs = np.sign(HashingEmbedder(16).embed_query("outcrop"))
    assert signs.tolist() == [-1, 1, 1, -1, -1, -1, -1, -1, -1, -1, 1, -1, -1, 1, 1, 1]


def test_rows_have_length_one_and_a_text_without_words_gets_a_zero_row() -> None:
    rows = HashingEmbedder(100).embed_documents(["granite", "", " \n", "...", "granite and slate"])
    assert rows.shape == (5, 100)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0, 0, 1], atol=1e-6)


def test_a_lone_surrogate_is_embedded_like_any_text() -> None:
    assert np.isfinite(HashingEmbedder(16).embed_query("a \udc80 b")).all()


def test_no_texts_give_no_rows() -> None:
    assert HashingEmbedder(16).embed_documents([]).shape == (0, 16)


def test_it_is_an_embedder_and_its_spec_names_its_dimension() -> None:
    embedder = HashingEmbedder(32)
    assert isinstance(embedder, Embedder)
    assert embedder.identity.spec == "hashing:32"
    assert embedder.identity.dimension == 32


@pytest.mark.parametrize("dimension", [0, 7, 4097])
def test_a_dimension_out_of_range_is_refused(dimension: int) -> None:
    with pytest.raises(InvalidConfig, match=f"found {dimension}"):
        HashingEmbedder(dimension)
