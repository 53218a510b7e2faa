"""Which vector index a part gets, and whether it keeps what it says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import faiss
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.documents import PartRow
from outcrop.engines.builtin import vector_choice, vector_facts, vector_recall
from outcrop.engines.builtin.parts import Part, PartWriter
from outcrop.engines.builtin.vector_facts import VectorFacts, work
from outcrop.engines.builtin.vector_scan import exact_nearest
from outcrop.engines.builtin.vectors import VectorPart, VectorPartWriter, normalized
from outcrop.index_values import IndexSpec, OptimizeFor, RecallGoal
from outcrop.model import Metric, Recipe

DIMENSION = 32
COUNT = 6000
CODES_BYTES = DIMENSION // 4


@pytest.fixture(autouse=True)
def indexed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows enough for an index, in a part that is built in a second."""
    monkeypatch.setattr(vector_choice, "FLAT_NUMBERS_MAX", COUNT * DIMENSION - 1)


def rows_of(kind: str, count: int = COUNT, seed: int = 0) -> NDArray[np.float32]:
    """Rows of length 1, around 40 centres or everywhere alike, float32 of shape (count, 32)."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, DIMENSION))
    if kind == "clustered":
        rows = 0.5 * rows + np.random.default_rng(99).standard_normal((40, DIMENSION))[rng.integers(0, 40, count)]
    return normalized(rows.astype(np.float32))


def built(folder: Path, rows: NDArray[np.float32], spec: IndexSpec | None = None, **asked: Any) -> tuple[VectorPart, VectorFacts]:
    folder.mkdir(parents=True, exist_ok=True)
    queries = asked.pop("queries", None)
    writer = VectorPartWriter(folder, DIMENSION, "cosine")
    writer.append(rows)
    facts = writer.seal(IndexSpec() if spec is None else spec, goal=RecallGoal(**asked), queries=queries)
    return VectorPart.open(folder, facts, "cosine"), facts


def recall(part: VectorPart, queries: NDArray[np.float32]) -> float:
    """Recall@10 against exact search."""
    shares = [len(set(part.nearest(query, 10)[0]) & set(part.nearest_exact(query, 10)[0])) / 10 for query in queries]
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", ["clustered", "uniform"])
@pytest.mark.parametrize("optimize_for", ["latency", "memory"])
def test_what_is_chosen_reaches_the_target_on_queries_it_never_saw(kind: str, optimize_for: OptimizeFor, tmp_path: Path) -> None:
    part, facts = built(tmp_path, rows_of(kind), optimize_for=optimize_for)
    assert facts.kind == "ivf_pq"
    assert facts.choice is not None
    assert facts.choice.met
    assert facts.choice.recall == facts.recall >= 0.97
    assert recall(part, rows_of(kind, 200, seed=7)) >= 0.97


def test_a_lower_target_is_reached_with_less_work(tmp_path: Path) -> None:
    rows = rows_of("uniform")
    lists = IndexSpec(kind="ivf_flat")
    worked = [work(built(tmp_path / str(target), rows, lists, target_recall=target)[1], 100) for target in (0.5, 0.8, 0.99)]
    assert worked[0] < worked[1] < worked[2]


def test_the_least_memory_is_another_index_than_the_least_latency(tmp_path: Path) -> None:
    rows = rows_of("clustered")
    _, quick = built(tmp_path / "latency", rows, target_recall=0.9)
    _, small = built(tmp_path / "memory", rows, target_recall=0.9, optimize_for="memory")
    assert (quick.parameters["pq_bytes"], small.parameters["pq_bytes"]) == (CODES_BYTES, CODES_BYTES // 2)
    assert small.index_size_bytes < 0.8 * quick.index_size_bytes


def test_the_quickest_build_scans_what_the_least_latency_would_index(tmp_path: Path) -> None:
    rows = rows_of("clustered")
    assert built(tmp_path / "latency", rows)[1].kind == "ivf_pq"
    assert built(tmp_path / "build", rows, optimize_for="build")[1].kind == "flat"


def test_a_graph_is_taken_where_it_is_less_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_facts, "_ROWS_PER_CODE", 10.0)  # as if there were a million of rows, of which the codes are all read
    monkeypatch.setattr(vector_choice, "_SAMPLE_ROWS", 1000)
    _, facts = built(tmp_path / "latency", rows_of("clustered"))
    assert facts.kind == "hnsw"
    assert facts.choice is not None
    assert "graph over a sample" in facts.choice.reason
    assert {point.kind for point in facts.choice.curve} == {"ivf_pq", "hnsw"}
    monkeypatch.setattr(vector_choice, "_FLAT_FACTOR_OF_BUILD", 1)
    assert built(tmp_path / "build", rows_of("clustered"), optimize_for="build")[1].kind == "ivf_pq"


def test_an_index_given_by_hand_is_taken_as_it_is_and_its_recall_told(tmp_path: Path) -> None:
    part, facts = built(tmp_path, rows_of("uniform"), IndexSpec(kind="ivf_pq", nlist=60, nprobe=1, refine=20))
    assert facts.parameters == {"nlist": 60, "pq_bytes": CODES_BYTES, "nprobe": 1, "refine": 20}
    assert facts.choice is not None
    assert not facts.choice.met
    assert facts.choice.reason.startswith("given by hand")
    assert facts.recall < 0.5
    assert recall(part, rows_of("uniform", 50, seed=7)) < 0.6


def test_what_cannot_reach_the_target_is_scanned_or_in_little_memory_the_best_there_is(tmp_path: Path) -> None:
    rows = rows_of("uniform")
    part, facts = built(tmp_path / "latency", rows, IndexSpec(nprobe=1, nlist=60))
    assert (facts.kind, facts.recall) == ("flat", 1.0)
    assert recall(part, rows[:20]) == 1.0
    _, least = built(tmp_path / "memory", rows, IndexSpec(kind="auto"), optimize_for="memory", target_recall=1.0)
    assert least.kind == "ivf_pq"
    assert least.choice is not None
    assert not least.choice.met or least.recall == 1.0


def test_the_curve_rises_with_the_effort_and_has_what_was_chosen(tmp_path: Path) -> None:
    _, facts = built(tmp_path, rows_of("uniform"))
    assert facts.choice is not None
    curve = facts.choice.curve
    assert len(curve) > 2
    most = [point.recall for point in curve if point.parameters["refine"] == 800]
    assert most == sorted(most)
    assert any(point.parameters == facts.parameters and point.recall >= 0.97 for point in curve)
    assert all(point.microseconds > 0 for point in curve)


def test_queries_of_the_build_are_measured_with_and_asked_for_only_if_there_is_an_index(tmp_path: Path) -> None:
    asked = []

    def queries() -> NDArray[np.float32]:
        asked.append(1)
        return rows_of("uniform", 100, seed=5)

    _, few = built(tmp_path / "few", rows_of("uniform", 500), queries=queries)
    assert (few.kind, asked) == ("flat", [])
    _, many = built(tmp_path / "many", rows_of("uniform"), queries=queries)
    assert many.choice is not None
    assert many.choice.queries == "100 short texts, 300 stored vectors with noise"
    assert asked == [1]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_truth_is_exact_and_takes_little_memory_however_many_rows_there_are(metric: Metric) -> None:
    rows, queries = rows_of("clustered", 30_000), rows_of("clustered", 200, seed=1)
    tracemalloc.start()
    limits = vector_recall.tenth_scores(rows, queries, metric)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25_000_000  # all scores at once are 24 MB, and their places 48
    for query, limit in zip(queries[::20], limits[::20], strict=True):
        assert limit == exact_nearest(rows, query, 10, metric)[1][-1]


def test_codes_of_an_older_version_are_searched_as_they_were(tmp_path: Path) -> None:
    rows = rows_of("clustered")
    part, _ = built(tmp_path, rows, IndexSpec(kind="flat"))
    older = faiss.IndexIVFPQ(faiss.IndexFlatIP(DIMENSION), DIMENSION, 20, 8, 8, faiss.METRIC_INNER_PRODUCT)
    older.by_residual = False
    older.train(rows)
    older.add(rows)
    faiss.write_index(older, str(tmp_path / "index.faiss"))
    parameters = {"nlist": 20, "pq_bytes": 8, "nprobe": 20}
    size_bytes = (tmp_path / "index.faiss").stat().st_size
    facts = VectorFacts("ivf_pq", COUNT, DIMENSION, parameters, 0.98, index_size_bytes=size_bytes)
    part = VectorPart.open(tmp_path, facts, "cosine")
    assert recall(part, rows[:50]) >= 0.95


def test_an_older_version_reads_a_part_with_codes_as_one_to_scan(tmp_path: Path) -> None:
    recipe = Recipe("builtin", None, DIMENSION, "cosine", "none", "english", IndexSpec(kind="ivf_pq"), 0.4)
    rows = rows_of("clustered")
    writer = PartWriter(tmp_path, recipe)
    writer.append(list(range(COUNT)), [{}] * COUNT, rows)
    row = writer.seal(1)
    as_read_before: PartRow = msgspec.structs.replace(row, facts={"vectors": row.facts["vectors"]})
    now, before = Part(tmp_path, row, recipe), Part(tmp_path, as_read_before, recipe)
    assert now.facts is not None
    assert before.facts is not None
    assert (now.facts.kind, before.facts.kind) == ("ivf_pq", "flat")
    assert now.vectors is not None
    assert before.vectors is not None
    found, exact = now.vectors.nearest_exact(rows[3], 10), before.vectors.nearest(rows[3], 10)
    assert found[0].tolist() == exact[0].tolist()
    assert exact[0][0] == 3
