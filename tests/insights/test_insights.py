"""What the log tells, counted once and in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import outcrop
from outcrop import Config
from outcrop.errors import InvalidInput
from outcrop.insights.counting import Counted, Spread
from outcrop.insights.line import Line
from outcrop.insights.tally import Tally, steps_of
from tests.insights.logged import opened, rocks


def line(**about: object) -> Line:
    usual = {"at": 0.0, "mode": "lexical", "total_ms": 1.0, "hits": 1, "generation": 1, "sequence": 1, "engine": "builtin"}
    return Line(**{**usual, **about})  # type: ignore[arg-type]


def test_insights_tell_what_was_searched_for(tmp_path: Path) -> None:
    with opened(tmp_path, query_cache_seconds=60.0) as db:
        collection = rocks(db)
        for query in ("slate", "granite", "slate", "slate"):
            collection.search(query)
        collection.search("slate", where="lang = 'fr'")
        collection.search("basalt", mode="lexical")
        collection.search(vector=[1.0] * 64)
        found = collection.insights()

    assert (found.searches, found.estimated, found.cached, found.zero_results, found.vector_only) == (7, 7, 2, 2, 1)
    first = found.frequent[0]
    assert (first.query, first.where, first.searches, first.cached) == ("slate", None, 3, 2)
    assert {(one.query, one.where) for one in found.nothing_found} == {("basalt", None), ("slate", "lang = text")}
    assert {one.mode: one.times.searches for one in found.modes} == {"lexical": 1, "vector": 1, "hybrid": 3}
    assert {one.step for one in found.steps} == {"embed", "lexical", "vector", "fuse", "fetch", "waiting"}
    assert len(found.slowest) == 5
    assert found.slowest[0].total_ms == max(one.total_ms for one in found.slowest)
    (by_lang,) = found.filters
    assert (by_lang.where, by_lang.searches, by_lang.zero_results, by_lang.selected) == ("lang = text", 1, 1, 0)
    assert (found.logging, found.skipped_lines, found.undercounted, found.advice) == (None, 0, 0, ())
    assert found.since is not None
    assert found.log_bytes > 0


def test_a_leg_that_found_none_of_the_hits_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.search("basalt lava")
        collection.search("slate splits")
        found = {one.leg: one for one in collection.insights().silences}

    assert found["lexical"].silent == 1
    assert [one.query for one in found["lexical"].queries] == ["basalt lava"]
    assert found["vector"].searches == 2


def test_without_a_log_insights_say_why(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        found = rocks(db).insights()
        assert (found.searches, found.logging, found.since) == (0, "query_log_share is 0", None)
    with outcrop.open(tmp_path / "kb", config=Config.test(), read_only=True) as db:
        assert db.collection("rocks").insights().logging == "the database is open read-only"


@pytest.mark.parametrize("days", [0, -1, float("nan"), "7", True, 1e9])
def test_days_that_are_none_are_refused(tmp_path: Path, days: object) -> None:
    with opened(tmp_path) as db, pytest.raises(InvalidInput, match="days"):
        rocks(db).insights(days)  # type: ignore[arg-type]


def test_only_the_days_asked_for_are_looked_at(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.search("slate")
        collection._open.queries.flush()
        assert collection.insights(days=1e-9).searches == 0
        assert collection.insights(days=1).searches == 1


def test_a_share_of_the_searches_stands_for_all() -> None:
    tally = Tally(300.0)
    tally.add_all(line(share=0.1, query=f"q{n}") for n in range(7))
    tally.add_all(line(query="q") for _ in range(3))

    assert (tally.searches, round(tally.estimated)) == (10, 73)


def test_a_page_behind_the_last_hit_is_no_search_that_found_nothing() -> None:
    tally = Tally(300.0)
    tally.add(line(query="slate", hits=0, offset=10))
    tally.add(line(query="slate", hits=0))

    assert tally.counts["zero_results"] == 1


@pytest.mark.parametrize(
    ("took", "waited"),
    [
        ({"total_ms": 10.0, "lexical_ms": 3.0, "vector_ms": 4.0, "fetch_ms": 1.0}, 2.0),  # one leg after the other
        ({"total_ms": 6.0, "lexical_ms": 3.0, "vector_ms": 4.0, "fetch_ms": 1.0}, 1.0),  # both at once
        ({"total_ms": 4.9, "lexical_ms": 3.0, "vector_ms": 4.0, "fetch_ms": 1.0}, 0.0),  # clocks are not exact
        ({"total_ms": 0.1, "cached": True}, None),
    ],
)
def test_what_no_step_accounts_for_was_spent_waiting(took: dict[str, float], waited: float | None) -> None:
    assert steps_of(line(**took))[-1] == pytest.approx(waited)


@given(st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=300), st.sampled_from([50, 95, 99]))
def test_percentiles_are_right_within_two_percent(numbers: list[float], percent: int) -> None:
    spread = Spread()
    for number in numbers:
        spread.add(number)

    exact = sorted(numbers)[math.ceil(len(numbers) * percent / 100) - 1]
    assert exact * 0.98 <= spread.percentile(percent) <= exact * 1.02


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=600), st.integers(min_value=4, max_value=40))
def test_counts_are_bounded_and_too_low_by_no_more_than_is_said(asked: list[int], size_max: int) -> None:
    counted = Counted(size_max)
    exact: Counter[str] = Counter()
    for number in asked:
        query = f"q{min(number, 20 + number % 7)}"
        counted.of(line(query=query)).searches += 1
        exact[query] += 1

    kept = {query: one.searches for query, _, one in counted.top("searches", 10**6)}
    assert len(kept) <= size_max
    for query, count in exact.items():
        assert count - counted.undercounted <= kept.get(query, 0) <= count


def test_memory_does_not_grow_with_the_log() -> None:
    tally = Tally(300.0)
    for n in range(60_000):
        tally.add(line(query=f"query {n}", total_ms=1 + n % 1000, where=f"f{n} = text", fields=(f"f{n}",)))
        tally.add(line(query="often"))

    assert len(tally.queries.top("searches", 10**6)) <= 20_000
    assert len(tally.shapes) <= 501
    assert len(tally.slowest()) == 20
    often = tally.queries.top("searches", 1)[0]
    assert (often[0], often[2].searches) == ("often", 60_000)
    assert 1 <= tally.queries.undercounted <= 3
