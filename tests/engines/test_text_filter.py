"""Filters as Tantivy queries: exactly the meaning of filters, also across segments, and without a trace in the scores."""

from __future__ import annotations

import random
from typing import Any

import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st
from tantivy import Occur, Query

from outcrop.engines.builtin.text_filter import CompiledFilters, add_filter_fields, compile_filter, filter_values
from outcrop.filters import And, Compare, Exists, Filter, In, Or, matches, parse
from outcrop.testing import samples

FILTERS_EACH = 30


class Indexed:
    """Metadata in an index in memory, in segments of 15 documents."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("row", fast=True)
        builder.add_text_field("text")
        add_filter_fields(builder)
        self.schema = builder.build()
        self.row_count = len(rows)
        index = tantivy.Index(self.schema)
        writer = index.writer(15_000_000, 1)
        for row, metadata in enumerate(rows):
            fields = {"row": row, "text": "rock " * (row % 7 + 1)} | filter_values(metadata)
            writer.add_document(tantivy.Document.from_dict(fields, self.schema))
            if row % 15 == 14:
                writer.commit()
        writer.commit()
        index.reload()
        self.searcher = index.searcher()

    def rows(self, query: Query) -> list[int]:
        hits = self.searcher.search(query, self.row_count + 1).hits
        return sorted(int(row or 0) for row in self.searcher.fast_field_values("row", [address for _, address in hits]))

    def scores(self, query: Query) -> dict[int, float]:
        hits = self.searcher.search(query, self.row_count + 1).hits
        rows = self.searcher.fast_field_values("row", [address for _, address in hits])
        return {int(row or 0): score for row, (score, _) in zip(rows, hits, strict=True)}

    def selected(self, where: str | Filter) -> list[int]:
        tree = parse(where)
        assert tree is not None
        return self.rows(compile_filter(tree, self.schema))


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_compiled_filter_selects_what_the_filter_means(rng: random.Random) -> None:
    rows = [samples.metadata(rng) for _ in range(rng.randrange(40))]
    indexed = Indexed(rows)
    for where in [samples.condition(rng) for _ in range(FILTERS_EACH)]:
        assert indexed.rows(compile_filter(where, indexed.schema)) == [
            row for row, metadata in enumerate(rows) if matches(where, metadata)
        ]


def test_random_filters_hit_and_miss_often_enough_to_mean_something() -> None:
    rng = random.Random(11)
    rows = [samples.metadata(rng) for _ in range(200)]
    indexed = Indexed(rows)
    telling = 0
    for where in [samples.condition(rng) for _ in range(300)]:
        found = indexed.rows(compile_filter(where, indexed.schema))
        assert found == [row for row, metadata in enumerate(rows) if matches(where, metadata)]
        telling += 0 < len(found) < len(rows)
    assert telling > 150


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_a_compiled_filter_is_exact_at_every_selectivity(share: float) -> None:
    numbers = list(range(1000))
    random.Random(5).shuffle(numbers)
    indexed = Indexed([{"n": n, "half": n / 2, "id": f"{n:04d}", "odd": n % 2 == 1} for n in numbers])
    limit = int(share * len(numbers))
    below = [row for row, n in enumerate(numbers) if n < limit]
    for where in (f"n < {limit}", f"half < {limit / 2}", f"id < '{limit:04d}'", f"n IN ({','.join(str(n) for n in range(limit))})"):
        assert indexed.selected(where) == below
        assert indexed.selected(f"{where} AND NOT odd") == [row for row in below if numbers[row] % 2 == 0]
    assert indexed.selected("n < 0") == []


def test_a_field_name_with_signs_of_the_query_language_is_only_a_name() -> None:
    names = ["a b", "a:b", "a.b", "*", '"', "(", "\\", "ünï", "a\tb", "\x00", "_", "+x", "..", "true"]
    indexed = Indexed([{name: 1} for name in names])
    for row, name in enumerate(names):
        assert indexed.selected({name: 1}) == [row]  # type: ignore[arg-type]
        assert indexed.selected({name: {"$gt": 0}}) == [row]  # type: ignore[arg-type]
        assert indexed.selected(Exists(name)) == [row]


def test_text_with_signs_of_the_query_language_is_only_text() -> None:
    texts = ["* TO *", "]", "x} OR {", '"', "\\", "2015", "true", "", " ", "\x00", "a" * 30_000, "a" * 30_001, "a" * 90_000]
    indexed = Indexed([{"s": text} for text in texts])
    for row, text in enumerate(texts[:-2]):
        assert indexed.selected({"s": text}) == [row]  # type: ignore[arg-type]
        expected = [other for other, found in enumerate(texts) if found > text]
        assert indexed.selected({"s": {"$gt": text}}) == expected  # type: ignore[arg-type]


def test_a_name_too_long_for_a_filter_still_makes_its_object_exist() -> None:
    indexed = Indexed([{"a": {"k" * 2000: 1}}, {"b": {"k" * 900: 1}}, {"k" * 70_000: "x"}, {}])
    assert indexed.selected("a IS NOT NULL") == [0]
    assert indexed.selected({"b." + "k" * 900: {"$gte": 1}}) == [1]  # type: ignore[arg-type]
    assert indexed.selected("a IS NULL") == [1, 2, 3]


def test_empty_conjunctions_and_lists_mean_what_logic_says() -> None:
    indexed = Indexed([{"a": 1}, {}])
    assert indexed.selected(And(())) == [0, 1]
    assert indexed.selected(Or(())) == []
    assert indexed.selected(In("a", ())) == []
    assert indexed.selected("a NOT IN ()") == [0, 1]
    assert indexed.selected("a IN (1, 'x', TRUE)") == [0]


def test_a_filter_leaves_bm25_scores_as_they_are() -> None:
    indexed = Indexed([{"n": row, "lang": "en" if row % 3 else "de"} for row in range(60)])
    words = Query.term_query(indexed.schema, "text", "rock")
    before = indexed.scores(words)
    for where in ("n >= 30", "lang = 'en'", "NOT lang = 'en'", "n != 4 OR lang IN ('de')", "lang IS NOT NULL"):
        tree = parse(where)
        assert tree is not None
        silent = Query.const_score_query(compile_filter(tree, indexed.schema), 0.0)
        after = indexed.scores(Query.boolean_query([(Occur.Must, words), (Occur.Must, silent)]))
        assert after
        assert after == {row: before[row] for row in after}
        assert sorted(after) == indexed.selected(where)


def test_filters_that_are_equal_to_python_and_mean_something_else_are_told_apart() -> None:
    indexed = Indexed([{"x": 1}, {"x": True}, {"x": 1.0}])
    compiled = CompiledFilters(indexed.schema)
    for _ in range(2):
        assert [indexed.rows(compiled.query(Compare("x", "=", value))) for value in (1, True, 1.0)] == [[0, 2], [1], [0, 2]]
    assert compiled.query(Compare("x", "=", 1)) is compiled.query(Compare("x", "=", 1))


def test_only_so_many_compiled_filters_are_kept() -> None:
    compiled = CompiledFilters(Indexed([{"x": 1}]).schema)
    for number in range(1_000):
        compiled.query(Compare("x", "=", number))
    long = In("x", tuple(range(2_000)))
    assert compiled.query(long) is not compiled.query(long)
    assert len(compiled._known) <= 256
