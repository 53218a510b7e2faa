"""What a gate may ask for, and where it is read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outcrop import Gate
from outcrop.errors import InvalidConfig, InvalidSource, MissingExtra
from outcrop.evaluation import JudgedQueries, measures

GOLDEN = [{"query": "wing", "relevant": {"d1": 1}}, {"query": "flutter"}]


def written(folder: Path, text: str) -> Path:
    file = folder / "gate.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    file = tmp_path / "golden.jsonl"
    file.write_text("\n".join(map(json.dumps, GOLDEN)), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("given", "key", "problem"),
    [
        ({"documents_min": -1}, "documents_min", "whole number of at least 0, found -1"),
        ({"documents_min": 1.5}, "documents_min", "found 1.5"),
        ({"chunks_min": True}, "chunks_min", "found True"),
        ({"required_ids": "p-9"}, "required_ids", "found 'p-9'"),
        ({"required_ids": ["p-9", 9]}, "required_ids", "which are text, found 9"),
        ({"required_ids": [None]}, "required_ids", "found None"),
        ({"required_ids": [""]}, "required_ids", "found ''"),
        ({"vanished_share_max": 1.01}, "vanished_share_max", "from 0 to 1, found 1.01"),
        ({"vanished_share_max": None}, "vanished_share_max", "found None"),
        ({"ndcg_drop": -0.1}, "ndcg_drop", "found -0.1"),
        ({"overlap_min": "0.5"}, "overlap_min", "found '0.5'"),
        ({"recall_min": float("nan")}, "recall_min", "found nan"),
        ({"latency_p95_ratio_max": 0}, "latency_p95_ratio_max", "above 0, found 0"),
        ({"latency_p95_ratio_max": float("inf")}, "latency_p95_ratio_max", "found inf"),
        ({"checks": len}, "checks", "a list of functions"),
        ({"checks": [len, 3]}, "checks", "a list of functions"),
        ({"ndcg_drop": 0.01}, "ndcg_drop", "ndcg_drop needs queries"),
        ({"overlap_min": 0.5}, "overlap_min", "overlap_min needs queries"),
        ({"latency_p95_ratio_max": 2}, "latency_p95_ratio_max", "needs queries"),
        ({"queries": ["wing"]}, "queries", "nothing is asked of them"),
        ({"queries": ["wing", "flutter"], "ndcg_drop": 0.01}, "ndcg_drop", "none of the 2 of 'queries' is"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(given: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(InvalidConfig, match=problem) as caught:
        Gate(**given)
    assert caught.value.key == key


@pytest.mark.parametrize("queries", [7, {"query": "wing"}, [], ["wing", 7], JudgedQueries(name="none", queries={}, judgements={})])
def test_queries_that_are_none_are_refused(queries: Any) -> None:
    with pytest.raises(InvalidSource):
        Gate(queries=queries, overlap_min=0.5)


def test_queries_are_read_when_the_gate_is_made(golden: Path, tmp_path: Path) -> None:
    for given in (golden, str(golden), GOLDEN, iter(GOLDEN)):
        gate = Gate(queries=given, ndcg_drop=0.01)
        assert gate.queries.queries == {"1": "wing", "2": "flutter"}
        assert gate.queries.judgements == {"1": {"d1": 1}}
    with pytest.raises(InvalidSource, match=r"missing\.jsonl: there is no such file"):
        Gate(queries=tmp_path / "missing.jsonl", overlap_min=0.5)


def test_judged_queries_need_the_extra_before_anything_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(measures.importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"outcrop\[eval\]"):
        Gate(queries=GOLDEN, ndcg_drop=0.01)
    Gate(queries=GOLDEN, overlap_min=0.5)


def test_ids_are_asked_for_once_and_lists_become_tuples() -> None:
    gate = Gate(required_ids=["a", "b", "a"], checks=[len])
    assert (gate.required_ids, gate.checks) == (("a", "b"), (len,))


def test_a_gate_file_says_what_the_constructor_takes(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(
        tmp_path,
        """
        documents_min = 1000
        chunks_min = 2000
        required_ids = ["p-9", "p-10"]
        vanished_share_max = 0.05
        queries = "golden.jsonl"
        ndcg_drop = 0.01
        overlap_min = 0.6
        recall_min = 0.95
        latency_p95_ratio_max = 1.5
        """,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the path in the file begins at the file
    assert Gate.from_toml(file) == Gate(
        documents_min=1000,
        chunks_min=2000,
        required_ids=("p-9", "p-10"),
        vanished_share_max=0.05,
        queries=golden,
        ndcg_drop=0.01,
        overlap_min=0.6,
        recall_min=0.95,
        latency_p95_ratio_max=1.5,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("documents_mim = 3", "a gate has no 'documents_mim'; did you mean 'documents_min'"),
        ("checks = ['f']", "checks are functions; give them in code"),
        ("documents_min = -3", "documents_min must be a whole number"),
        ("documents_min", "not valid TOML"),
        ("ndcg_drop = 0.1", "ndcg_drop needs queries"),
    ],
)
def test_a_gate_file_with_a_mistake_is_refused_with_its_name(text: str, problem: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidConfig, match=problem) as caught:
        Gate.from_toml(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert caught.value.origin == str(file)


def test_a_gate_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        Gate.from_toml(tmp_path / "gate.toml")
    (tmp_path / "gate.toml").write_bytes(b"# \xff")
    with pytest.raises(InvalidConfig, match="not UTF-8"):
        Gate.from_toml(tmp_path / "gate.toml")


def test_a_gate_file_may_begin_with_a_byte_order_mark_and_hold_the_queries_themselves(tmp_path: Path) -> None:
    text = """
    overlap_min = 0.5
    queries = ["wing", {query = "flutter", relevant = {d1 = 1}}]
    """
    file = tmp_path / "gate.toml"
    file.write_text(text, encoding="utf-8-sig")
    assert Gate.from_toml(file).queries.judgements == {"2": {"d1": 1}}


def test_a_gate_shows_what_was_given() -> None:
    assert repr(Gate()) == "Gate()"
    assert repr(Gate(queries=GOLDEN, ndcg_drop=0.02)) == "Gate(queries=<2 queries, 1 judged>, ndcg_drop=0.02)"
