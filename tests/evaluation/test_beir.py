"""Reading judged queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outcrop.errors import InvalidInput, InvalidSource
from outcrop.evaluation import JudgedQueries, golden, load, load_golden

HEADER = "query-id\tcorpus-id\tscore\n"


def test_only_queries_with_a_row_in_the_split_are_loaded(beir_folder: Path) -> None:
    judged = load(beir_folder)
    assert judged.name == "tiny"
    assert judged.queries == {"q1": "wing", "q2": "flutter"}
    assert judged.judgements == {"q1": {"d1": 2, "d2": 1}, "q2": {"d3": 1}}
    assert judged.judged_count == 2


def test_another_split_can_be_named(beir_folder: Path) -> None:
    assert load(beir_folder, split="dev").judgements == {"q3": {"d1": 1}}


def test_a_split_that_is_not_there_names_the_file(beir_folder: Path) -> None:
    with pytest.raises(InvalidSource, match=r"train\.tsv: cannot be read") as caught:
        load(beir_folder, split="train")
    assert caught.value.path.endswith("train.tsv")


def test_a_missing_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="no such file or folder; give a BEIR folder"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "line", "problem"),
    [
        (HEADER + "q1 d1 1\n", 2, "expected 3 fields"),
        (HEADER + "q1\t0\td1\t1\n", 2, "found 4"),
        (HEADER + "q1\td1\t1\nq1\td2\thigh\n", 3, "grade must be an integer"),
        (HEADER + "q1\td1\t1.0\n", 2, "grade must be an integer"),
        (HEADER + "q1\t\t1\n", 2, "must not be empty"),
        (HEADER + "q1\td1\t1\nq1\td1\t0\n", 3, "judged 1 for query 'q1' above and 0 here"),
        (HEADER + "q1\td1\t1\nq9\td1\t1\n", 3, "query 'q9' is judged but not in queries.jsonl"),
    ],
)
def test_a_malformed_judgement_names_file_and_line(beir_folder: Path, rows: str, line: int, problem: str) -> None:
    (beir_folder / "qrels" / "test.tsv").write_text(rows, encoding="utf-8")
    with pytest.raises(InvalidSource, match=problem) as caught:
        load(beir_folder)
    assert caught.value.line == line
    assert caught.value.path.endswith("test.tsv")


def test_a_file_of_judgements_without_a_header_loses_no_row(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "test.tsv").write_text("q1\td1\t1\r\nq2\td3\t1\r\n", encoding="utf-8")
    assert load(beir_folder).judgements == {"q1": {"d1": 1}, "q2": {"d3": 1}}


def test_a_file_with_a_header_only_is_refused(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "test.tsv").write_text(HEADER, encoding="utf-8")
    with pytest.raises(InvalidSource, match="no judgements"):
        load(beir_folder)


def test_the_same_judgement_twice_is_harmless(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "test.tsv").write_text(HEADER + "q1\td1\t1\nq1\td1\t1\n", encoding="utf-8")
    assert load(beir_folder).judgements == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("not json\n", 1, "not JSON"),
        ('{"_id": "q1", "text": "wing"}\n{"_id": "q2", "te', 2, "not JSON"),
        ('["q1", "wing"]\n', 1, "must be a JSON object, found list"),
        ('{"id": "q1", "text": "wing"}\n', 1, "\"_id\" is missing; found 'id', 'text'"),
        ('{"_id": 1, "text": "wing"}\n', 1, '"_id" must be text, found int: 1'),
        ('{"_id": "", "text": "wing"}\n', 1, '"_id" is empty'),
        ('{"_id": "q1"}\n', 1, '"text" is missing'),
        ('{"_id": "q1", "text": "  "}\n', 1, "query is empty"),
        ('{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n', 2, "already on line 1"),
    ],
)
def test_a_malformed_query_names_file_and_line(beir_folder: Path, text: str, line: int, problem: str) -> None:
    (beir_folder / "queries.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSource, match=problem) as caught:
        load(beir_folder)
    assert caught.value.line == line
    assert caught.value.path.endswith("queries.jsonl")


def test_a_query_file_that_is_not_utf_8_names_the_line(beir_folder: Path) -> None:
    (beir_folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "wing"}\n{"_id": "q2", "text": "fl\xfcgel"}\n')
    with pytest.raises(InvalidSource, match="line 2: not UTF-8"):
        load(beir_folder)


def test_a_byte_order_mark_is_no_part_of_the_first_query(beir_folder: Path) -> None:
    queries = beir_folder / "queries.jsonl"
    queries.write_bytes(b"\xef\xbb\xbf" + queries.read_bytes())
    assert load(beir_folder).queries["q1"] == "wing"


def test_golden_queries_may_be_unjudged(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(
        '{"query": "wing", "relevant": {"d1": 2}}\n\n{"query": "flutter"}\n{"id": "x", "query": "heat", "relevant": {}}\n'
    )
    judged = load(path)
    assert judged.queries == {"1": "wing", "3": "flutter", "x": "heat"}
    assert judged.judgements == {"1": {"d1": 2}, "x": {}}
    assert judged.name == "golden"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"relevant": {"d1": 1}}', '"query" is missing'),
        ('{"query": "wing", "relevant": ["d1"]}', "must be an object of document ids and grades, found list"),
        ('{"query": "wing", "relevant": {"d1": true}}', "grade of 'd1' must be an integer, found True"),
        ('{"query": "wing", "relevant": {"d1": 0.5}}', "grade of 'd1' must be an integer"),
        ('{"query": "wing", "relevant": {"": 1}}', "is empty"),
        ('{"query": " "}', "query is empty"),
        ("", "no queries"),
    ],
)
def test_a_malformed_golden_line_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidSource, match=problem):
        load_golden(path)


def test_an_id_used_twice_in_golden_queries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text('{"query": "wing", "id": "2"}\n{"query": "flutter"}\n')
    with pytest.raises(InvalidSource, match="line 2: the query id '2' was used by an earlier line"):
        load_golden(path)


def test_a_judgement_without_its_query_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 judged queries have no text, the first is 'q2'"):
        JudgedQueries(name="x", queries={"q1": "wing"}, judgements={"q1": {"d": 1}, "q2": {"d": 1}})


@pytest.mark.parametrize(
    ("name", "query_count", "judgement_count"), [("scifact", 300, 339), ("cranfield", 225, 1837), ("cisi", 76, 3114)]
)
def test_the_judged_collections_have_the_published_counts(
    shared_data: Path, name: str, query_count: int, judgement_count: int
) -> None:
    judged = load(shared_data / name)
    assert judged.judged_count == len(judged.queries) == query_count
    assert sum(len(grades) for grades in judged.judgements.values()) == judgement_count


def test_queries_at_hand_are_read_as_a_golden_file_is(tmp_path: Path) -> None:
    lines = [
        {"query": "wing"},
        {"id": "q", "query": "flutter", "relevant": {"d7": 2, "d8": 0}},
        {"query": "lift", "relevant": None},
    ]
    file = tmp_path / "queries.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert golden(["wing", *lines[1:]]) == load_golden(file)


@pytest.mark.parametrize(
    ("queries", "problem"),
    [
        ("wing", "found one text: 'wing'; to read a file use load"),
        ([], "there are no queries"),
        (["wing", 7], "query 2: it must be a text or a mapping"),
        (["wing", "  "], "query 2: the query is empty"),
        ([{"query": "wing", "relevant": ["d1"]}], "query 1: .*must be an object"),
        ([{"query": "wing", "relevant": {7: 1}}], "must be text, found 7"),
        ([{"id": "2", "query": "wing"}, "flutter"], "query 2: the query id '2' was used by an earlier query"),
    ],
)
def test_malformed_queries_at_hand_are_refused(queries: Any, problem: str) -> None:
    with pytest.raises(InvalidSource, match=problem):
        golden(queries)
