"""Gates and comparisons over HTTP: what refuses a promotion, and what would change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest

import outcrop
from outcrop import Comparison, Config, GateReport
from outcrop.surfaces.keys import Keys
from tests.http.conftest import ROCKS, Client

_ROCKS = "/v1/collections/rocks"
_GOLDEN = [{"query": "splitting", "relevant": {"slate": 1}}, {"query": "hard", "relevant": {"granite": 1}}, "marble"]


@pytest.fixture
def worse(folder: Path) -> int:
    """A generation that does not know that `splitting` is `splits`, and lacks a document."""
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        return db.collection("rocks").build(ROCKS[:2], analyzer="simple").number


def test_a_gate_refuses_with_its_report_and_nothing_is_changed(client: Client, worse: int) -> None:
    gate = {"queries": _GOLDEN, "ndcg_drop": 0.01, "overlap_min": 0.1, "vanished_share_max": 0.5, "required_ids": ["slate"]}
    refused = client.post(f"{_ROCKS}/generations/{worse}/promote", json={"gate": gate})

    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"].endswith("#gate-failed")
    report = msgspec.convert(refused.json()["report"], GateReport)
    assert {check.name: check.passed for check in report.checks} == {
        "required ids": True,
        "vanished ids": True,
        "nDCG@10": False,
        "overlap@10": False,
    }
    assert client.get(_ROCKS).json()["active"] == 1


def test_what_a_gate_refuses_can_be_forced_and_the_history_shows_it(client: Client, worse: int) -> None:
    address = f"{_ROCKS}/generations/{worse}/promote"
    assert client.post(address).status_code == 409  # a third of the documents would vanish

    assert client.post(address, json={"force": True}).json()["status"] == "active"
    last = client.get(f"{_ROCKS}/history").json()["history"][-1]
    assert (last["forced"], last["gate"]["passed"]) == (True, False)


def test_a_gate_that_lets_it_pass(client: Client, worse: int) -> None:
    gate = {"vanished_share_max": 0.5, "queries": ["slate", "granite"], "overlap_min": 0.9}
    promoted = client.post(f"{_ROCKS}/generations/{worse}/promote", json={"gate": gate})

    assert promoted.status_code == 200, promoted.text
    assert promoted.headers["outcrop-generation"] == str(worse)


@pytest.mark.parametrize(
    ("gate", "wanted"),
    [
        ({"documents_mim": 3}, "documents_mim"),
        ({"documents_min": -1}, "documents_min"),
        ({"overlap_min": 1.5, "queries": ["x"]}, "overlap_min"),
        ({"overlap_min": 0.5}, "needs queries"),
        ({"queries": "/etc/passwd", "overlap_min": 0.5}, "queries"),
        ({"queries": [{"relevant": {"slate": 1}}], "overlap_min": 0.5}, "query"),
        ({"queries": ["x"] * 1001, "overlap_min": 0.5}, "queries"),
        ({"queries": ["x"], "ndcg_drop": 0.1}, "judged"),
        ({"checks": ["os.system"]}, "checks"),
    ],
)
def test_a_gate_that_makes_no_sense_is_a_problem(client: Client, gate: dict[str, Any], wanted: str) -> None:
    refused = client.post(f"{_ROCKS}/generations/1/promote", json={"gate": gate})

    assert refused.status_code == 400
    assert wanted in refused.json()["detail"]


def test_a_comparison_says_what_would_change(client: Client, worse: int) -> None:
    answered = client.post(f"{_ROCKS}/compare", json={"a": 1, "b": worse, "queries": _GOLDEN, "k": 2})

    assert answered.status_code == 200, answered.text
    found = msgspec.convert(answered.json(), Comparison)
    assert found.documents.vanished.examples == ("a/b c",)
    assert any("english" in change for change in found.recipe)
    assert found.queries is not None
    assert found.queries.verdict is not None
    assert found.queries.per_query[0].ndcg_at_10_a != found.queries.per_query[0].ndcg_at_10_b
    assert found.a.latency is not None


def test_a_comparison_without_queries_compares_documents(client: Client, worse: int) -> None:
    found = msgspec.convert(client.post(f"{_ROCKS}/compare", json={"a": 1, "b": worse}).json(), Comparison)

    assert found.queries is None
    assert found.documents.vanished.count == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [({"a": 1, "b": 9}, 404), ({"a": 1}, 400), ({"a": 1, "b": 1, "k": 101}, 400), ({"a": 1, "b": 1, "queries": [""]}, 400)],
)
def test_what_cannot_be_compared_is_a_problem(client: Client, body: dict[str, Any], status: int) -> None:
    refused = client.post(f"{_ROCKS}/compare", json=body)

    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"


def test_searches_are_answered_while_generations_are_judged(client: Client, worse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = Event(), Event()
    compare = outcrop.Collection.compare

    def slow(*given: Any, **options: Any) -> Comparison:
        begun.set()
        go_on.wait()
        return compare(*given, **options)

    monkeypatch.setattr(outcrop.Collection, "compare", slow)
    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(client.post, f"{_ROCKS}/compare", json={"a": 1, "b": worse}) for _ in range(10)]
        begun.wait()
        assert client.get(f"{_ROCKS}/search?q=slate").status_code == 200
        go_on.set()
        assert {one.result().status_code for one in asked} == {200}


def test_a_comparison_wants_a_key_of_scope_admin(client: Client, folder: Path) -> None:
    for scope, status in (("write", 403), ("admin", 200)):
        key = Keys(folder).create(scope, scope)  # type: ignore[arg-type]
        asked = client.post(f"{_ROCKS}/compare", json={"a": 1, "b": 1}, headers={"authorization": f"Bearer {key}"})
        assert asked.status_code == status
