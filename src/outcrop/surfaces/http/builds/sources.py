"""Which files of the server's a build may read: those below the folders that the operator allowed, and no others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from outcrop.errors import InvalidInput, InvalidSource
from outcrop.ingest import open_source
from outcrop.ingest.folder import Folder, files_of
from outcrop.ingest.sources import is_source_name

LISTED_MAX = 200


def allowed(folders: Sequence[Path], given: str) -> Path:
    """The file or folder that `given` names: a path relative to one of the folders, or an absolute one below it.

    Links are followed, also those within a folder of texts, and what they lead to must be below the same folder. Whether there is
    anything elsewhere is not told: nothing outside is even looked at, and the refusal is the same. Raises `InvalidInput`.
    """
    if not folders:
        raise InvalidInput(
            "this server reads no files of its own: send the documents as application/x-ndjson, or start it with --source-folder"
        )
    for folder in folders:
        found = _below(Path(os.path.realpath(folder)), folder.absolute(), given)
        if found is not None:
            return found
    raise _unknown(given)


def listed(folders: Sequence[Path]) -> tuple[str, ...]:
    """What lies in the folders themselves: files that are read, and folders. Nothing hidden, no link that leads out, and nothing
    with a name that is no UTF-8, which JSON cannot tell and nobody name.

    A choice to begin with, by name, `LISTED_MAX` at most; what lies deeper may be named all the same.
    """
    found: set[str] = set()
    for folder in folders:
        root = Path(os.path.realpath(folder))
        try:
            with os.scandir(root) as entries:
                found.update(entry.name for entry in entries if _is_choice(entry, root))
        except OSError:  # it is named and not there, or not to be read: there is nothing to choose in it
            continue
    return tuple(sorted(found)[:LISTED_MAX])


def _is_choice(entry: os.DirEntry[str], root: Path) -> bool:
    try:
        if entry.name.startswith(".") or (entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root)):
            return False
        entry.name.encode()
        return entry.is_dir() or (entry.is_file() and is_source_name(entry.name))
    except (OSError, UnicodeEncodeError):  # a loop of links; a name that is no UTF-8
        return False


def _below(root: Path, named: Path, given: str) -> Path | None:
    try:
        path = Path(os.path.normpath(root / given))
        if path.is_relative_to(named) and not path.is_relative_to(root):
            path = root / path.relative_to(named)
        if not path.is_relative_to(root):
            return None
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(root) or not real.exists():
            return None
    except (OSError, ValueError):  # a NUL, a loop of links, a name that is too long
        return None
    _check_links(real, root, given)
    return real


def _check_links(real: Path, root: Path, given: str) -> None:
    """Look at what a build would read. Raises `InvalidSource` for what is no source, or leads out of the folder."""
    try:
        source = open_source(real)
    except InvalidSource as error:
        raise InvalidSource(error.message.replace(str(real), given), path=given) from error
    read = files_of(source) if isinstance(source, Folder) else [Path(getattr(source, "path", real))]
    for file in read:
        if not Path(os.path.realpath(file)).is_relative_to(root):
            raise _unknown(given)


def _unknown(given: str) -> InvalidInput:
    return InvalidInput(f"there is no source {given!r:.200} in the folders that this server may read")
