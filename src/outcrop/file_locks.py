"""The operating system's locks on whole files: exclusive or shared, without waiting.

Such a lock belongs to an open file. So two openings in one process exclude each other as those of two processes do, and the system
drops the lock when the last copy of the descriptor is closed, however its process ends. A forked child has copies, and closes them
at once unless told otherwise: a lock must not outlive its owner.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from outcrop import forking

_DESCRIPTORS = "/dev/fd" if sys.platform == "darwin" else "/proc/self/fd"

if sys.platform == "win32":
    import msvcrt

    _FIRST_BYTE = 1 << 30  # beyond all content: Windows lets nobody read what is locked

    def lock(file: io.FileIO, *, shared: bool = False) -> bool:
        """Lock the file; False if somebody holds it. Windows has no shared locks here: opening is one, see `leases`."""
        if shared:
            return True
        file.seek(_FIRST_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: io.FileIO) -> None:
        """Give up an exclusive lock, for every copy of the descriptor."""
        file.seek(_FIRST_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(file: io.FileIO, *, shared: bool = False) -> bool:
        """Lock the file; False if somebody holds it otherwise. Raises `OSError` where the file system has no locks."""
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(file: io.FileIO) -> None:
        """Give up the lock, for every copy of the descriptor."""
        fcntl.flock(file, fcntl.LOCK_UN)


def opened(path: Path, *, writable: bool, inherited: bool = False) -> io.FileIO:
    """The file, made if it is not there. A forked child finds it closed, unless `inherited`. Raises `OSError`."""
    with forking.undisturbed():  # or a child could inherit it unknown
        file = io.FileIO(path, "r+" if writable else "r", opener=_opened_or_made)
        if not inherited:
            forking.in_child(file, io.FileIO.close)
    return file


@contextmanager
def tried(file: io.FileIO) -> Iterator[bool]:
    """Whether nobody else holds the lock; if so, it is held in the block. Closes the file, and never raises for the lock's sake.

    Unlocks, not only closes: a child that another library forked meanwhile must not keep the lock.
    """
    with file, forking.undisturbed():
        try:
            free = lock(file)
        except OSError:
            free = False
        try:
            yield free
        finally:
            if free:
                unlock(file)


def is_locked(path: Path) -> bool:
    """Whether anybody holds the file's lock now, as far as this can be told without making the file."""
    try:
        file = io.FileIO(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with tried(file) as free:
        return not free


def is_at(file: io.FileIO, path: Path) -> bool:
    """Whether the open file is the one that the path names now: it may have been renamed away before it was locked."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def let_go(names: Collection[str]) -> None:
    """In a forked child: let go of the lock files with these names, whichever library opened them.

    Their descriptors stay open, on nothing, so that the library may close them. Where the system does not say what is open (not
    Linux, not macOS) nothing is done.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor, path in _open_files():
            if path.name in names:
                os.dup2(nothing, descriptor, inheritable=False)
    finally:
        os.close(nothing)


def _open_files() -> Iterator[tuple[int, Path]]:
    """Every open descriptor, with its file's path."""
    for name in os.listdir(_DESCRIPTORS) if Path(_DESCRIPTORS).is_dir() else []:
        with suppress(OSError):  # closed meanwhile, as that of this very folder is
            yield int(name), _path_of(int(name))


def _path_of(descriptor: int) -> Path:
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"{_DESCRIPTORS}/{descriptor}").removesuffix(" (deleted)"))


def _opened_or_made(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)
