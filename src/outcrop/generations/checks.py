"""Whether a generation is still what was written: the full check, byte by byte."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from outcrop.config import Config
from outcrop.documents import Documents
from outcrop.engines import registry
from outcrop.errors import Damaged, Repairable
from outcrop.generations import manifest

_log = logging.getLogger("outcrop")


def check(directory: Path, config: Config, *, fully: bool = False) -> None:
    """Read everything that never changes and compare it with its checksums; ask SQLite about its own file.

    The rows that list the parts must agree with the manifest. Takes a few seconds for every gigabyte. Raises `Damaged` naming the
    first fault. Opening a generation checks sizes only. Damage that `repair` mends is logged; with `fully` it is raised too.
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
    engine = registry.engine(sealed.recipe.engine, config, directory=directory, read_only=True)
    try:
        engine.verify(sealed.recipe, directory)
    except Repairable as error:
        if fully:
            raise
        _log.warning("%s", error.message)
