"""The compatibility matrix by itself: what is chosen, and how a run is read and shown. The run is `make compat`."""

from __future__ import annotations

from tests.compat import matrix
from tests.compat.releases import Pair, newest_first, pairs
from tests.compat.trial import Counts, Trial, Verdict, counted

_LANCEDB = newest_first(["0.9.1", "0.40.0", " 0.39.0", "0.38.1", "0.38.0", "nightly"])
_PYARROW = ["26.0.1", "26.0.0", "18.1.0", "18.0.0", "17.0.0", "16.1.0"]
_REPORT = """<testsuites><testsuite>
<testcase name="test_a"/><testcase name="test_b"><failure message="no"/></testcase><testcase name="test_c"><error/></testcase>
<testcase name="test_d"><skipped type="pytest.xfail"/></testcase><testcase name="test_e"><skipped type="pytest.skip"/></testcase>
</testsuite></testsuites>"""


def test_the_newest_meets_three_pyarrows_and_older_ones_the_newest() -> None:
    assert _LANCEDB == ["0.40.0", "0.39.0", "0.38.1", "0.38.0", "0.9.1"]
    assert pairs(_LANCEDB, _PYARROW, 18, older_count=2) == [
        Pair("0.40.0", "26.0.1"),
        Pair("0.40.0", "18.0.0"),
        Pair("0.40.0", "17.0.0", refused=True),
        Pair("0.39.0", "26.0.1"),
        Pair("0.38.1", "26.0.1"),
    ]


def test_a_pre_release_is_tried_only_if_nothing_newer_was_released() -> None:
    ahead = newest_first([*_LANCEDB, "0.41.0b2"])
    assert pairs(ahead, _PYARROW, 18)[:2] == [Pair("0.41.0b2", "26.0.1"), Pair("0.40.0", "26.0.1")]
    behind = newest_first([*_LANCEDB, "0.40.0b9"])
    assert pairs(behind, _PYARROW, 18) == pairs(_LANCEDB, _PYARROW, 18)


def test_a_report_is_counted() -> None:
    found = counted(_REPORT)
    assert found == Counts(passed=1, failed=2, declared=1, skipped=1, first_failed=("test_b", "test_c"))
    assert str(found) == "1 passed, 2 failed, 1 declared, 1 skipped"


def test_the_page_shows_each_pair_and_only_one_line_changes_with_the_day() -> None:
    trials = [
        Trial(Pair("0.40.0", "26.0.1"), "3.11", verdict=Verdict("works", ""), counts=Counts(passed=104, declared=2)),
        Trial(Pair("0.40.0", "17.0.0", refused=True), "3.11", fault="cannot be installed: no such wheel"),
        Trial(
            Pair("0.30.0", "26.0.1"),
            "3.11",
            verdict=Verdict("refuses", "too old"),
            counts=Counts(failed=1, first_failed=("test_x",)),
        ),
    ]
    text = matrix.page(trials)
    assert "| 0.40.0 | 26.0.1 | 3.11 | works | 104 passed, 0 failed, 2 declared |" in text
    assert "| 0.40.0 | 17.0.0 (not allowed) | 3.11 | cannot be installed: no such wheel | not run |" in text
    assert "| 0.30.0 | 26.0.1 | 3.11 | refuses: too old | 0 passed, 1 failed, 0 declared |" in text
    assert "- lancedb 0.30.0, pyarrow 26.0.1: test_x" in text
    assert len([line for line in text.splitlines() if line.startswith("Measured on ")]) == 1
