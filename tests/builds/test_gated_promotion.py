"""Promotions that a gate allows or refuses, through the public API."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate, GateContext, GateReport
from outcrop.errors import GateFailed

QUERIES = [
    {"query": "splitting layer", "relevant": {"slate": 2, "shale": 1}},
    {"query": "cooling", "relevant": {"granite": 1, "basalt": 1}},
    {"query": "hardness of stone"},
]
TEXTS = {
    "slate": "Slate splits into thin layers and covers roofs.",
    "granite": "Granite is hard and coarse. It cools slowly, deep below.",
    "shale": "Shale is soft mud turned to stone, in thin layers.",
    "basalt": "Basalt cools quickly at the surface, so its crystals are small.",
    "chalk": "Chalk is made of shells that sank to the floor of a warm sea.",
}


@pytest.fixture
def rocks(db: Database) -> Collection:
    """1 is active; 2 was built with the wrong analyzer; 3 lacks a document; 4 is as good as 1."""
    collection = db.create_collection("rocks", embedder="hashing:64")
    documents = [Document(name, text) for name, text in TEXTS.items()]
    collection.build(documents, promote=True)
    collection.build(documents, analyzer="simple")
    collection.build(documents[:4], analyzer="english")
    collection.build(documents)
    return collection


def statuses(collection: Collection) -> list[tuple[int, str, int, str | None]]:
    return [(info.number, info.status, info.document_count, info.promoted_at) for info in collection.generations()]


def refused(collection: Collection, generation: int, gate: Gate | None) -> GateReport:
    """The report of a promotion that must be refused, and must change nothing."""
    before = (statuses(collection), collection.history())
    with pytest.raises(GateFailed) as caught:
        collection.promote(generation, gate=gate)
    assert (statuses(collection), collection.history()) == before
    assert collection.search("layers").generation == 1
    report: GateReport = caught.value.report
    return report


def test_a_worse_generation_is_refused_and_a_good_one_promoted(rocks: Collection) -> None:
    gate = Gate(documents_min=5, required_ids=["chalk"], queries=QUERIES, ndcg_drop=0.01, overlap_min=0.1, recall_min=0.9)
    assert [check.name for check in refused(rocks, 2, gate).failed] == ["nDCG@10"]
    assert [check.name for check in refused(rocks, 3, gate).failed] == ["documents", "required ids", "vanished ids"]
    assert rocks.promote(4, gate=gate).number == rocks.search("layers").generation == 4


def test_a_promotion_that_loses_documents_is_refused_without_a_gate(rocks: Collection) -> None:
    (check,) = refused(rocks, 3, None).failed
    assert (check.name, check.values["share"], check.values["examples"]) == ("vanished ids", 0.2, ["chalk"])
    assert rocks.promote(3, gate=Gate(vanished_share_max=0.2)).status == "active"


def test_a_document_that_was_deleted_is_no_loss(rocks: Collection) -> None:
    rocks.delete(["chalk"])
    rocks.promote(3, gate=Gate(vanished_share_max=0.0))
    assert rocks.count() == 4


def test_what_was_written_meanwhile_is_in_what_the_gate_sees(rocks: Collection) -> None:
    rocks.upsert([Document("tuff", "Tuff is ash that became stone.")])
    seen: list[list[str]] = []

    def finds_the_new_one(context: GateContext) -> bool:
        seen.append([hit.document_id for hit in context.search("ash")])
        return seen[0][0] == "tuff"

    rocks.promote(4, gate=Gate(documents_min=6, required_ids=["tuff"], checks=[finds_the_new_one]))
    assert seen
    assert rocks.count() == 6


def test_the_history_holds_the_report_and_whether_it_was_forced(rocks: Collection) -> None:
    gate = Gate(queries=QUERIES, ndcg_drop=0.01)
    report = refused(rocks, 2, gate)
    rocks.promote(2, gate=gate, force=True)
    last = max(rocks.history(), key=lambda entry: entry.at)
    assert (last.generation, last.previous, last.forced) == (2, 1, True)
    recorded = msgspec.convert(last.gate, GateReport)
    assert [check.name for check in recorded.failed] == ["nDCG@10"]
    assert recorded == report


def test_a_build_asks_the_gate_before_it_promotes(rocks: Collection) -> None:
    gate = Gate(queries=QUERIES, ndcg_drop=0.01)
    with pytest.raises(GateFailed) as caught:
        rocks.build(analyzer="simple", promote=True, gate=gate)
    assert caught.value.generation == 5
    assert [(info.number, info.status) for info in rocks.generations()][-1] == (5, "ready")
    assert rocks.active is not None
    assert rocks.active.number == 1
    assert rocks.build(promote=True, gate=gate).status == "active"


def test_the_first_promotion_has_nothing_to_be_compared_with(db: Database) -> None:
    collection = db.create_collection("new", embedder="none")
    gate = Gate(documents_min=1, queries=QUERIES, ndcg_drop=0.0, overlap_min=1.0, latency_p95_ratio_max=0.1)
    info = collection.build([Document("a", "granite")], promote=True, gate=gate)
    assert info.status == "active"
    (entry,) = collection.history()
    recorded = msgspec.convert(entry.gate, GateReport)
    assert recorded.active is None
    assert {check.found for check in recorded.checks[1:]} == {"not compared: there is no active generation"}


def test_a_rollback_asks_no_gate(rocks: Collection) -> None:
    rocks.promote(3, gate=Gate(vanished_share_max=1.0))
    rocks.upsert([Document(f"new {number}", "granite") for number in range(10)])
    assert rocks.rollback().number == 1
    assert rocks.count() == 15


def test_a_generation_is_judged_against_the_one_that_it_replaces(db: Database) -> None:
    """While the gate is asked, somebody else promotes another generation."""
    collection = db.create_collection("judged", embedder="none")
    few = [Document(f"d{n}", "granite") for n in range(10)]
    collection.build(few, promote=True)
    candidate = collection.build(few)
    many = collection.build([Document(f"d{n}", "granite") for n in range(100)])
    asked: list[int | None] = []

    def meanwhile(context: GateContext) -> bool:
        asked.append(None if context.active is None else context.active.number)
        if len(asked) == 1:
            with outcrop.open(db.path, config=Config.test()) as other:
                other.collection("judged").promote(many)
        return True

    with pytest.raises(GateFailed) as caught:
        collection.promote(candidate, gate=Gate(checks=(meanwhile,)))
    assert asked == [1, many.number]
    assert [check.name for check in caught.value.report.failed] == ["vanished ids"]
    assert collection.active is not None
    assert collection.active.number == many.number


def test_a_refused_generation_goes_with_the_garbage_also_if_it_is_the_newest(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test(kept_days=0)) as db:
        collection = db.create_collection("refused", embedder="none")
        collection.build([Document(f"d{n}", "granite") for n in range(10)], promote=True)
        ready = collection.build([Document(f"d{n}", "basalt") for n in range(10)])
        refused_one = collection.build([Document("d0", "granite")])
        with pytest.raises(GateFailed):
            collection.promote(refused_one)
        report = collection.gc()
        assert [(item.generation, item.reason.rsplit(", ", 1)[1]) for item in report.removed] == [(3, "refused by a gate")]
        collection.promote(ready)
        assert [item.generation for item in collection.gc().removed] == []


def test_a_ready_generation_older_than_the_active_one_is_kept_no_longer_than_others(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test(kept_days=0)) as db:
        collection = db.create_collection("left", embedder="none")
        collection.build([Document("a", "granite")], promote=True)
        collection.build([Document("a", "granite")])
        collection.build([Document("a", "granite")], promote=True)
        assert [item.generation for item in collection.gc().removed] == [2]
