"""Benchmarks keep the collections that they build, as long as the code is the one that built them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import common
from benchmarks.common import Settings


def uuid_of_kept(chosen: Settings) -> str:
    db, collection = common.open_cached(chosen, embedder="hashing")
    with db:
        return common.active_generation(collection).uuid


def test_what_other_code_has_built_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(data=None, cache=tmp_path, limit=50, seed=1, quick=True)
    first = uuid_of_kept(chosen)
    assert uuid_of_kept(chosen) == first
    monkeypatch.setattr(common, "code_digest", lambda: "another")
    assert uuid_of_kept(chosen) != first
