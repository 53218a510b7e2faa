"""Makes what LanceDB has written durable, and notes what it was, so that it can be checked.

LanceDB syncs nothing and keeps no checksums of its data. So after each change the files that are new are synced with their folders,
and their size and SHA-256 are appended to `written`, a file of one line each. All of them are immutable: what differs is damaged.

What is not listed was written by somebody whom a crash kept from listing it. If only the process ended, the files are whole, and
the next one lists them. If the machine went down, they may not be: the file `boot` says during which boot of the machine the table
was last changed, and if that was another one, what is not listed is removed before the table is used. The write that it belonged to
is made again from the rows of documents.sqlite. Where a boot has no name (anywhere but on Linux), all are one.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outcrop import files
from outcrop.documents import FileFact
from outcrop.engines.absorb_lock import alone
from outcrop.errors import CollectionLocked, Damaged, StorageFailed

_LIST, _CLEANING, _BOOT = "written", "cleaning", "boot"
_HINT = "latest_version_hint.json"
_VERSIONS = "/_versions/"
_LOCK, _MENDING_SECONDS_MAX = "mending.lock", 10.0
_BOOT_NAME = Path("/proc/sys/kernel/random/boot_id")


def begin(folder: Path) -> None:
    """Before a change: remove what is not known to be whole. Whoever changes the table in this boot has come by here before."""
    if _changed_in_this_boot(folder):
        return
    with alone(folder / _LOCK, _MENDING_SECONDS_MAX) as only_one:
        if not only_one:
            raise CollectionLocked(
                f"{folder} is being mended by another process for {_MENDING_SECONDS_MAX:g} s now; try again",
                path=folder,
                owner=None,
            )
        if not _changed_in_this_boot(folder):
            _remove_unlisted(folder)
            files.write_atomically(folder / _BOOT, _boot())


def mend(folder: Path) -> None:
    """Before the table is opened: as `begin`, but writes nothing where nothing is to be removed."""
    if not _changed_in_this_boot(folder) and _unlisted(folder):
        begin(folder)


def settle(folder: Path) -> None:
    """Sync and list the files that are new. For who holds the apply lock, or builds."""
    known = {fact.path for fact in _listed(folder)}
    fresh = [path for path in _present(folder) if path not in known]
    if not fresh:
        return
    parents = set()
    for path in fresh:
        files.sync_file(folder / path)
        parent = (folder / path).parent
        while parent not in parents and parent != folder.parent:
            parents.add(parent)
            parent = parent.parent
    for parent in parents:
        files.sync_folder(parent)
    _append(folder / _LIST, b"".join(_line(files.file_fact(folder / path, folder)) for path in fresh))


@contextmanager
def cleaning(folder: Path) -> Iterator[None]:
    """While LanceDB removes what no kept version needs: it is no fault then that listed files are missing.

    At the end the list is what is there. After a crash in between, missing files are no fault until the next cleaning ends. For who
    holds the apply lock, or builds.
    """
    sign = folder / _CLEANING
    with files.storage_errors(sign):
        sign.touch()
    files.sync_folder(folder)
    yield
    settle(folder)
    kept = [fact for fact in _listed(folder) if files.is_there(folder / fact.path)]
    files.write_atomically(folder / _LIST, b"".join(_line(fact) for fact in kept))
    with files.storage_errors(sign):
        sign.unlink()


def forget(folder: Path) -> None:
    """Remove what this module keeps beside a table, once that is gone."""
    for name in (_LIST, _CLEANING, _BOOT, _LOCK):
        with files.storage_errors(folder / name):
            (folder / name).unlink(missing_ok=True)


def check_sizes(folder: Path) -> None:
    """Raise `Damaged` for the first listed file that is missing or has another size than was written."""
    for fact in _listed(folder):
        path = folder / fact.path
        try:
            with files.storage_errors(path):
                found = path.stat().st_size
        except StorageFailed as error:
            if files.is_there(path):
                raise
            if _is_missed(folder, fact):
                raise Damaged(f"{path} is missing", path=path) from error
            continue
        if found != fact.size_bytes:
            raise Damaged(f"{path} has {found} bytes; {fact.size_bytes} were written", path=path)


def check_content(folder: Path) -> None:
    """Raise `Damaged` for the first listed file that is not what was written."""
    for fact in _listed(folder):
        try:
            files.check_file(folder, fact)
        except Damaged:
            if files.is_there(folder / fact.path) or _is_missed(folder, fact):
                raise


def _append(path: Path, lines: bytes) -> None:
    """Add lines durably, in the place of one that a crash cut short."""
    if not files.is_there(path):
        files.write_atomically(path, lines)
        return
    with files.storage_errors(path), path.open("r+b") as listing:
        listing.seek(listing.read().rfind(b"\n") + 1)
        listing.write(lines)
        listing.truncate()
        listing.flush()
        files.sync_descriptor(listing.fileno())


def _is_missed(folder: Path, fact: FileFact) -> bool:
    """Whether a file that was found missing should be there. First the sign, then the list: a cleaning may end meanwhile."""
    return not files.is_there(folder / _CLEANING) and any(listed.path == fact.path for listed in _listed(folder))


def _unlisted(folder: Path) -> list[str]:
    """The files that are not listed, versions first; none of a table that was never sealed, which lists nothing."""
    known = {fact.path for fact in _listed(folder)}
    return sorted((path for path in _present(folder) if path not in known), key=lambda path: _VERSIONS not in path) if known else []


def _remove_unlisted(folder: Path) -> None:
    """Versions go first, so that none refers to what is gone."""
    unlisted = _unlisted(folder)
    for path in unlisted:
        with files.storage_errors(folder / path):
            (folder / path).unlink(missing_ok=True)
        files.sync_folder((folder / path).parent)
    for hint in folder.glob(f"*{_VERSIONS}{_HINT}") if unlisted else ():
        with files.storage_errors(hint):
            hint.unlink(missing_ok=True)


def _present(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder, onerror=_unlistable):
        for name in names:
            path = os.path.relpath(os.path.join(parent, name), folder)
            if path not in (_LIST, _CLEANING, _BOOT, _LOCK) and name != _HINT and not name.startswith("."):
                yield path.replace(os.sep, "/")


def _unlistable(error: OSError) -> None:
    """A folder that went while this listed has nothing in it; any other may have."""
    if not isinstance(error, FileNotFoundError):
        raise files.storage_failed(Path(error.filename), error) from error


def _listed(folder: Path) -> Iterator[FileFact]:
    """What is listed; a last line that a crash cut short is left out."""
    path = folder / _LIST
    if not files.is_there(path):
        return
    with files.storage_errors(path):
        lines = path.read_bytes().split(b"\n")[:-1]
    for line in lines:
        parts = line.decode("utf-8", "replace").split(" ", 2)
        if len(parts) == 3 and len(parts[0]) == hashlib.sha256().digest_size * 2 and parts[1].isdigit():
            yield FileFact(path=parts[2], size_bytes=int(parts[1]), sha256=parts[0])


def _line(fact: FileFact) -> bytes:
    return f"{fact.sha256} {fact.size_bytes} {fact.path}\n".encode()


def _changed_in_this_boot(folder: Path) -> bool:
    with files.storage_errors(folder / _BOOT):
        try:
            return (folder / _BOOT).read_bytes() == _boot()
        except FileNotFoundError:
            return False


@functools.cache
def _boot() -> bytes:
    try:
        return _BOOT_NAME.read_bytes().strip()
    except OSError:
        return b"unnamed"
