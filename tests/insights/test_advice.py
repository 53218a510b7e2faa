"""Each rule speaks where the numbers carry it, and not where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop import Config
from outcrop.insights.advice import RULES, advice
from outcrop.insights.facts import Facts
from outcrop.insights.line import Line
from outcrop.insights.tally import Tally

USUAL: dict[str, Any] = {
    "mode": "hybrid",
    "total_ms": 4.0,
    "embed_ms": 0.5,
    "lexical_ms": 1.0,
    "vector_ms": 1.5,
    "fuse_ms": 0.2,
    "fetch_ms": 0.5,
    "hits": 10,
    "lexical_candidates": 100,
    "vector_candidates": 100,
    "lexical_hits": 3,
    "vector_hits": 4,
    "both_hits": 3,
    "generation": 1,
    "sequence": 1,
    "engine": "builtin",
}
FACTS: dict[str, Any] = {"collection": "papers", "fields": ("lang", "year"), "embedder": "static", "has_vectors": True}


def lines(count: int, begin: int = 0, **about: Any) -> list[Line]:
    """So many searches, each for something else, a second apart."""
    return [Line(**{**USUAL, "at": 1000.0 + begin + n, "query": f"query {begin + n}", **about}) for n in range(count)]


def rules(searches: list[Line], seconds: float = 300.0, **facts: Any) -> dict[str, str]:
    """The rules that speak, and what they say."""
    config = Config.test(query_cache_seconds=seconds)
    tally = Tally(config.query_cache_seconds)
    tally.add_all(searches)
    return {one.rule: f"{one.finding} {one.change}" for one in advice(tally, Facts(config=config, **{**FACTS, **facts}))}


LEXICAL = {"mode": "lexical", "vector_candidates": None, "vector_ms": None, "embed_ms": None, "vector_hits": 0, "both_hits": 0}
NOTHING = {"hits": 0, "lexical_candidates": 0, "vector_candidates": 0, "lexical_hits": 0, "vector_hits": 0, "both_hits": 0}
BY_LANG = {"where": "lang = text", "fields": ("lang",)}
BY_WORDS = {"lexical_candidates": 0, "lexical_hits": 0, "vector_hits": 10, "both_hits": 0}

#: rule -> searches for which it speaks, searches almost like them for which it does not, a part of what it says, and facts.
CASES: dict[str, tuple[list[Line], list[Line], str, dict[str, Any]]] = {
    "degraded": (lines(98) + lines(2, degraded="failing"), lines(999) + lines(1, degraded="failing"), "2.0% of searches (2)", {}),
    "behind": (
        lines(900) + lines(100, degraded="behind"),
        lines(901) + lines(99, degraded="behind"),
        "lacked the newest writes",
        {},
    ),
    "unknown-field": (
        lines(10, where="langue = text", fields=("langue",)),
        lines(9, where="langue = text", fields=("langue",)) + lines(50, **BY_LANG),
        "Name 'lang' in the filter",
        {},
    ),
    "zero-results-by-filter": (
        lines(100) + lines(40, **BY_LANG, **NOTHING),
        lines(100) + lines(29, **BY_LANG, **NOTHING) + lines(70, **BY_LANG),
        "100% of searches filtered by lang = text",
        {},
    ),
    "nothing-without-vectors": (
        lines(80, **LEXICAL) + lines(20, **{**NOTHING, **LEXICAL}),
        lines(81, **LEXICAL) + lines(19, **{**NOTHING, **LEXICAL}),
        "20% of searches by words (20 of 100)",
        {"has_vectors": False, "embedder": None},
    ),
    "lexical-empty": (lines(80) + lines(20, **BY_WORDS), lines(81) + lines(19, **BY_WORDS), "20% of hybrid searches", {}),
    "stop-words": (
        lines(95) + lines(5, **BY_WORDS, no_term=True),
        lines(96) + lines(4, **BY_WORDS, no_term=True),
        "drops all their words as stop words",
        {},
    ),
    "unknown-words": (
        lines(90) + lines(10, no_vector=True),
        lines(91) + lines(9, no_vector=True),
        "static knows no word of 10%",
        {},
    ),
    "vector-silent": (
        lines(100, lexical_hits=9, vector_hits=0, both_hits=1),
        lines(100, lexical_hits=8, vector_hits=1, both_hits=1),
        "See whether it is worth its 2.0 ms",
        {},
    ),
    "lexical-silent": (
        lines(100, lexical_hits=0, vector_hits=9, both_hits=1),
        lines(99, lexical_hits=0, vector_hits=9, both_hits=1),
        "search with mode 'vector'",
        {},
    ),
    "cache-too-short": (
        [one for n in range(12) for one in lines(1, 1000 * n, query="again") + lines(8, 1000 * n + 1)],
        [one for n in range(12) for one in lines(1, 1000 * n, query="again", sequence=n) + lines(8, 1000 * n + 1)],
        "Raise query_cache_seconds, which is 300",
        {},
    ),
    "cache-too-small": (
        lines(88) + lines(12, 88, query="again") + lines(1, 100, query="again", cached=True),
        lines(88) + lines(12, 88, query="again", **BY_LANG),
        "a fifth is for answers",
        {},
    ),
    "slow-filter": (
        lines(50) + lines(50, **BY_LANG, total_ms=12.0),
        lines(50) + lines(49, **BY_LANG, total_ms=12.0),
        "3.0 times as long",
        {},
    ),
    "slow-embedding": (
        lines(100, total_ms=20.0, embed_ms=16.0),
        lines(100, total_ms=20.0, embed_ms=9.0),
        "takes 80% of the time",
        {},
    ),
    "waiting": (lines(100, total_ms=8.0), lines(100, total_ms=4.5), "is spent waiting", {}),
    "log-too-small": (
        [*lines(99), *lines(1, at=1000.0 + 86_400)],
        [*lines(99), *lines(1, at=1000.0 + 6.5 * 86_400)],
        "reaches back 1.0 days of the 7 days asked for. Log fewer searches (query_log_share = 0.14",
        {"log_bytes": 95_000_000},
    ),
    "large-k": (lines(100, k=100, fetch_ms=2.0), lines(100, k=49, fetch_ms=2.0), "ask for 50 hits or more", {}),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_speaks_where_the_numbers_carry_it(rule: str) -> None:
    searches, _, part, facts = CASES[rule]

    found = rules(searches, **facts)
    assert part in found[rule], found


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_silent_where_they_do_not(rule: str) -> None:
    _, searches, _, facts = CASES[rule]

    assert rule not in rules(searches, **facts)


def test_every_rule_has_its_cases() -> None:
    assert len(RULES) <= len(CASES)
    assert {one.__name__ for one in RULES} == {
        name.replace("behind", "degraded").replace("vector-silent", "silent-leg").replace("lexical-silent", "silent-leg")
        .replace("cache-too-short", "repeats").replace("cache-too-small", "repeats").replace("large-k", "large-pages")
        .replace("-", "_")
        for name in CASES
    }  # fmt: skip


def test_a_log_that_is_not_full_is_not_too_small() -> None:
    assert "log-too-small" not in rules(lines(200), log_bytes=80_000_000)


def test_of_searches_as_they_should_be_nothing_is_said() -> None:
    assert rules(lines(500)) == {}


def test_a_slow_filter_is_told_what_makes_it_slow() -> None:
    slow = lines(50) + lines(50, **BY_LANG, total_ms=12.0)

    assert "has none for lang" in rules(slow, slow_fields=("lang",))["slow-filter"]
    negated = lines(50) + lines(50, **BY_LANG, negated=True, total_ms=12.0)
    assert "store a field that says what must be" in rules(negated)["slow-filter"]
    assert "has none for" not in rules(negated)["slow-filter"]


def test_repeats_with_a_filter_are_not_held_against_the_cache() -> None:
    assert rules(lines(200, query="again", **BY_LANG)) == {}
    assert "cache-too-small" in rules(lines(200, query="again"))
    assert rules(lines(200, query="again", batch=True)) == {}
