"""Whether a generation's immutable files are still what was written: the full check, byte by byte."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from outcrop import files
from outcrop.documents import Documents, FileFact
from outcrop.errors import Damaged
from outcrop.generations import manifest


def check(directory: Path) -> None:
    """Compare every file of every part with the size and the SHA-256 noted when it was written; ask SQLite about its own.

    The rows that list the parts must agree with the manifest. Takes a few seconds for every gigabyte. Raises `Damaged` naming the
    first fault. Opening a generation checks sizes only.
    """
    sealed = manifest.required(directory)
    with closing(Documents(directory)) as documents:
        fault = documents.quick_check()
        if fault is not None:
            raise Damaged(f"{documents.path} is damaged: {fault}", path=documents.path)
        listed = {part.uuid: part for part in documents.parts()}
    for part in sealed.parts:
        if part.uuid in listed and listed[part.uuid] != part:
            raise Damaged(f"{directory}: part {part.uuid} is listed otherwise than it was sealed", path=directory)
    for part in listed.values():
        for fact in part.files:
            _check_file(directory, fact)


def _check_file(directory: Path, fact: FileFact) -> None:
    path = directory / fact.path
    with files.storage_errors(path):
        if not path.is_file():
            raise Damaged(f"{path} is missing", path=path)
        found = path.stat().st_size
        if found != fact.size_bytes:
            raise Damaged(f"{path} has {found} bytes; {fact.size_bytes} were written", path=path)
        if files.sha256(path) != fact.sha256:
            raise Damaged(f"{path} was changed after it was written: its checksum does not agree", path=path)
