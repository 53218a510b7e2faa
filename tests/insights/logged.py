"""Databases whose searches are logged, and what is in the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import outcrop
from outcrop import Config, Document
from outcrop.generations.layout import CollectionFolder
from outcrop.insights.line import Line
from outcrop.insights.segments import Reading, listed

ROCKS = [
    Document("slate", "Slate splits into thin layers.", metadata={"lang": "en", "year": 2020, "hard": False}),
    Document("granite", "Granite is hard and speckled.", metadata={"lang": "en", "year": 2024, "hard": True}),
    Document("schiefer", "Schiefer spaltet sich in duenne Lagen.", metadata={"lang": "de", "year": 2024, "hard": False}),
]


def opened(folder: Path, **settings: Any) -> outcrop.Database:
    """A database in `kb` that logs every search."""
    return outcrop.open(folder / "kb", config=Config.test(**{"query_log_share": 1.0, **settings}))


def rocks(db: outcrop.Database, embedder: str = "hashing:64") -> outcrop.Collection:
    """A collection of three rocks."""
    made = db.create_collection("rocks", embedder=embedder)
    made.build(ROCKS, promote=True)
    return made


def log_of(folder: Path, name: str = "rocks") -> Path:
    """The log's folder."""
    return CollectionFolder(folder / "kb" / name).queries


def lines(folder: Path) -> list[Line]:
    """Every whole line, in the order of their times."""
    return sorted(Reading(log_of(folder), 0.0), key=lambda one: one.at)


def raw(folder: Path) -> list[dict[str, Any]]:
    """Every line as it stands in the files."""
    return [json.loads(line) for one in listed(log_of(folder)) for line in one.path.read_text(encoding="utf-8").splitlines()]
