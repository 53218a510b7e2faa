"""The one commit point of a promotion: which generation is active.

`active` is a symbolic link to `generations/<name>`, swapped by renaming a new link over it. Where the file system has no symbolic
links it is a one-line file that holds the same text, replaced in the same way. Reading understands both, always.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import uuid4

from outcrop import files
from outcrop.errors import Damaged
from outcrop.generations.layout import ACTIVE, GENERATIONS, CollectionFolder, GenerationName, parse_name

_POINTER_FILE_BYTES_MAX = 256
_WINDOWS = sys.platform == "win32"  # a link to a folder is itself a folder there, and cannot be replaced by renaming


def read(folder: CollectionFolder) -> GenerationName | None:
    """The active generation's name, or None if nothing was ever promoted. Takes microseconds; asked before every search."""
    target = read_raw(os.path.join(folder.path, ACTIVE))
    return None if target is None else parse_target(folder, target)


def read_raw(path: str) -> str | None:
    """The pointer's text as it stands, to compare with what was read before."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:  # not a link: the pointer-file variant (Windows raises the same for a plain file)
        pass
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_POINTER_FILE_BYTES_MAX).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise files.storage_failed(Path(path), error) from error


def parse_target(folder: CollectionFolder, target: str) -> GenerationName:
    """The generation that a pointer's text names."""
    parent, _, name = target.replace("\\", "/").rpartition("/")
    parsed = parse_name(name)
    if parent != GENERATIONS or parsed is None:
        raise Damaged(
            f"{folder.active} points to {target!r}, which is no generation; promote one to mend it (see `outcrop generations`)",
            path=folder.active,
        )
    return parsed


def is_missing(folder: CollectionFolder) -> bool:
    """Whether there is no pointer, not even one that cannot be read."""
    return not os.path.lexists(folder.active)


def lost(folder: CollectionFolder, name: GenerationName) -> Damaged:
    """The error for a pointer that is not there although this generation was made active."""
    return Damaged(
        f"{folder.active} is missing, and the journal says that generation {name.number} is active: was the folder copied without"
        " its symbolic links? A search or a write by whoever may write restores it, and so does promoting a generation.",
        path=folder.active,
    )


def swap(folder: CollectionFolder, name: GenerationName, *, symlinks: bool = True) -> None:
    """Make `name` the active generation: atomic, and durable on return. `symlinks=False` asks for the pointer file."""
    target = f"{GENERATIONS}/{name}"
    if symlinks and not _WINDOWS and _swap_link(folder, target):
        return
    files.write_atomically(folder.active, f"{target}\n".encode())


def _swap_link(folder: CollectionFolder, target: str) -> bool:
    """Swap by a symbolic link; False where the system or the user may not make one."""
    temporary = folder.path / f".{ACTIVE}-{uuid4().hex[:8]}"
    try:
        os.symlink(target, temporary)
    except (OSError, NotImplementedError):
        if os.access(folder.path, os.W_OK) and not os.path.lexists(temporary):
            return False  # if the folder cannot be written at all, the pointer file will say so
        raise
    try:
        with files.storage_errors(folder.active):
            files.replace(temporary, folder.active)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    files.sync_folder(folder.path)
    return True
