"""Filters by fields for which LanceDB's table has no column."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop import Config

pytest.importorskip("lancedb", reason="the extra 'lancedb' is not installed")

from outcrop.engines.lancedb import columns
from tests.insights.logged import ROCKS


@pytest.mark.parametrize("mode", ["lancedb_test", "production"])
def test_a_field_beyond_the_columns_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(columns, "KEYS_MAX", 2)
    config = getattr(Config, mode)(query_log_share=1.0, background=False)
    with outcrop.open(tmp_path / "kb", config=config) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.build(ROCKS, promote=True)
        stats = rocks.stats()
        rocks.search("slate", where=f"{stats.fields_without_column[0]} IS NOT NULL")
        found = rocks.insights()

    assert len(stats.fields_without_column) == 1
    assert found.filters[0].slow_fields == stats.fields_without_column
