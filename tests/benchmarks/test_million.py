"""The rows of the million: the same every time, with texts varied and vectors in clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import Settings
from benchmarks.million import rows
from benchmarks.peers.corpus import Files
from benchmarks.peers.preparing import prepared

pytest.importorskip("wordllama", reason="the corpus is embedded by outcrop[static]")


def test_variations_lie_near_their_originals_and_are_the_same_every_time(tmp_path: Path) -> None:
    corpus = Files(prepared(Settings(data=None, cache=tmp_path, limit=50, seed=1, quick=True), 50, 5))
    ((texts, vectors),) = rows(corpus, 120, seed=1)
    ((again, same),) = rows(corpus, 120, seed=1)
    assert texts == again
    assert np.array_equal(vectors, same)
    assert np.allclose(vectors[:50], corpus.vectors, atol=1e-6)
    assert texts[60][1] != texts[10][1]
    near = np.sum(vectors[50:100] * corpus.vectors, axis=1)
    assert (near > 0.85).all()
    assert (near < 0.99).all()
