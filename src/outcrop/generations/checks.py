"""Whether a generation is still what was written: the full check, byte by byte."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from outcrop.config import Config
from outcrop.documents import Documents
from outcrop.engines import registry
from outcrop.errors import Damaged
from outcrop.generations import manifest


def check(directory: Path, config: Config) -> None:
    """Read everything that never changes and compare it with its checksums; ask SQLite about its own file.

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
    registry.engine(sealed.recipe.engine, config).verify(sealed.recipe, directory)
