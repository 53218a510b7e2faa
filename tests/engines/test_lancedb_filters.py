"""Filters as conditions on a table's columns: exactly the meaning of filters, for both legs."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from outcrop.engines.lancedb import LanceEngine, columns, predicate
from outcrop.engines.protocol import IndexSnapshot
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Or, matches
from outcrop.testing import samples
from tests.engines.living import DIMENSION, Item, Living, create, recipe

pytest.importorskip("lancedb")
ENGINE = LanceEngine()
_QUERY = np.ones(DIMENSION, np.float32)


def opened_with(directory: Path, built: list[dict[str, object]], written: list[dict[str, object]]) -> Living:
    vectors = np.random.default_rng(1).standard_normal((len(built) + len(written), DIMENSION), dtype=np.float32)
    items = [Item(f"d{n}", ["granite"], metadata, vectors[n : n + 1]) for n, metadata in enumerate([*built, *written])]
    create(directory, recipe(), items[: len(built)], ENGINE)
    living = Living(directory, recipe(), ENGINE)
    living.write(items[len(built) :])
    return living


def selected(snapshot: IndexSnapshot, where: Filter) -> list[int]:
    """The slots that both legs find."""
    by_words = sorted(snapshot.lexical("granite", 1000, where).slots.tolist())
    assert sorted(snapshot.nearest(_QUERY, 1000, where).slots.tolist()) == by_words
    return by_words


def expected(rows: list[dict[str, object]], where: Filter) -> list[int]:
    return [slot for slot, metadata in enumerate(rows, 1) if matches(where, metadata)]


@pytest.mark.parametrize(("seed", "keys_max"), [(3, 1000), (4, 200), (5, 12)])
def test_random_filters_select_what_they_mean(tmp_path: Path, seed: int, keys_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "KEYS_MAX", keys_max)
    rng = random.Random(seed)
    rows = [samples.metadata(rng) for _ in range(60)]
    living = opened_with(tmp_path, rows[:40], rows[40:])
    snapshot, telling, inexact = living.index.snapshot(), 0, 0
    for where in [samples.condition(rng) for _ in range(120)]:
        found = selected(snapshot, where)
        assert found == expected(rows, where), where
        telling += 0 < len(found) < len(rows)
        inexact += not predicate.compile_filter(where, snapshot.version.names).exact  # type: ignore[attr-defined]
    assert telling > 25
    assert (inexact > 5) == (keys_max == 12)
    living.close()


def test_of_a_filter_that_cannot_be_pushed_down_k_are_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "KEYS_MAX", 1)
    rows: list[dict[str, object]] = [{"a": 1, "year": n} for n in range(300)]
    living = opened_with(tmp_path, rows[:200], rows[200:])
    snapshot = living.index.snapshot()
    assert selected(snapshot, Compare("year", ">", 295)) == [297, 298, 299, 300]
    assert len(snapshot.nearest(_QUERY, 3, Compare("year", ">", 295))) == 3
    assert selected(snapshot, Compare("year", "=", 7)) == [8]
    assert "year" in living.index.stats().fields
    living.close()


def test_filters_as_deep_and_as_long_as_they_may_be(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"year": n, "tags": [str(n), str(n + 1), "x"]} for n in range(30)]
    living = opened_with(tmp_path, rows[:20], rows[20:])
    snapshot = living.index.snapshot()
    deep: Filter = Compare("year", "=", 3)
    for level in range(32):
        deep = Or((deep, Compare("year", "=", 1000 + level))) if level % 2 else And((deep, Compare("year", ">=", 0)))
    wide: Filter = Compare("tags", "=", "3")
    for level in range(16):
        padding = tuple(Compare("tags", "=" if level % 2 else "!=", f"p{level}-{n}") for n in range(60))
        wide = Or((wide, *padding)) if level % 2 else And((wide, *padding))
    for where in (
        deep,
        Not(deep),
        wide,
        In("year", tuple(range(5, 9_999))),
        Or(tuple(Compare("year", "=", n) for n in range(20, 2_000))),
        Not(In("tags", tuple(map(str, range(10, 9_999))))),
        And(()),
        Not(Or(())),
        Exists("tags"),
    ):
        assert selected(snapshot, where) == expected(rows, where)
    living.close()


def test_hostile_texts_are_values_and_nothing_else(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"a' OR 1=1 --": "x' OR 'a'='a"}, {"b": "\x00'\"\\"}, {}]
    living = opened_with(tmp_path, rows[:2], rows[2:])
    snapshot = living.index.snapshot()
    assert selected(snapshot, Compare("a' OR 1=1 --", "=", "x' OR 'a'='a")) == [1]
    assert selected(snapshot, Compare("b", "=", "\x00'\"\\")) == [2]
    assert selected(snapshot, Compare("a' OR 1=1 --", "=", "x")) == []
    living.close()
