"""How a file becomes durable: written, synced, renamed, its folder synced. The one place that knows.

Low in the layers, because engines and generations both write files."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from outcrop.documents import FileFact
from outcrop.errors import Damaged, OutcropError, StorageFailed

_WINDOWS = sys.platform == "win32"
_SHARING_RETRY_SECONDS = 2.0


def write_atomically(path: Path, content: bytes) -> None:
    """Make `path` hold `content`: after a crash it holds the old content or the new, whole."""
    with storage_errors(path):
        temporary = path.with_name(f".{path.name}-{uuid4().hex[:8]}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                sync_descriptor(file.fileno())
            replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename over `target`. On Windows a reader may hold it for a moment: tried again for up to 2 s."""
    deadline = time.monotonic() + _SHARING_RETRY_SECONDS
    while True:
        try:
            os.replace(source, target)
        except PermissionError:
            if not _WINDOWS or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def sync_descriptor(descriptor: int) -> None:
    """fsync, and on macOS `F_FULLFSYNC`, which alone reaches the medium there."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file that another library wrote durable."""
    with storage_errors(path), path.open("r+b") as file:
        sync_descriptor(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Windows has no such call and needs none."""
    if _WINDOWS:
        return
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            sync_descriptor(descriptor)
        finally:
            os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder. Raises `StorageFailed` where the operating system does not say."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise storage_failed(path, error) from error
    return True


def file_fact(path: Path, base: Path) -> FileFact:
    """Size and SHA-256 of a file, with its path relative to `base`."""
    with storage_errors(path):
        return FileFact(path=path.relative_to(base).as_posix(), size_bytes=path.stat().st_size, sha256=sha256(path))


def check_file(base: Path, fact: FileFact) -> None:
    """Raise `Damaged` unless the file has the size and the SHA-256 that were noted when it was written."""
    path = base / fact.path
    with storage_errors(path):
        if not path.is_file():
            raise Damaged(f"{path} is missing", path=path)
        found = path.stat().st_size
        if found != fact.size_bytes:
            raise Damaged(f"{path} has {found} bytes; {fact.size_bytes} were written", path=path)
        if sha256(path) != fact.sha256:
            raise Damaged(f"{path} was changed after it was written: its checksum does not agree", path=path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_bytes(folder: Path) -> int:
    """The bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    with storage_errors(folder):
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about `path` into `StorageFailed` with what to do next."""
    try:
        yield
    except OutcropError:  # some of ours are an OSError too
        raise
    except OSError as error:
        raise storage_failed(path, error) from error


def storage_failed(path: Path, error: OSError) -> StorageFailed:
    """The error for a refusal by the operating system."""
    advice = {
        errno.ENOSPC: "The disk is full: free some space and try again.",
        errno.EDQUOT: "The quota is used up: free some space and try again.",
        errno.EACCES: "Permission denied: check the owner and the mode of the folder.",
        errno.EPERM: "Permission denied: check the owner and the mode of the folder.",
        errno.EROFS: "The file system is read-only: use another folder.",
    }
    code = error.errno if error.errno is not None else 0
    reason = advice.get(code, error.strerror if error.strerror else str(error))
    where = error.filename if error.filename is not None else path
    return StorageFailed(f"{where}: {reason}", path=path, errno_name=errno.errorcode.get(code, str(code)))
