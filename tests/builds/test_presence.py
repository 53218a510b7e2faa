"""What a new generation lacks of the active one's documents, and which deleted ones it brings back."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop import Config, Document
from tests.builds.interrupted import documents


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    return tmp_path / "kb"


def test_a_generation_says_what_it_lacks_and_what_it_brings_back(kb: Path) -> None:
    with outcrop.open(kb, config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder="none")
        first = rocks.build(documents(20), promote=True)
        assert (first.vanished, first.revived) == (None, None)
        rocks.delete(["d1", "d2"])
        rocks.upsert(Document("d2", "back"))
        rocks.delete("unknown")
        second = rocks.build(documents(15))
        assert (second.vanished, second.revived) == (5, 1), "d15 to d19; d1, which nobody put back"
