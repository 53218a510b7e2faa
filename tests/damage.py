"""Damage to the files of an index, made so that it is the file that is damaged and not the process that has it open."""

from __future__ import annotations

import os
from pathlib import Path


def overwrite(path: Path, content: bytes | bytearray) -> None:
    """Put another file in the place of `path`.

    Writing the same file anew cuts it off first, and a thread that has it mapped is killed by the next byte it reads (SIGBUS).
    Tantivy has such a thread for a moment after each opening.
    """
    beside = path.with_name(f"{path.name}.damaged")
    beside.write_bytes(content)
    os.replace(beside, path)
