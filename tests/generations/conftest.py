"""A collection's folder in which generations are made, promoted and aged at will, without an index."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outcrop.config import Config
from outcrop.documents import DocumentsWriter
from outcrop.generations import collecting, manifest, pointer, record
from outcrop.generations.collecting import GcReport
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.generations.manifest import Manifest
from outcrop.generations.record import CollectionRecord
from outcrop.index_values import IndexSpec
from outcrop.model import Recipe


class Kb:
    """A collection's folder in which generations are made, promoted and aged at will."""

    def __init__(self, path: Path) -> None:
        self.folder = CollectionFolder(path)
        self.folder.generations.mkdir(parents=True)
        self.journal = Journal(self.folder.journal)
        self.journal.create()
        record.write(
            self.folder, CollectionRecord(1, "kb", "0" * 32, "2026", "none", "cosine", "none", "english", IndexSpec(kind="auto"))
        )

    def build(self, *, sequence: int = 0, checkpoint: bytes | None = None, days: float = 0.0) -> GenerationName:
        """An unfinished build whose files were last changed so many days ago."""
        name = self.journal.next_generation()
        directory = self.folder.generation(name)
        directory.mkdir()
        with closing(DocumentsWriter.create(directory)) as writer:
            if checkpoint is None:
                writer.seal(sequence)
            else:
                writer.add([], sequence, checkpoint)
        for path in [*directory.iterdir(), directory]:
            self.age(path, days)
        return name

    def ready(self, *, sequence: int = 0, days: float = 0.0, engine: str = "builtin") -> GenerationName:
        """A finished generation, made so many days ago."""
        name = self.build(sequence=sequence)
        recipe = Recipe(engine, None, None, "cosine", "none", "english", IndexSpec(kind="auto"), 0.3)
        sealed = Manifest(1, name.number, name.uuid, ago(days), recipe, "x", 0, 0, 0, 0, 0, None, None, 0.1, (), (), ())
        manifest.write(self.folder.generation(name), sealed)
        return name

    def promote(self, name: GenerationName, *, days: float = 0.0) -> None:
        """Make it active, so many days ago."""
        active = pointer.read(self.folder)
        intent = self.journal.intend(name.number, active.number if active else None, "promote", source="x")
        pointer.swap(self.folder, name)
        self.journal.finish(intent)
        with closing(sqlite3.connect(self.folder.journal)) as connection, connection:
            connection.execute("UPDATE promotions SET intended_at = ?, done_at = ? WHERE id = ?", (ago(days), ago(days), intent))

    def promoted(self, *days: float) -> list[GenerationName]:
        """Generations that were promoted so many days ago, one after the other; the last is active."""
        names = []
        for each in days:
            names.append(self.ready())
            self.promote(names[-1], days=each)
        return names

    def there(self) -> list[GenerationName]:
        return self.folder.names()

    def collect(self, **overrides: Any) -> GcReport:
        return collecting.collect(self.folder, Config.test(**overrides))

    def survey(self, **overrides: Any) -> GcReport:
        return collecting.survey(self.folder, Config.test(**overrides))

    def age(self, path: Path, days: float) -> None:
        """Let a file or folder have been changed last so many days ago."""
        then = time.time() - days * 86_400
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def kb(tmp_path: Path) -> Kb:
    return Kb(tmp_path / "db" / "kb")


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat().replace("+00:00", "Z")
