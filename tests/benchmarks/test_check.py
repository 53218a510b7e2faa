"""A ratio is lost only when it is worse than the baseline by more than both spreads and the margin."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.check import BASELINE, Ratio, baseline, lost

BEFORE = Ratio(median=1.5, low=1.4, high=1.6)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Ratio(1.5, 1.4, 1.6), False),
        (Ratio(1.9, 1.8, 2.0), False),
        (Ratio(2.0, 1.9, 2.1), True),
        (Ratio(1.0, 0.9, 1.1), False),
    ],
)
def test_a_loss_is_beyond_the_margin_and_both_spreads(found: Ratio, expected: bool) -> None:
    assert lost("hybrid p50", found, BEFORE) is expected


def test_a_recall_is_lost_when_it_falls_not_when_it_rises() -> None:
    before = Ratio(0.97, 0.97, 0.97)
    assert lost("recall@10", Ratio(0.95, 0.95, 0.95), before)
    assert not lost("recall@10", Ratio(0.99, 0.99, 0.99), before)


def test_a_processor_is_compared_with_its_own_kind_and_an_unknown_one_with_all() -> None:
    slow, fast = Ratio(2.5, 2.3, 3.0), Ratio(1.9, 1.7, 2.0)
    stored = [
        {"environment": {"processor": name}, "ratios": {"build": msgspec.to_builtins(ratio)}}
        for name, ratio in (("A", fast), ("B", slow))
    ]

    assert baseline(stored, "A") == {"build": fast}
    assert baseline(stored, "B") == {"build": slow}
    assert baseline(stored, "C") == {"build": Ratio(2.2, 1.7, 3.0)}


@pytest.mark.parametrize("kind", ["quick", "full"])
def test_the_committed_baseline_has_the_ratios_that_are_compared(kind: str) -> None:
    stored = msgspec.json.decode(BASELINE.read_bytes())[kind]
    assert set(baseline(stored, None)) == {"hybrid p50", "vector p50", "lexical p50", "build", "recall@10"}
    processors = [one["environment"]["processor"] for one in stored]
    assert len(set(processors)) == len(processors)
