"""Gates over real generations: a worse one is refused, a good one passes, and the report says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from outcrop import Collection, Database, Document, Gate, GateCheck, GateContext, GateReport
from outcrop.errors import GateFailed, OutcropError
from outcrop.evaluation import load, measure, overlap
from outcrop.evaluation.runs import RankedDocument, Run
from outcrop.judging import Side, refusal, run_gate

SideOf = Callable[[Collection, int], Side]
Judged = list[dict[str, Any]]
LENIENT = 1.0  # vanished_share_max that does not ask


@pytest.fixture
def rocks(db: Database, rocks_documents: list[Document]) -> Collection:
    """1 is active; 2 is the same again; 3 cannot tell `splits` from `splitting`; 4 lacks two documents of ten."""
    collection = db.create_collection("rocks", embedder="none")
    collection.build(rocks_documents, promote=True)
    collection.build(rocks_documents)
    collection.build(rocks_documents, analyzer="simple")
    collection.build(rocks_documents[:8])
    return collection


@pytest.fixture
def slate(db: Database, side: SideOf) -> Side:
    """One generation of one document."""
    collection = db.create_collection("slate", embedder="none")
    collection.build([Document("slate", "Slate splits.")])
    return side(collection, 1)


def found(report: GateReport, name: str) -> GateCheck:
    (one,) = [check for check in report.checks if check.name == name]
    return one


def test_the_same_again_passes_everything(rocks: Collection, side: SideOf, judged: Judged) -> None:
    gate = Gate(
        documents_min=10,
        chunks_min=10,
        required_ids=["slate", "gneiss"],
        vanished_share_max=0.0,
        queries=[*judged, "layers"],
        ndcg_drop=0.0,
        overlap_min=1.0,
        checks=[lambda context: len(context.search("layers")) == 3],
    )
    report = run_gate(gate, side(rocks, 2), side(rocks, 1))
    assert (report.generation, report.active, report.passed, report.failed) == (2, 1, True, ())
    names = ["documents", "chunks", "required ids", "vanished ids", "nDCG@10", "overlap@10", "lambda"]
    assert [check.name for check in report.checks] == names


def test_a_wrong_analyzer_is_refused_for_its_ndcg(rocks: Collection, side: SideOf, judged: Judged) -> None:
    gate = Gate(queries=judged, ndcg_drop=0.05)
    report = run_gate(gate, side(rocks, 3), side(rocks, 1))
    check = found(report, "nDCG@10")
    assert (report.passed, check.passed) == (False, False)
    # without stems only `dark` is found, of one query in five, and there at the first place
    assert check.values["candidate"] == pytest.approx(0.2)
    assert check.values["active"] > 0.95
    assert check.values["low"] <= check.values["difference"] <= check.values["high"] < 0
    assert check.limit == "at most 0.05 lower"


def test_a_better_generation_passes_a_gate_that_allows_no_drop(rocks: Collection, side: SideOf, judged: Judged) -> None:
    report = run_gate(Gate(queries=judged, ndcg_drop=0.0), side(rocks, 1), side(rocks, 3))
    assert report.passed
    assert found(report, "nDCG@10").values["difference"] > 0.75


class Answering:
    """A side whose answers are written down."""

    def __init__(self, number: int, answers: dict[str, list[str]], **info: Any) -> None:
        self.info = SimpleNamespace(number=number, **info)
        self.answers = answers
        counts = SimpleNamespace(documents=0, chunks=0)
        self.documents = SimpleNamespace(ids=lambda: iter(()), sequence=lambda: 0, counts=lambda: counts)

    def ranking(self, query: str, depth: int) -> tuple[RankedDocument, ...]:
        return tuple(RankedDocument(document_id=one, score=1.0) for one in self.answers[query][:depth])


@pytest.mark.parametrize(("drop", "passes"), [(0.0, False), (0.166, False), (0.167, True)])
def test_the_difference_of_the_means_decides_and_not_the_interval(drop: float, passes: bool) -> None:
    queries = [{"query": name, "relevant": {"r": 1}} for name in "abc"]
    active = Answering(1, {"a": ["r"], "b": ["r"], "c": ["x", "r"]})
    candidate = Answering(2, {"a": ["r"], "b": ["x", "r"], "c": ["r"]})
    better_and_worse = run_gate(Gate(queries=queries, ndcg_drop=0.0), candidate, active)  # type: ignore[arg-type]
    assert found(better_and_worse, "nDCG@10").values["difference"] == pytest.approx(0.0)
    assert better_and_worse.passed
    # the one relevant document falls from rank 1 to 2 (1/log2(3) = 0.63093) and from rank 2 to 3 (0.5): 0.5 of 3 is lost
    worse = Answering(2, {"a": ["r"], "b": ["x", "r"], "c": ["x", "y", "r"]})
    report = run_gate(Gate(queries=queries, ndcg_drop=drop), worse, active)  # type: ignore[arg-type]
    check = found(report, "nDCG@10")
    assert check.values["difference"] == pytest.approx(-0.5 / 3)
    assert check.values["low"] < -0.167 < check.values["high"]  # either answer would be within what chance allows
    assert check.passed == passes


def test_dropped_documents_are_refused_without_any_gate(rocks: Collection, side: SideOf) -> None:
    report = run_gate(None, side(rocks, 4), side(rocks, 1))
    (check,) = report.checks
    assert (report.passed, check.name, check.limit) == (False, "vanished ids", "at most 10%")
    assert check.values == {"vanished": 2, "active": 10, "share": 0.2, "examples": ["gneiss", "pumice"]}
    assert check.found == "2 of 10, 20.0% (gneiss, pumice)"


@pytest.mark.parametrize(("share", "passes"), [(0.19, False), (0.2, True), (1.0, True)])
def test_the_share_of_vanished_documents_may_be_allowed(rocks: Collection, side: SideOf, share: float, passes: bool) -> None:
    report = run_gate(Gate(vanished_share_max=share), side(rocks, 4), side(rocks, 1))
    assert report.passed == passes
    assert len(report.checks) == (share < 1)


def test_documents_that_appear_do_not_count_as_vanished(rocks: Collection, side: SideOf) -> None:
    check = found(run_gate(None, side(rocks, 1), side(rocks, 4)), "vanished ids")
    assert (check.passed, check.values["vanished"], check.values["active"]) == (True, 0, 8)


def test_what_was_written_since_the_candidate_caught_up_is_no_loss(rocks: Collection, side: SideOf) -> None:
    rocks.upsert([Document("tuff", "Tuff is ash that became stone."), Document("slate", "Slate splits.")])
    report = run_gate(Gate(vanished_share_max=0.0), side(rocks, 2), side(rocks, 1))
    assert report.checks[0].values == {"vanished": 0, "active": 11, "share": 0.0, "examples": []}
    lost = run_gate(Gate(vanished_share_max=0.0), side(rocks, 4), side(rocks, 1))
    assert lost.checks[0].values["examples"] == ["gneiss", "pumice"]


def test_counts_and_required_ids_are_those_of_the_candidate(rocks: Collection, side: SideOf) -> None:
    gate = Gate(documents_min=9, chunks_min=8, required_ids=["slate", "gneiss"], vanished_share_max=LENIENT)
    report = run_gate(gate, side(rocks, 4), side(rocks, 1))
    assert [(check.name, check.passed) for check in report.checks] == [
        ("documents", False),
        ("chunks", True),
        ("required ids", False),
    ]
    assert found(report, "required ids").found == "1 of 2 missing (gneiss)"
    assert found(report, "documents").values == {"count": 8, "min": 9}


def test_many_required_ids_are_looked_up(db: Database, side: SideOf) -> None:
    collection = db.create_collection("many", embedder="none")
    collection.build([Document(f"d{number}", "granite") for number in range(250)])
    gate = Gate(required_ids=[f"d{number}" for number in range(300)])
    check = found(run_gate(gate, side(collection, 1), None), "required ids")
    assert (check.values["missing"], check.values["examples"]) == (50, [f"d{number}" for number in range(250, 270)])


def test_without_an_active_generation_comparisons_pass_and_say_so(rocks: Collection, side: SideOf, judged: Judged) -> None:
    gate = Gate(documents_min=100, queries=judged, ndcg_drop=0.0, overlap_min=1.0, latency_p95_ratio_max=0.01)
    report = run_gate(gate, side(rocks, 1), None)
    assert [(check.name, check.passed) for check in report.checks] == [
        ("documents", False),
        ("vanished ids", True),
        ("nDCG@10", True),
        ("overlap@10", True),
        ("p95 latency", True),
    ]
    assert found(report, "nDCG@10").found == "not compared: there is no active generation"
    damaged = run_gate(None, side(rocks, 1), None, none_active="the active generation cannot be opened")
    assert damaged.checks[0].found == "not compared: the active generation cannot be opened"


def test_overlap_looks_at_queries_that_are_not_judged(rocks: Collection, side: SideOf, judged: Judged) -> None:
    # `layers` finds slate, shale and sandstone in both; `cooling` finds three documents with stemming and none without
    gate = Gate(queries=[*judged, "layers", "cooling"], overlap_min=0.5)
    check = found(run_gate(gate, side(rocks, 3), side(rocks, 1)), "overlap@10")
    assert check.values == {"overlap": 0.5, "query_count": 2, "lowest": 0.0}
    assert check.passed
    assert check.found == "0.500, the mean of 2 unjudged queries"


def test_overlap_looks_at_all_queries_if_all_are_judged(rocks: Collection, side: SideOf, judged: Judged) -> None:
    report = run_gate(Gate(queries=judged, overlap_min=0.1), side(rocks, 3), side(rocks, 1))
    check = found(report, "overlap@10")
    assert check.values["query_count"] == len(judged)
    candidate, active = side(rocks, 3), side(rocks, 1)
    shares = [overlap(ids(candidate, one["query"]), ids(active, one["query"])) for one in judged]
    assert check.values["overlap"] == pytest.approx(sum(shares) / len(shares))
    assert check.passed == (sum(shares) / len(shares) >= 0.1)


def ids(one: Side, query: Any) -> list[str]:
    return [hit.document_id for hit in one.search(query, k=10)]


def test_the_recall_of_the_vector_index_is_asked_and_must_be_there(
    db: Database, rocks: Collection, side: SideOf, rocks_documents: list[Document]
) -> None:
    vectors = db.create_collection("vectors", embedder="hashing:16")
    vectors.build(rocks_documents)
    assert run_gate(Gate(recall_min=1.0), side(vectors, 1), None).passed
    worse = msgspec.structs.replace(side(vectors, 1).info, recall=0.93)
    of_worse = msgspec.structs.replace(side(vectors, 1), info=worse)
    check = found(run_gate(Gate(recall_min=0.95), of_worse, None), "index recall")
    assert (check.passed, check.found, check.limit) == (False, "0.930", "at least 0.95")
    none = found(run_gate(Gate(recall_min=0.5), side(rocks, 1), None), "index recall")
    assert (none.passed, none.found) == (False, "there is no vector index")


@pytest.mark.parametrize(("ratio", "passes"), [(2.9, False), (3.0, True)])
def test_a_slow_embedder_is_refused_for_its_latency(
    db: Database,
    side: SideOf,
    clock: Callable[[], float],
    timed: Callable[..., Any],
    ratio: float,
    passes: bool,
    rocks_documents: list[Document],
) -> None:
    collection = db.create_collection("timed", embedder=timed("quick", seconds=0.002))
    collection.build(rocks_documents, promote=True)
    collection.build(rocks_documents, embedder=timed("slow", seconds=0.006))
    gate = Gate(queries=["layers", "crystals", "sea"], latency_p95_ratio_max=ratio)
    check = found(run_gate(gate, side(collection, 2), side(collection, 1), clock=clock), "p95 latency")
    assert check.passed == passes
    assert check.values["ratio"] == pytest.approx(3.0)
    assert check.values["candidate"] == {"p50_ms": pytest.approx(6.0), "p95_ms": pytest.approx(6.0), "search_count": 200}
    assert check.found == "6.00 ms against 2.00 ms: 3.00 times (200 searches each)"


def test_every_query_is_searched_once_however_many_checks_ask(
    db: Database, side: SideOf, timed: Callable[..., Any], judged: Judged, rocks_documents: list[Document]
) -> None:
    embedder = timed("counting")
    collection = db.create_collection("timed", embedder=embedder)
    collection.build(rocks_documents, promote=True)
    run_gate(Gate(queries=judged, ndcg_drop=0.1, overlap_min=0.1), side(collection, 1), side(collection, 1))
    # the same generation on both sides: each query twice
    assert sorted(embedder.queries) == sorted([one["query"] for one in judged] * 2)


def test_a_generation_that_cannot_be_searched_fails_the_checks_that_search_it(
    db: Database, side: SideOf, timed: Callable[..., Any], judged: Judged, rocks_documents: list[Document]
) -> None:
    collection = db.create_collection("broken", embedder="hashing:16")
    collection.build(rocks_documents, promote=True)
    collection.build(rocks_documents, embedder=timed("broken", error=RuntimeError("no memory left")))
    gate = Gate(documents_min=1, queries=judged, ndcg_drop=0.5, overlap_min=0.1, latency_p95_ratio_max=9)
    report = run_gate(gate, side(collection, 2), side(collection, 1))
    assert [check.name for check in report.failed] == ["nDCG@10", "overlap@10", "p95 latency"]
    assert {check.found for check in report.failed} == {
        "could not be checked: the embedder 'custom:broken' failed with RuntimeError: no memory left"
    }


def test_a_check_of_ones_own_sees_both_generations(rocks: Collection, side: SideOf, judged: Judged) -> None:
    seen: list[GateContext] = []

    def finds_slate_first(context: GateContext) -> bool:
        seen.append(context)
        return context.search("roofs", k=1)[0].document_id == "slate"

    report = run_gate(Gate(queries=judged, checks=[finds_slate_first]), side(rocks, 2), side(rocks, 1))
    assert report.checks[-1] == GateCheck(name="finds slate first", passed=True, found="returned True", limit="True")
    (context,) = seen
    assert (context.candidate.number, context.active.number if context.active else None) == (2, 1)
    assert context.search_active is not None
    assert context.search("layers", where="hardness > 4").generation == 2
    assert context.search_active("layers").generation == 1
    assert [one.id for one in context.get(["chalk", "mud"])] == ["chalk"]
    assert context.queries is not None
    assert context.queries.judged_count == len(judged)
    run_gate(Gate(checks=[finds_slate_first]), side(rocks, 2), None)
    assert (seen[1].active, seen[1].search_active, seen[1].queries) == (None, None, None)


@pytest.mark.parametrize(
    ("result", "passed", "said"),
    [
        (True, True, "returned True"),
        (False, False, "returned False"),
        (np.bool_(True), True, "returned True"),
        (None, False, "returned None; a check returns True, False or a GateCheck"),
        (1, False, "returned 1; a check returns"),
        (GateCheck(name="x", passed=True, found="all of it", values={"n": 1}), True, "all of it"),
        (SimpleNamespace(passed=False, found="half of it"), False, "half of it"),
        (SimpleNamespace(passed="yes"), False, "a check returns"),
        (GateCheck(name="x", passed=True, values={"n": object()}), False, "raised: TypeError"),
    ],
)
def test_what_a_check_of_ones_own_returns(slate: Side, result: Any, passed: bool, said: str) -> None:
    (_, check) = run_gate(Gate(checks=[lambda _: result]), slate, None).checks
    assert check.passed == passed
    assert said in check.found


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OutcropError("the search failed")])
def test_a_check_of_ones_own_that_raises_has_failed(slate: Side, error: Exception) -> None:
    def raises(_: GateContext) -> bool:
        raise error

    report = run_gate(Gate(checks=[raises, lambda _: True]), slate, slate)
    assert [check.passed for check in report.checks] == [True, False, True]
    assert report.checks[1].found.startswith("raised: ")
    assert str(error) in report.checks[1].found


def test_a_report_is_a_table_and_comes_back_from_json(rocks: Collection, side: SideOf, judged: Judged) -> None:
    report = run_gate(Gate(documents_min=9, queries=judged, ndcg_drop=0.1), side(rocks, 4), side(rocks, 1))
    lines = str(report).splitlines()
    assert lines[0] == "gate of generation 4 against generation 1: 3 of 3 checks failed"
    assert [line.split()[0] for line in lines[2:]] == ["FAILED"] * 3
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(report.to_dict())), GateReport) == report
    assert str(run_gate(Gate(vanished_share_max=1), side(rocks, 4), None)) == "gate of generation 4: passed"


def test_a_refusal_says_what_failed_and_carries_the_report(rocks: Collection, side: SideOf) -> None:
    report = run_gate(Gate(documents_min=9), side(rocks, 4), side(rocks, 1))
    error = refusal(report, "rocks")
    assert isinstance(error, GateFailed)
    assert (error.report, error.collection, error.generation) == (report, "rocks", 4)
    for said in ("generation 4 of collection 'rocks'", "2 of 2", "documents: 8 (limit: at least 9)", "vanished ids: 2 of 10"):
        assert said in str(error)


def test_a_wrong_analyzer_is_refused_on_real_judgements(db: Database, side: SideOf, shared_data: Path) -> None:
    collection = db.create_collection("cranfield", embedder="none")
    source = shared_data / "cranfield"
    collection.build(source, promote=True)
    collection.build(analyzer="german")
    collection.build(chunker="none")
    gate = Gate(queries=source, ndcg_drop=0.01)
    worse, other = (run_gate(gate, side(collection, number), side(collection, 1)) for number in (2, 3))
    assert [check.name for check in worse.failed] == ["nDCG@10"]
    assert found(worse, "nDCG@10").values["high"] < 0
    assert other.passed
    # by hand, as `outcrop eval` has it
    judged = load(source)
    run = Run("german", {key: answered(side(collection, 2), text) for key, text in judged.queries.items()})
    assert found(worse, "nDCG@10").values["candidate"] == pytest.approx(measure(run, judged).ndcg_at_10)


def answered(one: Side, query: str) -> Sequence[RankedDocument]:
    return tuple(RankedDocument(hit.document_id, hit.score) for hit in one.search(query, k=10))
