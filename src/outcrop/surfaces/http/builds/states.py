"""What is known of a collection's builds: a small JSON file each, written by whoever has the build in hand and read by anybody.

They lie in `builds/` of the collection's folder. One build runs at a time, and whoever has it in hand holds `running.lock`; so a
build that says that it runs while nobody holds the lock was cut short. Nothing here decides what a generation is: the folder may be
deleted when no build runs.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

import msgspec

from outcrop import Database, file_locks, files
from outcrop.errors import NotFound
from outcrop.generations.layout import CollectionFolder
from outcrop.surfaces.http import problems
from outcrop.surfaces.http.problems import Interrupted

State = Literal["running", "cancelling", "done", "failed", "cancelled", "interrupted"]
UNDER_WAY: tuple[State, ...] = ("running", "cancelling")
KEPT_MAX = 20
SKIPPED_TOLD_MAX = 10
_TOTALS = "totals.json"
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}")


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A build. `state` "running" and "cancelling" have no end yet.

    `stage` is what it does: "upload", "start", "build" (read, chunk, embed and write at once; `slowest` of them sets the pace),
    "index", "verify", "catch up" (with writes made meanwhile), "promote"; at the end, what it did last. `done` of `total` are in
    `unit`, where they are known. `skipped_examples` says of the first bad records what was wrong. `resumable`: the same build,
    begun again, goes on from what this one prepared. `generation` is there when it is ready, also if it was not promoted.
    """

    id: str
    collection: str
    state: State
    source: str
    started_at: str
    ended_at: str | None = None
    stage: str | None = None
    slowest: str | None = None
    done: int | None = None
    total: int | None = None
    unit: Literal["documents", "bytes"] | None = None
    documents: int = 0
    chunks: int = 0
    rate_per_second: float = 0.0
    remaining_seconds: float | None = None
    reused: int = 0
    skipped: int = 0
    skipped_examples: tuple[str, ...] = ()
    generation: int | None = None
    promoted: bool = False
    gate: dict[str, Any] | None = None
    resumable: bool = False
    problem: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        end = datetime.now(UTC) if self.ended_at is None else datetime.fromisoformat(self.ended_at)
        return max(0.0, (end - datetime.fromisoformat(self.started_at)).total_seconds())


class Totals(msgspec.Struct, frozen=True):
    """Of all builds that ended, by state: how many, and how many seconds they took together."""

    ended: dict[State, int] = {}
    seconds: dict[State, float] = {}


class BuildsFolder(msgspec.Struct, frozen=True):
    """The paths of a collection's builds."""

    path: Path

    @classmethod
    def of(cls, db: Database, name: str) -> Self:
        """The folder of a collection that there is. Raises `UnknownCollection`."""
        return cls(CollectionFolder(db.path / db.collection(name).name).builds)

    @property
    def lock(self) -> Path:
        """Held from the beginning of an upload or a build to its end."""
        return self.path / "running.lock"

    def state(self, build_id: str) -> Path:
        """The file that says how far it is."""
        return self.path / f"{build_id}.json"

    def cancel(self, build_id: str) -> Path:
        """That it is there asks the build to end."""
        return self.path / f"{build_id}.cancel"

    def upload(self, build_id: str) -> Path:
        """What a client sent to be built. It is kept when the build was interrupted, until it is resumed or another one ends."""
        return self.path / f"{build_id}.upload"

    def asked(self, build_id: str) -> Path:
        """What was asked for, to be asked again when it is resumed. Kept as the upload is; without it that is not whole."""
        return self.path / f"{build_id}.asked"


def new(collection: str, source: str, stage: str) -> Build:
    """A build that begins now. Ids sort by time."""
    at = datetime.now(UTC)
    build_id = f"{at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    return Build(
        id=build_id,
        collection=collection,
        state="running",
        source=source,
        started_at=at.isoformat(timespec="milliseconds"),
        stage=stage,
    )


def find(folder: BuildsFolder, build_id: str) -> Build:
    """A build as it is now. Raises `NotFound`."""
    found = _as_it_is(folder, build_id) if _ID.fullmatch(build_id) else None
    if found is None:
        raise NotFound(f"there is no build {build_id!r:.60}, or it is not remembered any more: the last {KEPT_MAX} are")
    return found


def all_of(folder: BuildsFolder) -> list[Build]:
    """The builds that are remembered, newest first."""
    found = (_as_it_is(folder, build_id) for build_id in _ids(folder))
    return [one for one in found if one is not None]


def totals(folder: BuildsFolder) -> Totals:
    """What all builds so far came to. Where the file is lost, counting begins anew."""
    try:
        return msgspec.json.decode((folder.path / _TOTALS).read_bytes(), type=Totals)
    except (OSError, msgspec.MsgspecError):
        return Totals()


