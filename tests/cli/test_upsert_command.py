from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import outcrop
from outcrop.errors import NotYetVisible
from outcrop.generations import locks
from outcrop.generations.layout import CollectionFolder
from outcrop.writes import accepting

Cli = Callable[..., Result]


def lines(*ids: str, text: str = "Granite is hard.") -> str:
    return "".join(json.dumps({"id": one, "text": text}) + "\n" for one in ids)


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    """Five documents, of which one is in `rocks` already."""
    file = tmp_path / "changes.jsonl"
    file.write_text(lines("granite", "slate", "basalt", "chalk", "chert"), encoding="utf-8")
    return file


@pytest.mark.usefixtures("rocks")
def test_documents_are_put_in_and_counted(cli: Cli, changes: Path) -> None:
    done = cli("upsert", "rocks", changes)
    assert done.stdout == "5 documents into rocks: 4 new, 1 replaced, 5 chunks; 1 write, sequence 1.\n"
    assert (done.exit_code, done.stderr) == (0, "")
    assert cli("count", "rocks").stdout == "7\n"
    assert "granite#0" in cli("search", "rocks", "granite").stdout


@pytest.mark.usefixtures("rocks")
def test_each_batch_is_a_write(cli: Cli, changes: Path) -> None:
    assert "3 writes, sequences 1-3." in cli("upsert", "rocks", changes, "--batch", 2).stdout
    found = json.loads(cli("upsert", "rocks", changes, "--batch", 2, "--json").stdout)
    assert found == {
        "collection": "rocks",
        "complete": True,
        "documents": 5,
        "sequences": [4, 5, 6],
        "upserted": 5,
        "replaced": 5,
        "chunks": 5,
        "superseded": 0,
    }
    assert cli("upsert", "rocks", changes, "-q").stdout == "7\n"


@pytest.mark.usefixtures("rocks")
def test_a_bad_line_says_what_is_in_and_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(lines("a", "b") + lines("c") + "no json\n" + lines("d"), encoding="utf-8")
    done = cli("upsert", "rocks", bad, "--batch", 2)
    assert (done.exit_code, done.stdout) == (3, "")
    so_far, go_on, error = done.stderr.splitlines()
    assert so_far == "so far: 2 documents are in (2 new, 0 replaced, 2 chunks; 1 write, sequence 1); the rest is not"
    assert go_on == f"go on: outcrop upsert rocks {bad} --skip 2"
    assert error.startswith("error: bad.jsonl:4: not a JSON object")
    assert cli("count", "rocks").stdout == "5\n"

    bad.write_text(lines("a", "b", "c", "d"), encoding="utf-8")
    assert "2 documents into rocks: 2 new" in cli("upsert", "rocks", bad, "--skip", 2).stdout
    assert cli("count", "rocks").stdout == "7\n"


