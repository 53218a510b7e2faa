"""Embedders of one's own that fail, with whatever they raise: nothing is lost, and nobody is kept from going on without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Config, Database, Document
from outcrop.embedding import HashingEmbedder
from outcrop.errors import EmbedderGone, EmbeddingFailed


class Moody(HashingEmbedder):
    """An embedder of one's own that raises what it likes."""

    failure: Exception | None = None

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.failure is not None:
            raise self.failure
        return super().embed_documents(texts)


FAILURES = (EmbeddingFailed("no answer", embedder="moody", status=503), RuntimeError("CUDA is out of memory"), ValueError("shape"))


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_an_embedder_that_fails_refuses_the_batch(db: Database, failure: Exception) -> None:
    embedder = Moody(16)
    moody = db.create_collection("moody", embedder=embedder)
    moody.upsert(Document("a", "granite"))
    embedder.failure = failure
    with pytest.raises(EmbeddingFailed, match=str(failure)):
        moody.upsert([Document("a", "changed"), Document("b", "schist")])
    with pytest.raises(EmbeddingFailed, match=str(failure)):
        moody.search("granite")
    assert [one.text for one in moody.scan()] == ["granite"]
    assert moody.delete("a").deleted == 1


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_an_embedder_that_fails_while_a_generation_catches_up_can_be_gone_without(db: Database, failure: Exception) -> None:
    embedder = Moody(16)
    moody = db.create_collection("moody", embedder=embedder)
    moody.build([Document("a", "granite")], promote=True)
    moody.promote(moody.build(embedder="hashing:8"))
    moody.upsert(Document("late", "gabbro"))
    embedder.failure = failure
    with pytest.raises(EmbedderGone, match=str(failure)):
        moody.rollback()
    with pytest.raises(EmbeddingFailed, match=str(failure)):
        moody.promote(1)
    assert moody.active.number == 2
    assert moody.rollback(allow_lexical=True).unembedded == 1
    assert [hit.document_id for hit in moody.search("gabbro", mode="lexical")] == ["late"]


def test_a_damaged_generation_is_replaced_although_the_other_ones_embedder_fails(db: Database) -> None:
    embedder = Moody(16)
    moody = db.create_collection("moody", embedder=embedder)
    moody.build([Document("a", "granite")], promote=True)
    moody.promote(moody.build(embedder="hashing:8"))
    moody.upsert(Document("late", "gabbro"))
    embedder.failure = RuntimeError("CUDA is out of memory")
    (Path(moody.active.path) / "manifest.json").write_text("{")
    with outcrop.open(db.path, config=Config.test()) as other:
        rescued = other.collection("moody", embedder=embedder).search("gabbro", mode="lexical")
    assert (rescued.generation, [hit.document_id for hit in rescued]) == (1, ["late"])
    assert rescued.degraded
