from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import Collection, Gate, GateCheck, GateReport
from outcrop.errors import InvalidConfig
from outcrop.judging import refusal
from outcrop.surfaces.cli.arguments import gate_of

Cli = Callable[..., Result]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    file = tmp_path / "golden.jsonl"
    lines = [{"query": "dunes of sand", "relevant": {"dune": 1}}, {"query": "thin layers"}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


@pytest.mark.usefixtures("rocks")
def test_two_generations_are_compared_in_a_table(cli: Cli, golden: Path) -> None:
    done = cli("compare", "rocks", 1, 2, "--queries", golden)
    assert (done.exit_code, done.stderr) == (0, "")
    for said in (
        "documents  1 vanished (dune)",
        "-> none",
        "nDCG@10",
        "p95 latency",
        "dunes of sand",
        "queries    2, the best 10:",
    ):
        assert said in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if not line.startswith("judged"))


@pytest.mark.usefixtures("rocks")
def test_without_queries_documents_and_recipes_are_compared(cli: Cli) -> None:
    shown = cli("compare", "rocks", 1, 2).stdout
    assert "1 vanished (dune)" in shown
    assert "latency" not in shown
    assert "the same\ndocuments  the same" in cli("compare", "rocks", 1, 1).stdout


@pytest.mark.usefixtures("rocks")
def test_a_program_reads_the_comparison_as_json(cli: Cli, golden: Path) -> None:
    found = json.loads(cli("compare", "rocks", 1, 2, "--queries", golden, "-k", 1, "--json").stdout)
    assert (found["a"]["number"], found["b"]["number"]) == (1, 2)
    assert found["documents"]["vanished"] == {"count": 1, "examples": ["dune"]}
    assert found["queries"]["k"] == 1
    worst, _ = found["queries"]["per_query"]
    assert (worst["query"], worst["moved_out"], worst["overlap"]) == ("dunes of sand", ["dune"], 0.0)


@pytest.mark.usefixtures("rocks")
def test_a_generation_may_be_named_by_its_uuid(cli: Cli) -> None:
    second = json.loads(cli("generations", "rocks", "--json").stdout)["generations"][1]
    assert cli("compare", "rocks", second["uuid"], 1, "--json").stdout == cli("compare", "rocks", 2, 1, "--json").stdout


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rocks", 1, 9), 4, "has no generation 9; there are: 1, 2"),
        (("rokcs", 1, 2), 4, "rocks"),
        (("rocks", 1, 2, "--queries", "missing.jsonl"), 3, "missing.jsonl: there is no such file"),
        (("rocks", 1, 2, "-k", 0), 2, "-k"),
        (("rocks", 1), 2, "Missing argument 'B'"),
    ],
)
def test_what_cannot_be_compared_ends_with_its_exit_code(cli: Cli, arguments: tuple[object, ...], code: int, said: str) -> None:
    done = cli("compare", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.mark.usefixtures("rocks")
def test_a_refused_promotion_shows_the_report_and_has_its_own_exit_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = (
        GateCheck(name="documents", passed=True, found="2", limit="at least 1"),
        GateCheck(name="vanished ids", passed=False, found="1 of 3, 33.3% (du\x1bne)", limit="at most 10%"),
    )
    report = GateReport(generation=2, active=1, passed=False, checks=checks)

    def refused(*_: object, **__: object) -> None:
        raise refusal(report, "rocks")

    monkeypatch.setattr(Collection, "promote", refused)
    done = cli("promote", "rocks", 2)
    assert (done.exit_code, done.stdout) == (10, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "gate of generation 2 against generation 1: 1 of 2 checks failed"
    assert lines[2].split() == "passed documents at least 1 2".split()
    assert lines[3].startswith("FAILED  vanished ids  at most 10%")
    assert "\x1b" not in done.stderr
    assert lines[-1].startswith("error: 1 of 2 checks failed: generation 2 was not promoted")


def test_a_gate_file_is_read_where_an_option_names_it(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("documents_min = 3", encoding="utf-8")
    assert gate_of(file) == Gate(documents_min=3)
    assert gate_of(None) is None
    with pytest.raises(InvalidConfig, match="cannot be read"):
        gate_of(tmp_path / "missing.toml")
