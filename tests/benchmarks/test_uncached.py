"""A benchmark that asks the same query twice must not measure the cache."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def searches(text: str) -> list[ast.Call]:
    """The calls of `search` of whatever is named a collection."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [call for call in calls if call.func.attr == "search" and ast.unparse(call.func.value).endswith("collection")]  # type: ignore[attr-defined]


SEARCHING = {file.relative_to(BENCHMARKS).as_posix(): searches(file.read_text("utf-8")) for file in BENCHMARKS.rglob("*.py")}


@pytest.mark.parametrize("name", [name for name, calls in SEARCHING.items() if calls])
def test_every_search_of_a_benchmark_says_whether_it_may_be_answered_from_memory(name: str) -> None:
    lacking = [ast.unparse(call) for call in SEARCHING[name] if "cache" not in {one.arg for one in call.keywords}]
    assert not lacking, f"benchmarks/{name}: pass cache=False"


def test_the_searches_of_the_benchmarks_are_found() -> None:
    assert {"latency.py", "throughput.py", "engines.py", "million.py", "peers/built_in.py"} <= {
        name for name, calls in SEARCHING.items() if calls
    }
