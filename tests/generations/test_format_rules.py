"""What docs/format.md says of versions: what a later one may add is passed over, and what is too new is refused and left alone."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

import outcrop
from outcrop import Config, Document
from outcrop.errors import UnsupportedFormat
from outcrop.generations.journal import Entry
from outcrop.generations.manifest import Manifest
from outcrop.generations.record import CollectionRecord
from outcrop.writes.outcomes import decoded

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1.tar.gz"
SPECIFICATION = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path / "kb", filter="data")
    return tmp_path / "kb"


def opened(kb: Path, *, read_only: bool = False) -> outcrop.Database:
    return outcrop.open(kb, config=Config.test(), read_only=read_only)


def generation(kb: Path, number: int) -> Path:
    return next((kb / "notes" / "generations").glob(f"{number:06d}-*"))


def change_manifest(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the manifest anew, with a checksum that agrees, as another version would have written it."""
    held = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["manifest"]
    change(held)
    body = json.dumps(held, separators=(",", ":"), ensure_ascii=False).encode()
    checksum = hashlib.sha256(body).hexdigest().encode()
    (directory / "manifest.json").write_bytes(b'{"later":1,"sha256":"%s","manifest":%s}' % (checksum, body))


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_a_later_version_may_add_within_the_format_is_passed_over(kb: Path) -> None:
    for number in (1, 2):
        change_manifest(generation(kb, number), lambda held: held.update(later={"x": 1}))
        execute(generation(kb, number) / "documents.sqlite", "CREATE TABLE later (x)", "CREATE INDEX later_x ON later (x)")
        (generation(kb, number) / "later").mkdir()
    record = kb / "notes" / "collection.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "later": 1}))
    columns = [f"ALTER TABLE {table} ADD COLUMN later" for table in ("generations", "promotions", "writes", "entries", "holds")]
    execute(kb / "notes" / "journal.sqlite", "CREATE TABLE later (x)", *columns)
    with opened(kb) as db:
        notes = db.collection("notes")
        before = list(notes.scan())
        assert notes.rollback().number == 1
        assert notes.upsert(Document("new", "Gneiss")).sequence == 6
        assert notes.build(promote=True).number == 3
        assert {one.id: one for one in notes.scan()} == {one.id: one for one in [*before, *notes.get("new")]}
        assert all(report.healthy for report in notes.verify())
        assert notes.optimize().seconds >= 0
        assert [item.kind for item in notes.gc().kept] == ["generation"] * 3


def test_what_a_later_version_may_add_to_an_entry_is_passed_over(kb: Path) -> None:
    with closing(sqlite3.connect(kb / "notes" / "journal.sqlite")) as journal:
        (body,) = journal.execute("SELECT body FROM entries WHERE document = 'marble'").fetchone()
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(body), {"later": 1}])
    first, second = (decoded(Entry(1, "put", "marble", one)) for one in (body, longer))
    assert first.prepared.document == second.prepared.document  # type: ignore[union-attr]
    assert first.space == second.space  # type: ignore[union-attr]


def test_an_optional_field_of_the_manifest_may_be_absent(kb: Path) -> None:
    optional = [field.name for field in msgspec.structs.fields(Manifest) if not field.required]
    assert optional == ["vanished", "revived", "written_since", "index_choice"]
    change_manifest(generation(kb, 2), lambda held: [held.pop(name, None) for name in optional] and None)
    with opened(kb) as db:
        active = db.collection("notes").active
        assert active is not None
        assert (active.vanished, active.revived) == (None, None)
        assert db.collection("notes").build([Document("new", "chalk")], keep_writes=True).document_count > 1


@pytest.mark.parametrize("read_only", [False, True])
def test_an_active_generation_of_a_newer_format_is_refused_and_not_set_aside(kb: Path, read_only: bool) -> None:
    change_manifest(generation(kb, 2), lambda held: held.update(format=2))
    with opened(kb, read_only=read_only) as db:
        notes = db.collection("notes")
        with pytest.raises(UnsupportedFormat) as refused:
            notes.search("slate")
        assert (refused.value.found, refused.value.supported) == (2, 1)  # type: ignore[attr-defined]
        assert [(report.generation, report.healthy) for report in notes.verify()] == [(1, True), (2, False), (None, True)]
        assert (2, "active") in [(item.generation, item.reason) for item in notes.gc(dry_run=True).kept]
        assert len(notes.history()) == 2
    assert not (generation(kb, 2) / "quarantined").exists()
    assert generation(kb, 2).name in (kb / "notes" / "active").read_text()


def test_another_generation_of_a_newer_format_is_in_nobodys_way_and_is_kept(kb: Path) -> None:
    change_manifest(generation(kb, 1), lambda held: held.update(format=2))
    with opened(kb) as db:
        notes = db.collection("notes")
        assert notes.search("slate").generation == 2
        assert notes.upsert(Document("new", "Gneiss")).upserted == 1
        assert [info.number for info in notes.generations()] == [2]
        assert [(item.generation, item.reason) for item in notes.gc().kept] == [(1, "written by a newer Outcrop"), (2, "active")]
        with pytest.raises(UnsupportedFormat):
            notes.rollback()
    assert generation(kb, 1).is_dir()


def test_a_collection_of_a_newer_format_is_refused_also_where_it_is_open(kb: Path) -> None:
    record = kb / "notes" / "collection.json"
    with opened(kb) as db:
        before = db.collection("notes")
        record.write_text(json.dumps({**json.loads(record.read_text()), "format": 2}))
        with pytest.raises(UnsupportedFormat):
            before.upsert(Document("new", "Gneiss"))
    with opened(kb) as db, pytest.raises(UnsupportedFormat):
        db.collection("notes")


def test_both_forms_of_the_pointer_are_read_and_one_takes_the_place_of_the_other(kb: Path) -> None:
    with outcrop.open(kb, config=Config.test(symlinks="auto")) as db:
        notes = db.collection("notes")
        assert not (kb / "notes" / "active").is_symlink()
        assert notes.rollback().number == 1
        assert os.readlink(kb / "notes" / "active") == f"generations/{generation(kb, 1).name}"
    with outcrop.open(kb, config=Config.test(symlinks="never")) as db:
        notes = db.collection("notes")
        assert notes.rollback().number == 2
        assert (kb / "notes" / "active").read_bytes() == f"generations/{generation(kb, 2).name}\n".encode()
        assert not (kb / "notes" / "active").is_symlink()
        assert notes.search("slate").generation == 2


@pytest.mark.parametrize("name", ["journal.sqlite", "documents.sqlite"])
def test_the_specification_names_every_table_and_column(kb: Path, name: str) -> None:
    section = SPECIFICATION.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
    path = (kb / "notes" if name == "journal.sqlite" else generation(kb, 2)) / name
    with closing(sqlite3.connect(path)) as connection:
        tables = [table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}
    columns.pop("sqlite_sequence", None)
    assert len(columns) > 5
    for table, named in columns.items():
        rows = section.split(f"\n| `{table}` |")[1]
        of_table = rows.split("\n| `")[0]
        assert [column for column in named if f"`{column}`" not in of_table] == [], table


@pytest.mark.parametrize(("name", "kind"), [("manifest.json", Manifest), ("collection.json", CollectionRecord)])
def test_the_specification_names_every_field(name: str, kind: type[msgspec.Struct]) -> None:
    section = SPECIFICATION.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
    assert [field for field in kind.__struct_fields__ if f"`{field}`" not in section] == []