def write(folder: BuildsFolder, build: Build) -> None:
    """Say how far a build is. Whole for readers, and not synced: after a power cut it was interrupted anyway."""
    target = folder.state(build.id)
    temporary = target.with_name(f".{target.name}-{uuid4().hex[:8]}")
    with files.storage_errors(target):
        try:
            temporary.write_bytes(msgspec.json.encode(build))
            files.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def end(folder: BuildsFolder, build: Build) -> None:
    """Count a build that has ended and write its last state, durably. To be called by who holds the lock."""
    before = totals(folder)
    after = Totals(
        ended=before.ended | {build.state: before.ended.get(build.state, 0) + 1},
        seconds=before.seconds | {build.state: round(before.seconds.get(build.state, 0.0) + build.seconds, 3)},
    )
    files.write_atomically(folder.path / _TOTALS, msgspec.json.encode(after))
    files.write_atomically(folder.state(build.id), msgspec.json.encode(build))


def ended(build: Build, state: State, **values: Any) -> Build:
    """The build with its end."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.structs.replace(build, **{"state": state, "ended_at": at, "remaining_seconds": None, **values})


def interrupted(build: Build, why: str, *, resumable: bool | None = None) -> Build:
    """The build as one that was cut short, with the reason as its problem."""
    if resumable is None:
        resumable = build.generation is None and build.stage not in ("upload", "start")
    if build.generation is not None:
        told = f"{why}; generation {build.generation} is ready, and may not have been promoted"
    elif resumable:
        told = f"{why}; resumed, or begun again, it goes on from what it had prepared"
    else:
        told = f"{why}; nothing was changed: begin it again"
    problem = msgspec.json.decode(problems.body(problems.problem_of(Interrupted()), told, build.id))
    return ended(build, "interrupted", resumable=resumable, problem=problem)


def tidy(folder: BuildsFolder) -> None:
    """Mend what crashes left, and forget all but the last builds. To be called by who holds the lock, before there is a new one.

    What the last build needs to be resumed stays.
    """
    ids = _ids(folder)
    for build_id in ids:
        build = _read(folder, build_id)
        if build is not None and build.state in UNDER_WAY:
            end(folder, _cut_short(folder, build))
    for old in ids[KEPT_MAX - 1 :]:
        folder.state(old).unlink(missing_ok=True)
    kept = {folder.upload(ids[0]), folder.asked(ids[0])} if ids and can_be_resumed(folder, ids[0]) else set()
    for path in set(folder.path.iterdir()) - kept:
        if path.suffix in (".upload", ".asked", ".cancel") or _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def can_be_resumed(folder: BuildsFolder, build_id: str) -> bool:
    """Whether a build was interrupted before its generation was ready, and what it was to do is there still."""
    build = _as_it_is(folder, build_id)
    if build is None or build.state != "interrupted" or build.generation is not None:
        return False
    return folder.asked(build_id).exists()


def hand_over(folder: BuildsFolder, build_id: str, to: str) -> None:
    """Let another build have what one needs to be resumed. To be called by who holds the lock."""
    for path, target in ((folder.upload(build_id), folder.upload(to)), (folder.asked(build_id), folder.asked(to))):
        with suppress(FileNotFoundError):
            files.replace(path, target)


def settle(folder: BuildsFolder, build: Build) -> None:
    """Remove what a build needed that has ended, unless it was interrupted; then also what earlier ones left to be resumed."""
    folder.cancel(build.id).unlink(missing_ok=True)
    if build.state != "interrupted":
        for path in (*folder.path.glob("*.upload"), *folder.path.glob("*.asked")):
            path.unlink(missing_ok=True)


def forget(folder: BuildsFolder, build_id: str) -> None:
    """Leave nothing of a build that did not come about."""
    for path in (folder.upload(build_id), folder.asked(build_id), folder.cancel(build_id), folder.state(build_id)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _ids(folder: BuildsFolder) -> list[str]:
    if not folder.path.is_dir():
        return []
    with files.storage_errors(folder.path):
        return sorted((path.stem for path in folder.path.glob("*.json") if _ID.fullmatch(path.stem)), reverse=True)


def _as_it_is(folder: BuildsFolder, build_id: str) -> Build | None:
    build = _read(folder, build_id)
    if build is None or build.state not in UNDER_WAY:
        return build
    if not file_locks.is_locked(folder.lock):
        again = _read(folder, build_id)  # it may have come to its end just now
        return again if again is None or again.state not in UNDER_WAY else _cut_short(folder, again)
    return msgspec.structs.replace(build, state="cancelling") if folder.cancel(build_id).exists() else build


def _cut_short(folder: BuildsFolder, build: Build) -> Build:
    found = interrupted(build, "its process is gone without having said why")
    with suppress(OSError):
        at = datetime.fromtimestamp(folder.state(build.id).stat().st_mtime, UTC).isoformat(timespec="milliseconds")
        return msgspec.structs.replace(found, ended_at=at)
    return found


def _read(folder: BuildsFolder, build_id: str) -> Build | None:
    try:
        return msgspec.json.decode(folder.state(build_id).read_bytes(), type=Build)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
    except OSError as error:
        raise files.storage_failed(folder.path, error) from error
