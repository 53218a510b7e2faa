"""A collection whose generations are LanceDB tables: the public API from the first build to a second process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.engines.lancedb import LanceEngine, library, snapshot
from outcrop.errors import EngineUnavailable, InvalidConfig

pytest.importorskip("lancedb")
ANYTHING = Gate(vanished_share_max=1.0)


def config(**overrides: int) -> Config:
    return Config.lancedb_test(background=False, lock_timeout_seconds=10, **overrides)  # type: ignore[arg-type]


def rocks(count: int, word: str = "granite", begin: int = 0) -> list[Document]:
    return [
        Document(f"d{n}", f"{word} of quarry number{n}", f"Stone {n}", metadata={"n": n, "kind": word, "tags": [word, f"t{n % 3}"]})
        for n in range(begin, begin + count)
    ]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with outcrop.open(tmp_path / "kb", config=config()) as opened:
        yield opened


@pytest.fixture
def collection(db: Database) -> Collection:
    made = db.create_collection("rocks", embedder="hashing:256")
    made.build(rocks(50), promote=True)
    return made


def found(collection: Collection, query: str, **options: object) -> set[str]:
    return {hit.document_id for hit in collection.search(query, k=50, **options)}  # type: ignore[arg-type]


def test_each_mode_finds_and_filters_and_says_who_answered(db: Database, collection: Collection) -> None:
    assert str(db.running) == "LanceDB only"
    for mode in ("lexical", "vector", "hybrid"):
        hits = collection.search("quarry number7", mode=mode)
        assert hits[0].document_id == "d7"
        assert (hits.engine, hits.degraded, hits.index_lag) == ("lancedb", None, 0)
        assert found(collection, "quarry", mode=mode, where="n >= 10 AND n < 12") == {"d10", "d11"}
        assert found(collection, "quarry", mode=mode, where={"tags": "t0", "n": {"$lt": 4}}) == {"d0", "d3"}
    assert collection.search("quarry", where="nonsense = 1").warnings
    explained = collection.search("number7", explain=True)[0].explanation
    assert explained is not None
    assert {leg.leg for leg in explained.legs} == {"lexical", "vector"}
    info = collection.generations()[0]
    assert (info.recipe.engine, info.recall, info.chunk_count) == ("lancedb", 1.0, 50)


def test_writes_are_searchable_when_they_return(collection: Collection) -> None:
    collection.upsert([*rocks(2, "basalt"), *rocks(3, "basalt", begin=100)])
    assert found(collection, "basalt", mode="lexical") == {"d0", "d1", "d100", "d101", "d102"}
    assert "d0" not in found(collection, "granite", mode="lexical")
    assert collection.delete(["d100", "unknown"]).deleted == 1
    assert collection.delete(where="kind = 'basalt' AND n < 1").deleted == 1
    assert found(collection, "basalt") & {"d0", "d100"} == set()
    assert collection.update_metadata(["d5"], {"n": -5, "new.field": 2.5}).updated == 1
    assert found(collection, "quarry", where="n < 0 AND new.field > 2") == {"d5"}
    assert collection.search("quarry number5", mode="vector")[0].document_id == "d5"  # its vector went along
    assert collection.stats().chunk_count == 51
    assert collection.count("kind = 'basalt'") == 3


def test_the_first_write_makes_the_first_generation(db: Database) -> None:
    empty = db.create_collection("new", embedder="hashing:16")
    empty.upsert(rocks(3))
    assert found(empty, "quarry") == {"d0", "d1", "d2"}
    assert empty.search("number1", mode="lexical").engine == "lancedb"


def test_promotion_and_rollback_carry_what_was_written(collection: Collection) -> None:
    second = collection.build(rocks(10, "basalt", begin=1000))
    collection.upsert(rocks(1, "slate", begin=500))
    collection.promote(second, gate=ANYTHING)
    assert found(collection, "slate", mode="lexical") == {"d500"}
    assert found(collection, "granite", mode="lexical") == set()
    collection.delete(["d1000"])
    collection.upsert(rocks(1, "marble", begin=501))
    collection.rollback()
    assert len(found(collection, "granite", mode="lexical")) == 50
    assert found(collection, "marble", mode="lexical") == {"d501"}
    collection.rollback()
    assert "d1000" not in found(collection, "basalt", mode="lexical")


def test_optimize_absorbs_and_verify_finds_nothing(collection: Collection) -> None:
    collection.upsert(rocks(5, "basalt", begin=100))
    assert collection.search("basalt").index_lag == 5
    report = collection.optimize()
    assert report.absorbed == 5
    assert collection.search("basalt").index_lag == 0
    assert len(found(collection, "basalt", mode="lexical")) == 5
    assert all(one.healthy for one in collection.verify())


def test_a_lag_beyond_the_limit_is_absorbed_by_the_writer(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=config(tail_chunks_max=3)) as db:
        made = db.create_collection("rocks", embedder="hashing:16")
        made.build(rocks(30), promote=True)
        made.upsert(rocks(4, "basalt", begin=100))
        assert made.search("basalt").index_lag == 0


def test_a_reopened_collection_is_the_same_also_in_another_mode(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        made = db.create_collection("rocks", embedder="hashing:16")
        made.build(rocks(8), promote=True)
        made.upsert(rocks(1, "basalt", begin=100))
    for again in (config(), Config.default(background=False)):
        with outcrop.open(tmp_path / "kb", config=again) as db:
            assert found(db.collection("rocks"), "basalt", mode="lexical") == {"d100"}
            assert db.collection("rocks").search("basalt").engine == "lancedb"
    with outcrop.open(tmp_path / "kb", config=Config.default(background=False)) as db:
        db.collection("rocks").build(promote=True)
        assert db.collection("rocks").search("basalt").engine == "builtin"
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only()) as db:
        assert db.collection("rocks").search("basalt").engine == "builtin"
        with pytest.raises(EngineUnavailable, match="mvp_only never loads LanceDB"):
            db.collection("rocks").search("basalt", generation=1)


def test_another_process_writes_and_reads_the_same_collection(tmp_path: Path, collection: Collection) -> None:
    program = (
        "import sys, outcrop; from outcrop import Config, Document\n"
        "with outcrop.open(sys.argv[1], config=Config.lancedb_test(background=False)) as db:\n"
        "    c = db.collection('rocks')\n"
        "    assert {h.document_id for h in c.search('basalt', mode='lexical')} == {'d100'}\n"
        "    c.upsert([Document('theirs', 'schist')]); c.delete(['d0'])\n"
    )
    collection.upsert(rocks(1, "basalt", begin=100))
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "kb")], check=True)
    assert found(collection, "schist", mode="lexical") == {"theirs"}
    assert "d0" not in found(collection, "granite", mode="lexical")


def test_searches_during_writes_and_absorption_see_whole_writes(collection: Collection) -> None:
    stop, wrong = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            seen = found(collection, "pair", mode="lexical")
            if len(seen) % 2:
                wrong.append(seen)

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(6):
        collection.upsert(rocks(2, "pair", begin=1000 + 2 * turn))
        if turn % 3 == 2:
            collection.optimize()
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(found(collection, "pair", mode="lexical")) == 12


def test_a_damaged_table_is_replaced_by_the_generation_before(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        made = db.create_collection("rocks", embedder="hashing:16")
        made.build(rocks(8), promote=True)
        made.build(rocks(9), promote=True)
    broken = max((tmp_path / "kb" / "rocks" / "generations").iterdir())
    for version in (broken / "lancedb" / "chunks.lance" / "_versions").iterdir():
        version.unlink()
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        hits = db.collection("rocks").search("granite")
        assert hits.generation == 1
        assert hits.degraded


def test_given_vectors_and_an_index_that_only_lancedb_has(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((700, 32), dtype=np.float32)
    documents = [Document(f"v{n}", "stone", vector=vectors[n]) for n in range(700)]
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        made = db.create_collection("given", embedder="none")
        info = made.build(documents, index="ivf_rq", promote=True)
        assert info.vector_index is not None
        assert info.vector_index.startswith("ivf_rq")
        assert made.search(vector=vectors[7])[0].document_id == "v7"
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db, pytest.raises(InvalidConfig, match="no vector index 'ivf_rq'"):
        db.collection("given").build(documents)


@pytest.mark.slow
def test_quality_is_that_of_the_built_in_engine(tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("ir_measures")
    pytest.importorskip("wordllama")
    judged = outcrop.evaluation.load(shared_data / "cranfield")
    measured = []
    for chosen in (Config.default(background=False), config()):
        with outcrop.open(tmp_path / chosen.mode, config=chosen) as db:
            made = db.create_collection("judged", embedder="static")
            made.build(shared_data / "cranfield", promote=True)
            measured.append({one.mode: one.ndcg_at_10 for one in outcrop.evaluation.evaluate(made, judged).modes})
    builtin, lancedb = measured
    assert {mode: pytest.approx(value, abs=0.01) for mode, value in builtin.items()} == lancedb


def test_the_score_is_the_sum_that_lancedb_itself_makes_of_both_fields(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, words = np.random.default_rng(8), ["granite", "basalt", "slate", "marble", "lava"]
    made = db.create_collection("titled", embedder="none")
    info = made.build(
        (Document(f"d{n}", " ".join(rng.choice(words, 6)), " ".join(rng.choice(words, 2)) if n % 3 else None) for n in range(400)),
        promote=True,
    )
    index = LanceEngine().open(info.recipe, Path(info.path))
    taken = index.snapshot()
    query = library.lancedb().query
    terms = "granit basalt slate"
    both = [query.MatchQuery(terms, "terms"), query.MatchQuery(terms, "title_terms", boost=0.25)]

    async def summed_by_lancedb() -> dict[int, float]:
        wanted = query.BooleanQuery([(query.Occur.SHOULD, one) for one in both])
        found = await taken.version.table.query().nearest_to_text(wanted).select(["slot", "_score"]).limit(400).to_arrow()
        return dict(zip(found["slot"].to_pylist(), found["_score"].to_pylist(), strict=True))

    exact = library.run(summed_by_lancedb())
    ranking = taken.lexical("granite basalt slate", 400, None)
    assert len(exact) > 300
    assert dict(zip(ranking.slots.tolist(), ranking.scores.tolist(), strict=True)) == pytest.approx(exact)
    monkeypatch.setattr(snapshot, "_FIELD_DEPTH", 200)  # fewer than match
    assert taken.lexical("granite basalt slate", 5, None).slots.tolist() == ranking.slots[:5].tolist()
    index.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_is_refused_and_loses_and_writes_nothing(collection: Collection) -> None:
    def refused(call: Callable[[], object]) -> bool:
        try:
            call()
        except EngineUnavailable as error:
            return "spawn" in str(error)
        return False

    assert found(collection, "number7", mode="lexical") == {"d7"}
    child = os.fork()
    if child == 0:
        calls = (
            lambda: collection.search("number7"),
            lambda: collection.upsert(rocks(1, "basalt", begin=100)),
            lambda: collection.delete(["d7"]),
            lambda: collection.build(promote=True),
            collection.optimize,
        )
        os._exit(0 if all(map(refused, calls)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found(collection, "number7", mode="lexical") == {"d7"}
    assert found(collection, "basalt", mode="lexical") == set()
    collection.upsert(rocks(1, "marble", begin=101))
    assert found(collection, "marble", mode="lexical") == {"d101"}
    assert len(found(collection, "granite marble", mode="lexical")) == 50  # as many as are asked for
