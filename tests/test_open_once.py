"""A database opens each collection once, and knows when it is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop import Config
from outcrop.errors import Damaged, InvalidInput, UnknownCollection
from outcrop.generations import record
from outcrop.generations.layout import CollectionFolder


def test_asking_for_a_collection_that_is_open_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only(background=False)) as db:
        made = db.create_collection("rocks", embedder="none")
        db.collection("rocks")
        monkeypatch.setattr(record, "read", lambda folder: pytest.fail(f"read {folder}"))
        assert db.collection("rocks") is made
        with pytest.raises(InvalidInput):
            db.collection(["rocks"])  # type: ignore[arg-type]


def test_a_collection_that_another_one_made_anew_is_found_as_it_is_now(tmp_path: Path) -> None:
    config = Config.mvp_only(background=False)
    with outcrop.open(tmp_path / "kb", config=config) as db, outcrop.open(tmp_path / "kb", config=config) as other:
        before = db.create_collection("rocks", embedder="none")
        for _ in range(5):
            other.drop_collection("rocks")
            with pytest.raises(UnknownCollection):
                db.collection("rocks")
            uuid = other.create_collection("rocks", embedder="none").uuid
            now = db.collection("rocks")
            assert now.uuid == uuid != before.uuid
            assert db.collection("rocks") is now
            before = now


def test_a_record_that_is_damaged_meanwhile_is_told_of_every_time(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only(background=False)) as db:
        made = db.create_collection("rocks", embedder="none")
        file = CollectionFolder(tmp_path / "kb" / "rocks").collection_file
        content = file.read_bytes()
        file.write_bytes(content.replace(b"rocks", b"socks"))
        for _ in range(2):
            with pytest.raises(Damaged):
                db.collection("rocks")
        file.write_bytes(content)
        assert db.collection("rocks") is made
