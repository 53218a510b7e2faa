"""Whether a source is still what it was: names, sizes and times of its files, without reading them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from outcrop.ingest.folder import Folder, files_of
from outcrop.ingest.records import Source


def fingerprint(source: Source) -> str | None:
    """Equal for two sources only if they are the same files in the same places, not written to in between.

    The time of a file's last change of any kind counts too, which no program can set, so that a copy with an older time is another
    file. None where nothing can be told: an iterable of documents, files that cannot be looked at.
    """
    path = getattr(source, "path", None)
    if not isinstance(path, Path) or getattr(source, "stream", None) is not None:
        return None
    digest = hashlib.sha256(os.fsencode(path.absolute()))
    try:
        for file in files_of(source) if isinstance(source, Folder) else (path,):
            status = file.stat()
            facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(b"\0%s\0%r" % (os.fsencode(file), facts))
    except OSError:
        return None
    return digest.hexdigest()
