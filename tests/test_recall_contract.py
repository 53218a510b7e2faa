"""What a collection states about recall, through the public interface: stated, kept, changed by a build, and told."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Config, Database, Document, IndexSpec, RecallGoal
from outcrop.builds.sample_queries import sample_queries
from outcrop.embedding import resolve
from outcrop.errors import EmbeddingFailed, InvalidConfig
from outcrop.generations import manifest

COUNT, DIMENSION = 1200, 16


def documents() -> list[Document]:
    vectors = np.random.default_rng(0).standard_normal((COUNT, DIMENSION))
    return [Document(f"d{n}", f"point {n}", vector=vector) for n, vector in enumerate(vectors)]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return outcrop.open(tmp_path / "kb", config=Config.test(part_bytes_max=2**30))


def test_what_a_collection_states_is_kept_until_a_build_says_otherwise(db: Database) -> None:
    with db:
        points = db.create_collection("points", embedder="none", target_recall=0.9, optimize_for="memory")
        first = points.build(documents(), promote=True)
        second = points.build(target_recall=0.8, promote=True)
        third = points.build(optimize_for="build", promote=True)
        unset = db.create_collection("others", embedder="none").build(documents())
    goals = [one.recipe.goal for one in (first, second, third, unset)]
    assert goals == [RecallGoal(0.9, "memory"), RecallGoal(0.8, "memory"), RecallGoal(0.8, "build"), RecallGoal(0.97, "latency")]


def test_the_choice_and_the_curve_stand_in_the_manifest_and_in_the_stats(db: Database) -> None:
    with db:
        points = db.create_collection("points", embedder="none", index="ivf_pq")
        built = points.build(documents(), promote=True)
        stats = points.stats()
    choice = built.index_choice
    assert choice is not None
    assert (choice.met, choice.target_recall) == (True, 0.97)
    assert choice.recall == pytest.approx(built.recall)
    assert len(choice.curve) > 0
    assert stats.index_choice == choice
    written = manifest.required(Path(built.path))
    assert written.index_choice == choice
    assert written.parts[0].facts["index"]["choice"]["curve"]


def test_an_index_below_the_target_is_built_and_said_to_be(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    with db, caplog.at_level(logging.WARNING, "outcrop"):
        points = db.create_collection("points", embedder="none", index=IndexSpec(kind="ivf_flat", nlist=30, nprobe=1))
        built = points.build(documents(), promote=True)
    assert built.index_choice is not None
    assert not built.index_choice.met
    assert built.recall is not None
    assert built.recall < 0.9
    assert f"a recall@10 of {built.recall:.3f} and not the 0.97 wanted" in caplog.text


@pytest.mark.parametrize("bad", [0, -1, 1.5, float("nan"), "high", True])
def test_a_target_that_is_no_share_is_refused(db: Database, bad: object) -> None:
    with db, pytest.raises(InvalidConfig, match="target_recall is") as caught:
        db.create_collection("points", embedder="none", target_recall=bad)  # type: ignore[arg-type]
    assert caught.value.key == "target_recall"
    assert "0.97" in str(caught.value)


def test_a_wish_for_something_else_to_be_least_is_refused(db: Database) -> None:
    with db:
        with pytest.raises(InvalidConfig, match="use 'latency', 'memory', 'build'"):
            db.create_collection("points", embedder="none", optimize_for="beauty")  # type: ignore[arg-type]
        assert db.collections() == []


def test_a_collection_and_a_generation_without_a_stated_recall_mean_the_default(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        path = Path(db.create_collection("points", embedder="none").build(documents(), promote=True).path)
    record = tmp_path / "kb" / "points" / "collection.json"
    values = json.loads(record.read_text("utf-8"))
    del values["goal"], values["sha256"]  # as the first releases wrote it
    record.write_text(json.dumps(values), "utf-8")
    older = json.loads((path / "manifest.json").read_text("utf-8"))["manifest"]
    del older["recipe"]["goal"], older["index_choice"]
    manifest.write(path, outcrop_manifest(older))
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        assert db.collection("points").build().recipe.goal == RecallGoal()
        assert len(db.collection("points").search(vector=[1.0] * DIMENSION)) == 10


def outcrop_manifest(values: object) -> manifest.Manifest:
    import msgspec

    return msgspec.convert(values, manifest.Manifest)


class Failing:
    """An embedder of queries that fails at the n-th."""

    def __init__(self, calls_max: int) -> None:
        inner = resolve("hashing:16")
        assert inner is not None
        self._inner, self._left = inner, calls_max
        self.identity, self.vector_weight = inner.identity, inner.vector_weight

    def embed_query(self, text: str) -> object:
        self._left -= 1
        if self._left < 0:
            raise EmbeddingFailed("gone", embedder="mine", status=None)
        return self._inner.embed_query(text)


@pytest.mark.parametrize(("calls_max", "made"), [(10_000, True), (120, True), (10, False)])
def test_queries_of_a_build_are_made_from_its_texts_as_far_as_the_embedder_goes(db: Database, calls_max: int, made: bool) -> None:
    with db:
        source = [Document(f"d{n}", f"slate number {n} splits into layers", title=f"slate {n}") for n in range(400)]
        built = db.create_collection("rocks", embedder="hashing:16", chunker="none").build(source)
    found = sample_queries(Path(built.path), Failing(calls_max))  # type: ignore[arg-type]
    assert (found is not None) == made
    assert found is None or found.shape == (min(calls_max, 300), 16)
    assert sample_queries(Path(built.path), None) is None
