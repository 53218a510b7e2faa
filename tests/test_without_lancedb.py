"""An installation without LanceDB: `make test-mvp`, and a part of it in `make test`. Skipped where LanceDB is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import outcrop
from outcrop import Config, Document, errors

_ROOT = Path(__file__).resolve().parents[1]
_MISSING = importlib.util.find_spec("lancedb") is None
_MISSING_BY_PROMISE = os.environ.get("TESTED_WITHOUT") == "lancedb"

if not (_MISSING or _MISSING_BY_PROMISE):
    pytest.skip("LanceDB is installed here; make test-mvp runs these where it is not", allow_module_level=True)


def test_it_cannot_be_imported() -> None:
    with pytest.raises(ImportError):
        importlib.import_module("lancedb")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("lancedb")


def test_every_other_extra_is_installed() -> None:
    if not _MISSING_BY_PROMISE:
        pytest.skip("this is about the environment that make test-mvp sets up")
    extras = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    wanted = [one for extra, listed in extras.items() if extra not in ("all", "lancedb") for one in listed]
    assert len(wanted) > 10
    for requirement in wanted:
        if sys.version_info >= (3, 14) and "python_version <" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        assert metadata.version(name[0])


@pytest.mark.parametrize("mode", ["default", "production"])
def test_a_collection_is_built_written_and_searched_by_the_built_in_engine(mode: str, tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=getattr(Config, mode)()) as db:
        rocks = db.create_collection("rocks", embedder="hashing:64")
        rocks.build([Document("slate", "Slate splits."), Document("granite", "Granite is hard.")], promote=True)
        rocks.upsert(Document("shale", "Shale splits too."))
        hits = rocks.search("splits", mode="lexical")
        assert {hit.document_id for hit in hits} == {"slate", "shale"}
        assert hits.engine == "builtin"
        assert "lancedb" not in sys.modules


def test_what_needs_it_says_so_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(errors.EngineUnavailable, match="lancedb cannot be imported: not installed") as caught:
        outcrop.open(tmp_path / "kb", config=Config.lancedb_test()).create_collection("rocks", embedder="none")
    assert caught.value.remedy == "pip install 'outcrop[lancedb]'"


@pytest.mark.parametrize(("mode", "code", "state"), [("default", 0, "no"), ("production", 0, "no"), ("lancedb_test", 7, "fail")])
def test_the_doctor_fails_only_in_the_mode_that_has_nothing_else(mode: str, code: int, state: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "outcrop", "--mode", mode, "doctor", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    found = next(one for one in json.loads(done.stdout)["checks"] if (one["area"], one["name"]) == ("engine", "lancedb"))
    assert (found["state"], found["remedy"]) == (state, "pip install 'outcrop[lancedb]'")
    assert "lancedb cannot be imported: not installed" in found["found"]
