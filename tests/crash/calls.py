"""The fault library from Python: building and arming it, and reading what it recorded."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("faults.c")


class Kind(IntEnum):
    """What a recorded call does; the numbers are those of faults.c."""

    CREATE = 1
    TRUNCATE = 2
    WRITE = 3
    SYNC = 4
    MKDIR = 5
    SYMLINK = 6
    RENAME = 7
    LINK = 8
    UNLINK = 9
    RMDIR = 10
    NOTE = 11
    STRANGE = 12


class Mode(IntEnum):
    """What happens at the n-th call; the numbers are those of faults.c."""

    COUNT = 0
    KILL = 1
    TEAR = 2
    FAIL = 3
    SHORTEN = 4


def mask(*kinds: Kind) -> int:
    return sum(1 << kind for kind in kinds)


WRITES = mask(Kind.WRITE)
SPACE = mask(Kind.CREATE, Kind.TRUNCATE, Kind.WRITE, Kind.MKDIR, Kind.SYMLINK, Kind.RENAME)
ALL = mask(*(kind for kind in Kind if kind not in (Kind.NOTE, Kind.STRANGE)))


class Call(NamedTuple):
    """One recorded call: of `name`, below the root, and for links and renames `other`. `offset` is a size when it truncates."""

    kind: Kind
    inode: int
    offset: int
    name: str
    other: str
    data: bytes


class Fault(NamedTuple):
    """What to do at which call. A fault goes on for `times` calls of `kinds`; `at` is 1 for the first."""

    mode: Mode = Mode.COUNT
    kinds: int = ALL
    at: int = 0
    times: int = 1
    errno_name: str = "ENOSPC"

    def __str__(self) -> str:
        error = f" {self.errno_name}" if self.mode == Mode.FAIL else ""
        return f"{self.mode.name.lower()}{error} at {self.at}" + (f" for {self.times}" if self.times > 1 else "")


def unavailable() -> str | None:
    """Why faults cannot be injected here, or None."""
    if sys.platform != "linux":
        return "faults are injected by a filter of Linux's system calls"
    if shutil.which("gcc") is None:
        return "gcc is needed to build the fault library"
    return None


def build(folder: Path) -> Path:
    """Compile the library into a folder; its path."""
    library = folder / "faults.so"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


@functools.cache
def load(library: Path) -> ctypes.CDLL:
    """The library in this process, not armed."""
    loaded = ctypes.CDLL(str(library))
    loaded.faults_arm.argtypes = [
        *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_uint32, ctypes.c_long, ctypes.c_long, ctypes.c_int),
    ]
    loaded.faults_note.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    loaded.faults_note.restype = None
    loaded.faults_counted.restype = ctypes.c_long
    return loaded


def arm(library: ctypes.CDLL, root: Path, log: Path, fault: Fault, *, record: bool = False) -> None:
    """Let faults happen below `root` in this thread and those it starts. For good: only in a process made for it."""
    number = getattr(errno, fault.errno_name)
    failed = library.faults_arm(
        os.fsencode(root.resolve()), os.fsencode(log), record, fault.mode, fault.kinds, fault.at, fault.times, number
    )
    if failed:
        raise OSError(failed, f"the kernel refuses the filter: {os.strerror(failed)}")


_HEAD = struct.Struct("<IIQqII")


def read(log: Path) -> Iterator[Call]:
    """What was recorded, in order. A record that a kill cut short is left out."""
    content = log.read_bytes()
    at = 0
    while at + _HEAD.size <= len(content):
        size, kind, inode, offset, name_length, other_length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        body = content[at : at + size]
        if len(body) < size:
            return
        at += size
        end = name_length + other_length
        name, other = os.fsdecode(body[:name_length]), os.fsdecode(body[name_length:end])
        yield Call(Kind(kind), inode, offset, name, other, body[end:])
