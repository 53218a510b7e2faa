"""How the collector removes what is not kept: whole or not at all, never under anybody, and with its part of the journal."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from outcrop import file_locks
from outcrop.config import Config
from outcrop.engines import registry
from outcrop.errors import CollectionLocked, EngineUnavailable
from outcrop.generations import collecting, leases, locks
from outcrop.generations.collecting import GcReport
from outcrop.generations.layout import GenerationName

if TYPE_CHECKING:
    from tests.generations.conftest import Kb

KILLED = """
import os, shutil, sys
from pathlib import Path
from outcrop.config import Config
from outcrop.generations import collecting
from outcrop.generations.layout import CollectionFolder
shutil.rmtree = lambda path: os._exit(9)
collecting.collect(CollectionFolder(Path(sys.argv[1])), Config.test(kept_generations=0, kept_days=0))
"""


def numbers(report: GcReport) -> list[int | None]:
    return [item.generation for item in report.removed]


def reason(report: GcReport, name: GenerationName) -> str:
    return next(item.reason for item in report.kept if item.generation == name.number)


def tree(folder: Path) -> dict[str, int]:
    """Every file with its time of change, but for those that SQLite makes to read."""
    return {
        str(path.relative_to(folder)): path.lstat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_a_lease_that_is_taken_after_the_decision_is_respected(kb: Kb, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = kb.promoted(300, 200)
    monkeypatch.setattr(leases, "is_taken", lambda _: False)
    lease = leases.take(kb.folder.generation(one))
    assert lease is not None
    report = kb.collect(kept_generations=0)
    assert report.removed == ()
    assert "open in a process" in reason(report, one)
    assert kb.folder.generation(one).is_dir()
    lease.release()


def test_what_a_removed_build_held_of_the_journal_is_let_go(kb: Kb) -> None:
    kept, gone = kb.build(checkpoint=b"half"), kb.build()
    for name in (kept, gone):
        kb.journal.hold(5, name.number)
    kb.journal.hold(3, 99)
    with locks.held(kb.folder.build_lock, timeout_seconds=0, action="being built"):
        kb.collect()
        assert len(kb.journal.holds()) == 3
    kb.collect()
    assert [hold.generation for hold in kb.journal.holds()] == [kept.number]


def test_a_dry_run_says_what_would_go_and_changes_nothing(kb: Kb) -> None:
    one, two = kb.promoted(300, 200)
    kb.build()
    before = tree(kb.folder.path)
    report = kb.survey(kept_generations=0)
    assert report.dry_run
    assert tree(kb.folder.path) == before
    done = kb.collect(kept_generations=0)
    assert not done.dry_run
    assert numbers(report) == numbers(done) == [one.number, 3]
    assert [item.reason for item in report.removed] == [item.reason for item in done.removed]
    assert kb.there() == [two]


def test_sizes_tell_what_the_disk_gets_back_and_what_each_generation_takes(kb: Kb) -> None:
    one, two = kb.promoted(300, 200)
    (kb.folder.generation(one) / "big").write_bytes(b"x" * 100_000)
    (kb.folder.generation(two) / "big").write_bytes(b"x" * 300_000)
    report = kb.collect(kept_generations=0)
    assert 100_000 < report.freed_bytes < 300_000 < report.kept_bytes < 400_000
    assert [item.size_bytes for item in report.removed] == [report.freed_bytes]


def test_a_collection_that_was_killed_half_way_is_finished_by_the_next(kb: Kb) -> None:
    one, two = kb.promoted(300, 200)
    process = subprocess.run([sys.executable, "-c", KILLED, str(kb.folder.path)], check=False)
    assert process.returncode == 9
    assert kb.there() == [two]
    aside = kb.folder.generations / f".removed-{one}"
    assert aside.is_dir()
    assert [item.path for item in kb.survey().removed] == [str(aside)]
    report = kb.collect()
    assert [(item.path, item.kind) for item in report.removed] == [(str(aside), "leftover")]
    assert not aside.exists()


class Dropping:
    """An engine that keeps something elsewhere, and notes what it is told to drop."""

    def __init__(self) -> None:
        self.dropped: list[Path] = []
        self.works = True

    def drop(self, directory: Path, _: object) -> None:
        if not self.works:
            raise EngineUnavailable("the engine is down", engine="lancedb", reason="down", remedy="wait")
        self.dropped.append(directory)


def test_the_engine_drops_what_it_keeps_elsewhere_or_the_folder_stays_for_the_next_time(
    kb: Kb, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Dropping()
    monkeypatch.setattr(registry, "drop", engine.drop)
    one, _ = kb.promoted(300, 200)
    engine.works = False
    report = kb.collect(kept_generations=0)
    assert report.removed == ()
    assert "the engine is down" in reason(report, one)
    assert (kb.folder.generations / f".removed-{one}" / "manifest.json").exists()
    engine.works = True
    assert len(kb.collect(kept_generations=0).removed) == 1
    assert engine.dropped == [kb.folder.generations / f".removed-{one}"]


def test_it_waits_for_the_writer_and_then_says_who_it_is(kb: Kb) -> None:
    one, _ = kb.promoted(300, 200)
    with locks.writing(kb.folder, 0), pytest.raises(CollectionLocked, match="being written by process"):
        kb.collect(kept_generations=0, lock_timeout_seconds=0.05)
    assert one in kb.there()


def test_no_build_waits_for_a_collector_that_waits_for_a_writer(kb: Kb) -> None:
    kb.promoted(300, 200)
    collector = threading.Thread(target=lambda: kb.collect(kept_generations=0, lock_timeout_seconds=60))
    with locks.writing(kb.folder, 0):
        collector.start()
        while not file_locks.is_locked(kb.folder.writer_queue):
            time.sleep(0.001)
        assert not file_locks.is_locked(kb.folder.build_lock)
    collector.join()
    assert len(kb.there()) == 1


def test_many_collectors_at_once_remove_everything_once(kb: Kb) -> None:
    kb.promoted(*range(110, 100, -1))
    reports: list[GcReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(kb.collect(kept_generations=1, lock_timeout_seconds=60))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 4
    assert len(kb.there()) == 2
    assert sum(item.kind == "generation" for report in reports for item in report.removed) == 8
    assert not list(kb.folder.generations.glob(".removed-*"))


def test_a_generation_can_be_given_up_though_it_is_kept_but_not_an_active_or_open_one(kb: Kb) -> None:
    one, two, three = kb.promoted(3, 2, 1)
    config = Config.test()
    lease = leases.take(kb.folder.generation(one))
    assert lease is not None
    assert collecting.give_up(kb.folder, config, one).removed == ()
    assert collecting.give_up(kb.folder, config, three).removed == ()
    assert kb.there() == [one, two, three]
    lease.release()
    report = collecting.give_up(kb.folder, config, one)
    assert numbers(report) == [one.number]
    assert report.removed[0].reason == "given up; it was kept as archived, one of the 2 that were promoted last"
    assert kb.there() == [two, three]


def put(kb: Kb, count: int) -> None:
    for number in range(count):
        kb.journal.accept([("put", f"d{number}", b"{}")])


def test_the_journal_is_kept_for_the_generation_that_is_furthest_behind(kb: Kb) -> None:
    behind, ahead = kb.ready(sequence=4), kb.ready(sequence=9)
    kb.promote(behind, days=200)
    kb.promote(ahead, days=100)
    put(kb, 10)
    assert collecting.floor(kb.folder) == 4
    assert kb.survey(kept_generations=1).journal_entries == 4
    assert kb.collect(kept_generations=1).journal_entries == 4
    assert [entry.sequence for entry in kb.journal.entries(0, count=100)] == [5, 6, 7, 8, 9, 10]
    assert kb.survey(kept_generations=0).journal_entries == 5
    assert kb.collect(kept_generations=0).journal_entries == 5
    assert [entry.sequence for entry in kb.journal.entries(0, count=100)] == [10]


def test_the_journal_is_kept_for_a_running_build(kb: Kb) -> None:
    kb.promote(kb.ready(sequence=9))
    put(kb, 10)
    build = kb.build(checkpoint=b"half")
    kb.journal.hold(3, build.number)
    assert collecting.floor(kb.folder) == 3
    assert collecting.trim(kb.folder) == 3
    assert collecting.trim(kb.folder) == 0


def test_nothing_is_forgotten_while_a_generation_cannot_be_read(kb: Kb) -> None:
    behind, ahead = kb.ready(sequence=4), kb.ready(sequence=9)
    kb.promote(behind)
    kb.promote(ahead)
    put(kb, 10)
    path = kb.folder.generation(behind) / "documents.sqlite"
    whole = path.read_bytes()
    path.write_bytes(b"garbled")
    assert collecting.floor(kb.folder) is None
    assert collecting.trim(kb.folder) == 0
    (kb.folder.generation(behind) / "quarantined").write_text("{}")
    assert collecting.floor(kb.folder) == 9  # it is on its way out, and must not hold the journal for ever
    path.write_bytes(whole)
    assert collecting.floor(kb.folder) == 4


def test_without_any_generation_nothing_is_forgotten(kb: Kb) -> None:
    put(kb, 3)
    assert collecting.floor(kb.folder) is None
    assert kb.collect().journal_entries == 0


def test_a_removed_generation_stays_in_the_history(kb: Kb) -> None:
    kb.promoted(300, 200, 100)
    kb.collect(kept_generations=0)
    assert [one.generation for one in kb.journal.promotions()] == [1, 2, 3]
    shutil.rmtree(kb.folder.generations)  # and a collector that finds no folder at all has nothing to do
    assert kb.survey().removed == ()
