"""A database whose file is edited while it is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Database, Document

ROCKS = [
    Document(id="slate", text="slate splits into thin layers"),
    Document(id="granite", text="granite is hard and speckled"),
    Document(id="marble", text="marble is changed limestone in layers"),
    Document(id="chalk", text="chalk is a soft white limestone"),
]


def write(db: Database, text: str) -> None:
    """Put this in the place of the database's file."""
    (db.path / "outcrop.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / "outcrop.toml").write_text('mode = "test"\n', encoding="utf-8")
    with outcrop.open(tmp_path / "kb") as db:
        yield db


@pytest.fixture
def rocks(db: Database) -> Collection:
    rocks = db.create_collection("rocks", embedder="hashing:64")
    rocks.upsert(ROCKS)
    return rocks
