"""A command line that runs in this process, and collections to run it on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import outcrop
from outcrop import Config, Document
from outcrop.surfaces.cli.app import app

Cli = Callable[..., Result]

ROCKS = [
    Document(id="slate", title="Slate", text="Slate splits into thin layers.", metadata={"year": 2020, "lang": "en"}),
    Document(id="sand", text="Rivers carry sand and layers of mud to the sea.", metadata={"year": 2024, "lang": "en"}),
    Document(id="dune", text="Wind shapes the dunes.", source="dunes.md", metadata={"year": 2024, "lang": "de"}),
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OUTCROP_DB", "OUTCROP_MODE", "OUTCROP_DEBUG", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli() -> Cli:
    """Runs a command line: `cli("search", "rocks", "layers")`."""

    def run(*arguments: object, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="outcrop", **options)

    return run


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "kb"
    with outcrop.open(folder, config=Config.test()) as db:
        collection = db.create_collection("rocks", embedder="hashing:64")
        collection.build(ROCKS, promote=True)
        collection.build(ROCKS[:2], chunker="none")
    return folder


@pytest.fixture
def rocks(_built: Path, tmp_path: Path) -> Path:
    """A database in `kb`, where the command line looks, with a collection `rocks` of two generations: 1 active, 2 ready."""
    return shutil.copytree(_built, tmp_path / "kb", symlinks=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The same documents as a file."""
    rows = [{"id": one.id, "title": one.title, "text": one.text, "source": one.source, **one.metadata} for one in ROCKS]
    file = tmp_path / "rocks.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file
