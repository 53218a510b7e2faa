"""Writes into an open index: seen by every opening at its next snapshot, and by no snapshot that was there before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from outcrop.documents import Documents
from outcrop.engines.builtin import BuiltinEngine, serving
from outcrop.engines.builtin.serving import TEXT
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import GenerationIndex, IndexedChunk
from outcrop.errors import Closed, Damaged, IllegalState
from outcrop.filters import parse
from tests.engines.living import DIMENSION, Item, Living, create, recipe

RANDOM = np.random.default_rng(5)


def item(document_id: str, text: str = "granite", **metadata: object) -> Item:
    return Item(document_id, [text], metadata, RANDOM.standard_normal((1, DIMENSION), dtype=np.float32))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Living, Living]]:
    """Two openings of one generation with the documents d0 to d9 from its build."""
    create(tmp_path, recipe(), [item(f"d{n}", year=2000 + n) for n in range(10)])
    with ExitStack() as stack:
        yield (
            stack.enter_context(closing(Living(tmp_path, recipe()))),
            stack.enter_context(closing(Living(tmp_path, recipe()))),
        )


def found(living: Living, where: str | None = None) -> tuple[list[str], list[str]]:
    """The ids of what the lexical leg finds, and the vector leg."""
    snapshot = living.index.snapshot()
    tree = parse(where) if where else None
    legs = (
        snapshot.lexical("granite", 100, tree).slots.tolist(),
        snapshot.nearest(np.ones(DIMENSION, np.float32), 100, tree).slots.tolist(),
    )
    return tuple(sorted(chunk.document_id for chunk in snapshot.fetch(slots)) for slots in legs)  # type: ignore[return-value]


def test_a_write_is_seen_by_every_opening_at_its_next_snapshot(two: tuple[Living, Living]) -> None:
    here, there = two
    assert found(here) == found(there) == ([f"d{n}" for n in range(10)],) * 2
    for sequence in range(1, 5):
        assert here.write([item(f"n{sequence}")], [f"d{sequence}"]) == sequence
        expected = sorted([f"n{n}" for n in range(1, sequence + 1)] + [f"d{n}" for n in range(10) if not 1 <= n <= sequence])
        assert found(there) == found(here) == (expected, expected)
        assert (there.index.snapshot().sequence, there.index.snapshot().lag) == (sequence, sequence)
        assert there.index.stats().unindexed_count == sequence


def test_the_rows_are_asked_only_when_the_text_index_has_changed_or_some_time_has_passed(
    two: tuple[Living, Living], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two
    asked = []
    position = Documents.position
    monkeypatch.setattr(Documents, "position", lambda documents: asked.append(1) or position(documents))
    monkeypatch.setattr(serving, "_LISTED_SECONDS", 1e9)

    def asked_for(index: GenerationIndex, sequence: int) -> int:
        asked.clear()
        assert [index.snapshot().sequence for _ in range(3)] == [sequence] * 3
        return len(asked)

    there.index.snapshot()
    assert asked_for(there.index, 0) == 0
    os.utime(there.directory / TEXT / "meta.json")  # as a merge of segments does
    assert asked_for(there.index, 0) == 1
    here.write([item("new")], [])
    assert asked_for(there.index, 1) == 1
    monkeypatch.setattr(serving, "_LISTED_SECONDS", 0.0)
    assert asked_for(there.index, 1) == 3


def test_a_snapshot_stays_as_it_was(two: tuple[Living, Living]) -> None:
    here, _ = two
    before = here.index.snapshot()
    vector = np.ones(DIMENSION, np.float32)
    held = before.lexical("granite", 100, None).slots.tolist(), before.nearest(vector, 100, None).slots.tolist()
    here.write([item("new"), item("d3", "lava")], ["d1"])
    assert (before.lexical("granite", 100, None).slots.tolist(), before.nearest(vector, 100, None).slots.tolist()) == held
    assert (before.sequence, before.lag) == (0, 0)
    assert here.index.snapshot().sequence == 1


def test_nothing_written_means_the_same_snapshot(two: tuple[Living, Living]) -> None:
    here, there = two
    assert here.index.snapshot() is here.index.snapshot()
    here.write([item("new")])
    assert there.index.snapshot() is there.index.snapshot()


def test_a_filter_selects_in_the_tail_as_in_the_parts(two: tuple[Living, Living]) -> None:
    here, there = two
    for n in range(20):
        here.write([item(f"n{n:02}", year=1990 + n)])
        assert found(there, f"year = {1990 + n}")[1] == sorted({f"n{n:02}"} | ({f"d{n - 10}"} if n >= 10 else set()))
    assert found(there, "year >= 2005")[1] == [*(f"d{n}" for n in range(5, 10)), *(f"n{n}" for n in range(15, 20))]
    assert "year" in there.index.stats().fields


def test_a_chunk_without_a_vector_is_found_by_its_text_alone(two: tuple[Living, Living]) -> None:
    here, _ = two
    here.write([Item("bare", ["basalt"], {}, None)])
    snapshot = here.index.snapshot()
    (slot,) = snapshot.lexical("basalt", 10, None).slots.tolist()
    assert slot not in snapshot.nearest(np.ones(DIMENSION, np.float32), 100, None).slots
    assert snapshot.vectors([slot, 99_999]) == [None, None]
    assert snapshot.lag == 0


def test_vectors_come_from_the_parts_and_from_the_tail(two: tuple[Living, Living]) -> None:
    here, _ = two
    new = item("new")
    here.write([new])
    snapshot = here.index.snapshot()
    slots = snapshot.nearest(np.ones(DIMENSION, np.float32), 100, None).slots.tolist()
    assert len(slots) == 11
    vectors = snapshot.vectors(slots)
    assert all(vector is not None and abs(float(np.linalg.norm(vector)) - 1) < 1e-6 for vector in vectors)
    (of_new,) = (vector for slot, vector in zip(slots, vectors, strict=True) if slot == max(slots))
    assert new.vectors is not None
    np.testing.assert_allclose(of_new, new.vectors[0] / np.linalg.norm(new.vectors[0]), rtol=1e-6)


def test_rows_ahead_of_the_text_index_are_not_shown_until_it_has_them(two: tuple[Living, Living]) -> None:
    here, there = two
    before = found(there)
    here.write([item("new")], ["d0"], index_too=False)
    assert found(there) == before
    assert there.index.snapshot() is there.index.snapshot()
    assert there.index.snapshot().sequence == 0
    here.recover()
    assert there.index.snapshot().sequence == 1
    assert found(there) == (sorted(["new", *before[0][1:]]),) * 2


@pytest.mark.parametrize("dimension", [None, DIMENSION])
def test_an_empty_generation_takes_writes(tmp_path: Path, dimension: int | None) -> None:
    made_by = recipe(dimension=dimension)
    create(tmp_path, made_by)
    with closing(Living(tmp_path, made_by)) as living:
        assert living.index.stats().chunk_count == 0
        snapshot = living.index.snapshot()
        assert (len(snapshot.lexical("granite", 10, None)), len(snapshot.nearest(np.ones(6, np.float32), 10, None))) == (0, 0)
        living.write([Item("a", ["granite"], {"year": 1}, None if dimension is None else np.ones((1, dimension), np.float32))])
        assert found(living, "year = 1") == (["a"], [] if dimension is None else ["a"])
        assert found(living, "year = 2") == ([], [])
        living.write([], ["a"])
        assert found(living) == ([], [])


def test_after_close_everything_says_so(two: tuple[Living, Living]) -> None:
    here, _ = two
    snapshot = here.index.snapshot()
    here.index.close()
    here.index.close()
    vector = np.ones(DIMENSION, np.float32)
    for call in (
        here.index.snapshot,
        here.index.stats,
        lambda: here.index.apply((), (), 1),
        lambda: snapshot.lexical("granite", 1, None),
        lambda: snapshot.nearest(vector, 1, None),
        lambda: snapshot.fetch([1]),
        lambda: snapshot.vectors([1]),
        lambda: snapshot.explain("granite", [1]),
    ):
        with pytest.raises(Closed):
            call()


def test_an_index_is_sealed_once(two: tuple[Living, Living]) -> None:
    with pytest.raises(IllegalState, match="sealed already"):
        two[0].index.seal()


def test_verify_notices_a_chunk_that_ended_and_is_still_in_the_text_index(two: tuple[Living, Living], tmp_path: Path) -> None:
    here, _ = two
    here.write([item("n1")], ["d1"])
    BuiltinEngine().verify(recipe(), tmp_path)
    with closing(TextWriter.open(tmp_path / TEXT, "english")) as writer:
        writer.add([IndexedChunk(slot=2, title=None, text="granite", metadata={}, vector=None)])
        writer.commit(1)
    with pytest.raises(Damaged, match=r"holds 11 chunks; documents\.sqlite has 10"):
        BuiltinEngine().verify(recipe(), tmp_path)
