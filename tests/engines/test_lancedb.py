"""The LanceDB engine's index, by itself: what it finds, what a write changes, what is damaged, and what a fork leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.engines.lancedb import LanceEngine, absorbing, settling, vector_index
from outcrop.engines.lancedb.library import calling, run
from outcrop.engines.lancedb.location import Place
from outcrop.engines.protocol import IndexedChunk, IndexSnapshot
from outcrop.errors import Closed, Damaged, EngineUnavailable, StorageFailed
from outcrop.filters import Compare
from outcrop.index_values import IndexKind, IndexSpec
from outcrop.model import Metric, Recipe
from outcrop.testing import nearest
from tests.engines.living import DIMENSION, Item, Living, create, recipe

pytest.importorskip("lancedb")
ENGINE = LanceEngine()


def random_vectors(count: int, dimension: int = DIMENSION, seed: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def items(count: int, begin: int = 0, word: str = "granite") -> list[Item]:
    vectors = random_vectors(count, seed=begin + 1)
    return [Item(f"d{begin + n}", [f"{word} number{begin + n}"], {"year": 2000 + n}, vectors[n : n + 1]) for n in range(count)]


@contextmanager
def living(directory: Path, made_by: Recipe | None = None, begun: list[Item] | None = None) -> Iterator[Living]:
    chosen = recipe() if made_by is None else made_by
    create(directory, chosen, items(60) if begun is None else begun, ENGINE)
    opened = Living(directory, chosen, ENGINE)
    try:
        yield opened
    finally:
        opened.close()


def found(snapshot: IndexSnapshot, query: str) -> set[int]:
    return set(snapshot.lexical(query, 100, None).slots.tolist())


def test_a_write_adds_and_removes_in_one_step_that_earlier_snapshots_do_not_show(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        before = opened.index.snapshot()
        sequence = opened.write(items(2, begin=100, word="basalt"), deletes=["d3"])
        after = opened.index.snapshot()
        assert (before.sequence, after.sequence) == (0, sequence)
        assert found(before, "basalt") == set()
        assert found(before, "number3") == {4}
        assert found(after, "basalt") == {61, 62}
        assert found(after, "number3") == set()
        assert after.lag == 2
        assert 4 in before.nearest(before.vectors([4])[0], 1, None).slots  # type: ignore[arg-type]
        assert 4 not in after.nearest(before.vectors([4])[0], 100, None).slots  # type: ignore[arg-type]


def test_a_write_may_be_applied_again(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        chunk = IndexedChunk(61, None, "basalt", {}, random_vectors(1)[0])
        for _ in range(2):
            opened.index.apply([chunk], [4], 1)
        snapshot = opened.index.snapshot()
        assert found(snapshot, "basalt") == {61}
        assert (opened.index.stats().chunk_count, snapshot.sequence) == (60, 1)


def test_a_write_is_there_although_indexing_it_at_once_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise StorageFailed("the disk is full", path=tmp_path, errno_name="ENOSPC")

    with living(tmp_path) as opened:
        monkeypatch.setattr(absorbing, "index", refused)
        opened.write(items(30, begin=100, word="basalt"))
        assert len(found(opened.index.snapshot(), "basalt")) == 30
        assert opened.index.snapshot().lag == 30
    assert "are searched one by one until they are absorbed: the disk is full" in caplog.text


def test_rows_ahead_of_the_table_are_replayed(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        opened.write(items(1, begin=100, word="basalt"), index_too=False)
        assert opened.index.snapshot().sequence == 0
        opened.recover()
        assert found(opened.index.snapshot(), "basalt") == {61}


def test_a_write_of_another_process_is_seen_by_the_next_snapshot(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        assert opened.index.snapshot() is opened.index.snapshot() or opened.index.snapshot().sequence == 0
        program = (
            "import sys; from pathlib import Path; from tests.engines import test_lancedb as t;"
            "one = t.Living(Path(sys.argv[1]), t.recipe(), t.ENGINE); one.write(t.items(1, begin=100, word='basalt')); one.close()"
        )
        for expected in (1, 2):
            subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
            assert opened.index.snapshot().sequence == expected
        assert len(found(opened.index.snapshot(), "basalt")) == 1  # the second write put the same document again


def test_absorbing_indexes_what_was_searched_one_by_one(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        opened.write(items(5, begin=100, word="basalt"))
        before = opened.index.snapshot()
        assert before.lag == 5
        assert opened.index.absorb(opened.publishing) == 5
        after = opened.index.snapshot()
        assert (after.lag, after.sequence) == (0, before.sequence)
        assert found(after, "basalt") == found(before, "basalt") == set(range(61, 66))
        assert opened.index.absorb(opened.publishing) == 0


def test_absorbing_again_and_again_keeps_few_pieces_and_finds_everything(tmp_path: Path) -> None:
    with living(tmp_path, recipe(dimension=16, index=IndexSpec(kind="ivf_flat")), vectored(600, 16)) as opened:
        for turn in range(12):
            opened.write(vectored(3, 16, begin=1000 + 3 * turn))
            opened.index.absorb(opened.publishing, keep_seconds=0.0)
        snapshot = opened.index.snapshot()
        assert len(found(snapshot, "basalt")) == 100
        assert len(snapshot.nearest(random_vectors(1, 16)[0], 700, None)) == 636
        pieces = [one.num_segments for one in run(snapshot.version.table.list_indices())]  # type: ignore[attr-defined]
        assert max(pieces) <= 9
        ENGINE.verify(opened.recipe, tmp_path)


def vectored(count: int, dimension: int, begin: int = 0) -> list[Item]:
    vectors = random_vectors(count, dimension, seed=begin + 2)
    return [Item(f"v{begin + n}", ["basalt"], {"n": n}, vectors[n : n + 1]) for n in range(count)]


def test_a_table_that_grows_gets_its_first_vector_index_by_absorbing(tmp_path: Path) -> None:
    with living(tmp_path, recipe(dimension=16, index=IndexSpec(kind="ivf_flat")), vectored(500, 16)) as opened:
        opened.write(vectored(50, 16, begin=1000))
        assert opened.index.stats().vector_index == "flat"
        assert opened.index.snapshot().lag == 550  # the index that is due has none of them
        assert opened.index.absorb(opened.publishing) == 550
        assert opened.index.snapshot().lag == 0
        assert str(opened.index.stats().vector_index).startswith("ivf_flat")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("kind", ["flat", "ivf_flat"])
def test_scores_and_order_are_those_of_brute_force(tmp_path: Path, metric: Metric, kind: IndexKind) -> None:
    vectors = random_vectors(600, 16)
    begun = [Item(f"d{n}", ["rock"], {"n": n}, vectors[n : n + 1]) for n in range(600)]
    made_by = recipe(metric, 16, IndexSpec(kind=kind, nlist=2, nprobe=2))
    query = random_vectors(1, 16, seed=77)[0]
    with living(tmp_path, made_by, begun) as opened:
        for where, rows in ((None, range(600)), (Compare("n", "<", 30), range(30)), (Compare("n", "<", 400), range(400))):
            ranking = opened.index.snapshot().nearest(query, 10, where)
            expected = nearest(vectors[list(rows)], query, 10, metric)
            assert ranking.slots.tolist() == [row + 1 for row, _ in expected]
            np.testing.assert_allclose(ranking.scores, [score for _, score in expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq", "ivf_pq", "ivf_rq", "hnsw"])
def test_every_kind_of_index_reaches_the_recall_that_it_reports(tmp_path: Path, kind: IndexKind) -> None:
    centers = random_vectors(40, 32, seed=9)
    vectors = np.repeat(centers, 50, axis=0) + 0.5 * random_vectors(2000, 32, seed=10)
    begun = [Item(f"d{n}", ["rock"], {}, vectors[n : n + 1]) for n in range(2000)]
    with living(tmp_path, recipe("cosine", 32, IndexSpec(kind=kind)), begun) as opened:
        stats = opened.index.stats()
        assert stats.vector_index is not None
        assert stats.vector_index.startswith(kind)
        assert stats.recall is not None
        assert stats.recall >= 0.9
        hits = 0
        for query in vectors[::100] + 0.3 * random_vectors(20, 32, seed=11):
            expected = {row + 1 for row, _ in nearest(vectors, query, 10)}
            hits += len(expected & set(opened.index.snapshot().nearest(query, 10, None).slots.tolist()))
        assert hits / 200 >= 0.9


def test_chunks_without_a_vector_are_found_by_their_words_alone(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        opened.write([Item("x", ["basalt"], {}, None)])
        snapshot = opened.index.snapshot()
        assert found(snapshot, "basalt") == {61}
        assert 61 not in snapshot.nearest(random_vectors(1)[0], 100, None).slots
        assert snapshot.vectors([61, 99, 1])[:2] == [None, None]
        opened.index.absorb(opened.publishing)
        assert len(opened.index.snapshot().nearest(random_vectors(1)[0], 100, None)) == 60


@pytest.mark.parametrize("dimension", [None, DIMENSION])
def test_an_empty_generation_takes_its_first_write(tmp_path: Path, dimension: int | None) -> None:
    with living(tmp_path, recipe(dimension=dimension), []) as opened:
        empty = opened.index.snapshot()
        assert (len(empty.lexical("granite", 10, None)), len(empty.nearest(random_vectors(1)[0], 10, None))) == (0, 0)
        vectors = None if dimension is None else random_vectors(2)
        opened.write([Item("a", ["granite granite rock", "slate rock"], {"n": 1}, vectors)])
        snapshot = opened.index.snapshot()
        assert found(snapshot, "granite") == {1}
        assert snapshot.lexical("granite", 1, None).scores[0] > 0.3  # the index has counted it
        assert len(snapshot.nearest(random_vectors(1)[0], 10, None)) == (0 if dimension is None else 2)


def test_scores_are_those_of_the_formula_with_title_and_repeated_terms(tmp_path: Path) -> None:
    begun = [Item(f"d{n}", ["lava rock " * (n % 3 + 1)], {}, random_vectors(1)) for n in range(9)]
    with living(tmp_path, begun=begun) as opened:
        snapshot = opened.index.snapshot()
        once, twice = snapshot.lexical("lava", 9, None), snapshot.lexical("lava lava", 9, None)
        np.testing.assert_allclose(twice.scores, 2 * once.scores, rtol=1e-5)
        assert once.slots.tolist()[:3] == sorted(once.slots.tolist()[:3])  # equal scores by slot
        assert len(snapshot.lexical("the of", 9, None)) == 0
        assert len(snapshot.lexical("'; DROP \" (+-", 9, None)) == 0


def test_after_close_everything_raises_closed(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        snapshot = opened.index.snapshot()
        opened.index.close()
        opened.index.close()
        for use in (opened.index.snapshot, opened.index.stats, lambda: snapshot.lexical("granite", 1, None)):
            with pytest.raises(Closed):
                use()


def test_a_sealed_generation_passes_its_check_and_a_changed_byte_does_not(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        opened.write(items(3, begin=100))
        ENGINE.verify(opened.recipe, tmp_path)
        data = max((tmp_path / "lancedb").rglob("data/*"), key=lambda path: path.stat().st_size)
        content = bytearray(data.read_bytes())
        content[len(content) // 3] ^= 1
        data.write_bytes(content)
        with pytest.raises(Damaged, match="checksum"):
            ENGINE.verify(opened.recipe, tmp_path)


@pytest.mark.parametrize("harm", ["no table", "truncated data", "no versions", "truncated version"])
def test_a_damaged_table_is_refused_at_opening(tmp_path: Path, harm: str) -> None:
    with living(tmp_path) as opened:
        made_by = opened.recipe
    table = tmp_path / "lancedb" / "chunks.lance"
    chosen = {"truncated data": "data", "no versions": "_versions", "truncated version": "_versions"}
    if harm == "no table":
        table.rename(tmp_path / "elsewhere")
    for path in (table / chosen.get(harm, "none")).glob("*"):
        if harm == "no versions":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Damaged):
        ENGINE.open(made_by, tmp_path)


def test_a_missing_data_file_is_found_by_the_check(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        made_by = opened.recipe
    for path in (tmp_path / "lancedb" / "chunks.lance" / "data").glob("*"):
        path.unlink()
    with pytest.raises(Damaged):
        ENGINE.verify(made_by, tmp_path)


def test_a_file_that_was_cleaned_up_is_looked_for_once_more(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        snapshot = opened.index.snapshot()
        shown: list[str] = []

        class Gone:
            def query(self) -> object:
                shown.append("asked")
                raise RuntimeError("lance error: Not found: data/x.lance")

        replaced = type(snapshot.version)(
            **{name: getattr(snapshot.version, name) for name in snapshot.version.__struct_fields__} | {"table": Gone()}  # type: ignore[attr-defined]
        )
        snapshot.version = replaced  # type: ignore[attr-defined]
        assert found(snapshot, "number3") == {4}
        assert set(shown) == {"asked"}


@pytest.mark.parametrize("torn", [False, True])
def test_a_version_that_a_power_cut_left_is_passed_over_and_replayed(
    tmp_path: Path, torn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with living(tmp_path) as opened:
        opened.write(items(1, begin=100, word="basalt"))
        made_by = opened.recipe
        with monkeypatch.context() as cut_off:
            cut_off.setattr(settling, "settle", lambda _: None)
            opened.write(items(1, begin=200, word="slate"))
    known = (tmp_path / "lancedb" / "written").read_text()
    with (tmp_path / "lancedb" / "written").open("a") as listing:
        listing.write("0" * 64 + " 17 chunks.lance/da")
    fresh = [path for path in (tmp_path / "lancedb").rglob("*.*") if path.is_file() and path.name not in known]
    assert {path.suffix for path in fresh} >= {".lance", ".manifest"}
    for path in fresh if torn else ():
        path.write_bytes(b"")
    (tmp_path / "lancedb" / "boot").write_text("another")
    again = Living(tmp_path, made_by, ENGINE)
    assert again.index.snapshot().sequence == 1
    ENGINE.verify(made_by, tmp_path)
    again.recover()
    assert again.index.snapshot().sequence == 2
    assert found(again.index.snapshot(), "slate") == {62}
    ENGINE.verify(made_by, tmp_path)
    again.close()


def test_a_version_that_a_killed_process_left_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with living(tmp_path) as opened:
        opened.write(items(1, begin=100, word="basalt"))
        with monkeypatch.context() as killed:
            killed.setattr(settling, "settle", lambda _: None)
            opened.write(items(1, begin=200, word="slate"))
        made_by = opened.recipe
    again = Living(tmp_path, made_by, ENGINE)
    assert again.index.snapshot().sequence == 2
    again.write(items(1, begin=300, word="chalk"))
    assert found(again.index.snapshot(), "slate chalk") == {62, 63}
    ENGINE.verify(made_by, tmp_path)
    again.close()


def test_auto_scans_few_vectors_takes_partitions_for_more_and_a_graph_for_many() -> None:
    kinds = [vector_index.chosen_kind(IndexSpec(), count, 256) for count in (511, 4_000, 4_001, 40_000, 40_001)]
    assert kinds == ["flat", "flat", "ivf_flat", "ivf_flat", "hnsw"]
    assert vector_index.chosen_kind(IndexSpec(kind="ivf_pq"), 100_000, 256) == "ivf_pq"


def test_a_store_that_the_environment_does_not_name_is_unreached_and_not_damaged(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, uri="s3://bucket/rocks", local=None, signed=tmp_path)
    said = "lance error: LanceError(IO): Generic S3 error: Failed to resolve region for bucket 'bucket', /src/aws.rs:319:13"
    with pytest.raises(StorageFailed) as caught, calling(place, "read"):
        raise RuntimeError(said)
    message = str(caught.value)
    assert "s3://bucket/rocks: the object store was not reached or refused: Failed to resolve region." in message
    assert "AWS_REGION" in message
    assert "aws.rs" not in message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_is_refused_and_its_parent_goes_on(tmp_path: Path) -> None:
    with living(tmp_path) as opened:
        snapshot = opened.index.snapshot()
        (tmp_path / "other").mkdir()
        calls = (
            lambda: snapshot.lexical("number3", 5, None),
            lambda: opened.index.snapshot().nearest(random_vectors(1)[0], 5, None),
            lambda: opened.index.apply([], [3], 9),
            lambda: opened.index.absorb(opened.publishing),
            lambda: ENGINE.open(opened.recipe, tmp_path),
            lambda: ENGINE.create(opened.recipe, tmp_path / "other"),
        )
        assert found(snapshot, "number3") == {4}
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            for call in calls:
                try:
                    call()
                    os.write(writing, b"it was let do that; ")
                except EngineUnavailable as error:
                    os.write(writing, b"." if "forked" in str(error) else str(error).encode())
                except Exception as error:  # noqa: BLE001 - it is told to the parent
                    os.write(writing, repr(error).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answers:
            assert answers.read() == b"." * len(calls)
        assert os.waitpid(child, 0)[1] == 0
        opened.write(items(1, begin=100, word="basalt"))
        assert found(opened.index.snapshot(), "basalt") == {61}
        assert found(opened.index.snapshot(), "number3") == {4}
