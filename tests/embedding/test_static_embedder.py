from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("wordllama", reason="the extra `static` is not installed")

from outcrop.embedding import resolve
from outcrop.embedding.protocol import Embedder
from outcrop.embedding.static import StaticTable


@pytest.fixture(scope="module")
def static() -> Embedder:
    embedder = resolve("static")
    assert embedder is not None
    return embedder


def test_related_texts_are_nearer_than_unrelated_ones(static: Embedder) -> None:
    query = static.embed_query("drug against high blood pressure")
    near, far = static.embed_documents(["Medication that lowers hypertension", "The referee awarded a penalty"])
    assert query @ near > query @ far + 0.2


def test_rows_have_length_one_and_blank_texts_get_zero_rows(static: Embedder) -> None:
    rows = static.embed_documents(["granite", "", " \n\t", "granite and slate"])
    assert rows.shape == (4, 256)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0, 1], atol=1e-6)


def test_a_vector_is_the_mean_of_its_token_rows(static: StaticTable) -> None:
    token_ids = static._tokenizer.encode("layers of rock", add_special_tokens=False).ids
    assert len(token_ids) > 2
    mean = static._table[token_ids].mean(axis=0)
    np.testing.assert_allclose(static.embed_query("layers of rock"), mean / np.linalg.norm(mean), atol=1e-6)


def test_a_text_has_the_same_vector_alone_and_in_any_batch(static: Embedder) -> None:
    texts = [f"layer {number} of the {'very ' * (number % 7)}old rock" for number in range(1100)]
    rows = static.embed_documents(texts)
    for position in (0, 511, 512, 1099):
        np.testing.assert_array_equal(rows[position], static.embed_query(texts[position]))


def test_a_long_text_is_embedded_as_if_it_were_one_piece(static: StaticTable) -> None:
    text = "  ".join(f"strata number {number},\nlaid down" for number in range(2000))
    assert len(text) > 60_000
    token_ids = static._tokenizer.encode(text, add_special_tokens=False).ids
    whole = static._table[token_ids].sum(axis=0)
    assert static.embed_query(text) @ (whole / np.linalg.norm(whole)) > 0.99999


def test_a_long_text_without_any_space_is_embedded(static: Embedder) -> None:
    assert np.linalg.norm(static.embed_query("岩" * 50_000)) == pytest.approx(1)


def test_a_lone_surrogate_is_embedded_like_any_text(static: Embedder) -> None:
    assert np.linalg.norm(static.embed_query("a \udc80 b")) == pytest.approx(1)


def test_many_threads_get_what_one_thread_gets(static: Embedder) -> None:
    texts = [f"sample {number} of shale" for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(static.embed_query, texts))
    np.testing.assert_array_equal(np.stack(rows), static.embed_documents(texts))


def test_no_texts_give_no_rows(static: Embedder) -> None:
    assert static.embed_documents([]).shape == (0, 256)
