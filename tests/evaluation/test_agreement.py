"""Overlap and rank-biased overlap, against values computed by hand and against sums that are written out."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.errors import InvalidInput
from outcrop.evaluation import overlap, rank_biased_overlap

DEEP = 3000
rankings = st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=12)


def summed(first: list[str], second: list[str], p: float) -> float:
    """RBO as its definition has it, (1-p) * sum of p^(d-1) * agreement at depth d, to depth 3,000; below the longer ranking the
    agreement is what the paper extrapolates: the shorter one goes on to agree as it did, then everything stays as it is."""
    short, long = sorted((first, second), key=len)
    s, length = len(short), len(long)

    def agreement(depth: int) -> float:
        seen = min(depth, length)
        found = len(set(short[:seen]) & set(long[:seen]))
        if seen > s:
            found_at_s = len(set(short) & set(long[:s]))
            return found / seen + found_at_s * (seen - s) / (s * seen)
        return found / seen

    return (1 - p) * sum(p ** (depth - 1) * agreement(depth) for depth in range(1, DEEP + 1))


def test_two_documents_swapped_agree_from_the_second_place_on() -> None:
    # agreement 0 at depth 1, then 1 for ever: (1-p) * (p + p^2 + ...) = p
    for p in (0.5, 0.9, 0.98):
        assert rank_biased_overlap(["a", "b"], ["b", "a"], p) == pytest.approx(p)


def test_rankings_of_different_length_by_hand() -> None:
    # p = 0.5, S = a b, L = a c b: X = 1, 1, 2.  (1-p)/p = 1, so the sum is 1*.5 + 1/2*.25 + 2/3*.125 = 0.708333;
    # S is taken to go on: X_s (d-s)/(s d) p^d = 1*1/(2*3)*.125 = 0.020833; the tail: ((2-1)/3 + 1/2) * .125 = 0.104167
    assert rank_biased_overlap(["a", "b"], ["a", "c", "b"], 0.5) == pytest.approx(0.833333, abs=1e-6)


def test_one_document_moved_down_by_hand() -> None:
    # X = 0, 1, 2, 4, 5: 0.9^5 + 1/9 * (0.5 * 0.9^2 + 2/3 * 0.9^3 + 0.9^4 + 0.9^5)
    assert rank_biased_overlap(list("abcde"), list("bcdae")) == pytest.approx(0.828)


def test_a_prefix_of_a_ranking_agrees_wholly() -> None:
    # the paper's reason for extrapolating: nothing of what both have seen differs
    assert rank_biased_overlap(["a", "b", "c"], ["a", "b", "c", "d", "e", "f"]) == pytest.approx(1.0)
    assert rank_biased_overlap(["a"], ["a", "b"]) == pytest.approx(1.0)


def test_identical_rankings_agree_and_disjoint_ones_do_not() -> None:
    for length in (1, 2, 10, 100):
        ranking = [f"d{number}" for number in range(length)]
        assert rank_biased_overlap(ranking, ranking) == 1.0
        assert rank_biased_overlap(ranking, [f"other {number}" for number in range(length + 3)]) == 0.0


def test_empty_rankings_agree_with_each_other_only() -> None:
    assert rank_biased_overlap([], []) == overlap([], []) == 1.0
    assert rank_biased_overlap([], ["a"]) == rank_biased_overlap(["a"], []) == overlap(["a"], []) == 0.0


def test_a_change_at_the_top_counts_more_than_one_below() -> None:
    ranking = list("abcdefghij")
    values = []
    for position in range(9):
        swapped = [*ranking]
        swapped[position], swapped[position + 1] = swapped[position + 1], swapped[position]
        values.append(rank_biased_overlap(ranking, swapped))
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.9)


@given(rankings, rankings, st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_closed_form_is_the_sum_written_out(first: list[str], second: list[str], p: float) -> None:
    found = rank_biased_overlap(first, second, p)
    if first and second:
        assert found == pytest.approx(summed(first, second, p), abs=1e-9)
    assert 0.0 <= found <= 1.0
    assert found == rank_biased_overlap(second, first, p)


def test_every_order_of_the_same_documents_overlaps_but_only_one_is_the_same_ranking() -> None:
    for order in permutations("abcd"):
        assert overlap("abcd", order) == 1.0
        assert (rank_biased_overlap("abcd", order) == 1.0) == (order == tuple("abcd"))


def test_overlap_divides_by_the_longer_ranking() -> None:
    assert overlap(["a", "b", "c", "d"], ["d", "a"]) == 0.5
    assert overlap(["a", "b", "c"], ["c", "x", "y"]) == pytest.approx(1 / 3)


def test_a_document_that_is_twice_in_a_ranking_is_refused() -> None:
    for measure in (overlap, rank_biased_overlap):
        with pytest.raises(InvalidInput, match="'a' is in it 2 times"):
            measure(["a", "b", "a"], ["a", "b"])


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_p_that_is_no_chance_is_refused(p: float) -> None:
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        rank_biased_overlap(["a"], ["a"], p)
