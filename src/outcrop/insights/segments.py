"""The files of a query log: a ring of segments, each written by one process, of which the oldest goes when room is needed.

A segment is opened for each batch of lines and closed again, so nothing is held that a fork, a rename or a removal could trouble.
Nothing is synced: a crash may cost the last seconds, and a line that it cut short is passed over.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from outcrop.files import storage_errors
from outcrop.insights.line import Line, Noted, line_of

KEY_FILE = "key"
_NAME = re.compile(r"(\d{13})-[0-9a-f]{8}\.jsonl")
_KEY_BYTES = 32
_SEGMENTS = 16
_SECONDS_PER_DAY = 86_400.0
_PARTS_OF_DAYS = 10
_SEGMENT_SECONDS_MIN = 60.0
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Segment(msgspec.Struct, frozen=True):
    """One file of a log. `began` and `ended` are the times of its first and last write, in seconds since 1970."""

    path: Path
    began: float
    ended: float
    size_bytes: int


class Bounds(msgspec.Struct, frozen=True):
    """How large the files of all processes may be together, how long a line is kept while anybody writes, and whether queries are
    written as hashes, by a key that lies in the folder."""

    size_bytes_max: int
    days: float
    hashed: bool


class Segments:
    """Where one process adds lines. Used by one thread at a time. `check_same` raises if the collection was dropped."""

    def __init__(self, folder: Path, *, bounds: Bounds, check_same: Callable[[], None]) -> None:
        self._folder = folder
        self._path: Path | None = None
        self.allow(bounds)
        self._check_same = check_same
        self._began_ms = 0
        self._size_bytes = 0
        self._key: bytes | None = None

    def allow(self, bounds: Bounds) -> None:
        """Go on by other bounds, in another file."""
        self.bounds = bounds
        self._segment_bytes_max = max(1, bounds.size_bytes_max // _SEGMENTS)
        self._seconds = bounds.days * _SECONDS_PER_DAY
        self._segment_seconds = max(_SEGMENT_SECONDS_MIN, min(_SECONDS_PER_DAY, self._seconds / _PARTS_OF_DAYS))
        self.leave()

    def leave(self) -> None:
        """Write to another file from now on: after a failure, or in a forked child."""
        self._path = None

    def append(self, searches: Sequence[Noted]) -> None:
        """Add a line for each search. Raises `OSError`, and what `check_same` raises; then of these lines some may be there."""
        waiting = list(searches)
        while waiting:
            if self._path is None or self._is_full():
                self._begin()
            lines: list[bytes] = []
            size_bytes = 0
            for one in waiting:
                line = _encode(line_of(one, self._key)) + b"\n"
                if lines and self._size_bytes + size_bytes + len(line) > self._segment_bytes_max:
                    break
                lines.append(line)
                size_bytes += len(line)
            if self._write(b"".join(lines)):
                del waiting[: len(lines)]

    def _is_full(self) -> bool:
        return self._size_bytes >= self._segment_bytes_max or time.time() - self._began_ms / 1000 >= self._segment_seconds

    def _begin(self) -> None:
        self._check_same()
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        self._key = _key(self._folder) if self.bounds.hashed else None
        self._began_ms = max(int(time.time() * 1000), self._began_ms + 1)  # names in the order of time, also within a millisecond
        path = self._folder / f"{self._began_ms:013d}-{uuid4().hex[:8]}.jsonl"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._path, self._size_bytes = path, 0

    def _write(self, content: bytes) -> bool:
        """Whether it was written: not if the file has been removed, to make room or to be forgotten."""
        assert self._path is not None
        self._make_room(len(content))
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            self._path = None
            return False
        try:
            self._write_all(descriptor, content)
        finally:
            os.close(descriptor)
        self._size_bytes += len(content)
        return True

    def _write_all(self, descriptor: int, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            try:
                os.ftruncate(descriptor, self._size_bytes)
            except OSError:  # it may end in half a line, which must stay the last one
                self._path = None
            raise

    def _make_room(self, size_bytes: int) -> None:
        """Remove what is too old, and the oldest until there is room; not the segment that is being written."""
        found = listed(self._folder)
        total = sum(one.size_bytes for one in found) + size_bytes
        oldest = time.time() - self._seconds
        for one in found:
            if one.began >= oldest and total <= self.bounds.size_bytes_max:
                return
            if one.path == self._path:
                continue
            with suppress(OSError):  # another process was faster, or reads it on Windows
                one.path.unlink()
            total -= one.size_bytes


class Reading:
    """The lines of a log since a moment, roughly in their order. `skipped` counts what is no whole line, once all are read."""

    def __init__(self, folder: Path, since: float) -> None:
        self._folder = folder
        self._since = since
        self.skipped = 0

    def __iter__(self) -> Iterator[Line]:
        self.skipped = 0
        with storage_errors(self._folder):
            for segment in listed(self._folder):
                if segment.ended >= self._since:
                    with suppress(FileNotFoundError):  # made room meanwhile
                        yield from self._of(segment.path)

    def _of(self, path: Path) -> Iterator[Line]:
        with path.open("rb") as file:
            for text in file:
                try:
                    line = _decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.skipped += 1
                    continue
                if line.at >= self._since:
                    yield line


def listed(folder: Path) -> list[Segment]:
    """The files of a log, the oldest first; none if there is no log. Nothing else that lies there, whatever it is called."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            if named is None:
                continue
            with suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    found.append(Segment(Path(entry.path), int(named[1]) / 1000, about.st_mtime, about.st_size))
    return sorted(found, key=lambda one: one.path.name)


def forget(folder: Path) -> int:
    """Remove a log with its key, and say how many bytes it had. Raises `StorageFailed`."""
    size_bytes = 0
    with storage_errors(folder):
        for one in listed(folder):
            one.path.unlink(missing_ok=True)
            size_bytes += one.size_bytes
        for path in folder.glob(f"*{KEY_FILE}*") if folder.is_dir() else ():
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody writes again, or put a file of their own there
            folder.rmdir()
    return size_bytes


def _key(folder: Path) -> bytes:
    """The key of the hashes, made by whoever is first, and anew where it is not whole: by an empty one hashes could be guessed."""
    path = folder / KEY_FILE
    with suppress(FileNotFoundError):
        found = path.read_bytes()
        if len(found) == _KEY_BYTES:
            return found
        path.unlink()
    temporary = folder / f".{KEY_FILE}-{uuid4().hex[:8]}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)  # fails where there is one, whole or not at all
    finally:
        temporary.unlink()
    return path.read_bytes()
