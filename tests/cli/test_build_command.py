from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
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


def test_the_recall_wanted_is_stated_and_kept(cli: Cli, corpus: Path) -> None:
    first = cli(
        "build", "rocks", corpus, "--embedder", "hashing:64", "--promote", "--target-recall", 0.9, "--optimize-for", "memory"
    )
    assert first.exit_code == 0, first.stderr
    assert json.loads(cli("build", "rocks", "--json").stdout)["recipe"]["goal"] == {"target_recall": 0.9, "optimize_for": "memory"}
    choice = json.loads(cli("stats", "rocks", "--json").stdout)["index_choice"]
    assert (choice["target_recall"], choice["recall"], choice["met"], choice["reason"]) == (0.9, 1.0, True, "few vectors")
    refused = cli("build", "rocks", "--target-recall", 2)
    assert refused.exit_code != 0
    assert "target_recall is 2.0" in refused.stderr


def test_promoted_at_once_it_is_searched_next(cli: Cli, corpus: Path) -> None:
    done = cli("build", "rocks", corpus, "--embedder", "none", "--promote", "--db", "elsewhere")
    assert "Next: outcrop --db elsewhere search rocks QUERY" in done.stdout
    assert "slate#0" in cli("--db", "elsewhere", "search", "rocks", "slate").stdout


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_documents_come_from_the_standard_input_too(cli: Cli, corpus: Path, pack: Callable[[bytes], bytes]) -> None:
    command = [sys.executable, "-m", "outcrop", "build", "rocks", "-", "--embedder", "none", "--promote", "-q"]
    done = subprocess.run(command, input=pack(corpus.read_bytes()), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert cli("count", "rocks").stdout == "3\n"
    bad = subprocess.run(command, input=b'{"id": "a"}\n', capture_output=True, check=False, timeout=60)
    assert bad.returncode == 3
    assert b"error: stdin:1: " in bad.stderr


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


def test_a_build_that_its_gate_refuses_stays_ready(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("documents_min = 4\n", encoding="utf-8")
    done = cli("build", "rocks", corpus, "--embedder", "none", "--promote", "--gate", "gate.toml")
    assert (done.exit_code, done.stdout) == (10, "")
    assert "built: generation 1 of rocks is ready, and not active" in done.stderr
    assert cli("promote", "rocks", "1").exit_code == 0


def test_a_gate_is_read_before_anything_is_built(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("documents = 4\n", encoding="utf-8")
    done = cli("build", "rocks", corpus, "--embedder", "none", "--promote", "--gate", "gate.toml")
    assert (done.exit_code, "documents_min" in done.stderr) == (3, True)
    assert not (tmp_path / "kb").exists()
    assert "--promote too" in cli("build", "rocks", corpus, "--gate", "gate.toml").stderr


def test_a_rebuild_can_keep_what_was_written(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"id": "granite", "text": "Granite is hard."}', encoding="utf-8")
    cli("build", "rocks", corpus, "--embedder", "none", "--promote")
    cli("upsert", "rocks", "more.jsonl")
    kept = json.loads(cli("build", "rocks", corpus, "--keep-writes", "--json").stdout)
    assert (kept["document_count"], kept["vanished"]) == (4, 0)
    done = cli("build", "rocks", corpus)
    assert "1 of the active generation's documents are not in it" in done.stdout


def stored_rows(folder: Path) -> int:
    """How many documents the build that is under way has stored, as far as that can be seen."""
    for file in folder.glob("generations/*/documents.sqlite"):
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                return int(database.execute("SELECT count(*) FROM documents").fetchone()[0])
        except sqlite3.Error:  # it is only just being made
            return 0
    return 0


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process there")
def test_an_interrupted_build_is_cancelled_and_resumed(cli: Cli, tmp_path: Path) -> None:
    rows = (json.dumps({"id": str(number), "text": f"layer {number}"}) for number in range(3000))
    (tmp_path / "layers.jsonl").write_text("\n".join(rows), encoding="utf-8")
    build = ["build", "layers", "layers.jsonl", "--embedder", "hashing:64", "-q"]
    environ = {**os.environ, "OUTCROP_BATCH_DOCUMENTS": "8"}
    command = [sys.executable, "-m", "outcrop", *build]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        while not stored_rows(tmp_path / "kb" / "layers"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    stopping, stopped = err.splitlines()
    assert stopping == "stopping: the build ends at its next step; Ctrl-C again stops at once"
    assert stopped.startswith("stopped: the build of generation 1 of 'layers' was cancelled; what it has prepared is kept")
    assert cli(*build).stdout == "2\n"
    assert [path.name[:6] for path in tmp_path.glob("kb/layers/generations/*")] == ["000002"]


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
