"""Vector parts against brute force: every kind of index, every metric, every selectivity."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.engines.builtin.vector_choice import FLAT_NUMBERS_MAX, scans
from outcrop.engines.builtin.vector_facts import VectorFacts
from outcrop.engines.builtin.vectors import VectorPart, VectorPartWriter, exact_nearest, normalized
from outcrop.errors import Closed, Damaged, IllegalState, InvalidConfig, InvalidInput, StorageFailed
from outcrop.index_values import IndexKind, IndexSpec, RecallGoal
from outcrop.model import Metric
from tests.damage import overwrite

KINDS: tuple[IndexKind, ...] = ("flat", "hnsw", "ivf_flat", "ivf_pq")
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
DIMENSION = 24


def clustered(count: int, seed: int = 0, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Rows around 40 centres, of lengths from 0.5 to 2, float32 of shape (count, dimension)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, dimension))
    rows = centres[rng.integers(0, 40, count)] + 0.6 * rng.normal(size=(count, dimension))
    return (rows * rng.uniform(0.5, 2.0, (count, 1)) / np.sqrt(dimension)).astype(np.float32)


def brute_force(vectors: NDArray[np.float32], query: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    """The scores by their definitions, in float64."""
    rows, vector = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return -np.sqrt(((rows - vector) ** 2).sum(axis=1))
    scores = rows @ vector
    if metric == "dot":
        return scores
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)


def built(directory: Path, vectors: NDArray[np.float32], metric: Metric, spec: IndexSpec) -> tuple[VectorPart, VectorFacts]:
    directory.mkdir(parents=True, exist_ok=True)
    writer = VectorPartWriter(directory, vectors.shape[1], metric)
    for start in range(0, len(vectors), 700):
        writer.append(vectors[start : start + 700])
    facts = writer.seal(spec)
    return VectorPart.open(directory, facts, metric), facts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[VectorPart, VectorFacts]]:
    vectors = clustered(4000)
    folder = tmp_path_factory.mktemp("parts")
    return {
        (kind, metric): built(folder / f"{kind}-{metric}", vectors, metric, IndexSpec(kind=kind))
        for kind in KINDS
        for metric in METRICS
    }


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_what_brute_force_finds(kind: str, metric: Metric, parts: dict) -> None:
    vectors, queries = clustered(4000), clustered(40, seed=1)
    part, facts = parts[kind, metric]
    assert (facts.kind, facts.row_count, facts.dimension) == (kind, 4000, DIMENSION)
    assert facts.recall >= 0.95
    found = 0
    for query in queries:
        truth = brute_force(vectors, query, metric)
        rows, scores = part.nearest(query, 10)
        assert rows.dtype == np.int64
        assert scores.dtype == np.float32
        assert len(rows) == 10
        np.testing.assert_allclose(scores, truth[rows], rtol=1e-4, atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        found += len(set(rows) & set(np.argsort(-truth)[:10]))
    assert found / 400 >= (1.0 if kind == "flat" else 0.95)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_a_mask_holds_exactly_at_every_selectivity(kind: str, metric: Metric, share: float, parts: dict) -> None:
    vectors, queries = clustered(4000), clustered(10, seed=2)
    part, _ = parts[kind, metric]
    mask = np.random.default_rng(3).permutation(4000) < 4000 * share
    wanted = min(10, int(mask.sum()))
    assert wanted > 0
    found = 0
    for query in queries:
        rows, _ = part.nearest(query, 10, mask)
        assert len(rows) == wanted
        assert mask[rows].all()
        truth = np.where(mask, brute_force(vectors, query, metric), -np.inf)
        found += len(set(rows) & set(np.argsort(-truth)[:wanted]))
    assert found / (wanted * len(queries)) >= 0.95


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_pq"])
@pytest.mark.parametrize("k", [5, 40])
def test_a_mask_far_from_the_query_still_gives_k_hits_and_no_others(kind: IndexKind, k: int, tmp_path: Path) -> None:
    left, right = clustered(2000), clustered(2000, seed=5) + 100
    spec = IndexSpec(kind=kind, ef_search=8, nlist=40, nprobe=1)  # so little effort that only the fallback can fill the answer
    part, _ = built(tmp_path, np.concatenate([left, right]).astype(np.float32), "l2", spec)
    mask = np.arange(4000) >= 2000
    rows, scores = part.nearest(left[0], k, mask)
    exact_rows, _ = part.nearest_exact(left[0], k, mask)
    assert len(rows) == k
    assert mask[rows].all()
    assert np.isfinite(scores).all()
    assert len(exact_rows) == k
    assert mask[exact_rows].all()


def test_a_mask_that_selects_nothing_finds_nothing(parts: dict) -> None:
    for part, _ in parts.values():
        rows, scores = part.nearest(clustered(1)[0], 10, np.zeros(4000, bool))
        assert len(rows) == len(scores) == 0
        assert len(part.nearest(clustered(1)[0], 10)[0]) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_more_than_there_is_gives_every_row_once(kind: str, parts: dict) -> None:
    rows, _ = parts[kind, "l2"][0].nearest(clustered(1)[0], 9000)
    assert sorted(rows) == list(range(4000))


def test_asking_for_none_gives_none(parts: dict) -> None:
    assert len(parts["hnsw", "dot"][0].nearest(clustered(1)[0], 0)[0]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_through_the_index_and_by_a_scan(kind: str, parts: dict) -> None:
    part, _ = parts[kind, "cosine"]
    query = clustered(1, seed=8)[0]
    by_row = dict(zip(*part.nearest_exact(query, 4000), strict=True))
    rows, scores = part.nearest(query, 20)
    assert [by_row[row] for row in rows] == list(scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["auto", *KINDS])
@pytest.mark.parametrize("count", [0, 1, 5, 100, 255, 256, 300, 500])
def test_a_part_of_a_few_rows_works(count: int, kind: IndexKind, metric: Metric, tmp_path: Path) -> None:
    vectors, query = clustered(count), clustered(1, seed=4)[0]
    part, facts = built(tmp_path, vectors, metric, IndexSpec(kind=kind))
    if count < 256:
        assert facts.kind == "flat"
        assert not (tmp_path / "index.faiss").exists()
    rows, scores = part.nearest(query, 3)
    truth = brute_force(vectors, query, metric)
    assert list(rows) == list(np.argsort(-truth, kind="stable")[:3])
    np.testing.assert_allclose(scores, truth[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_equal_rows_come_in_the_order_of_their_rows(value: float, kind: IndexKind, metric: Metric, tmp_path: Path) -> None:
    vectors = np.full((2000, 8), value, np.float32)
    part, facts = built(tmp_path, vectors, metric, IndexSpec(kind=kind, ef_search=16))
    assert facts.row_count == 2000
    rows, scores = part.nearest(np.ones(8, np.float32), 600)
    assert len(rows) == 600
    assert (np.diff(rows) > 0).all()
    assert len(set(scores)) == 1
    exact_rows, _ = part.nearest_exact(np.ones(8, np.float32), 600)
    assert list(exact_rows) == list(range(600))


def test_ties_at_the_cut_go_to_the_lowest_rows_in_every_block() -> None:
    vectors = np.zeros((150_000, 8), np.float32)  # more than two blocks
    vectors[140_000] = 1
    rows, scores = exact_nearest(vectors, np.ones(8, np.float32), 4, "dot")
    assert list(rows) == [140_000, 0, 1, 2]
    assert list(scores) == [8, 0, 0, 0]
    mask = np.arange(150_000) % 3 == 2
    rows, _ = exact_nearest(vectors, np.ones(8, np.float32), 4, "dot", mask=mask)
    assert list(rows) == [2, 5, 8, 11] if not mask[140_000] else [140_000, 2, 5, 8]


def test_a_score_that_overflows_is_left_out() -> None:
    vectors = np.array([[3e38, 3e38], [1, 1], [2, 0]], np.float32)
    rows, scores = exact_nearest(vectors, np.array([3, 1], np.float32), 3, "dot")
    assert list(rows) == [2, 1]
    assert list(scores) == [6, 4]


def test_rows_are_normalised_for_cosine_and_zeros_stay_zeros(tmp_path: Path) -> None:
    vectors = np.array([[3, 4], [0, 0], [3e30, 4e30], [3e-30, 4e-30]], np.float32)
    part, _ = built(tmp_path, vectors, "cosine", IndexSpec())
    stored = part.vectors(np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(stored, [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    assert (tmp_path / "vectors.f32").read_bytes() == stored.astype("<f4").tobytes()
    assert list(part.nearest(np.array([6, 8], np.float32), 4)[0]) == [0, 2, 3, 1]
    assert list(normalized(np.array([0, 2], np.float32))) == [0, 1]


def test_other_metrics_keep_the_rows_as_given(tmp_path: Path) -> None:
    vectors = clustered(50)
    part, _ = built(tmp_path, vectors, "dot", IndexSpec())
    np.testing.assert_array_equal(part.vectors(np.array([49, 0, 7])), vectors[[49, 0, 7]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_opened_again_answers_the_same(kind: str, parts: dict) -> None:
    part, facts = parts[kind, "cosine"]
    folder = Path(str(part.vectors.__self__._mapping[0].base.filename)).parent  # where the fixture put it
    again = VectorPart.open(folder, msgspec.json.decode(msgspec.json.encode(facts), type=VectorFacts), "cosine")
    for query in clustered(5, seed=6):
        for mine, theirs in zip(part.nearest(query, 20), again.nearest(query, 20), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    again.close()


@pytest.mark.parametrize("kind", KINDS)
def test_searches_in_many_threads_give_what_one_thread_gives(kind: str, parts: dict) -> None:
    part, _ = parts[kind, "l2"]
    queries = list(clustered(200, seed=7))
    mask = np.random.default_rng(1).random(4000) < 0.5
    alone = [(part.nearest(query, 10)[0].tolist(), part.nearest(query, 10, mask)[0].tolist()) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda query: (part.nearest(query, 10)[0].tolist(), part.nearest(query, 10, mask)[0].tolist()), queries)
        )
    assert together == alone


def test_closing_while_others_search_raises_closed_and_nothing_worse(tmp_path: Path) -> None:
    part, _ = built(tmp_path, clustered(3000), "cosine", IndexSpec(kind="hnsw"))
    queries = clustered(50, seed=7)

    def search_until_closed() -> int:
        for count in range(1_000_000):
            try:
                part.nearest(queries[count % 50], 10)
            except Closed:
                return count
        return -1

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search_until_closed) for _ in range(2)]
        part.close()
        part.close()
        assert all(search.result() >= 0 for search in searches)
    with pytest.raises(Closed):
        part.vectors(np.array([0]))


def test_auto_scans_small_parts_and_larger_ones_if_the_build_is_to_be_quick() -> None:
    most = FLAT_NUMBERS_MAX // 256
    assert [scans(IndexSpec(), RecallGoal(), count, 256) for count in (most, most + 1)] == [True, False]
    quick = RecallGoal(optimize_for="build")
    assert [scans(IndexSpec(), quick, count, 256) for count in (4 * most, 4 * most + 1)] == [True, False]
    assert [scans(IndexSpec(kind="ivf_pq"), RecallGoal(), count, 256) for count in (255, 256)] == [True, False]


def test_auto_falls_back_to_a_scan_where_a_graph_finds_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.engines.builtin.vector_choice.FLAT_NUMBERS_MAX", 1000)
    noise = np.random.default_rng(0).normal(size=(9000, 128)).astype(np.float32)  # no structure at all, and the least effort
    least = IndexSpec(m=6, ef_construction=16, ef_search=10)
    asked = msgspec.structs.replace(least, kind="hnsw")
    assert built(tmp_path / "hnsw", noise, "cosine", asked)[1].recall < 0.95
    _, facts = built(tmp_path / "auto", noise, "cosine", least)
    assert (facts.kind, facts.recall, facts.parameters) == ("flat", 1.0, {})


def test_the_facts_say_which_parameters_were_really_used(tmp_path: Path) -> None:
    vectors = clustered(2000)
    _, hnsw = built(tmp_path / "a", vectors, "l2", IndexSpec(kind="hnsw", m=8, ef_construction=30, ef_search=77))
    assert hnsw.parameters == {"m": 8, "ef_construction": 30, "ef_search": 77}
    _, ivf = built(tmp_path / "b", vectors, "l2", IndexSpec(kind="ivf_pq", nlist=1000, nprobe=9000, pq_bytes=5, refine=50))
    assert ivf.parameters == {"nlist": 2000 // 39, "nprobe": 2000 // 39, "pq_bytes": 6, "refine": 50}  # 6 is the next divisor of 24


def test_a_parameter_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="nlist is 0"):
        built(tmp_path, clustered(500), "l2", IndexSpec(kind="ivf_flat", nlist=0))


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_pq"])
@pytest.mark.parametrize("name", ["vectors.f32", "index.faiss"])
def test_a_file_that_is_cut_short_or_missing_is_damaged(kind: IndexKind, name: str, tmp_path: Path) -> None:
    _, facts = built(tmp_path, clustered(1000), "l2", IndexSpec(kind=kind))
    content = (tmp_path / name).read_bytes()
    for cut in (0, 10, len(content) - 1):
        overwrite(tmp_path / name, content[:cut])
        with pytest.raises(Damaged, match="bytes") as caught:
            VectorPart.open(tmp_path, facts, "l2")
        assert caught.value.path == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(Damaged, match="missing"):
        VectorPart.open(tmp_path, facts, "l2")
    (tmp_path / name).write_bytes(content)
    assert len(VectorPart.open(tmp_path, facts, "l2").nearest(clustered(1)[0], 5)[0]) == 5


def test_an_index_of_another_kind_or_metric_is_damaged(tmp_path: Path) -> None:
    _, facts = built(tmp_path, clustered(1000), "l2", IndexSpec(kind="ivf_flat"))
    with pytest.raises(Damaged, match="another index"):
        VectorPart.open(tmp_path, facts, "dot")
    index = tmp_path / "index.faiss"
    overwrite(index, b"garbage!" * (facts.index_size_bytes // 8) + b"x" * (facts.index_size_bytes % 8))
    with pytest.raises(Damaged, match="not a FAISS index"):
        VectorPart.open(tmp_path, facts, "l2")


@pytest.mark.parametrize("shape", [(3,), (2, DIMENSION + 1), (1, 1, DIMENSION)])
def test_rows_of_another_shape_are_refused_and_not_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    writer = VectorPartWriter(tmp_path, DIMENSION, "l2")
    writer.append(clustered(4))
    with pytest.raises(InvalidInput, match="are wanted"):
        writer.append(np.zeros(shape, np.float32))
    assert writer.seal(IndexSpec()).row_count == 4


def test_rows_with_nan_are_refused_by_their_number(tmp_path: Path) -> None:
    writer = VectorPartWriter(tmp_path, 2, "cosine")
    writer.append(np.ones((3, 2), np.float32))
    with pytest.raises(InvalidInput, match="row 4 holds NaN"):
        writer.append(np.array([[1, 2], [np.nan, 1]], np.float32))
    writer.abort()


def test_a_sealed_or_aborted_writer_takes_no_more(tmp_path: Path) -> None:
    writer = VectorPartWriter(tmp_path, DIMENSION, "l2")
    writer.append(clustered(400))
    writer.seal(IndexSpec(kind="hnsw"))
    with pytest.raises(IllegalState):
        writer.append(clustered(1))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IllegalState):
        writer.seal(IndexSpec())


def test_a_folder_that_does_not_exist_is_a_storage_failure(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed) as caught:
        VectorPartWriter(tmp_path / "none", 2, "l2")
    assert caught.value.errno_name == errno.errorcode[errno.ENOENT]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "vectors.f32").symlink_to("/dev/full")
    writer = VectorPartWriter(tmp_path, 256, "l2")
    with pytest.raises(StorageFailed) as caught:
        writer.append(np.ones((2000, 256), np.float32))
    assert caught.value.errno_name == "ENOSPC"
    writer.abort()
    (tmp_path / "index.faiss").symlink_to("/dev/full")
    writer = VectorPartWriter(tmp_path, DIMENSION, "l2")
    writer.append(clustered(400))
    with pytest.raises(StorageFailed) as caught:
        writer.seal(IndexSpec(kind="hnsw"))
    assert caught.value.errno_name == "ENOSPC"
