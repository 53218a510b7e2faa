from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import BadRecord, Progress
from outcrop.errors import InvalidDocument
from outcrop.surfaces.cli.progress import SKIPPED_SHOWN, Skipped, told

Cli = Callable[..., Result]


def test_a_build_makes_the_collection_and_says_what_comes_next(cli: Cli, corpus: Path) -> None:
    done = cli("build", "rocks", corpus, "--embedder", "hashing:64", "--chunker", "none")
    assert done.exit_code == 0
    assert "created: collection rocks in kb" in done.stderr
    for said in ("generation 1", "ready", "hashing:64", "documents/s", "Next: outcrop promote rocks 1"):
        assert said in done.stdout
    assert cli("promote", "rocks", "1").exit_code == 0
    assert cli("count", "rocks").stdout == "3\n"


def test_promoted_at_once_it_is_searched_next(cli: Cli, corpus: Path) -> None:
    done = cli("build", "rocks", corpus, "--embedder", "none", "--promote", "--db", "elsewhere")
    assert "Next: outcrop --db elsewhere search rocks QUERY" in done.stdout
    assert "slate#0" in cli("--db", "elsewhere", "search", "rocks", "slate").stdout


@pytest.mark.usefixtures("rocks")
def test_without_a_source_the_documents_are_the_active_generations_own(cli: Cli) -> None:
    built = json.loads(cli("build", "rocks", "--chunker", "markdown:20", "--json").stdout)
    assert (built["number"], built["status"], built["document_count"]) == (3, "ready", 3)
    assert built["recipe"]["chunker"].startswith("markdown:20/")
    assert built["recipe"]["embedder"]["spec"] == "hashing:64"


def test_quiet_prints_the_number_only(cli: Cli, corpus: Path) -> None:
    done = cli("build", "rocks", corpus, "--embedder", "none", "-q")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_failed_first_build_leaves_nothing_behind(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "text": "fine"}\nno json\n', encoding="utf-8")
    done = cli("build", "new", bad, "--embedder", "none")
    assert done.exit_code == 3
    assert "bad.jsonl:2" in done.stderr
    assert not (tmp_path / "kb").exists()


@pytest.mark.usefixtures("rocks")
def test_a_failed_build_leaves_the_collection_that_was_there(cli: Cli) -> None:
    assert cli("build", "rocks", "missing.jsonl").exit_code == 3
    assert cli("count", "rocks").stdout == "3\n"
    assert "#" in cli("generations", "rocks").stdout


def test_skipped_records_are_told_and_counted(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "some.jsonl"
    source.write_text('{"id": "a", "text": "fine"}\nno json\n{"id": "a", "text": "again"}\n', encoding="utf-8")
    done = cli("build", "new", source, "--embedder", "none", "--on-error", "skip", "--json")
    told_of = [line for line in done.stderr.splitlines() if line.startswith("skipped: ")]
    assert ["some.jsonl:2" in line or "some.jsonl:3" in line for line in told_of] == [True, True]
    assert json.loads(done.stdout)["skipped"] == 2


def test_after_the_first_skipped_records_only_the_number_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = Skipped()
    for line in range(SKIPPED_SHOWN + 5):
        skipped.told(BadRecord(origin=f"x.jsonl:{line}", error=InvalidDocument(f"x.jsonl:{line}: [b]bad[/b]\nvery")))
    skipped.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "skipped: x.jsonl:0: [b]bad[/b] very"
    assert lines[SKIPPED_SHOWN:] == [f"skipped: 5 more, {SKIPPED_SHOWN + 5} in all"]


@pytest.mark.usefixtures("rocks")
def test_a_metric_is_for_new_collections(cli: Cli, corpus: Path) -> None:
    refused = cli("build", "rocks", corpus, "--metric", "dot")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "metric" in refused.stderr
    assert cli("build", "rocks", corpus, "--metric", "cosine", "-q").stdout == "3\n"
    built = json.loads(cli("build", "other", corpus, "--metric", "dot", "--embedder", "hashing:64", "--json").stdout)
    assert built["recipe"]["metric"] == "dot"


def test_progress_is_told_in_words() -> None:
    progress = Progress(
        phase="write",
        documents=1500,
        chunks=1600,
        position_bytes=50,
        size_bytes=100,
        seconds=1.5,
        rate=1000.0,
        skipped=2,
        remaining_seconds=75.0,
    )
    assert told(progress) == "50%, 1,500 documents, 1,000/s, 2 skipped, 1 min 15 s left"
