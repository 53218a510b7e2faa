"""Random writes, absorptions, purges and reopenings of one generation, compared with brute force after every step."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from outcrop.engines.builtin import BuiltinSnapshot
from outcrop.engines.builtin.absorbing import to_merge
from outcrop.filters import Filter, matches
from outcrop.index_values import IndexSpec
from outcrop.model import Metric
from outcrop.testing import nearest, samples
from tests.engines.living import DIMENSION, WORDS, Item, Living, create, recipe

IDS = st.sampled_from([f"d{n}" for n in range(8)])
SEEDS = st.integers(0, 2**32)
Model = dict[str, Item]


def drawn(document_id: str, rng: random.Random) -> Item:
    """A document with one or two chunks; vectors are whole numbers, so that sums are exact and ties happen."""
    texts = [" ".join(rng.choices(WORDS, k=3)) for _ in range(rng.randint(1, 2))]
    vectors = np.array([[rng.randint(-3, 3) for _ in range(DIMENSION)] for _ in texts], np.float32)
    return Item(document_id, texts, samples.metadata(rng), vectors if rng.random() < 0.9 else None)


class Machine(RuleBasedStateMachine):
    """Two openings stand for two processes; each write is done by one of them and looked at by both."""

    metric: Metric = "cosine"

    @initialize(seed=SEEDS, count=st.integers(0, 8))
    def begin(self, seed: int, count: int) -> None:
        rng = random.Random(seed)
        self.recipe = recipe(self.metric)
        self.directory = Path(tempfile.mkdtemp(prefix="outcrop-living-"))
        items = [drawn(f"d{n}", rng) for n in range(count)]
        create(self.directory, self.recipe, items)
        self.model: Model = {item.id: item for item in items}
        self.openings = [Living(self.directory, self.recipe) for _ in range(2)]
        self.kept: list[tuple[BuiltinSnapshot, Model]] = []
        self.rng = rng

    @rule(
        ids=st.lists(IDS, max_size=4, unique=True), gone=st.lists(IDS, max_size=3, unique=True), seed=SEEDS, who=st.integers(0, 1)
    )
    def write(self, ids: list[str], gone: list[str], seed: int, who: int) -> None:
        rng = random.Random(seed)
        items = [drawn(document_id, rng) for document_id in ids]
        deletes = [document_id for document_id in gone if document_id not in ids]
        self.openings[who].write(items, deletes)
        self.model = {key: item for key, item in self.model.items() if key not in deletes} | {item.id: item for item in items}

    @precondition(lambda self: self.model)
    @rule(seed=SEEDS, who=st.integers(0, 1), data=st.data())
    def patch(self, seed: int, who: int, data: st.DataObject) -> None:
        before = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        living = self.openings[who]
        (stored,) = living.documents.stored([before.id])
        copied = living.index.snapshot().vectors([chunk.slot for chunk in stored.chunks])
        vectors = None if before.vectors is None else np.stack([one for one in copied if one is not None])
        assert before.vectors is not None or copied == [None] * len(copied)
        after = Item(before.id, before.texts, samples.metadata(random.Random(seed)), vectors)
        living.write([after])
        self.model = self.model | {after.id: after}

    @rule(who=st.integers(0, 1), keep_seconds=st.sampled_from([-1.0, 300.0]))
    def absorb(self, who: int, keep_seconds: float) -> None:
        living = self.openings[who]
        lag = living.index.snapshot().lag
        assert living.index.absorb(living.publishing, keep_seconds=keep_seconds) == lag
        assert to_merge(living.index.snapshot().parts, 10**6) == []
        for one in self.openings:
            assert one.index.snapshot().lag == 0
        if keep_seconds < 0:  # then snapshots from before may miss what ended
            self.kept.clear()
            in_parts = [slot for live in living.index.snapshot().parts for slot in live.part.slots.tolist()]
            assert set(living.documents.ended(10**9)) <= set(in_parts)

    @rule(who=st.integers(0, 1))
    def reopen(self, who: int) -> None:
        self.kept.clear()
        self.openings[who].close()
        self.openings[who] = Living(self.directory, self.recipe)

    @rule(who=st.integers(0, 1))
    def cut_short(self, who: int) -> None:
        """A writer that dies between the rows and the text index: nothing changes until the next one replays it."""
        before = self.openings[who].index.snapshot().sequence
        self.openings[who].write([], sorted(self.model)[:1], index_too=False)
        assert {one.index.snapshot().sequence for one in self.openings} == {before}
        self.openings[1 - who].recover()
        self.model = {key: self.model[key] for key in sorted(self.model)[1:]}

    @rule(who=st.integers(0, 1))
    def keep(self, who: int) -> None:
        self.kept.append((self.openings[who].index.snapshot(), self.model))

    @invariant()
    def every_opening_shows_the_model(self) -> None:
        for living in self.openings:
            compare(living.index.snapshot(), self.model, self.rng, self.metric)
            assert living.index.snapshot().sequence == living.documents.sequence()

    @invariant()
    def snapshots_stay_as_they_were(self) -> None:
        for snapshot, model in self.kept[-2:]:
            compare(snapshot, model, self.rng, self.metric)

    def teardown(self) -> None:
        if hasattr(self, "openings"):
            for living in self.openings:
                living.close()
            shutil.rmtree(self.directory)


def compare(snapshot: BuiltinSnapshot, model: Model, rng: random.Random, metric: Metric) -> None:
    """Both legs, without and with a filter, against the plainest computation."""
    for where in (None, samples.condition(rng)):
        chosen = [item for item in model.values() if where is None or matches(where, item.metadata)]
        compare_texts(snapshot, chosen, rng.choice(WORDS), where)
        query = np.array([rng.randint(-3, 3) for _ in range(DIMENSION)], np.float32)
        if query.any():
            compare_vectors(snapshot, chosen, query, where, metric)


def compare_texts(snapshot: BuiltinSnapshot, chosen: Sequence[Item], word: str, where: Filter | None) -> None:
    expected = sorted((item.id, place) for item in chosen for place, text in enumerate(item.texts) if word in text)
    assert named(snapshot, snapshot.lexical(word, 1000, where).slots) == expected


def compare_vectors(
    snapshot: BuiltinSnapshot, chosen: Sequence[Item], query: NDArray[np.float32], where: Filter | None, metric: Metric
) -> None:
    owners = [(item.id, place) for item in chosen if item.vectors is not None for place in range(len(item.texts))]
    vectors = [vector for item in chosen if item.vectors is not None for vector in item.vectors]
    found = snapshot.nearest(query, 1000, where)
    assert named(snapshot, found.slots) == sorted(owners)
    if owners:
        scores = [score for _, score in nearest(np.stack(vectors), query, len(vectors), metric)]
        np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-5)
        few = snapshot.nearest(query, 3, where)
        np.testing.assert_array_equal(few.scores, found.scores[:3])


def named(snapshot: BuiltinSnapshot, slots: NDArray[np.int64]) -> list[tuple[str, int]]:
    chunks = snapshot.fetch(slots.tolist())
    assert len(chunks) == len(slots)
    return sorted((chunk.document_id, chunk.ordinal) for chunk in chunks)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_both_legs_show_what_brute_force_says_after_every_step(metric: Metric) -> None:
    machine: Any = type(f"Machine_{metric}", (Machine,), {"metric": metric})
    case = machine.TestCase
    case.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
    case().runTest()


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat"])
def test_dead_rows_of_an_index_part_are_never_returned(tmp_path: Path, kind: Any) -> None:
    rng = np.random.default_rng(3)
    made_by = recipe("l2", 8, IndexSpec(kind=kind))
    vectors = rng.standard_normal((1200, 8), dtype=np.float32)
    items = [Item(f"d{n:04}", ["granite"], {"even": n % 2 == 0}, vectors[n : n + 1]) for n in range(1200)]
    create(tmp_path, made_by, items)
    living = Living(tmp_path, made_by)
    alive = np.ones(1200, np.bool_)
    # Half of what lies around one point goes, so that a search there meets more dead rows than living ones.
    closest = np.argsort(np.linalg.norm(vectors - vectors[0], axis=1))[:120]
    for number in range(0, 120, 30):
        gone = closest[number : number + 30]
        living.write([], [f"d{n:04}" for n in gone])
        alive[gone] = False
        found = living.index.snapshot().nearest(vectors[0], 20, None)
        names = [chunk.document_id for chunk in living.index.snapshot().fetch(found.slots.tolist())]
        assert len(names) == 20
        assert not {f"d{n:04}" for n in np.flatnonzero(~alive)} & set(names)
    living.close()