@pytest.mark.usefixtures("rocks")
def test_a_program_reads_how_far_a_failed_upsert_came(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(lines("a", "b") + "[]\n", encoding="utf-8")
    done = cli("upsert", "rocks", bad, "--batch", 1, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 3
    assert (found["complete"], found["documents"], found["sequences"]) == (False, 2, [1, 2])


@pytest.mark.usefixtures("rocks")
def test_what_goes_on_is_said_for_the_same_database(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(lines("a") + "[]\n", encoding="utf-8")
    assert "go on: outcrop --db kb upsert rocks" in cli("upsert", "rocks", bad, "--batch", 1, "--db", "kb").stderr


@pytest.mark.usefixtures("rocks")
def test_a_fault_that_only_the_collection_finds_is_told_with_its_line(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(lines("a", "a", "b") + json.dumps({"id": "c", "text": "x", "vector": [1, 2]}), encoding="utf-8")
    done = cli("upsert", "rocks", bad)
    assert done.exit_code == 3
    assert done.stderr.startswith("so far: nothing was written\nerror: bad.jsonl:4: ")


@pytest.mark.usefixtures("rocks")
def test_of_documents_with_the_same_id_the_last_one_counts_whatever_the_batches(cli: Cli, tmp_path: Path) -> None:
    twice = tmp_path / "twice.jsonl"
    for size in (1, 2, 3):
        twice.write_text(lines("a", text=f"first {size}") + lines("b") + lines("a", text=f"last {size}"), encoding="utf-8")
        assert cli("upsert", "rocks", twice, "--batch", size).exit_code == 0
        assert f"last {size}" in cli("get", "rocks", "a").stdout
    assert "came again" in cli("upsert", "rocks", twice).stderr


@pytest.mark.usefixtures("rocks")
def test_an_empty_file_is_nothing_to_do(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = cli("upsert", "rocks", "empty.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing to do: empty.jsonl holds no documents" in done.stderr


def test_the_first_write_to_an_empty_collection_makes_a_generation(cli: Cli, rocks: Path, changes: Path) -> None:
    with outcrop.open(rocks) as db:
        db.create_collection("fresh", embedder="none")
    done = cli("upsert", "fresh", changes)
    assert done.stderr == "made: generation 1 of fresh, and it is active: the collection had none\n"
    assert cli("count", "fresh").stdout == "5\n"
    assert cli("upsert", "fresh", changes).stderr == ""


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["rock", "changes.jsonl"], 4, "did you mean 'rocks'?"),
        (["rocks", "change.jsonl"], 3, "did you mean changes.jsonl?"),
        (["rocks", "changes.jsonl", "--batch", "0"], 2, "--batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(cli: Cli, changes: Path, arguments: list[str], code: int, said: str) -> None:
    assert changes.exists()
    done = cli("upsert", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert cli("count", "rocks").stdout == "3\n"


def test_a_collection_that_another_writes_to_is_locked(cli: Cli, rocks: Path, changes: Path) -> None:
    with locks.writing(CollectionFolder(rocks / "rocks"), 1):
        done = cli("upsert", "rocks", changes, env={"OUTCROP_LOCK_TIMEOUT_SECONDS": "0"})
    assert done.exit_code == 6
    assert "being written" in done.stderr


@pytest.mark.usefixtures("rocks")
def test_a_write_that_is_in_but_not_visible_is_not_to_be_repeated(cli: Cli, changes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen(*_: object) -> None:
        raise NotYetVisible("write 1 is accepted and durable, but not yet visible", sequence=1)

    monkeypatch.setattr(accepting, "put", unseen)
    done = cli("upsert", "rocks", changes, "--batch", 2)
    assert done.exit_code == 11
    assert "so far: 2 documents are in" in done.stderr
    assert f"go on: outcrop upsert rocks {changes} --skip 2" in done.stderr


def piped(text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "outcrop", *arguments], input=text, capture_output=True, check=False, timeout=60)


@pytest.mark.usefixtures("rocks")
def test_documents_come_from_the_standard_input_too(cli: Cli) -> None:
    done = piped(lines("a", "b", "c").encode(), "upsert", "rocks", "-", "--batch", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    assert cli("count", "rocks").stdout == "6\n"
    bad = piped(lines("d", "e").encode() + b'{"id": "f"}\n', "upsert", "rocks", "-", "--batch", "2")
    assert bad.returncode == 3
    assert b"go on: give what comes after the first 2, or all of it with --skip 2" in bad.stderr
    assert b"error: stdin:3: " in bad.stderr


@pytest.mark.usefixtures("rocks")
def test_a_batch_from_the_standard_input_is_written_as_soon_as_it_is_whole() -> None:
    command = [sys.executable, "-m", "outcrop", "upsert", "rocks", "-", "--batch", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        os.write(process.stdin.fileno(), lines("early").encode())
        with outcrop.open("kb", read_only=True) as db:
            while not db.collection("rocks").get("early"):
                assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=60) == 0
