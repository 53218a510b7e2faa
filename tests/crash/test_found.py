"""What the sweep found, each in a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop import Config, Document, Gate
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.errors import NotYetVisible, StorageFailed

ANY = Gate(vanished_share_max=1.0)


def test_a_build_holds_no_value_that_was_set_before_it_began(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.upsert([Document("d", "granite", metadata={"a": 0})])
        rocks.update_metadata(["d"], {"a": 1})
        info = rocks.build([Document("d", "granite", metadata={"a": 2})], promote=False)
        rocks.update_metadata(["d"], {"b": 3})
        rocks.promote(info, gate=ANY)

        assert rocks.get(["d"])[0].metadata == {"a": 2, "b": 3}


def test_a_build_that_keeps_writes_keeps_the_delete_of_a_document_of_another_generation(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.build([Document("a", "granite")], promote=True)
        rocks.build([Document("a", "granite")], promote=True)
        rocks.rollback()
        rocks.upsert([Document("d", "basalt")])
        rocks.delete(["d"])
        rocks.rollback()
        rocks.build([Document("a", "granite"), Document("d", "basalt")], keep_writes=True, promote=True)

        assert [one.id for one in rocks.scan()] == ["a"]


def test_what_is_not_visible_to_searches_yet_is_not_visible_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(*_: object) -> None:
        raise StorageFailed("the process would end here", path=tmp_path, errno_name="EIO")

    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.upsert([Document("a", "granite")])
        monkeypatch.setattr(TextWriter, "commit", cut_short)
        with pytest.raises(NotYetVisible):
            rocks.upsert([Document("b", "granite")])
        monkeypatch.undo()

    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        rocks = db.collection("rocks")
        found = {hit.document_id for hit in rocks.search("granite")}
        assert found == {one.id for one in rocks.scan()} == {one.id for one in rocks.get(["a", "b"])}
        assert rocks.count() == rocks.count("NOT missing = 1") == len(found)
