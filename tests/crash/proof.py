"""The sweep proves itself: with any one sync or rename of ours left out, a power cut must do harm that it notices."""

from __future__ import annotations

import ctypes
import functools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.crash import points, removals
from tests.crash.calls import Call, Kind
from tests.crash.disk import Loss
from tests.crash.removals import Site, Step
from tests.crash.workload import Setting

#: Sites whose removal no power cut shows here, without their line numbers, and why they are there all the same.
NEEDLESS: dict[str, str] = {
    "PRAGMA synchronous = NORMAL in documents/writer.py create": "for speed: a build's rows promise nothing before `seal`",
    "PRAGMA synchronous = FULL in sqlite_files.py writable from documents/schema.py create": "the next line overrules it",
    "PRAGMA synchronous = OFF in embedding/cache.py _open": "for speed: what the cache loses is embedded again",
    "PRAGMA wal_checkpoint(TRUNCATE) in documents/writer.py seal": "closing the last connection does the same, if it is the last",
    "PRAGMA synchronous = FULL in sqlite_files.py writable from generations/journal.py _writing": (
        "a new number is made durable with the hold that follows it, unless the build goes on from an interrupted one, which no"
        " undisturbed workload does; a release or a trimming that is lost is done again"
    ),
    "fsync in files.py sync_descriptor from files.py sync_folder from engines/builtin/parts.py seal": (
        "SQLite syncs the generation's folder too, one call after its log: only a cut between the two shows the second of these"
    ),
    "fsync in files.py sync_descriptor from files.py sync_folder from engines/builtin/text_writer.py commit": (
        "Tantivy syncs the folder itself when it removes a file after a commit, and here it always has one: the old marker's"
    ),
    "fsync in files.py sync_descriptor from files.py sync_folder from engines/builtin/text_writer.py close": (
        "a merge that is lost is done again; on a file system that keeps no order of names it would be damage"
    ),
}
_SETTINGS_TRIED = 4


class Passed(msgspec.Struct, frozen=True):
    """A site, and the workloads that pass it."""

    site: Site
    settings: list[Setting]

    def __str__(self) -> str:
        return str(self.site)


class Verdict(msgspec.Struct, frozen=True):
    """Whether it was noticed that a site was left out: by what, after how many points."""

    site: str
    noticed: str
    tried: int


def sites(library: ctypes.CDLL, settings: list[Setting], folder: Path) -> list[Passed]:
    """Every site that the workloads pass, sorted."""
    found: dict[Site, list[Setting]] = {}
    for setting in settings:
        shutil.rmtree(folder, ignore_errors=True)
        seen: set[Site] = set()
        write = functools.partial(_write, folder / "sites", seen)
        failed, _ = points.recording(library, setting, folder, functools.partial(removals.listed, seen), write)
        if failed:
            raise RuntimeError(f"{setting}: {failed}")
        for site in msgspec.json.decode((folder / "sites").read_bytes(), type=list[Site]):
            found.setdefault(site, []).append(setting)
    return [Passed(site, passing) for site, passing in sorted(found.items(), key=lambda one: str(one[0]))]


def unreached(found: list[Passed]) -> list[Step]:
    """Lines that sync or rename and that no workload came by."""
    passed = {(step.file, step.line) for one in found for step in one.site.steps}
    return [step for step in removals.written_down() if (step.file, step.line) not in passed]


def tried(library: ctypes.CDLL, points_max: int, passed: Passed, folder: Path) -> Iterator[Verdict]:
    """Leave a site out, and see whether a sweep notices within so many points."""
    count = 0
    for setting in passed.settings[:_SETTINGS_TRIED]:
        shutil.rmtree(folder, ignore_errors=True)
        failed, recorded = points.recording(library, setting, folder, functools.partial(removals.without, passed.site))
        if failed:
            yield Verdict(str(passed), f"{setting}: the workload fails: {failed}", count)
            return
        for cuts, losses in _rounds(recorded, points_max // min(len(passed.settings), _SETTINGS_TRIED)):
            for point, failed in points.power_points(setting, recorded, cuts, folder, losses):
                count += 1
                if failed:
                    yield Verdict(str(passed), f"{point}: {failed}", count)
                    return
    yield Verdict(str(passed), "", count)


def needless(site: str) -> str | None:
    """Why a site is there although no power cut shows its removal; None for a site that is not known as such."""
    return NEEDLESS.get(removals.without_lines(site))


def _rounds(recorded: list[Call], count: int) -> Iterator[tuple[set[int], tuple[Loss, ...]]]:
    """First where most is promised: right after an acknowledgement, everything unsynced lost; then around renames, at random."""
    rng = random.Random(len(recorded))
    notes = [index for index, call in enumerate(recorded) if call.kind == Kind.NOTE and b'"end"' in call.data]
    first = set(notes[:4])  # where the collection and its first generation come to be
    yield first | set(rng.sample(notes, min(len(notes), count // 3))), (Loss.ALL,)
    names = [index for index, call in enumerate(recorded) if call.kind in (Kind.RENAME, Kind.NOTE, Kind.UNLINK, Kind.SYNC)]
    yield set(rng.sample(names, min(len(names), count // 4))), (Loss.ALL, Loss.ANY, Loss.LATER)


def _write(path: Path, seen: set[Site]) -> None:
    path.write_bytes(msgspec.json.encode(sorted(seen)))
