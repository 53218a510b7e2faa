"""Runs and TREC run files."""

from __future__ import annotations

import itertools
from pathlib import Path

import hypothesis.strategies as st
import ir_measures
import pytest
from hypothesis import given

from outcrop.errors import InvalidInput, InvalidSource, StorageFailed
from outcrop.evaluation import (
    JudgedQueries,
    RankedDocument,
    Run,
    measure,
    read_trec,
    write_trec,
)
from outcrop.evaluation.runs import strictly_descending

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def run_of(rankings: dict[str, list[tuple[str, float]]]) -> Run:
    return Run(
        name="hybrid",
        rankings={
            query_id: tuple(RankedDocument(document_id=document_id, score=score) for document_id, score in ranking)
            for query_id, ranking in rankings.items()
        },
    )


def test_a_run_file_has_the_six_fields_of_trec(tmp_path: Path) -> None:
    write_trec(run_of({"q1": [("d2", 1.5), ("d1", 0.25)], "q2": []}), tmp_path / "run.trec")
    assert (tmp_path / "run.trec").read_text() == "q1 Q0 d2 1 1.5 hybrid\nq1 Q0 d1 2 0.25 hybrid\n"


def test_only_ids_that_would_be_misread_are_escaped(tmp_path: Path) -> None:
    run = run_of({"q 1": [("docs/my file.md", 3.0), ("100%", 2.0), ("a%20b", 1.0), ("ärger", 0.5)]})
    write_trec(run, tmp_path / "run.trec")
    fields = [line.split() for line in (tmp_path / "run.trec").read_text(encoding="utf-8").splitlines()]
    assert [field[2] for field in fields] == ["docs/my%20file.md", "100%", "a%2520b", "ärger"]
    assert read_trec(tmp_path / "run.trec") == run


def test_escapes_in_files_of_other_tools_can_be_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q1 Q0 http://x/a%20b 1 2.0 other\n")
    assert read_trec(tmp_path / "run.trec", escaped=False).rankings["q1"][0].document_id == "http://x/a%20b"
    assert read_trec(tmp_path / "run.trec").rankings["q1"][0].document_id == "http://x/a b"


@given(st.dictionaries(IDS, st.lists(IDS, min_size=1, max_size=5, unique=True), max_size=4))
def test_any_ids_survive_a_run_file(tmp_path_factory: pytest.TempPathFactory, ids: dict[str, list[str]]) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    run = run_of({query_id: [(document_id, 1.0) for document_id in documents] for query_id, documents in ids.items()})
    write_trec(run, path)
    found = read_trec(path).rankings
    assert {query_id: [document.document_id for document in ranking] for query_id, ranking in found.items()} == ids


@given(st.lists(st.floats(-1e30, 1e30), max_size=20).map(lambda scores: sorted(scores, reverse=True)))
def test_written_scores_never_tie_in_single_precision(scores: list[float]) -> None:
    lowered = strictly_descending(scores)
    assert len(lowered) == len(scores)
    assert all(float(f"{later:.9g}") < float(f"{earlier:.9g}") for earlier, later in itertools.pairwise(lowered))


def test_trec_eval_reads_the_same_measures_from_the_file_though_scores_tie(tmp_path: Path) -> None:
    judged = JudgedQueries(name="x", queries={"q1": "wing"}, judgements={"q1": {"a": 2, "b": 1}})
    run = run_of({"q1": [("a", 1.0), ("z", 1.0), ("b", 1.0 + 1e-12)]})
    write_trec(run, tmp_path / "run.trec")
    wanted = [ir_measures.nDCG @ 10, ir_measures.RR @ 10]
    theirs = ir_measures.calc_aggregate(wanted, judged.judgements, ir_measures.read_trec_run(str(tmp_path / "run.trec")))
    ours = measure(run, judged)
    assert ours.ndcg_at_10 == pytest.approx(theirs[wanted[0]])
    assert ours.mrr_at_10 == theirs[wanted[1]] == 1.0
    assert ours.ndcg_at_10 < 1.0


def test_documents_are_read_by_score_and_equal_scores_by_rank(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q1 Q0 low 1 0.5 t\nq1 Q0 second 9 2.0 t\nq1 Q0 first 3 2.0 t\n\n")
    assert [document.document_id for document in read_trec(tmp_path / "run.trec").rankings["q1"]] == ["first", "second", "low"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("q1 Q0 d1 1 1.0\n", "line 1: expected 6 fields"),
        ("q1 Q0 d1 1 1.0 t\nq1 Q0 d 2 2 0.5 t\n", "line 2: expected 6 fields .* found 7"),
        ("q1 Q0 d1 one 1.0 t\n", "line 1: rank and score must be numbers"),
        ("q1 Q0 d1 1 nan t\n", "line 1: the score must be finite"),
        ("q1 Q0 d1 1 1.0 t\nq1 Q0 d1 2 0.5 t\n", "line 2: document 'd1' appears twice"),
    ],
)
def test_a_malformed_run_file_names_the_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "run.trec").write_text(text)
    with pytest.raises(InvalidSource, match=problem):
        read_trec(tmp_path / "run.trec")


def test_a_run_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="cannot be read"):
        read_trec(tmp_path / "none.trec")
    with pytest.raises(StorageFailed, match="cannot be written"):
        write_trec(run_of({}), tmp_path / "none" / "run.trec")


def test_an_empty_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="empty id"):
        write_trec(run_of({"q1": [("", 1.0)]}), tmp_path / "run.trec")
