"""The comparison with the peers runs, at a tiny size; peers that are not installed are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import render
from benchmarks.common import ROOT, Settings
from benchmarks.peers.__main__ import TINY, measure
from benchmarks.peers.corpus import Files
from benchmarks.peers.preparing import prepared
from benchmarks.peers.registry import ENTRIES, LIMIT, OUTCROP

pytest.importorskip("wordllama", reason="the corpus is embedded by outcrop[static]")

MEASURED = (OUTCROP, LIMIT, "SQLite FTS5")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data=None, cache=tmp_path_factory.mktemp("bench"), limit=300, seed=20260, quick=True)


@pytest.fixture(scope="module")
def found(chosen: Settings) -> dict[str, Any]:
    return measure(chosen, [one for one in ENTRIES if one.name in MEASURED], TINY)


def test_a_run_measures_every_kind_of_search_that_a_peer_has(found: dict[str, Any]) -> None:
    peers = found["peers"]
    assert set(peers) == set(MEASURED)
    assert {"build", "open", "hybrid", "vector", "lexical", "hybrid, 1 %", "hybrid rate", "upsert"} <= set(peers[OUTCROP])
    assert "hybrid" in peers[LIMIT]
    assert "hybrid" not in peers["SQLite FTS5"]


def test_a_run_tells_recall_against_exact_search(found: dict[str, Any]) -> None:
    assert found["peers"][OUTCROP]["vector"]["recall"] == 1.0, "300 rows are searched exactly"
    assert found["peers"][OUTCROP]["vector, 50 %"]["recall"] == 1.0


def test_the_rendered_section_has_a_row_for_every_peer_and_ratios_to_outcrop(found: dict[str, Any]) -> None:
    machine = {"cores": 2, "processor": "a processor", "python": "3", "date": "2026-01-01T", "versions": {}, "command": "python"}
    section = render.peers_section({"environment": machine, **found})
    for name in MEASURED:
        assert f"| {name} " in section
    assert "x Outcrop" in section


def test_only_what_stands_between_the_comments_is_replaced() -> None:
    page = "before\n<!-- peers: begin, by benchmarks.render -->\nold\n<!-- peers: end -->\nafter\n"
    assert render.replaced(page, "peers", "new").split() == page.replace("old", "new").split()


def test_recall_counts_true_neighbours_only_once_and_only_those_that_the_filter_selects(chosen: Settings) -> None:
    corpus = Files(prepared(chosen, 300, TINY.measured + TINY.tuning + 20))
    nearest = np.argsort(-(corpus.vectors @ corpus.query_vectors[0]))[:10].tolist()
    assert corpus.recall(0, nearest) == 1.0
    assert corpus.recall(0, [nearest[0]] * 10) == 0.1
    outside = [row for row in nearest if corpus.buckets[row] >= 500]
    assert outside
    assert corpus.recall(0, outside, below=500) == 0.0


def test_the_pins_of_the_peers_agree_with_those_of_the_tests_where_outcrop_depends_on_them() -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = [line for line in path.read_text("utf-8").splitlines() if "==" in line]
        return dict(line.split("==") for line in lines)

    tested, measured = pins(ROOT / "constraints.txt"), pins(ROOT / "benchmarks" / "requirements.txt")
    shared = ("faiss-cpu", "tantivy", "numpy", "msgspec", "lancedb", "pyarrow", "wordllama", "tokenizers", "safetensors")
    assert {name: measured[name] for name in shared} == {name: tested[name] for name in shared}
