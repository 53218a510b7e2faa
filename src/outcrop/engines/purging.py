"""Which chunks that ended may be forgotten, and forgetting them, for engines that serve the rows of documents.sqlite."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outcrop.documents import Documents, DocumentsWriter
from outcrop.engines.protocol import Publishing

_PURGED_ROWS = 2_000


def purge(
    directory: Path,
    documents: Documents,
    publishing: Publishing,
    *,
    keep_seconds: float,
    until: int,
    free: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
) -> None:
    """Forget chunks that ended more than `keep_seconds` ago and not after the write `until`; in steps: no writer waits long.

    `until` is at most the write that the index shows: what it has not taken out yet must be remembered. Given slots in ascending
    order, `free` gives those that the index needs no more; without it, all of them are.
    """
    now = time.time()
    with publishing(), closing(DocumentsWriter.open(directory)) as writer:
        writer.mark(now)
        kept_since = writer.purgeable(now - keep_seconds)
    if kept_since is None:
        return
    until = min(until, kept_since)
    ended = np.sort(np.array(documents.ended(until), np.int64))
    if free is not None:
        ended = free(ended)
    for start in range(0, len(ended), _PURGED_ROWS):
        with publishing(), closing(DocumentsWriter.open(directory)) as writer:
            writer.purge(ended[start : start + _PURGED_ROWS].tolist(), until)
