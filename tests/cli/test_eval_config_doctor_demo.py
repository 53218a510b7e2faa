from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import embedding, evaluation
from outcrop.embedding import EmbedderFacts
from outcrop.engines import registry
from outcrop.engines.protocol import Availability
from outcrop.surfaces.cli.demo_documents import documents

Cli = Callable[..., Result]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A BEIR folder: one query that finds its document, one that finds nothing."""
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    queries = [{"_id": "1", "text": "what splits into layers"}, {"_id": "2", "text": "zeppelin"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tslate\t1\n2\tsand\t1\n", encoding="utf-8")
    return folder


@pytest.mark.usefixtures("rocks")
def test_eval_measures_every_mode_and_counts_queries_without_hits_as_zero(cli: Cli, judged: Path) -> None:
    pytest.importorskip("ir_measures")
    found = json.loads(cli("eval", "rocks", judged, "--json").stdout)
    assert [one["mode"] for one in found["modes"]] == ["lexical", "vector", "hybrid"]
    assert found["modes"][0]["ndcg_at_10"] == 0.5
    assert found["verdict"]["conclusion"] in ("better", "worse", "no clear difference")
    shown = cli("eval", "rocks", judged, "--search-mode", "lexical").stdout
    assert "judged: 2 judged queries on generation 1" in shown
    assert "0.5000" in shown
    assert "vector" not in shown


@pytest.mark.usefixtures("rocks")
def test_eval_writes_measures_of_each_query_and_trec_runs(cli: Cli, judged: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    table, runs = tmp_path / "queries.csv", tmp_path / "runs"
    done = cli("eval", "rocks", judged, "-m", "lexical", "-m", "hybrid", "--per-query", table, "--run-file", runs)
    assert done.exit_code == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["search_mode"], row["query_id"]) for row in rows] == [
        ("lexical", "1"),
        ("lexical", "2"),
        ("hybrid", "1"),
        ("hybrid", "2"),
    ]
    assert [row["ndcg_at_10"] for row in rows[:2]] == ["1.0", "0.0"]
    assert sorted(file.name for file in runs.iterdir()) == ["hybrid.trec", "lexical.trec"]
    run = evaluation.read_trec(runs / "lexical.trec")
    assert run.rankings["1"][0].document_id == "slate"


@pytest.mark.usefixtures("rocks")
def test_eval_searches_the_generation_that_it_is_given(cli: Cli, judged: Path) -> None:
    pytest.importorskip("ir_measures")
    assert json.loads(cli("eval", "rocks", judged, "-g", "2", "-m", "lexical", "--json").stdout)["generation"] == 2


def test_config_show_says_who_set_what(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "outcrop.toml").write_text('embedder = "none"\n', encoding="utf-8")
    environ = {"OUTCROP_CANDIDATES": "77"}
    listed = json.loads(cli("config", "show", "--db", "db", "--mode", "test", "--json", env=environ).stdout)
    settings = {one["key"]: (one["value"], one["origin"]) for one in listed}
    assert settings["path"] == ("db", "--db")
    assert settings["mode"] == ("test", "--mode")
    assert settings["candidates"] == (77, "OUTCROP_CANDIDATES")
    assert settings["embedder"][0] == "none"
    assert settings["embedder"][1].endswith("outcrop.toml:1")
    assert settings["batch_documents"] == (64, "preset default")
    shown = cli("config", "show", env={"OUTCROP_DB": "db"}).stdout
    assert "OUTCROP_DB" in shown
    assert not (tmp_path / "kb").exists()


def test_an_option_after_the_command_wins_over_one_before_it(cli: Cli) -> None:
    listed = json.loads(cli("--db", "a", "config", "show", "--db", "b", "--json", env={"OUTCROP_DB": "c"}).stdout)
    assert {one["key"]: one["value"] for one in listed}["path"] == "b"
    listed = json.loads(cli("--db", "a", "config", "show", "--json", env={"OUTCROP_DB": "c"}).stdout)
    assert {one["key"]: one["value"] for one in listed}["path"] == "a"


def test_doctor_says_what_works_here(cli: Cli) -> None:
    done = cli("doctor")
    assert done.exit_code == 0
    for said in ("Python", "SQLite", "faiss-cpu", "tantivy", "builtin", "lancedb", "symlinks", "free space"):
        assert said in done.stdout
    found = json.loads(cli("doctor", "--json").stdout)
    assert found["works"] is True
    versions = {one["name"]: one["found"] for one in found["checks"] if one["area"] == "library"}
    assert versions["numpy"] == metadata.version("numpy")


def test_doctor_leaves_no_trace(cli: Cli, tmp_path: Path) -> None:
    assert cli("doctor").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_doctor_fails_where_the_mode_cannot_run_and_names_the_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Availability(available=False, reason="pyarrow is too old", remedy="pip install -U pyarrow")
    works = registry.availability
    monkeypatch.setattr(registry, "availability", lambda name, config: broken if name == "lancedb" else works(name, config))
    done = cli("doctor", "--mode", "lancedb_test")
    assert done.exit_code == 7
    assert "pyarrow is too old" in done.stdout
    assert "pip install -U pyarrow" in done.stdout
    assert cli("doctor", "--mode", "production").exit_code == 0  # it falls back


def test_doctor_goes_on_when_the_configuration_cannot_be_read(cli: Cli) -> None:
    done = cli("doctor", "--json", env={"OUTCROP_CANDIDATES": "x"})
    assert done.exit_code == 3
    failed = [one for one in json.loads(done.stdout)["checks"] if one["state"] == "fail"]
    assert [one["name"] for one in failed] == ["settings"]
    assert "OUTCROP_CANDIDATES" in failed[0]["found"]


def test_doctor_fails_for_an_embedder_that_is_configured_and_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [EmbedderFacts("minilm", available=False, reason="not installed: onnxruntime", remedy="pip install 'outcrop[minilm]'")]
    monkeypatch.setattr(embedding, "available", lambda **_: facts)
    assert cli("doctor", env={"OUTCROP_EMBEDDER": "none"}).exit_code == 7  # `none` is not among the facts made up here
    done = cli("doctor", env={"OUTCROP_EMBEDDER": "minilm"})
    assert done.exit_code == 7
    assert "pip install 'outcrop[minilm]'" in done.stdout


def test_doctor_names_the_command_for_an_extra_that_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "numpy>=2",
        'httpx>=1; extra == "openai"',
        'no-such-package>=1; extra == "fast"',
        'outcrop[fast]; extra == "all"',
        'no-such-backport; python_version < "3.0" and extra == "zip"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: requirements)
    checks = {one["name"]: one for one in json.loads(cli("doctor", "--json").stdout)["checks"] if one["area"] == "extra"}
    assert (checks["fast"]["state"], checks["fast"]["remedy"]) == ("no", "pip install 'outcrop[fast]'")
    assert checks["zip"]["state"] == "ok"
    assert "all" not in checks


def test_the_demo_documents_are_this_projects_own() -> None:
    found = {one.id: one for one in documents()}
    assert "promote" in found["outcrop.Collection"].text
    assert "outcrop.errors.NothingToRollBack" in found
    assert {one.metadata["kind"] for one in found.values()} <= {"page", "reference"}


def test_the_demo_shows_two_generations_and_ends_well(cli: Cli, tmp_path: Path) -> None:
    if embedding.default_spec() == "none":
        pytest.skip("no embedder is installed")
    done = cli("demo", "--keep", "shown")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    for mode in ("lexical", "vector", "hybrid"):
        assert f"--search-mode {mode}" in done.stdout
    for said in ("generation 1", "generation 2", "$ outcrop promote handbook 2", ">>> handbook.rollback()", "x weight"):
        assert said in done.stdout
    assert done.stdout.index("$ outcrop upsert") < done.stdout.index("$ outcrop promote handbook 2")
    assert done.stdout.index("$ outcrop delete") < done.stdout.index("$ outcrop rollback handbook")
    listed = json.loads(cli("generations", "handbook", "--db", tmp_path / "shown" / "kb", "--json").stdout)
    assert [(one["number"], one["status"]) for one in listed["generations"]] == [(1, "active"), (2, "archived")]
    assert cli("demo", "--keep", "shown").exit_code == 2


def test_the_demo_works_without_an_embedder_and_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "default_spec", lambda: "none")
    monkeypatch.setattr(embedding, "available", lambda: [EmbedderFacts("static", available=False)])
    done = cli("demo")
    assert done.exit_code == 0, done.output
    assert "pip install 'outcrop[static]'" in done.stdout
    assert "--search-mode lexical" in done.stdout
    assert "--search-mode vector" not in done.stdout
    assert list(tmp_path.iterdir()) == []
