"""Scans that last long beside writes, and how what has ended is forgotten without being asked to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Config, Document
from outcrop.engines import purging
from outcrop.errors import SnapshotExpired


@pytest.fixture(params=["hashing:8", "none"])
def rocks(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Collection]:
    with outcrop.open(tmp_path / "kb", config=Config.test(tail_chunks_max=5)) as db:
        collection = db.create_collection("rocks", embedder=request.param)
        collection.build([Document(f"d{n}", f"granite {n}") for n in range(4)], promote=True)
        yield collection


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes it ten minutes later."""
    passed = [0.0]
    real = time.time

    def pass_time() -> None:
        passed[0] += 600.0

    monkeypatch.setattr(purging.time, "time", lambda: real() + passed[0])
    return pass_time


REWRITE = """
import sys, time, outcrop
real, passed = time.time, 0.0
time.time = lambda: real() + passed
rocks = outcrop.open(sys.argv[1]).collection("rocks")
for number in range(3):
    rocks.upsert([outcrop.Document(f"d{n}", f"schist {n} {number}") for n in range(4)])
    passed += 600.0
    rocks.optimize()
"""


def rewrite(rocks: Collection, later: Callable[[], None]) -> None:
    """Replace everything, again and again, and tidy up when all of that is old."""
    for number in range(3):
        rocks.upsert([Document(f"d{n}", f"schist {n} {number}") for n in range(4)])
        later()
        rocks.optimize()


def test_a_scan_may_last_long_beside_writes_of_its_own_process(rocks: Collection, later: Callable[[], None]) -> None:
    rocks.upsert([Document(f"d{n}", f"gneiss {n}") for n in range(4)])
    scan = rocks.scan()
    read = [next(scan).text]
    rewrite(rocks, later)
    read += [one.text for one in scan]
    assert read == [f"gneiss {n}" for n in range(4)]
    rewrite(rocks, later)
    assert rocks._open.stage.openings.pin_active().readings == ()


def test_so_may_one_beside_another_opening_in_its_process(rocks: Collection, later: Callable[[], None]) -> None:
    rocks.upsert([Document(f"d{n}", f"gneiss {n}") for n in range(4)])
    scan = rocks.scan()
    read = [next(scan).text]
    with outcrop.open(Path(rocks.generations()[0].path).parents[2], config=Config.test()) as other:
        rewrite(other.collection("rocks"), later)
    assert read + [one.text for one in scan] == [f"gneiss {n}" for n in range(4)]


def test_a_scan_that_another_process_has_outlived_ends_with_an_error(rocks: Collection) -> None:
    rocks.upsert([Document(f"d{n}", f"gneiss {n}") for n in range(4)])
    scan = rocks.scan()
    first = next(scan)
    subprocess.run([sys.executable, "-c", REWRITE, str(Path(rocks.generations()[0].path).parents[2])], check=True, timeout=60)
    with pytest.raises(SnapshotExpired, match="Begin again"):
        list(scan)
    assert first.text == "gneiss 0"
    assert sorted(one.text for one in rocks.scan()) == [f"schist {n} 2" for n in range(4)]


def test_what_was_replaced_many_times_is_forgotten_without_being_asked(rocks: Collection, later: Callable[[], None]) -> None:
    """The tail stays short: the same documents are written again and again."""
    for number in range(40):
        rocks.upsert([Document("d0", f"schist {number}"), Document("d1", f"gneiss {number}")])
        later()
    with closing(sqlite3.connect(Path(rocks.generations()[0].path) / "documents.sqlite")) as connection:
        (chunks,) = connection.execute("SELECT count(*) FROM chunks").fetchone()
        (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    assert 4 <= chunks < 20
    assert documents == chunks
    assert sorted(one.text for one in rocks.scan()) == ["gneiss 39", "granite 2", "granite 3", "schist 39"]


def test_a_deleted_document_is_remembered_as_gone(rocks: Collection, later: Callable[[], None]) -> None:
    rocks.upsert(Document("late", "schist"))
    since = rocks.stats().sequence
    rocks.upsert(Document("late", "gneiss"))
    rocks.delete("late")
    for _ in range(3):
        rewrite(rocks, later)
    opened = rocks._open.stage.openings.pin_active()
    put, gone = opened.documents.written_since(since)
    opened.unpin()
    assert sorted(put) == ["d0", "d1", "d2", "d3"]
    assert gone == ["late"]
