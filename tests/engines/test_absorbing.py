"""What is absorbed, merged, removed and forgotten, and when not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.builtin.absorbing import to_merge
from outcrop.engines.builtin.parts import PARTS, unlisted
from outcrop.errors import Damaged
from outcrop.filters import parse
from tests.engines.living import DIMENSION, Item, Living, create, recipe

RANDOM = np.random.default_rng(8)


def items(*numbers: int) -> list[Item]:
    return [Item(f"d{n}", ["granite"], {"n": n}, RANDOM.standard_normal((1, DIMENSION), dtype=np.float32)) for n in numbers]


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    """A generation with the documents d0 to d9 in one part."""
    create(tmp_path, recipe(), items(*range(10)))
    with closing(Living(tmp_path, recipe())) as opened:
        yield opened


def part(rows: int, dead: int = 0) -> Any:
    return SimpleNamespace(part=SimpleNamespace(row=SimpleNamespace(row_count=rows)), dead_count=dead)


def sizes(parts: list[Any]) -> list[int]:
    return [live.part.row.row_count for live in parts]


def folders(living: Living) -> list[str]:
    return sorted(path.name for path in (living.directory / PARTS).glob("part-*"))


@pytest.mark.parametrize(
    ("rows", "merged"),
    [
        ([5, 900, 3], []),
        ([5, 900, 3, 4000], [3, 5, 900, 4000]),
        ([100_000, 4000, 4000, 4000], []),
        ([100_000, 5000, 5000, 5000, 5000], [5000] * 4),
        # What the merged part would make full is merged with it, and written once.
        ([5000, 5000, 5000, 4000, 10, 10, 10], [10, 10, 10, 4000]),
        ([20_000] * 3 + [5000] * 4, [5000] * 4 + [20_000] * 3),
        ([700_000] * 9, []),
        ([450_000] * 4, [450_000] * 2),
    ],
)
def test_four_parts_of_one_size_are_merged(rows: list[int], merged: list[int]) -> None:
    assert sizes(to_merge([part(count) for count in rows], 1_000_000)) == merged


def test_a_part_is_written_anew_when_a_third_of_it_has_ended() -> None:
    assert sizes(to_merge([part(100, 30), part(1000, 10)], 10**6)) == []
    assert sizes(to_merge([part(1000, 10), part(100, 31)], 10**6)) == [100]


def test_merging_comes_to_an_end_with_few_parts() -> None:
    held: list[int] = []
    for _ in range(200):
        held.append(4000)
        while chosen := sizes(to_merge([part(count) for count in held], 400_000)):
            for count in chosen:
                held.remove(count)
            held.append(sum(chosen))
    assert sum(held) == 200 * 4000
    assert len(held) < 12


def test_absorbed_chunks_are_found_as_before_and_filtered_too(living: Living) -> None:
    living.write(items(*range(100, 130)))
    before = living.index.snapshot()
    query = np.ones(DIMENSION, np.float32)
    assert living.index.absorb(living.publishing) == 30
    after = living.index.snapshot()
    assert (before.lag, after.lag, after.sequence) == (30, 0, 1)
    assert living.documents.tail_count() == 0
    for where in (None, parse("n >= 5 AND n < 115")):
        one, other = before.nearest(query, 40, where), after.nearest(query, 40, where)
        assert len(one) == (40 if where is None else 20)
        np.testing.assert_array_equal(one.slots, other.slots)
        np.testing.assert_array_equal(one.scores, other.scores)
    assert living.index.stats().fields == ("n",)
    BuiltinEngine().verify(recipe(), living.directory)


def test_nothing_to_absorb_changes_nothing(living: Living) -> None:
    before = folders(living)
    assert living.index.absorb(living.publishing) == 0
    assert folders(living) == before


def test_a_part_of_which_everything_ended_goes(living: Living) -> None:
    living.write([], [f"d{n}" for n in range(10)])
    living.index.absorb(living.publishing)
    assert folders(living) == []
    assert len(living.index.snapshot().nearest(np.ones(DIMENSION, np.float32), 10, None)) == 0
    living.write(items(50))
    assert len(living.index.snapshot().nearest(np.ones(DIMENSION, np.float32), 10, None)) == 1


def test_a_part_gets_no_more_rows_than_it_may_have(tmp_path: Path) -> None:
    create(tmp_path, recipe())
    with closing(Living(tmp_path, recipe())) as living:
        small = BuiltinEngine(part_bytes_max=7 * 4 * DIMENSION).open(recipe(), tmp_path)
        living.write(items(*range(20)))
        assert small.absorb(living.publishing) == 20
        assert sorted(row.row_count for row in living.documents.parts()) == [6, 7, 7]
        small.close()


def test_what_a_crash_left_is_removed_and_what_is_listed_stays(living: Living) -> None:
    left = living.directory / PARTS / "part-0123456789abcdef"
    (left / "columns").mkdir(parents=True)
    (left / "vectors.f32").write_bytes(b"half")
    living.write(items(20))
    living.index.absorb(living.publishing)
    assert not left.exists()
    assert len(folders(living)) == 2
    assert unlisted(living.directory, living.documents.parts()) == []


def test_only_one_absorbs_at_a_time(living: Living) -> None:
    living.write(items(20))
    inside, go_on = threading.Event(), threading.Event()

    class Waiting:
        def __enter__(self) -> None:
            inside.set()
            go_on.wait()

        def __exit__(self, *_: object) -> None: ...

    first = threading.Thread(target=living.index.absorb, args=(Waiting,))
    first.start()
    inside.wait()
    with closing(Living(living.directory, recipe())) as other:
        assert other.index.absorb(other.publishing) == 0
        go_on.set()
        first.join()
        assert other.index.snapshot().lag == 0


def test_a_failed_absorption_leaves_the_tail_and_no_folder(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    living.write(items(20))
    before = folders(living)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("outcrop.engines.builtin.vectors.VectorPartWriter.seal", fail)
    with pytest.raises(MemoryError):
        living.index.absorb(living.publishing)
    monkeypatch.undo()
    assert (folders(living), living.index.snapshot().lag) == (before, 1)
    assert living.index.absorb(living.publishing) == 1


def test_ended_chunks_are_forgotten_when_their_time_has_come_and_no_hold_forbids(living: Living) -> None:
    living.write(items(20, 21))
    living.write([], ["d20"])
    living.write([], ["d21"])
    for kept in ({"keep_seconds": 300.0}, {"keep_seconds": -1.0, "floor": 1}):
        living.index.absorb(living.publishing, **kept)
        assert len(living.documents.fetch([11, 12])) == 2
    living.index.absorb(living.publishing, keep_seconds=-1.0, floor=2)
    assert [chunk.slot for chunk in living.documents.fetch([11, 12])] == [12]
    assert living.documents.head().purged == 2


def test_ended_chunks_that_a_part_has_are_remembered(living: Living) -> None:
    living.write([], ["d3"])
    living.index.absorb(living.publishing, keep_seconds=-1.0)
    assert len(living.documents.fetch([4])) == 1
    with closing(Living(living.directory, recipe())) as reopened:
        assert 4 not in reopened.index.snapshot().nearest(np.ones(DIMENSION, np.float32), 99, None).slots


def test_an_opening_that_slept_through_a_purge_shows_nothing_that_ended(living: Living) -> None:
    living.write(items(20, 21))
    with closing(Living(living.directory, recipe())) as sleeping:
        assert sleeping.index.snapshot().lag == 2
        living.write([], ["d20", "d3"])
        living.index.absorb(living.publishing, keep_seconds=-1.0)
        found = sleeping.index.snapshot().nearest(np.ones(DIMENSION, np.float32), 99, None).slots.tolist()
        assert sorted(found) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 12]


def test_a_generation_without_vectors_is_tidied_too(tmp_path: Path) -> None:
    made_by = recipe(dimension=None)
    create(tmp_path, made_by, [Item(f"d{n}", ["granite"], {"n": n}, None) for n in range(10)])
    with closing(Living(tmp_path, made_by)) as living:
        living.write([], [f"d{n}" for n in range(5)])
        assert living.index.absorb(living.publishing, keep_seconds=-1.0) == 0
        assert [row.row_count for row in living.documents.parts()] == [5]
        living.index.absorb(living.publishing, keep_seconds=-1.0)
        assert living.documents.fetch([1]) == []
        assert len(living.index.snapshot().lexical("granite", 99, None)) == 5


def test_a_missing_part_that_is_listed_is_damage(living: Living) -> None:
    (living.directory / PARTS / folders(living)[0] / "vectors.f32").unlink()
    with pytest.raises(Damaged, match=r"vectors\.f32"):
        BuiltinEngine().open(recipe(), living.directory)


def test_verify_goes_on_beside_writes_and_absorptions(living: Living) -> None:
    done = threading.Event()
    failed: list[Exception] = []

    def verify() -> None:
        try:
            while not done.is_set():
                BuiltinEngine().verify(recipe(), living.directory)
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failed.append(error)

    thread = threading.Thread(target=verify)
    thread.start()
    for number in range(20, 45):
        living.write(items(number), [f"d{number - 20}"])
        if number % 2:
            living.index.absorb(living.publishing, keep_seconds=-1.0)
    done.set()
    thread.join()
    assert failed == []
