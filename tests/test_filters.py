"""The meaning of filters, their two spellings, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.errors import InvalidFilter, InvalidQuery
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Or, fields, matches, number_key, parse
from outcrop.model import Document
from outcrop.testing import oracle, samples

RANDOM = st.randoms(use_true_random=False)


def holds(where: str, **metadata: object) -> bool:
    tree = parse(where)
    assert tree is not None
    return matches(tree, metadata)


def test_a_comparison_with_a_missing_field_is_false_and_its_negation_is_true() -> None:
    for op in samples.OPERATORS:
        assert not holds(f"year {op} 2015")
        assert holds(f"NOT year {op} 2015")
    assert holds("year != 2015", year=2016)


def test_a_comparison_with_another_type_is_false_and_its_negation_is_true() -> None:
    for op in samples.OPERATORS:
        assert not holds(f"year {op} 2015", year="2015")
        assert not holds(f"year {op} '2015'", year=2015)
        assert holds(f"NOT year {op} 2015", year="2015")
    assert holds("year = '2015'", year="2015")


def test_booleans_are_not_numbers() -> None:
    assert not holds("flag = 1", flag=True)
    assert not holds("flag = TRUE", flag=1)
    assert holds("flag = TRUE", flag=True)
    assert holds("flag", flag=True)
    assert not holds("flag", flag=False)
    assert holds("NOT flag", flag=False)


def test_integers_and_floats_compare_as_numbers_exactly() -> None:
    assert holds("n = 2", n=2.0)
    assert holds("n = 2.0", n=2)
    assert holds("n > 9007199254740992", n=2**53 + 1)
    assert not holds("n > 9007199254740993", n=2.0**53)
    assert holds("n < 9007199254740993", n=2.0**53)
    assert holds("n = -9223372036854775808", n=-(2.0**63))
    assert holds("n < 1e19", n=2**63 - 1)
    assert holds("n = 0", n=-0.0)


def test_text_compares_by_code_point() -> None:
    assert holds("s > 'Z'", s="a")
    assert holds("s > '\uffff'", s="\U0001f600")
    assert not holds("s = 'é'", s="e\u0301")
    assert holds("s < 'aa'", s="a")
    assert holds("s >= ''", s="")


def test_a_nested_field_and_a_key_with_a_dot_are_the_same_field() -> None:
    assert holds("a.b = 1", a={"b": 1})
    assert matches(Compare("a.b", "=", 1), {"a.b": 1})
    assert not holds("a.b = 1", a={"b": 2}, b=1)
    assert holds('"a.b" = 1', a={"b": 1})


def test_a_list_matches_if_any_element_does() -> None:
    assert holds("tags = 'x'", tags=["y", "x"])
    assert not holds("tags = 'x'", tags=["y", "z"])
    assert holds("tags != 'x'", tags=["x", "y"])
    assert not holds("tags != 'x'", tags=["x"])
    assert holds("a.b > 1", a=[{"b": 1}, {"b": [0, 2]}])
    assert holds("NOT tags = 'x'", tags=[])


def test_null_and_empty_lists_are_missing() -> None:
    for nothing in (None, [], {}, [None], {"b": None}):
        assert holds("a IS NULL", a=nothing)
        assert not holds("a IS NOT NULL", a=nothing)
    for something in (0, "", False, [None, 1], {"b": 1}):
        assert holds("a IS NOT NULL", a=something)
        assert not holds("a IS NULL", a=something)
    assert not holds("a IS NULL", **{"a.b": 1})
    assert holds("a IS NULL", ab=1)


def test_in_and_between_are_short_for_comparisons() -> None:
    assert holds("n IN (1, 2)", n=2.0)
    assert not holds("n IN (1, 2)", n=3)
    assert holds("n NOT IN (1, 2)", n=3)
    assert holds("n NOT IN (1, 2)")
    assert not holds("n NOT IN (1, 2)", n=[2, 3])
    assert not holds("n IN ()", n=1)
    assert holds("n BETWEEN 1 AND 2", n=2)
    assert not holds("n BETWEEN 1 AND 2", n=2.5)
    assert holds("n NOT BETWEEN 1 AND 2", n=2.5)


@pytest.mark.parametrize(
    ("text", "mapping", "tree"),
    [
        ("year >= 2 AND l = 'en'", {"year": {"$gte": 2}, "l": "en"}, And((Compare("year", ">=", 2), Compare("l", "=", "en")))),
        ("YEAR BETWEEN 1 and 2", {"YEAR": {"$gte": 1, "$lte": 2}}, And((Compare("YEAR", ">=", 1), Compare("YEAR", "<=", 2)))),
        ("a = 1 OR (b = 2 or c <> 3.0)", {"$or": [{"a": 1}, {"b": 2}, {"c": {"$ne": 3}}]},
         Or((Compare("a", "=", 1), Compare("b", "=", 2), Compare("c", "!=", 3)))),
        ("not archived", {"$not": {"archived": True}}, Not(Compare("archived", "=", value=True))),
        ("NOT NOT archived", {"archived": {"$not": {"$not": {"$eq": True}}}}, Compare("archived", "=", value=True)),
        ("a IS NULL", {"a": None}, Not(Exists("a"))),
        ("a IS NOT NULL", {"a": {"$ne": None}}, Exists("a")),
        ("NOT a IS NULL", {"a": {"$exists": True}}, Exists("a")),
        ("a NOT IN ('x', -1, TRUE)", {"a": {"$nin": ["x", -1, True]}}, Not(In("a", ("x", -1, True)))),
        ("2015 <= year", {"year": {"$gte": 2015}}, Compare("year", ">=", 2015)),
        ("a.\"b c\" = 'it''s'", {"a.b c": "it's"}, Compare("a.b c", "=", "it's")),
        ("date < '2020' AND order = 1.5e-3 AND group IS FALSE", {"date": {"$lt": "2020"}, "order": 0.0015, "group": False},
         And((Compare("date", "<", "2020"), Compare("order", "=", 0.0015), Compare("group", "=", value=False)))),
        ("a = -9223372036854775808", {"a": np.int64(-(2**63))}, Compare("a", "=", -(2**63))),
        ("((a)) = (1)", {"$and": [{"a": np.float32(1)}]}, Compare("a", "=", 1)),
    ],
)  # fmt: skip
def test_both_spellings_give_the_same_tree(text: str, mapping: dict[str, object], tree: Filter) -> None:
    assert repr(parse(text)) == repr(parse(mapping)) == repr(parse(tree)) == repr(tree)  # repr, because True == 1


@settings(max_examples=300, deadline=None)
@given(RANDOM)
def test_a_spelled_filter_is_read_back_as_the_same_tree(rng: random.Random) -> None:
    tree = samples.condition(rng)
    assert repr(parse(samples.as_text(tree))) == repr(tree)
    if not any(field.startswith("$") for field in fields(tree)):
        assert repr(parse(samples.as_mapping(tree))) == repr(tree)


def test_no_filter_and_an_empty_mapping_select_everything() -> None:
    assert parse(None) is None
    assert parse({}) is None


def test_the_fields_of_a_filter_are_all_that_it_names() -> None:
    tree = parse("a.b = 1 AND NOT (c IN (1) OR d IS NULL) AND e")
    assert tree is not None
    assert fields(tree) == {"a.b", "c", "d", "e"}


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("year >= ", 5),
        ("year = lower(x)", 7),
        ("name LIKE 'b%'", 5),
        ("name NOT LIKE 'b%'", 5),
        ("a = b", 4),
        ("year + 1 = 2016", 5),
        ("year - 1 = 2016", 5),
        ("a = 1 b", 6),
        ("a = 'x' 'y'", 8),
        ("a = 1; b = 2", 5),
        ("a = 'open", 4),
        ("a = 'it''s' AND \"b", 16),
        ("a = NULL", 4),
        ("a IN (1, NULL)", 9),
        ("a IN (1, (2, 3))", 10),
        ("a IN (SELECT b FROM c)", 13),
        ("a IN b", 0),
        ("a BETWEEN 1 AND b", 16),
        ("(a = 1", 5),
        ("a = 1)", 5),
        ("a = 99999999999999999999", 4),
        ("a = 1e999", 4),
        ("a = .5", 4),
        ("a.1 = 2", 1),
        ("1 = 1", 4),
        ("TRUE", 0),
        ("'x'", 0),
        ("a = 1 -- b", 6),
        ("/* b */ a = 1", 0),
        ("`a` = 1", 0),
        ("$a = 1", 0),
        ("a[0] = 1", 1),
        ("a = 1 AND\n\tb ~ 2", 13),
        ("a = 1 = 2", 8),
        ("a IN (1) IN (2)", 0),
        ("a IS 5", 0),
        ("CASE WHEN a THEN b END", 5),
        ("a = N'x'", 4),
        ('"" = 1', 0),
        ("", 0),
        (" \n", 0),
    ],
)
def test_what_is_not_a_filter_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.text == text


def test_the_message_of_a_refusal_shows_the_place_and_what_is_allowed() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse("year >= 2015 AND\n  lower(lang) = 'en'")
    _, shown, caret, *allowed = str(caught.value).split("\n")
    assert shown.index("lower") == caret.index("^")
    assert "BETWEEN" in " ".join(allowed)


@pytest.mark.parametrize(
    "text", ["lang = en", 'lang = "en"', "en != lang AND lang = en", "lang IN ('de', en)", "a BETWEEN en AND 'fr'"]
)
def test_a_text_without_its_quotes_is_told_first_of_all_that_it_needs_them(text: str) -> None:
    with pytest.raises(InvalidFilter, match=r"position \d+: text goes in 'single quotes': '(en|lang)'"):
        parse(text)


def test_a_text_with_a_minus_and_without_its_quotes_is_told_of_both_kinds_of_quotes() -> None:
    with pytest.raises(InvalidFilter, match="text goes in 'single quotes', a name with a minus in double quotes"):
        parse("day = 2026-03-01")


def test_the_place_in_a_long_filter_is_shown_in_a_window() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(" AND ".join(["a = 1"] * 500) + " AND a ~ 1")
    _, shown, caret, *_ = str(caught.value).split("\n")
    assert shown[caret.index("^")] == "~"
    assert len(shown) < 150


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        ({"year": {"$gt": 1, "b": 2}}, "'a.b'"),
        ({"year": {}}, "operators"),
        ({"year": {"$ge": 1}}, "mean \\$gte"),
        ({"$nor": [{"a": 1}]}, "mean \\$or"),
        ({"$where": "a"}, "'\\$where'\\. Allowed here"),
        ({"lang": ["en", "de"]}, "\\$in"),
        ({"lang": {"$in": "en"}}, "list"),
        ({"$or": []}, "at least one"),
        ({"$and": [{}]}, "\\$and\\[0\\]"),
        ({"$not": None}, "mapping"),
        ({"a": {"$exists": 1}}, "True or False"),
        ({"a": float("nan")}, "finite"),
        ({"a": 2**63}, "64 bits"),
        ({"a": object()}, "object"),
        ({"a": "\ud800"}, "Unicode"),
        ({"a": "x" * 30_001}, "30000"),
        ({"": 1}, "non-empty"),
        ({1: 1}, "non-empty"),
        ({"k" * 1001: 1}, "1000"),
        (5, "int"),
        ([("a", 1)], "list"),
    ],
)
def test_a_mapping_that_is_not_a_filter_is_refused(mapping: object, complaint: str) -> None:
    with pytest.raises(InvalidFilter, match=complaint) as caught:
        parse(mapping)  # type: ignore[arg-type]
    assert caught.value.position is None


def test_nesting_is_bounded_in_every_spelling() -> None:
    assert parse("(" * 32 + "a = 1" + ")" * 32) == Compare("a", "=", 1)
    tree: Filter = Compare("a", "=", 1)
    mapping: dict[str, object] = {"a": 1}
    chain: dict[str, object] = {"$eq": 1}
    for _ in range(5000):
        tree, mapping, chain = Not(tree), {"$not": mapping}, {"$not": chain}
    deep = ["(" * 5000 + "a = 1" + ")" * 5000, "NOT " * 5000 + "a", "(" * 33 + "a = 1" + ")" * 33, tree, mapping, {"a": chain}]
    for where in deep:
        with pytest.raises(InvalidFilter, match="at most 32 levels"):
            parse(where)


def test_the_number_of_conditions_is_bounded_in_every_spelling() -> None:
    many = And(tuple(Compare("a", "=", number) for number in range(9_999)))
    assert parse(many) == many
    assert parse(" AND ".join(f"a = {number}" for number in range(9_999))) == many
    too_many: list[object] = [
        And((*many.parts, Exists("b"))),
        " OR ".join(["a = 1"] * 10_000),
        {"a": {"$in": list(range(10_001))}},
        "a IN (" + ",".join(["1"] * 10_001) + ")",
    ]
    for where in too_many:
        with pytest.raises(InvalidFilter, match="10000"):
            parse(where)  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter, match="characters"):
        parse("a = 1" + " " * 1_000_000)


def test_a_tree_cannot_hold_what_is_not_a_condition() -> None:
    with pytest.raises(InvalidFilter, match="~"):
        Compare("a", "~", 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter, match="non-empty"):
        Exists("")
    with pytest.raises(InvalidFilter, match="finite"):
        In("a", (1.0, float("inf")))
    with pytest.raises(InvalidFilter, match="must be a filter"):
        parse(And(("a = 1",)))  # type: ignore[arg-type]


@given(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)), st.sampled_from(samples.NUMBERS)
)
def test_number_keys_are_ordered_as_the_numbers(left: float, right: float) -> None:
    near = int(left) + 1 if abs(left) < 2.0**63 - 2048 else left
    for other in (right, left, near):
        assert (number_key(left) < number_key(other)) == (left < other)
        assert (number_key(left) == number_key(other)) == (left == other)


def test_the_oracle_selects_documents_in_their_order() -> None:
    documents = [Document(id=str(year), text="", metadata={"year": year}) for year in (2020, 2010, 2015)]
    assert [document.id for document in oracle.select(documents, "year >= 2015")] == ["2020", "2015"]
    assert [document.id for document in oracle.select(documents, {"year": 2010})] == ["2010"]
    assert oracle.select(documents, None) == documents
    assert oracle.select(documents, "missing = 1") == []


def test_the_oracle_ranks_by_each_metric_with_ties_by_row() -> None:
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 0.0]], np.float32)
    assert oracle.nearest(vectors, [1.0, 0.0], 2, "dot") == [(0, 2.0), (3, 2.0)]
    assert [row for row, _ in oracle.nearest(vectors, [1.0, 0.9], 4, "cosine")] == [1, 0, 3, 2]
    assert oracle.nearest(vectors, [1.0, 1.0], 1, "l2") == [(1, -0.0)]
    with pytest.raises(InvalidQuery):
        oracle.nearest(vectors, [1.0], 1)
    with pytest.raises(InvalidQuery):
        oracle.nearest(vectors, [1.0, 0.0], 1, "hamming")  # type: ignore[arg-type]
